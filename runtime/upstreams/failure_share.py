"""How many of a server's latest calls failed: ten spans of a sliding window."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

_SPANS = 10


@dataclass(slots=True)
class _Span:
    number: int
    calls: int = 0
    failed: int = 0


class FailureShare:
    """Counts calls and forgets them span by span.

    Args:
        window_s: Length of the window in seconds; it slides by a tenth of that.
    """

    def __init__(self, window_s: float) -> None:
        self._span_s = window_s / _SPANS
        self._spans: deque[_Span] = deque()

    def add(self, now_s: float, *, failed: bool) -> None:
        """Count a call that ends now."""
        number = int(now_s // self._span_s)
        spans = self._spans
        if not spans or spans[-1].number < number:
            spans.append(_Span(number))
            while spans[0].number <= number - _SPANS:
                spans.popleft()
        last = spans[-1]
        last.calls += 1
        last.failed += failed

    def counts(self) -> tuple[int, int]:
        """Calls of the window that ends with the latest call, and those of them that failed."""
        return sum(span.calls for span in self._spans), sum(span.failed for span in self._spans)

    def clear(self) -> None:
        """Forget everything."""
        self._spans.clear()
