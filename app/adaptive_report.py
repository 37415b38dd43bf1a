"""What an adaptive measuring run did."""

from __future__ import annotations

from dataclasses import dataclass

from profiles.measuring.measure import MeasureReport


@dataclass(frozen=True, slots=True)
class AdaptiveReport(MeasureReport):
    """A whole adaptive run; `left` and `left_usd` are about its last round alone.

    Attributes:
        rounds: Rounds that measured something.
        ended: Why nothing more is asked, in words; None where the run stopped before its end.
    """

    rounds: int
    ended: str | None
