"""How much traffic a plan is for, and who sends it."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from planner.spec.parts import Count, Number, Part, Share, Window, without

DAY_S = 86_400.0
MOST_WINDOWS = 10_000
MOST_REQUESTS = 10**15
"""In the fullest window; more is a slip of the pen."""


Load = Annotated[Number, Field(ge=0, le=1e12)]
"""Of a part of a day or a week, against its other parts."""


class Growth(Part):
    """Requests of each window over those of the one before."""

    rate: Annotated[Number, Field(gt=-1)] = Field(description="0.05: five per cent more.")
    windows: Annotated[Count, Field(le=MOST_WINDOWS)] = Field(
        description="Windows that the plan has to last for."
    )


class Traffic(Part):
    """How much traffic the plan is for."""

    requests: Annotated[Count, Field(le=MOST_REQUESTS)] = Field(
        description="Requests per window; with growth, of the first."
    )
    per: Window = Field(default=Window.MONTH, description="The window of `requests`.")
    mix: dict[str, Share] | None = Field(
        default=None, description="Share per class; from the profile where absent."
    )
    shape: (
        Annotated[tuple[Annotated[Number, Field(ge=0, le=1e12)], ...], Field(min_length=2)] | None
    ) = Field(
        default=None,
        description="Relative load of equal parts of a day or a week: 24 or 168 hours.",
    )
    growth: Growth | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> Traffic:
        if self.shape is not None and not sum(self.shape):
            raise ValueError("shape needs a part with some load")
        if self.shape is not None and self.per.seconds is not None and self.per.seconds < DAY_S:
            raise ValueError(f"shape is that of a day or a week: traffic per {self.per} has none")
        if self.growth is not None:
            if self.per is Window.TOTAL:
                raise ValueError("growth is from window to window: traffic per total has only one")
            rises = (self.growth.windows - 1) * math.log10(1 + self.growth.rate)
            if math.log10(self.requests) + rises > math.log10(MOST_REQUESTS):
                raise ValueError("growth makes more than 1e15 requests in one window")
        return self

    @model_serializer(mode="wrap")
    def _without_absent(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        return without(written, ("shape", "growth"))

    @property
    def last(self) -> int:
        """Requests of the last window that the plan has to last for."""
        if self.growth is None:
            return self.requests
        factor = (1 + self.growth.rate) ** (self.growth.windows - 1)
        return max(round(self.requests * factor), 1)

    @property
    def most(self) -> int:
        """Requests of the fullest window: sums per window must cover them."""
        return max(self.requests, self.last)

    @property
    def fewest(self) -> int:
        """Requests of the emptiest window: promises are judged on them."""
        return min(self.requests, self.last)

    @property
    def peak(self) -> float:
        """Load of the fullest part of the shape over the mean; 1 without a shape."""
        return max(self.shape) * len(self.shape) / sum(self.shape) if self.shape else 1.0

    def peak_requests_per_s(self) -> float | None:
        """Requests per second at the fullest time, None where the window has no length."""
        seconds = self.per.seconds
        return None if seconds is None else self.most * self.peak / seconds
