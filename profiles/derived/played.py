"""One request after another, played with recorded samples: durations, counts, and resampling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from profiles.derived.call_sharing import prompt_tokens
from profiles.derived.drawing import Drawn
from profiles.derived.ladders import AMOUNTS, Expected, Stage, as_expected, with_prompts
from profiles.derived.recordings import Recording

Floats = NDArray[np.float64]
COUNTS = ("tokens_in", "tokens_out", "tokens_reasoning", "tokens_cached", "calls")


class Calls(StrEnum):
    """How the samples of one round are asked for."""

    PARALLEL = "parallel"
    SERIAL = "serial"


@dataclass(frozen=True, slots=True)
class Played:
    """One request as it may go: outcome, duration and counts; None where unknown."""

    score: float
    latency_s: float | None
    counts: dict[str, int | None]
    amounts: dict[str, float]


def play(
    stages: Sequence[Stage],
    recordings: Sequence[Recording],
    threshold: float,
    calls: Calls,
    rng: np.random.Generator,
) -> Played:
    """One request with samples at random, none of them used twice."""
    best = (-1.0, 0.0)
    latency_s, climbing = 0.0, True
    counts, amounts = dict.fromkeys(COUNTS, 0.0), dict.fromkeys(AMOUNTS, 0.0)
    orders = _orders(stages, recordings, rng)
    for stage, recording, order in zip(stages, recordings, orders, strict=True):
        # a stage that is not reached adds nothing, or "unknown" where it would have: else only the
        # requests that ended early would have known numbers
        drawn = stage.drawing.draw(recording, order)
        reached = 1.0 if climbing else 0.0
        latency_s += reached * _latency_s(stage, recording, drawn, calls)
        _add(counts, _counts(stage, recording, drawn), reached)
        _add(amounts, _amounts(stage, recording, drawn), reached)
        verdict = recording[stage.accepted_by][drawn.served]
        score = recording["score"][drawn.served]
        if climbing and (len(stages) == 1 or verdict >= best[0]):
            best = (float(verdict), float(score))
        climbing = climbing and bool(verdict < threshold)
    return Played(
        best[1],
        None if math.isnan(latency_s) else latency_s,
        {name: None if math.isnan(count) else round(count) for name, count in counts.items()},
        amounts,
    )


def resampled(
    stages: Sequence[Stage],
    recordings: Sequence[Recording],
    threshold: float,
    rng: np.random.Generator,
    draws: int,
) -> Expected:
    """Means over seeded draws in which no sample serves two stages."""
    played = [play(stages, recordings, threshold, Calls.PARALLEL, rng) for _ in range(draws)]
    scores = np.array([one.score for one in played])
    amounts = {name: float(np.mean([one.amounts[name] for one in played])) for name in AMOUNTS}
    found = as_expected(float(scores.mean()), float((scores**2).mean()), amounts)
    return replace(found, standard_error=float(scores.std(ddof=1)) / math.sqrt(draws))


def _orders(
    stages: Sequence[Stage], recordings: Sequence[Recording], rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """For each stage places of its samples, apart from those of other stages on the same base."""
    shuffled: dict[str, NDArray[np.int64]] = {}
    orders = []
    for stage, recording in zip(stages, recordings, strict=True):
        name = stage.base.strategy
        if name not in shuffled:
            shuffled[name] = rng.permutation(len(recording))
        orders.append(shuffled[name][: stage.drawing.samples])
        shuffled[name] = shuffled[name][stage.drawing.samples :]
    return orders


def _latency_s(stage: Stage, recording: Recording, drawn: Drawn, calls: Calls) -> float:
    """Seconds of one draw, nan where any sample's are unknown; rounds follow each other."""
    if np.isnan(recording["latency_s"]).any():
        return math.nan
    return sum(_round_s(stage, recording["latency_s"][places], calls) for places in drawn.rounds)


def _round_s(stage: Stage, latency_s: Floats, calls: Calls) -> float:
    """Answers of one call come together, calls as asked for."""
    size = stage.sharing.answers_per_call or 1
    each = [float(latency_s[at : at + size].max()) for at in range(0, len(latency_s), size)]
    return max(each) if calls is Calls.PARALLEL else sum(each)


def _counts(stage: Stage, recording: Recording, drawn: Drawn) -> dict[str, float]:
    """Tokens and calls of one draw; nan where any sample's are unknown."""
    counts = {name: _drawn_sum(recording[name], drawn) for name in COUNTS}
    calls = stage.sharing.calls(recording, [len(part) for part in drawn.rounds])
    if stage.sharing.answers_per_call is not None and calls is not None:
        counts["calls"] = calls
        counts["tokens_in"] = calls * prompt_tokens(recording)
        counts["tokens_cached"] = math.nan
    return counts


def _amounts(stage: Stage, recording: Recording, drawn: Drawn) -> dict[str, float]:
    sizes = [len(part) for part in drawn.rounds]
    calls = stage.sharing.calls(recording, sizes)
    prompts = stage.sharing.prompts_beyond(recording, sum(sizes), calls)
    bill = {name: _drawn_sum(recording[name], drawn) for name in AMOUNTS}
    return with_prompts(bill, stage, recording, prompts)


def _drawn_sum(column: Floats, drawn: Drawn) -> float:
    if np.isnan(column).any():
        return math.nan
    return float(sum(column[places].sum() for places in drawn.rounds))


def _add(total: dict[str, float], more: dict[str, float], weight: float) -> None:
    for name, value in more.items():
        total[name] += weight * value
