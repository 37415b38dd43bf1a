"""Reports of differences; goldens lie in fixtures/diff.

To write them anew: ``python tests/policies/test_diff_report.py`` from the repository's root.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from diff_examples import (
    CELLS,
    LARGE,
    LOW_SHARES,
    NEW_SHARES,
    OLD_SHARES,
    SMALL,
    cell,
    policy,
    rung,
)
from generated_policies import any_policies, sound_policies
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from planner.plan import LimitFigures
from planner.spec import Limits, Traffic
from policies.diff_report import Difference, headline, markdown, text
from policies.policy import Budget, Graph, Policy, Provenance, StrategyEntry
from policies.report_layout import LONGEST, MARKER, code
from profiles.money import PriceCard

FIXTURES = Path(__file__).parent / "fixtures/diff"
HOSTILE = 'a|b`c``<script>\n</details>\x1b[31m @octocat [x](http://e.vil) --> "'


def moved() -> Difference:
    """The solver found a better split: nothing else changed."""
    return Difference.of(policy(), policy(NEW_SHARES))


def everything() -> Difference:
    """Shares, mix, volume, limits, promises, caps, prices, a rung and a warning."""
    limits = {
        "accuracy.overall": LimitFigures(asked=0.85, allowed=0.85, promised=0.8275, kept=False),
        "latency.p99_s": LimitFigures(asked=4.0, allowed=0.01, promised=0.008, kept=True),
    }
    weights = {"easy": 0.6, "hard": 0.4}
    new = policy(
        NEW_SHARES,
        weights=weights,
        rungs=(
            rung(NEW_SHARES, weights=weights, limits=limits, p95_s=2.04),
            rung(OLD_SHARES, weights=weights, fraction=0.75, limits=limits),
            rung(LOW_SHARES, weights=weights, fraction=0.5),
        ),
        traffic=Traffic(requests=40_000, per="day"),
        limits=Limits.model_validate({"accuracy": {"overall": 0.85}, "latency": {"p99_s": 4}}),
        warnings=("class hard rests on few queries",),
        confidence=0.9,
    )
    small, *others = new.strategies
    strategies = (small.model_copy(update={"max_tokens": 256}), *others)
    prices = {**new.prices.models}
    prices["large"] = prices["large"].model_copy(update={"output": 8.0})
    new = new.model_copy(
        update={
            "strategies": strategies,
            "prices": new.prices.model_copy(update={"models": prices}),
        }
    )
    return Difference.of(policy(), new.sealed())


def classes() -> Difference:
    """Other classes, of which one has no known cost."""
    cells = {**CELLS, "odd|one": {SMALL: cell(0.5, None), LARGE: cell(0.9, None)}}
    shares = {"easy": {SMALL: 1.0}, "odd|one": {LARGE: 1.0}}
    new = policy(shares, cells=cells, weights={"easy": 0.7, "odd|one": 0.3}, profile="sha256:0b0b")
    return Difference.of(policy(), new)


def new() -> Difference:
    """There was no policy."""
    return Difference.of(None, policy())


def gone() -> Difference:
    """The policy is removed."""
    return Difference.of(policy(), None)


def only_facts() -> Difference:
    """Compiled again by another solver: nothing that a request would notice."""
    old = policy()
    origin = old.provenance.model_copy(update={"solver": "HiGHS 1.13.0"})
    return Difference.of(old, policy(provenance=origin))


CASES: dict[str, Callable[[], Difference]] = {
    case.__name__: case for case in (moved, everything, classes, new, gone, only_facts)
}


@pytest.mark.parametrize("name", CASES)
def test_a_report_says_what_the_fixture_says(name: str) -> None:
    found = CASES[name]()
    assert text(found) + "\n" == (FIXTURES / f"{name}.txt").read_text()
    assert markdown(found) + "\n" == (FIXTURES / f"{name}.md").read_text()


def test_the_first_line_is_the_answer() -> None:
    line = headline(everything())
    assert re.fullmatch(
        r"Monthly spend \+\d+ USD \(\+\d+\.\d %\), accuracy -\d\.\d points \(-\d\.\d\.\.-\d\.\d\), "
        r"p95 \+40 ms; 1 of 2 limits hold",
        line,
    ), line


def test_growing_traffic_is_said_to_grow_with_dollars_at_both_its_ends() -> None:
    growth = {"rate": 0.05, "windows": 12}
    grows = Traffic.model_validate({"requests": 1_000_000, "per": "month", "growth": growth})
    for write in (text, markdown):
        found = write(Difference.of(policy(), policy(NEW_SHARES, traffic=grows)))
        assert "Mean monthly spend +524 USD (+34.6 %)" in found
        assert (
            "- traffic: steady -> +5 % per month over 12 windows; spend is at that of the mean "
            "window: +22.5 USD (+1.5 %) at that of the first, +1,113 USD (+73.6 %) at that of the "
            "last\n"
        ) in found
        assert "mean USD per month" in found
    new = text(Difference.of(None, policy(traffic=grows)))
    assert new.startswith("New policy: mean monthly spend 2,006 USD")
    assert "1,513 USD at that of the first, 2,587 USD at that of the last" in new


def test_a_limit_that_moves_below_its_promise_is_told() -> None:
    (first, *lower), name = policy().rungs, "accuracy.overall"
    found = (first.limits or {})[name].model_copy(update={"asked": 0.6, "allowed": 0.6})
    eased = first.model_copy(update={"limits": {**(first.limits or {}), name: found}})
    said = text(Difference.of(policy(), policy(rungs=(eased, *lower))))
    assert (
        "- limit moved, promise the same: accuracy.overall 0.8225 "
        "(asked: at least 0.7 -> at least 0.6)\n"
    ) in said
    assert "promise loosened" not in said


def test_a_budget_of_another_window_is_told_above_all_tables() -> None:
    daily = Budget(limit_usd=200, usd_per_request=0.005, window="day", requests=40_000)
    more = policy().budgets[0].model_copy(update={"limit_usd": 9000.0})
    mean = Budget(usd_per_request=0.005)
    for budgets, said in (
        ((daily,), "- budget gone: global per month, 5000 USD, 0.005 USD per request\n"
                   "- new budget: global per day, 200 USD, 0.005 USD per request\n"),
        ((more,), "- budget global per month: limit_usd 5000.0 -> 9000.0\n"),
        ((), "- budget gone: global per month, 5000 USD, 0.005 USD per request\n"),
        ((*policy().budgets, mean), "- new budget: global per total, 0.005 USD per request\n"),
    ):  # fmt: skip
        found = text(Difference.of(policy(), policy(budgets=budgets)))
        assert found.count("budget") == said.count("budget")
        assert found.index(said) < found.index("Everything else in the file")


def test_nothing_is_said_where_nothing_changed() -> None:
    same = Difference.of(policy(), policy())
    assert text(same) == markdown(same) == ""
    assert same.is_empty
    assert same.as_dict()["differ"] is False


def test_a_comment_starts_with_the_hidden_marker_and_then_the_answer() -> None:
    lines = markdown(moved()).splitlines()
    assert lines[0] == MARKER == "<!-- inferbudget -->"
    assert lines[2].startswith("**Monthly spend +22.5 USD")


def test_an_interval_that_is_not_known_is_said_to_be_unknown() -> None:
    cells = {n: {t: cell(0.5, 0.1) for t in row} for n, row in CELLS.items()}
    unsure = {
        n: {t: c.model_copy(update={"accuracy_se": None}) for t, c in row.items()}
        for n, row in cells.items()
    }
    found = Difference.of(policy(cells=cells), policy(NEW_SHARES, cells=unsure))
    assert "accuracy +0.0 points (interval unknown)" in headline(found)


def hostile() -> Difference:
    cells = {HOSTILE: CELLS["hard"], "easy": CELLS["easy"]}
    weights = {"easy": 0.7, HOSTILE: 0.3}
    shares = {"easy": {SMALL: 1.0}, HOSTILE: {LARGE: 1.0}}
    unkept = LimitFigures(asked=0.7, allowed=0.7, promised=0.6, kept=False)
    limits = {f"accuracy.by_class.{HOSTILE}": unkept}
    rungs = (rung(shares, cells=cells, weights=weights, limits=limits),)
    spec = Limits.model_validate({"accuracy": {"by_class": {HOSTILE: 0.5}}})
    new = policy(
        cells=cells,
        weights=weights,
        rungs=rungs,
        limits=spec,
        workload=HOSTILE,
        warnings=(HOSTILE,),
    )
    return Difference.of(policy(), new)


def outside_code(line: str) -> str:
    """The line less its code spans, as CommonMark finds them."""
    return re.sub(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", "", line)


def test_names_of_others_cannot_leave_their_code_spans_or_cells() -> None:
    found = markdown(hostile())
    assert found.count("</details>\n") + found.endswith("</details>") == found.count("<details>")
    assert "\x1b" not in found
    for line in found.splitlines()[1:]:
        rest = outside_code(line)
        assert "script" not in rest
        assert "@octocat" not in rest
        assert "](" not in rest
    tables = [line for line in found.splitlines() if line.startswith("| ")]
    for row in tables:
        columns = len(re.findall(r"(?<!\\)\|", row))
        assert columns in {6, 8}, row


def test_a_terminal_gets_no_control_characters() -> None:
    assert all(char.isprintable() or char == "\n" for char in text(hostile()))


def named(kind: str, name: str) -> Policy:
    """A policy that calls one thing by a name that others chose."""
    classes, strategy = ("easy", "hard"), LARGE
    changes: dict[str, Any] = {}
    match kind:
        case "class":
            classes = ("easy", name)
        case "strategy":
            strategy = name
        case "limit":
            found = LimitFigures(asked=0.7, allowed=0.7, promised=0.6, kept=False)
            limits = {f"accuracy.by_class.{name}": found, f"gpu.{name}": found}
            changes["rungs"] = (rung(OLD_SHARES, limits=limits),)
        case "objective":
            changes["rungs"] = (rung(OLD_SHARES, objective=name),)
        case "warning":
            changes["warnings"] = (name,)
        case "model":
            changes["prices"] = PriceCard.model_validate(
                {"models": {name: {"input": 1.0, "output": 2.0}}}
            )
        case "graph":
            changes["graph"] = Graph(file=name, sha256=f"sha256:{name}")
        case "origin":
            changes["provenance"] = Provenance(
                plan=name, spec=name, profile=name, solver=name, evidence=(name,)
            )
        case "workload":
            changes["workload"] = name
    cells = {one: {SMALL: cell(0.4, 0.001), strategy: cell(0.8, 0.01)} for one in classes}
    shares = {one: {SMALL: 0.5, strategy: 0.5} for one in classes}
    weights = dict(zip(classes, (0.7, 0.3), strict=True))
    changes = {"rungs": (rung(shares, cells=cells, weights=weights),), **changes}
    made = policy(shares, cells=cells, weights=weights, **changes)
    entries = [StrategyEntry(text=text, max_tokens=9) for text in (SMALL, strategy)]
    return made.model_copy(update={"strategies": tuple(entries)}).sealed()


KINDS = (
    "class",
    "strategy",
    "limit",
    "objective",
    "warning",
    "model",
    "graph",
    "origin",
    "workload",
)
CHARACTERS = "`|\\\n\r\x0b\x1b\u2028\u202e a"
MARKUP = (
    "<!-- inferbudget -->",
    "</details>",
    "<img src=x>",
    "![i](//e.vil/i.png)",
    "[x](//e.vil)",
    "@octocat",
    "/approve",
    "- ",
    "# ",
    "> ",
    "::error::",
    "##[error]",
)
NAMES = st.one_of(
    st.lists(st.sampled_from([*CHARACTERS, *MARKUP]), min_size=1, max_size=6).map("".join),
    st.text(max_size=8),
)
BEGINNINGS = re.compile(
    r"\| |- |\*\*|</?details>$|<summary>|$|In brackets: |A month counts |Spend is |A file of |"
    r"The details are too long|<!-- inferbudget -->$"
)


@given(st.sampled_from(KINDS), NAMES, st.sampled_from([None, policy()]))
@settings(max_examples=300, deadline=None)
def test_no_name_begins_a_line_or_leaves_its_place_in_a_comment(
    kind: str, name: str, old: Policy | None
) -> None:
    assume(name.strip())
    found = markdown(Difference.of(old, named(kind, name)))
    lines = found.split("\n")
    assert found.isascii() or all(line.isprintable() for line in lines)
    assert all(BEGINNINGS.match(line) for line in lines), found
    for line in lines[1:]:
        rest = re.sub("</?(details|summary)>", "", outside_code(line))
        assert not set(rest) & set("`<@#!&\\/"), line
        assert "](" not in rest
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in lines if line.startswith("| ")}
    assert widths <= {5, 6, 8}, found


@given(st.sampled_from(KINDS), NAMES)
@settings(max_examples=100, deadline=None)
def test_a_terminal_has_as_many_lines_whatever_the_names(kind: str, name: str) -> None:
    assume(name.strip())
    plain = text(Difference.of(policy(), named(kind, "other")))
    found = text(Difference.of(policy(), named(kind, name)))
    assert found.count("\n") == plain.count("\n")
    assert all(char.isprintable() or char == "\n" for char in found)


def test_a_name_without_end_does_not_push_the_answer_out_of_a_comment() -> None:
    found = markdown(Difference.of(policy(), named("limit", "endless" * 20_000)))
    assert "- limit does not hold: `accuracy.by_class.endless" in found
    assert "characters cut" in found


def test_what_only_begins_like_a_digest_is_shown_whole() -> None:
    found = text(Difference.of(policy(), named("graph", "of nobody, as this goes on")))
    assert "graph.sha256: sha256:502e -> sha256:of nobody, as this goes on" in found


@pytest.mark.parametrize("name", ["", " ", "`", "a`", "``a", "a\nb", "plain"])
def test_any_name_is_a_code_span(name: str) -> None:
    shown = code(name)
    assert not outside_code(shown).strip(), shown
    assert "\n" not in shown


@given(any_policies | sound_policies(), any_policies | sound_policies())
@settings(max_examples=30, deadline=None)
def test_any_two_policies_have_reports_that_are_the_same_every_time(
    old: Policy, new: Policy
) -> None:
    for pair in ((old, new), (None, new), (old, None)):
        first, again = Difference.of(*pair), Difference.of(*pair)
        assert text(first) == text(again)
        assert markdown(first) == markdown(again)
        assert json.dumps(first.as_dict(), allow_nan=False) == json.dumps(again.as_dict())
        assert len(markdown(first)) <= LONGEST


def test_a_comment_that_is_too_long_leaves_the_details_out() -> None:
    names = {f"{'class ' * 40}{i}": CELLS["hard"] for i in range(100)}
    weights = dict.fromkeys(names, 0.01)
    shares = [{name: {SMALL: x, LARGE: 1 - x} for name in names} for x in (0.5, 0.25)]
    old, new = (policy(row, cells=names, weights=weights) for row in shares)
    found = markdown(Difference.of(old, new))
    assert len(found) <= LONGEST
    assert "too long for a comment" in found
    assert "<details>" not in found


if __name__ == "__main__":
    FIXTURES.mkdir(exist_ok=True)
    for case_name, made in CASES.items():
        (FIXTURES / f"{case_name}.txt").write_text(text(made()) + "\n")
        (FIXTURES / f"{case_name}.md").write_text(markdown(made()) + "\n")
