"""The plan spec: objective, limits, traffic and prices, as people write them in spec.yaml."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from profiles.digest import digest
from profiles.money import PriceCard
from profiles.yaml_input import read_yaml


def _no_truth_value(value: Any) -> Any:
    """YAML reads yes, on and true as a truth value, which would count as 1."""
    if isinstance(value, bool):
        raise ValueError("a number is needed; yes, no, on, off, true and false are not numbers")
    return value


Number = Annotated[float, BeforeValidator(_no_truth_value)]
Share = Annotated[Number, Field(ge=0, le=1)]
Positive = Annotated[Number, Field(gt=0)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Objective(StrEnum):
    """What the plan makes as good as the limits allow."""

    MINIMIZE_COST = "minimize cost"
    MAXIMIZE_ACCURACY = "maximize accuracy"


class Window(StrEnum):
    """A span of time that a budget or a traffic volume is counted over.

    Calendar windows are in UTC. `total` is one window without end: a batch of known size.
    """

    TOTAL = "total"
    SECOND = "second"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class AccuracyLimit(_Part):
    """Floors on the mean score."""

    overall: Share | None = Field(default=None, description="Floor over all traffic, 0..1.")
    by_class: dict[str, Share] = Field(default_factory=dict, description="Floor per class, 0..1.")
    by_group: dict[str, Annotated[dict[str, Share], Field(min_length=1)]] = Field(
        default_factory=dict,
        description="Per column that was imported as a group, floor per group, 0..1.",
    )
    max_gap: dict[str, Share] = Field(
        default_factory=dict,
        description="Per such column, the most by which one group may do better than another.",
    )

    @model_serializer(mode="wrap")
    def _without_groups(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A spec without groups reads, and is digested, as it was before there were any."""
        written: dict[str, Any] = write(self)
        return {k: v for k, v in written.items() if v or k not in {"by_group", "max_gap"}}


class LatencyLimit(_Part):
    """Ceiling on the tail of the whole mixture."""

    p95_s: Positive = Field(description="At most 5 % of requests may take longer, seconds.")


class SpendLimit(_Part):
    """Money: a sum per window, or dollars per request."""

    usd: Positive | None = Field(default=None, description="Dollars per window.")
    per: Window | None = Field(default=None, description="The window of `usd`.")
    usd_per_request: Positive | None = Field(default=None, description="Mean dollars per request.")

    @model_validator(mode="after")
    def _one_form(self) -> SpendLimit:
        if (self.usd is None) == (self.usd_per_request is None):
            raise ValueError("give either usd with per, or usd_per_request")
        if (self.usd is None) != (self.per is None):
            raise ValueError("usd and per belong together")
        return self


class Limits(_Part):
    """Everything that the plan must keep."""

    accuracy: AccuracyLimit = Field(default_factory=AccuracyLimit)
    latency: LatencyLimit | None = None
    spend: SpendLimit | None = None


class Traffic(_Part):
    """How much traffic the plan is for."""

    requests: Annotated[int, Field(gt=0), BeforeValidator(_no_truth_value)] = Field(
        description="Requests per window."
    )
    per: Window = Field(default=Window.MONTH, description="The window of `requests`.")
    mix: dict[str, Share] | None = Field(
        default=None, description="Share per class; from the profile where absent."
    )


class Spec(_Part):
    """A question to the planner."""

    format_version: Literal["1.0"] = Field(description="Version of this file format.")
    workload: str = Field(description="Name of the measured traffic in the profile store.")
    objective: Objective = Objective.MINIMIZE_COST
    classes: str = Field(
        default="label",
        description="Path of a difficulty graph (.onnx), or 'label' for classes recorded with "
        "the queries.",
    )
    traffic: Traffic | None = None
    limits: Limits = Field(default_factory=Limits)
    strategies: Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(
        default=None, description="Only these strategies; all measured ones where absent."
    )
    confidence: Annotated[Number, Field(ge=0.5, lt=1)] | Literal["none"] = Field(
        default=0.95, description="Of every promise; 'none' plans on point estimates."
    )
    rungs: tuple[Annotated[Number, Field(gt=0, le=1)], ...] = Field(
        default=(1.0, 0.75, 0.5, 0.25),
        description="Budgets of the ladder as shares of the first rung's spend, falling from 1.",
    )
    prices: PriceCard | str = Field(
        default_factory=PriceCard, description="A price card, or the path of one."
    )

    @field_validator("rungs")
    @classmethod
    def _ladder_falls(cls, rungs: tuple[float, ...]) -> tuple[float, ...]:
        if not rungs or rungs[0] != 1.0 or list(rungs) != sorted(set(rungs), reverse=True):
            raise ValueError("rungs fall strictly and start at 1.0")
        return rungs

    @field_validator("limits")
    @classmethod
    def _sum_needs_volume(cls, limits: Limits, info: ValidationInfo) -> Limits:
        spend = limits.spend
        if spend is None or spend.usd is None or "traffic" not in info.data:
            return limits
        traffic: Traffic | None = info.data["traffic"]
        if traffic is None:
            raise ValueError("limits.spend.usd needs traffic: how many requests share the sum")
        if traffic.per is not spend.per:
            raise ValueError(
                f"traffic is per {traffic.per} and spend is per {spend.per}: use one window"
            )
        return limits

    @property
    def level(self) -> float | None:
        """The confidence as a number, None for point estimates."""
        return None if isinstance(self.confidence, str) else self.confidence

    @property
    def groups(self) -> tuple[str, ...]:
        """Columns whose groups some limit speaks about, sorted."""
        accuracy = self.limits.accuracy
        return tuple(sorted({*accuracy.by_group, *accuracy.max_gap}))

    def price_card(self, base: Path) -> PriceCard:
        """The prices, read from the file that the spec names relative to `base`."""
        if isinstance(self.prices, PriceCard):
            return self.prices
        return read_yaml(base / self.prices, PriceCard)

    def content_digest(self, base: Path) -> str:
        """Digest of the question itself, prices included."""
        content = self.model_dump(mode="json", exclude={"prices", "classes"})
        return digest(content | {"prices": self.price_card(base).model_dump(mode="json")})

    def usd_per_request(self) -> float | None:
        """The spend limit as mean dollars per request, None without a limit."""
        spend = self.limits.spend
        if spend is None:
            return None
        if spend.usd is None or self.traffic is None:
            return spend.usd_per_request
        return spend.usd / self.traffic.requests


def read_spec(path: Path) -> Spec:
    """Read spec.yaml.

    Raises:
        InputError: Names file, line and key of the first thing that is wrong.
    """
    return read_yaml(path, Spec)
