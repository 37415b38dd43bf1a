"""Windows: which span of time a moment belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo

from planner.spec import Window

_SECONDS = {Window.SECOND: 1, Window.MINUTE: 60, Window.HOUR: 3_600}
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open span of time; its start names the epoch.

    Attributes:
        start_s: First second, Unix time; 0 for the one span of a `total` window.
        end_s: Second after the last, None for the span without end.
    """

    start_s: int
    end_s: int | None

    def holds(self, now_s: float) -> bool:
        """Whether a moment lies in it."""
        return self.start_s <= now_s and (self.end_s is None or now_s < self.end_s)


ALWAYS = Span(0, None)


def span(window: Window, now_s: float, timezone: str = "UTC") -> Span:
    """The span of this window that holds a moment of Unix time.

    Days, weeks (from Monday) and months begin at midnight of the time zone, so one has 23 or 25
    hours where clocks change. Spans follow each other without gap.
    """
    if window is Window.TOTAL:
        return ALWAYS
    if window in _SECONDS:
        length = _SECONDS[window]
        start = int(now_s // length) * length
        return Span(start, start + length)
    zone = UTC if timezone == "UTC" else ZoneInfo(timezone)
    today = datetime.fromtimestamp(now_s, zone).date()
    found = _days(window, today, zone)
    if found.holds(now_s):
        return found
    # Where clocks go back over midnight, a date comes twice; its midnight is the first of both.
    return _days(window, today + (_DAY if now_s >= found.start_s else -_DAY), zone)


def _days(window: Window, today: date, zone: tzinfo) -> Span:
    if window is Window.DAY:
        first, following = today, today + _DAY
    elif window is Window.WEEK:
        first = today - timedelta(days=today.weekday())
        following = first + timedelta(days=7)
    else:
        first = today.replace(day=1)
        following = (first + timedelta(days=32)).replace(day=1)
    return Span(_midnight_s(first, zone), _midnight_s(following, zone))


def _midnight_s(day: date, zone: tzinfo) -> int:
    return int(datetime.combine(day, time(), zone).timestamp())
