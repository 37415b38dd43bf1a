"""Resplits and drift of a plan, as people and scripts read them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from app.cli.options import figures, share, usd
from app.cli.plan.trust_lines import kept_share, named, seconds

if TYPE_CHECKING:
    from app.cli.markdown import Written
    from planner.trials.simulate import Contender, Premium, Simulation
    from planner.trials.stress import Stress


def resplit_lines(done: Simulation, write: Written, strong: str) -> Iterator[str]:
    """How often every way of planning kept its promises, and what that cost."""
    alike = "" if done.groups == done.queries else f" in {done.groups} groups of near-duplicates"
    yield (
        f"{strong}{done.resplits} resplits{strong} of {done.queries} queries{alike}, seed "
        f"{done.seed}: planned on one half, judged by the other"
    )
    yield ""
    yield write(_of_resplits(done), ("", *(way.name for way in done.contenders)))
    yield ""
    yield from (_in_words(premium) for premium in done.premiums)


def _of_resplits(done: Simulation) -> Iterator[tuple[str, ...]]:
    """A row per figure, a column per way of planning."""
    ways = done.contenders
    yield "refused", *(share(way.refused / done.resplits) for way in ways)
    if any(way.unproven for way in ways):
        yield "not proven in time", *(f"{way.unproven} of {done.resplits}" for way in ways)
    if any(way.unjudged for way in ways):
        yield "not measured", *(share(way.unjudged / done.resplits) for way in ways)
    for promise in ways[0].promises:
        yield (
            f"kept {named(promise.promise, promise.limit)}",
            *(_kept(way, promise.promise) for way in ways),
        )
    yield "median accuracy", *(share(way.accuracy) for way in ways)
    yield "median USD/request", *(usd(way.usd_per_request) for way in ways)
    if any(way.latency_p95_s is not None for way in ways):
        yield "median p95 s", *(seconds(way.latency_p95_s) for way in ways)


def _kept(way: Contender, name: str) -> str:
    for one in way.promises:
        if one.promise == name:
            return kept_share(one)
    return "n/a"


def _in_words(premium: Premium) -> str:
    over = {"naive plan": "the naive plan", "oracle": "one who knows the judged half"}
    if premium.usd_per_request is None:
        return f"no resplit has both the plan and {over[premium.over]}, with known costs"
    more = "more" if premium.usd_per_request >= 0 else "less"
    part = "" if premium.relative is None else f" ({100 * abs(premium.relative):.1f} %)"
    return (
        f"The plan costs {usd(abs(premium.usd_per_request))} USD a request{part} {more} than "
        f"{over[premium.over]}: median of {premium.resplits} resplits."
    )


def stress_rows(found: Stress) -> Iterator[tuple[str, ...]]:
    """A row per drift: the plan's own figures, those of planning anew, and what breaks."""
    for row in found.rows:
        anew = ("not proven in time" if row.unproven else "no plan", "n/a")
        if row.planned_anew is not None:
            anew = figures(row.planned_anew)[:2]
        yield row.drift, *figures(row.expected), *anew, ", ".join(row.breaks) or "nothing"


def resplits_json(done: Simulation) -> dict[str, Any]:
    """The same for scripts."""
    return {
        "resplits": done.resplits,
        "seed": done.seed,
        "queries": done.queries,
        "groups_of_near_duplicates": done.groups,
        "ways_of_planning": [_way(way) for way in done.contenders],
        "premiums": [asdict(premium) for premium in done.premiums],
    }


def _way(way: Contender) -> dict[str, Any]:
    promises = [
        asdict(one) | {"share": one.share, "standard_error": one.error} for one in way.promises
    ]
    return asdict(way) | {"promises": promises}
