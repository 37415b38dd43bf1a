"""The plan spec: objective, limits, traffic and prices, as people write them in spec.yaml."""

from __future__ import annotations

from difflib import get_close_matches
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

MOST_FIXED_COSTS = 10
"""Every set of fixed costs is a plan of its own, and there are 2^10 sets of ten."""


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


class FixedCost(_Part):
    """Money that is owed for having a model at all, whatever it answers."""

    name: Annotated[str, Field(min_length=1)] = Field(description="What it is called.")
    pays_for: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        description="Models, or whole strategies, that nobody can use without it."
    )
    usd: Annotated[Number, Field(ge=0)] = Field(description="Dollars.")
    per: Window = Field(
        description="The window of traffic, each of which owes the sum, or 'total': owed once."
    )
    windows: Annotated[int, Field(gt=0), BeforeValidator(_no_truth_value)] | None = Field(
        default=None, description="Windows of traffic that share a sum that is owed once."
    )

    def usd_per(self, window: Window) -> float:
        """Its dollars in one window of traffic."""
        return self.usd / (self.windows or 1) if self.per is not window else self.usd


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
    fixed_costs: tuple[FixedCost, ...] = Field(
        default=(), description="Rent, training and other money that requests do not change."
    )
    pay: tuple[str, ...] | None = Field(
        default=None,
        description="Names of the fixed costs that are paid; the planner chooses where absent.",
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

    @field_validator("fixed_costs")
    @classmethod
    def _fees_have_a_window(
        cls, fees: tuple[FixedCost, ...], info: ValidationInfo
    ) -> tuple[FixedCost, ...]:
        if not fees or not {"traffic", "objective"} <= info.data.keys():
            return fees
        _refuse_names(fees)
        if info.data["objective"] is not Objective.MINIMIZE_COST:
            raise ValueError("fixed_costs need the objective 'minimize cost'")
        traffic: Traffic | None = info.data["traffic"]
        if traffic is None:
            raise ValueError("fixed_costs need traffic: how many requests share them")
        for fee in fees:
            _refuse_window(fee, traffic.per)
        return fees

    @field_validator("pay")
    @classmethod
    def _known_fees(
        cls, pay: tuple[str, ...] | None, info: ValidationInfo
    ) -> tuple[str, ...] | None:
        names = [fee.name for fee in info.data.get("fixed_costs", ())]
        for name in pay or ():
            if name not in names and "fixed_costs" in info.data:
                near = get_close_matches(name, names, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"no fixed cost is called {name!r}{hint}")
        return pay

    @model_serializer(mode="wrap")
    def _without_fees(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A spec without fixed costs reads, and is digested, as it was before there were any."""
        written: dict[str, Any] = write(self)
        absent = {"fixed_costs": not self.fixed_costs, "pay": self.pay is None}
        return {k: v for k, v in written.items() if not absent.get(k)}

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

    @property
    def fees_usd(self) -> float:
        """Dollars of fixed costs that one window of traffic owes; all where `pay` is absent."""
        window = self.traffic.per if self.traffic else Window.TOTAL
        owed = [fee for fee in self.fixed_costs if self.pay is None or fee.name in self.pay]
        return sum((fee.usd_per(window) for fee in owed), 0.0)

    def limits_of_requests(self) -> Limits:
        """The limits, a sum of dollars less the fixed costs that it has to cover as well."""
        spend = self.limits.spend
        if spend is None or spend.usd is None or not self.fees_usd:
            return self.limits
        left = spend.model_copy(update={"usd": spend.usd - self.fees_usd})
        return self.limits.model_copy(update={"spend": left})

    def usd_per_request(self) -> float | None:
        """The spend limit as mean dollars per request, None without a limit."""
        spend = self.limits_of_requests().spend
        if spend is None:
            return None
        if spend.usd is None or self.traffic is None:
            return spend.usd_per_request
        return spend.usd / self.traffic.requests


def _refuse_names(fees: tuple[FixedCost, ...]) -> None:
    names = [fee.name for fee in fees]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"two fixed costs are called {twice[0]!r}")
    if len(fees) > MOST_FIXED_COSTS:
        raise ValueError(
            f"at most {MOST_FIXED_COSTS} fixed costs, not {len(fees)}: every set of them is a plan "
            "of its own; join those that are always paid together"
        )


def _refuse_window(fee: FixedCost, window: Window) -> None:
    once = fee.per is Window.TOTAL and window is not Window.TOTAL
    if fee.per is not window and not once:
        raise ValueError(
            f"traffic is per {window} and {fee.name!r} is per {fee.per}: use one window, or 'total'"
        )
    if once and fee.windows is None:
        raise ValueError(f"{fee.name!r} is owed once: say in windows how many {window}s share it")
    if not once and fee.windows is not None:
        raise ValueError(f"{fee.name!r} is owed per {window}: windows is for sums owed once")


def read_spec(path: Path) -> Spec:
    """Read spec.yaml, or standard input for ``-``.

    Raises:
        InputError: Names file, line and key of the first thing that is wrong.
    """
    return read_yaml(path, Spec)
