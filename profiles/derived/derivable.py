"""What a strategy's text says about how to derive it, and which texts recordings allow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from profiles.derived.drawing import Drawing, Once, drawing_from, drawing_of
from profiles.derived.recordings import Base
from profiles.errors import InputError
from profiles.strategy import Strategy, parse

GRID = (2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)
_MOST_STAGES = 8


@dataclass(frozen=True, slots=True)
class Rung:
    """A stage as its text has it, before recordings are found.

    Attributes:
        drawing: How it draws.
        base: Text of the strategy it draws from.
    """

    drawing: Drawing
    base: str


@dataclass(frozen=True, slots=True)
class Ladder:
    """A strategy that is to be derived.

    Attributes:
        strategy: Its canonical text.
        rungs: Its stages, one where it is no cascade.
        threshold: Verdict that ends the climb.
        judges: Names of the verifiers it goes by.
    """

    strategy: str
    rungs: tuple[Rung, ...]
    threshold: float = 1.0
    judges: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Judges:
    """Names that derived texts give to verifiers; None where nothing of that kind is wanted.

    Attributes:
        verifier: Of best-of-n.
        accept: Of cascades.
        threshold: Verdict that ends a cascade.
    """

    verifier: str | None = None
    accept: str | None = None
    threshold: float = 1.0


def ladder(text: str, recorded: Iterable[str]) -> Ladder:
    """How a strategy follows from recorded ones. A stage that was recorded is taken as it is.

    Raises:
        InputError: It is neither a cascade nor a method that draws samples.
    """
    strategy = parse(text)
    if strategy.method != "cascade":
        drawing, base = drawing_of(strategy)
        return Ladder(str(strategy), (Rung(drawing, str(base)),), judges=_verifiers(strategy))
    known = set(recorded)
    stages = _stages(strategy)
    rungs = tuple(
        Rung(Once(), str(stage)) if str(stage) in known else _rung(stage) for stage in stages
    )
    threshold = strategy.param("threshold")
    judges = frozenset({str(strategy.param("accept"))}).union(*map(_verifiers, stages))
    return Ladder(
        str(strategy), rungs, threshold if isinstance(threshold, int | float) else 1.0, judges
    )


def mentioned(texts: Iterable[str]) -> set[str]:
    """Every strategy whose outcomes could matter for deriving these."""
    found = set(texts)
    for strategy in map(parse, texts):
        for stage in _stages(strategy) if strategy.method == "cascade" else (strategy,):
            found |= {str(stage), _rung(stage).base}
    return found


def cascade(stages: Sequence[str], accept: str, threshold: float = 1.0) -> str:
    """Text of a cascade; a threshold of 1 goes without saying."""
    params: dict[str, str | float | tuple[Strategy, ...]] = {
        "accept": accept,
        "stages": tuple(map(parse, stages)),
    }
    if threshold != 1:
        params["threshold"] = threshold
    return str(Strategy("cascade", None, tuple(sorted(params.items()))))


def samples_everywhere(base: Base) -> int:
    """Samples that every query of a base has."""
    return min((len(recording) for recording in base.queries.values()), default=0)


def everything(held: Iterable[Base], judges: Judges) -> list[str]:
    """Texts of all that recordings allow, over a grid of sample counts, in a fixed order.

    Best-of-n and cascades need a verifier's name. Cascades have two stages on different
    recordings, the first of them cheaper by its rows.
    """
    known = sorted(held, key=lambda base: (base.strategy, base.concurrency or 0))
    drawn = {base.strategy: _drawn_from(base, judges) for base in known}
    texts = dict.fromkeys(text for found in drawn.values() for text in found)
    if judges.accept is not None:
        for first, second in _climbs(known, drawn):
            texts[cascade([first, second], judges.accept, judges.threshold)] = None
    return list(texts)


def _drawn_from(base: Base, judges: Judges) -> dict[str, int]:
    """Derived texts of one base with the samples that each draws."""
    strategy, most = parse(base.strategy), samples_everywhere(base)
    if strategy.model is None:
        return {}
    counts = [count for count in GRID if count <= most]
    texts = {}
    for count in counts:
        if judges.verifier is not None:
            text = drawing_from(strategy, "best_of_n", count, verifier=judges.verifier)
            texts[str(text)] = count
        if all(None not in recording.answers for recording in base.queries.values()):
            texts[str(drawing_from(strategy, "self_consistency", count))] = count
    return texts


def _climbs(known: Sequence[Base], drawn: Mapping[str, Mapping[str, int]]) -> list[tuple[str, str]]:
    """Pairs of stages, cheaper first."""
    cost = {base.strategy: _mean_cost(base) for base in known}
    pairs = []
    for one in known:
        for other in known:
            if one.strategy == other.strategy or not one.queries.keys() & other.queries.keys():
                continue
            firsts = {one.strategy: 1, **drawn[one.strategy]}
            pairs += [
                (first, other.strategy)
                for first, samples in firsts.items()
                if samples * cost[one.strategy] < cost[other.strategy]  # false where unknown
            ]
    return pairs


def _mean_cost(base: Base) -> float:
    return float(np.mean([recording["cost_usd"].mean() for recording in base.queries.values()]))


def _stages(strategy: Strategy) -> tuple[Strategy, ...]:
    stages, threshold = strategy.param("stages"), strategy.param("threshold")
    if isinstance(stages, tuple) and isinstance(strategy.param("accept"), str):
        found = tuple(stage for stage in stages if isinstance(stage, Strategy))
        in_range = threshold is None or (isinstance(threshold, int | float) and 0 < threshold <= 1)
        if len(found) == len(stages) and 2 <= len(found) <= _MOST_STAGES and in_range:
            return found
    raise InputError(
        "this cascade cannot be derived",
        where=f"strategy {strategy}",
        expected=f"accept=NAME, stages=[2..{_MOST_STAGES} strategies] and a threshold in 0..1",
    )


def _rung(strategy: Strategy) -> Rung:
    """A method that draws samples, or a strategy that only a recording can tell about."""
    if strategy.method in {"best_of_n", "self_consistency"}:
        drawing, base = drawing_of(strategy)
        return Rung(drawing, str(base))
    return Rung(Once(), str(strategy))


def _verifiers(strategy: Strategy) -> frozenset[str]:
    name = strategy.param("verifier")
    return frozenset({name} if isinstance(name, str) else ())
