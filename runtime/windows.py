"""Calendar windows in UTC: which span of time a moment belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from planner.spec import Window

_SECONDS = {
    Window.SECOND: 1,
    Window.MINUTE: 60,
    Window.HOUR: 3_600,
    Window.DAY: 86_400,
}


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open span of time; its start names the epoch.

    Attributes:
        start_s: First second, Unix time; 0 for the one span of a `total` window.
        end_s: Second after the last, None for the span without end.
    """

    start_s: int
    end_s: int | None

    def share_left(self, now_s: float) -> float:
        """Share of the span that is still to come, 0..1; 1 for the span without end."""
        if self.end_s is None:
            return 1.0
        return min(max((self.end_s - now_s) / (self.end_s - self.start_s), 0.0), 1.0)


def span(window: Window, now_s: float) -> Span:
    """The span of this window that holds a moment of Unix time."""
    if window is Window.TOTAL:
        return Span(0, None)
    if window in _SECONDS:
        length = _SECONDS[window]
        start = int(now_s // length) * length
        return Span(start, start + length)
    midnight = datetime.fromtimestamp(now_s, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if window is Window.WEEK:
        first = midnight - timedelta(days=midnight.weekday())
        return Span(int(first.timestamp()), int((first + timedelta(days=7)).timestamp()))
    first = midnight.replace(day=1)
    following = (first + timedelta(days=32)).replace(day=1)
    return Span(int(first.timestamp()), int(following.timestamp()))
