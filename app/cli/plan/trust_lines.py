"""A plan judged by new queries or by recorded traffic, as people and scripts read it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from app.cli.options import share, usd

if TYPE_CHECKING:
    from app.cli.markdown import Written
    from planner.trials.held_out import HeldOut
    from planner.trials.simulate import Kept
    from planner.trials.trace import TraceTrial
    from planner.trials.weighing import Held

SHOWN = 12
"""Windows that a text shows; JSON has all."""
SLOWER = "a latency is judged by the share of requests that take longer"
FROM_TABLE = (
    "answers are drawn from stored outcomes, every query of a class as likely as any other: the "
    "luck of traffic shows, not what the outcomes may be wrong about; nothing waits in a queue"
)
OF_CLASSES = (
    "a limit of a class promises its long-run mean; the class's few requests of a window add noise "
    "that no promise covers"
)
PACED = (
    "a lower rung answers where the money left in a window cannot carry a higher one to its end; "
    "an answer that costs more than is left is refused, and counts in no mean"
)


OF_SHARES = (
    "a limit on shares of traffic holds on the mix of classes that its plan was made for: it is "
    "the plan's own arithmetic, and judged by that mix; another mix moves the share"
)

SHARES_IN_WINDOWS = (
    "a limit on shares of traffic holds on the planned mix of classes, on every rung: it is the "
    "plan's own arithmetic; the draws of a window scatter around it"
)


def about_shares(promises: Iterable[str]) -> bool:
    """Whether one is a limit on shares of traffic."""
    from planner.limit_names import SHARES

    return any(name.startswith(SHARES) for name in promises)


def named(name: str, limit: float | None) -> str:
    """A promise in words."""
    from planner.limit_names import is_floor

    if limit is None:
        return f"its own {name}"
    side = "at least" if is_floor(name) else "at most"
    return f"{name} {side} {limit:g}"


def seconds(latency_s: float | None) -> str:
    """Three digits."""
    return "n/a" if latency_s is None else f"{latency_s:.3g}"


def kept_share(one: Kept) -> str:
    """Share of kept promises with its standard error."""
    if one.share is None or one.error is None:
        return "n/a"
    return f"{100 * one.share:.1f} +- {100 * one.error:.1f} %"


def held_out_lines(found: HeldOut, write: Written, strong: str) -> Iterator[str]:
    """Every promise with what new queries say of it."""
    sure = f"{100 * found.confidence:g} %"
    yield f"{strong}{found.queries} new queries{strong} judge it, with {sure} intervals"
    yield ""
    rows = [(_promise(one), *_figures(one), _verdict(one)) for one in found.promises]
    yield write(rows, ("promise", "found", "interval", "verdict"))


def _promise(one: Held) -> str:
    own = one.promise.startswith("promised ")
    if own and one.promise.endswith("accuracy"):
        return f"its own {one.promise}, {share(one.limit)}"
    return f"its own {one.promise}, {one.limit:.3g}" if own else named(one.promise, one.limit)


def _figures(one: Held) -> tuple[str, str]:
    if one.found is None:
        return "n/a", "n/a"
    if one.low is None or one.high is None:
        return f"{one.found:.4g}", "n/a"
    dollars = "USD" in one.promise or one.promise.startswith("spend")
    said = usd if dollars else share
    slower = " slower" if one.allowed != one.limit else ""
    return f"{said(one.found)}{slower}", f"{said(one.low)} to {said(one.high)}"


def _verdict(one: Held) -> str:
    word = "kept" if one.kept else "broken"
    return word if one.surely or one.surely is None else f"{word}, not surely"


def trace_lines(found: TraceTrial, write: Written, strong: str) -> Iterator[str]:
    """Promises over all windows, then the windows one by one."""
    requests = sum(window.requests for window in found.windows)
    budget = "" if found.budget_usd is None else f", {usd(found.budget_usd)} USD each"
    yield (
        f"{strong}Recorded traffic{strong}: {requests} requests in {len(found.windows)} windows "
        f"per {found.per}{budget}, {found.planned} requests planned for, seed {found.seed}"
    )
    yield ""
    rows = [(named(one.promise, one.limit), kept_share(one)) for one in found.promises]
    yield write(rows, ("promise", "kept in windows"))
    yield ""
    yield write(
        [
            (
                number,
                window.requests,
                window.refused,
                window.on_lower_rungs,
                share(window.accuracy),
                usd(window.usd),
                seconds(window.latency_p95_s),
                ", ".join(name for name, kept in window.kept.items() if not kept) or "nothing",
            )
            for number, window in enumerate(found.windows[:SHOWN], 1)
        ],
        ("window", "requests", "refused", "lower rung", "accuracy", "USD", "p95 s", "breaks"),
    )


def trace_remarks(found: TraceTrial) -> Iterator[str]:
    """What the windows leave out."""
    if len(found.windows) > SHOWN:
        yield f"{len(found.windows) - SHOWN} further windows are in --format json"
    judged = sum(window.requests for window in found.windows)
    if found.unfinished and len(found.windows) == 1 and found.unfinished == judged:
        yield "the trace ends within its first window, which is judged as far as it goes"
    elif found.unfinished:
        yield f"{found.unfinished} requests are left out: the trace ends within their window"
    yield from (f"windows do not tell of {name}" for name in found.not_judged)
    if about_shares(found.not_judged):
        yield SHARES_IN_WINDOWS
    if any("by_class" in one.promise for one in found.promises):
        yield OF_CLASSES
    yield FROM_TABLE
    if found.budget_usd is not None:
        yield PACED


def held_out_json(found: HeldOut) -> dict[str, Any]:
    """The same for scripts."""
    promises = [asdict(one) | {"surely": one.surely} for one in found.promises]
    return {
        "queries": found.queries,
        "confidence": found.confidence,
        "worth": found.worth.model_dump(),
        "promises": promises,
    }


def trace_json(found: TraceTrial) -> dict[str, Any]:
    """The same for scripts, every window."""
    promises = [
        asdict(one) | {"share": one.share, "standard_error": one.error} for one in found.promises
    ]
    return asdict(found) | {"promises": promises}
