"""A comparison of fixed costs in sentences: what pays from where, what never does and why."""

from __future__ import annotations

from collections.abc import Iterator

from planner.fees.break_even import BreakEven, Comparison
from planner.fees.fixed_costs import Deployment
from planner.spec import Window

_MOVED = 0.01
"""A break-even that moves by less than this share is the same to people."""


def sentences(found: Comparison) -> list[str]:
    """Every finding in words, those about low volumes first."""
    window = window_of(found)
    lines = [_first(found.envelope[0], alone=not found.changes, window=window)]
    lines += [line for change in found.changes for line in _change(change, found, window)]
    lines += [_never(name, change, found, window) for name, change in found.unused.items()]
    if found.neither:
        lines.append(
            f"In {found.neither} of {found.draws} draws none of these keeps the limits; the "
            "intervals leave those draws out."
        )
    return lines


def window_of(found: Comparison) -> str:
    """What a volume is per, e.g. ``requests a month``."""
    window = found.traffic.per
    return "requests" if window is Window.TOTAL else f"requests a {window}"


def paid_in_words(one: Deployment) -> str:
    """What a deployment pays for."""
    return " and ".join(one.paid) or "nothing"


def volume_in_words(requests: float) -> str:
    """A break-even in three digits: its interval is never as narrow as that."""
    return f"{float(f'{requests:.3g}'):,.0f}" if requests >= 100 else f"{requests:.3g}"


def interval_in_words(change: BreakEven) -> str:
    """The interval of a break-even."""
    if change.low is None:
        return "never"
    low = volume_in_words(change.low)
    return f"{low} or more" if change.high is None else f"{low} to {volume_in_words(change.high)}"


def _first(one: Deployment, *, alone: bool, window: str) -> str:
    at = "At any volume" if alone else "At low volumes"
    if not one.paid:
        return f"{at} it is cheapest to pay for nothing."
    if one.fees_usd > 0:
        return (
            f"{at} it is cheapest to pay for {paid_in_words(one)}: nothing with lower fixed costs "
            f"keeps the limits, however few the {window}."
        )
    return f"{at} it is cheapest to pay for {paid_in_words(one)}, which costs nothing."


def _change(change: BreakEven, found: Comparison, window: str) -> Iterator[str]:
    if change.requests is None:
        return
    level = f"{100 * found.level:g} % interval"
    line = (
        f"From {volume_in_words(change.requests)} {window} on it is cheapest to pay for "
        f"{paid_in_words(change.above)} ({level} {interval_in_words(change)})"
    )
    if change.high is None:
        idle = f"{100 * (1 - change.pays):.0f} % of draws"
        line += f"; the costs per request are equal within noise: in {idle} it pays at no volume"
    if change.low == 0:
        line += "; within noise the limits cannot be kept without it"
    yield f"{line}."
    moved = change.judged_on_it
    if moved is not None and abs(moved / change.requests - 1) > _MOVED:
        yield (
            f"With promises judged on as many {window} as that, it would be "
            f"{volume_in_words(moved)}."
        )


def _never(name: str, change: BreakEven, found: Comparison, window: str) -> str:
    beyond = f" beyond what {paid_in_words(change.below)} gives" if change.below.paid else ""
    line = f"Paying for {name} never pays: it saves nothing per request{beyond}"
    if change.pays == 0:
        return f"{line}, nor does it in any of {found.draws} draws."
    line += f"; it does in {100 * change.pays:.0f} % of draws"
    if change.low is None:
        return f"{line}, too few for the {100 * found.level:g} % interval to hold any volume."
    least = volume_in_words(change.low)
    return f"{line}, and the {100 * found.level:g} % interval begins at {least} {window}."
