"""What becomes of a budget, for people."""

from __future__ import annotations

from datetime import UTC, datetime

from app.cli.ledger.amounts import in_whole_units, unit_text
from app.cli.ledger.standings import Standing, moment
from app.cli.options import share
from runtime.ledger import Unit
from runtime.ledger.outlook import Outlook

_STEPS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def in_words(one: Standing, now_s: float) -> str:
    """One sentence: when it runs out, that it does not, or why nobody can say.

    Args:
        one: A window of a budget.
        now_s: Unix seconds, by the clock that it was read with.
    """
    found, ends_s = one.projection, one.ends_s
    if found.outlook is Outlook.SPENT:
        return f"Nothing of it is left: what needs it is refused {_until(one)}."
    if found.runs_out_s is not None and ends_s is not None:
        return (
            f"{_pace(one, now_s)} it runs out on {when(found.runs_out_s)}, "
            f"{lasting(ends_s - found.runs_out_s)} before the window ends."
        )
    if found.left_at_end is not None and ends_s is not None:
        left = f"about {_roughly(found.left_at_end, one.unit)} {unit_text(one.unit)}"
        return (
            f"{_pace(one, now_s)} it never runs out within this window: {left} will be left "
            f"when that ends on {when(ends_s)}."
        )
    return _why_unknown(one, now_s)


def when(at_s: float) -> str:
    """A moment, e.g. ``Mon 23 Nov 2026, 19:40:05 UTC``."""
    try:
        return f"{datetime.fromtimestamp(at_s, UTC):%a %d %b %Y, %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):
        return moment(at_s)


def lasting(seconds: float) -> str:
    """A span of time in its two largest units, e.g. ``4 h 20 min``, rounded down."""
    left, words = int(seconds), []
    for size, word in _STEPS:
        count, left = divmod(left, size)
        words.append(f"{count:,} {word}" if count else "")
    first = next((place for place, text in enumerate(words) if text), None)
    if first is None:
        return "less than a second"
    return " ".join(text for text in words[first : first + 2] if text)


def _pace(one: Standing, now_s: float) -> str:
    length_s = (one.ends_s or 0) - one.epoch
    elapsed_s = now_s - one.epoch
    return (
        f"At the pace of the last {lasting(elapsed_s)} ({share(elapsed_s / length_s)} of the "
        f"window, {counted(one.requests, 'request')})"
    )


def counted(number: int, what: str) -> str:
    """A number of things, e.g. ``1 request``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _roughly(amount: int, unit: Unit | None) -> str:
    """A guess, to the digits that it deserves."""
    value = in_whole_units(amount, unit)
    if value == amount:
        return f"{amount:,}"
    return f"{value:,.2f}" if value >= 1 else f"{value:.2g}"


def _until(one: Standing) -> str:
    if one.window_s is not None:
        return f"until charges leave the window of the last {lasting(one.window_s)}"
    if one.ends_s is not None:
        return f"until the window ends on {when(one.ends_s)}"
    return "until somebody raises its limit or corrects it"


def _why_unknown(one: Standing, now_s: float) -> str:
    if one.ends_s is not None and now_s >= one.ends_s:
        return f"This window is over since {when(one.ends_s)}, and nothing has come since."
    if one.epoch > now_s:
        return f"By this clock the window begins only on {when(one.epoch)}."
    if one.limit is None:
        return "It counts without a limit, so it never runs out."
    if one.window_s is not None:
        return (
            f"It gives back what was charged more than {lasting(one.window_s)} ago, all the time, "
            "so nobody can say when it runs out."
        )
    if one.ends_s is None:
        return (
            "Its window has no end, and nobody noted its beginning, so no pace is known and nobody "
            "can say when it runs out."
        )
    return "Nothing was charged in this window yet, so there is no pace to go on with."
