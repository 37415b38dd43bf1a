"""How much traffic a plan is for, and who sends it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from planner.spec.parts import Count, Number, Part, Share, Window, without


class Growth(Part):
    """Requests of each window over those of the one before."""

    rate: Annotated[Number, Field(gt=-1)] = Field(description="0.05: five per cent more.")
    windows: Count = Field(description="Windows that the plan has to last for.")


class Traffic(Part):
    """How much traffic the plan is for."""

    requests: Count = Field(description="Requests per window; with growth, of the first.")
    per: Window = Field(default=Window.MONTH, description="The window of `requests`.")
    mix: dict[str, Share] | None = Field(
        default=None, description="Share per class; from the profile where absent."
    )
    shape: Annotated[tuple[Annotated[Number, Field(ge=0)], ...], Field(min_length=2)] | None = (
        Field(
            default=None,
            description="Relative load of equal parts of a day or a week: 24 or 168 hours.",
        )
    )
    growth: Growth | None = None

    @model_validator(mode="after")
    def _has_load(self) -> Traffic:
        if self.shape is not None and not sum(self.shape):
            raise ValueError("shape needs a part with some load")
        return self

    @model_serializer(mode="wrap")
    def _without_absent(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        return without(written, ("shape", "growth"))

    @property
    def volumes(self) -> tuple[int, ...]:
        """Requests of every window that the plan has to last for."""
        if self.growth is None:
            return (self.requests,)
        factor = 1 + self.growth.rate
        return tuple(
            max(round(self.requests * factor**number), 1) for number in range(self.growth.windows)
        )

    @property
    def most(self) -> int:
        """Requests of the fullest window: sums per window must cover them."""
        return max(self.volumes)

    @property
    def fewest(self) -> int:
        """Requests of the emptiest window: promises are judged on them."""
        return min(self.volumes)

    @property
    def peak(self) -> float:
        """Load of the fullest part of the shape over the mean; 1 without a shape."""
        return max(self.shape) * len(self.shape) / sum(self.shape) if self.shape else 1.0

    def peak_requests_per_s(self) -> float | None:
        """Requests per second at the fullest time, None where the window has no length."""
        seconds = self.per.seconds
        return None if seconds is None else self.most * self.peak / seconds
