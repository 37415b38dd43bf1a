"""Classes, and what wrong ones cost, as people read them: at most 100 columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from textwrap import fill
from typing import TYPE_CHECKING

from app.cli.options import share, table, usd

if TYPE_CHECKING:
    from profiles.difficulty.honesty.confusion import Change
    from profiles.difficulty.showing.marks import Weight
    from profiles.difficulty.showing.show import Showing, ShownClass
    from profiles.difficulty.showing.wrong_classes import Difference, WrongClasses

_COLUMNS = 100
_STRATEGY, _CLASS = 56, 15
_SAMPLE = _COLUMNS - len("- ")
_POINTS = 100
_REQUESTS = 1000
_PAIRS = 12
_GLUE = "\u00a0"  # a blank where no line breaks
_LUCK = (
    "Hindsight knows the luck of single outcomes, which no estimator can foresee: what it would "
    "change is an upper bound of what better classes could win. The lines below it know no luck "
    "but that the plan was made from the same outcomes."
)


def show_text(showing: Showing) -> str:
    """Every class, and which pieces of text weigh most."""
    lines = [
        f"{showing.workload}: {showing.queries} queries in {len(showing.classes)} classes of "
        f"estimator {showing.estimator_digest[:19]}",
        _filled(
            "Words are told where a class has them more often than the others beyond noise; z is "
            f"their weighted log-odds over its standard error, in {showing.read} prompts."
        ),
    ]
    for number, one in enumerate(showing.classes, start=1):
        lines += ["", *_class_lines(number, one)]
    return "\n".join([*lines, "", *_weight_lines(showing)])


def _class_lines(number: int, one: ShownClass) -> Iterator[str]:
    yield _filled(f"{number} {one.name}: {one.queries} queries ({share(one.share)})")
    rows = [
        (
            share(cell.mean_score),
            cell.queries,
            usd(cell.mean_cost_usd),
            cell.queries_with_cost,
            _cut(cell.strategy, _STRATEGY),
        )
        for cell in one.measured
    ]
    if rows:
        yield table(rows, ("score", "queries", "USD/request", "priced", "strategy"))
    if one.marks:
        told = (f"{_cut(mark.piece, 30)}{_GLUE}(z{_GLUE}{mark.z:.1f})" for mark in one.marks)
        yield _filled(f"words: {', '.join(told)}")
    else:
        yield "words: none beyond noise"
    for sample in one.samples:
        yield (
            f"- {sample.text}"
            if len(sample.text) <= _SAMPLE
            else f"- {sample.text[: _SAMPLE - 1]}…"
        )


def _weight_lines(showing: Showing) -> Iterator[str]:
    weights = showing.weights
    yield _filled(
        "What the estimator weighs: mean change of its predicted scores, in points, when a piece "
        f"is taken out of prompts that have it; the largest of the {weights.pieces} most frequent "
        "pieces."
    )
    if weights.heaviest:
        header = ("piece", "prompts", "all strategies", "most", "s.e.", "for")
        yield table(map(_weight_row, weights.heaviest), header)


def _weight_row(weight: Weight) -> tuple[object, ...]:
    most = weight.most_moved
    return (
        _cut(weight.piece, 20),
        weight.prompts,
        _points(sum(weight.changes.values()) / len(weight.changes)),
        _points(weight.changes[most]),
        f"{_POINTS * weight.standard_errors[most]:.2f}",
        _cut(most, 38),
    )


def wrong_text(wrong: WrongClasses, numbered: Mapping[str, str]) -> str:
    """What wrong classes cost.

    Args:
        wrong: Priced under a plan.
        numbered: How classes are called here, by their names.
    """
    lines = [_filled(line) for line in _preamble(wrong)]
    if wrong.same_for_all or not wrong.queries:
        return "\n".join(lines)
    rows = [
        (
            _cut(numbered[one.sorted_as], _CLASS),
            _cut(numbered[one.served_best_as], _CLASS),
            one.queries,
            *_difference(one.difference),
        )
        for one in wrong.mistakes[:_PAIRS]
    ]
    n = wrong.queries
    rows += [
        ("all", "hindsight", wrong.wrong, *_difference(wrong.hindsight)),
        ("all", "at random", n, *_difference(wrong.at_random)),
    ]
    for name, one in wrong.one_for_all.items():
        rows.append(("all", _cut(numbered[name], _CLASS), n, *_difference(one)))
    header = (
        "sorted as",
        "served as",
        "queries",
        "points",
        f"USD/{_REQUESTS}",
        f"worth/{_REQUESTS}",
    )
    rest = len(wrong.mistakes) - _PAIRS
    more = [f"{rest} pairs of fewer queries stand in the JSON alone."] if rest > 0 else []
    return "\n".join([*lines, table(rows, header), *more, _filled(_LUCK)])


def _preamble(wrong: WrongClasses) -> Iterator[str]:
    yield (
        f"Wrong classes under the plan's first rung, by {wrong.queries} queries on which all of "
        "its strategies are measured"
        + (f" ({wrong.left_out} are left out)." if wrong.left_out else ".")
    )
    if not wrong.queries:
        return
    if wrong.same_for_all:
        yield "The rung serves all classes alike, so no class can be wrong."
        return
    if wrong.usd_per_score is None:
        yield "The rung puts no price on accuracy, or costs are not known: hindsight goes by score."
    else:
        yield (
            f"A point of score is worth {usd(wrong.usd_per_score / _POINTS * _REQUESTS)} USD per "
            f"{_REQUESTS} requests, the rung's shadow price; worth is score in dollars less cost."
        )
    yield (
        f"{wrong.wrong} queries ({share(wrong.wrong / wrong.queries)}) would have been served "
        "better in another class. Changes if they were: points of the mean score, and dollars per "
        f"{_REQUESTS} requests of all traffic, ± standard errors."
    )


def _difference(one: Difference) -> tuple[str, str, str]:
    return (
        _change(one.score, _POINTS),
        _change(one.cost_usd, _REQUESTS),
        _change(one.worth_usd, _REQUESTS),
    )


def _change(change: Change | None, times: float) -> str:
    if change is None:
        return "n/a"
    error = change.standard_error
    return f"{times * change.mean:+.3g}" + ("" if error is None else f" ± {times * error:.2g}")


def _points(change: float) -> str:
    return f"{_POINTS * change:+.2f}"


def _cut(text: str, width: int) -> str:
    """The beginning and the end of a text that is too long; names differ at either."""
    if len(text) <= width:
        return text
    tail = width // 3
    return f"{text[: width - tail - 1]}…{text[len(text) - tail :]}"


def _filled(text: str) -> str:
    return fill(text, _COLUMNS, break_on_hyphens=False).replace(_GLUE, " ")
