"""The plan spec: objective, limits, traffic and prices, as people write them in spec.yaml."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from planner.spec.caps import Caps
from planner.spec.choice import Allocation, Value
from planner.spec.fees import FixedCost, refuse_names, refuse_window
from planner.spec.limits import Limits, SpendLimit
from planner.spec.objective import Objective
from planner.spec.parts import Names, Number, Part, Window, meant, without
from planner.spec.tenants import Tenant, TenantName
from planner.spec.traffic import Traffic
from profiles.digest import digest
from profiles.money import PriceCard
from profiles.yaml_input import read_yaml


class Spec(Part):
    """A question to the planner."""

    format_version: Literal["1.0"] = Field(description="Version of this file format.")
    workload: str = Field(description="Name of the measured traffic in the profile store.")
    objective: Objective = Objective.MINIMIZE_COST
    value: Value | None = Field(
        default=None, description="Worth of a correct answer, for 'maximize value'."
    )
    classes: str = Field(
        default="label",
        description="Path of a difficulty graph (.onnx), or 'label' for classes recorded with "
        "the queries.",
    )
    traffic: Traffic | None = None
    limits: Limits = Field(default_factory=Limits)
    caps: Caps | None = Field(
        default=None, description="Hard caps on every single request; none where absent."
    )
    tenants: dict[TenantName, Tenant] = Field(
        default_factory=dict, description="Who sends the traffic, where limits differ by tenant."
    )
    strategies: Names | None = Field(
        default=None, description="Only these strategies; all measured ones where absent."
    )
    allocation: Allocation | None = Field(
        default=None, description="Simpler shapes of the plan; mixtures of any kind where absent."
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

    @field_validator("value")
    @classmethod
    def _value_is_asked_for(cls, value: Value | None, info: ValidationInfo) -> Value | None:
        objective = info.data.get("objective")
        if value is not None and objective not in {None, Objective.MAXIMIZE_VALUE}:
            raise ValueError(f"value is for the objective 'maximize value', not '{objective}'")
        return value

    @model_validator(mode="after")
    def _value_is_given(self) -> Spec:
        if self.objective is Objective.MAXIMIZE_VALUE and self.value is None:
            raise ValueError("'maximize value' needs value: {usd_per_correct: ...}")
        return self

    @field_validator("limits")
    @classmethod
    def _sums_need_volume(cls, limits: Limits, info: ValidationInfo) -> Limits:
        if "traffic" in info.data:
            _refuse_sums(limits, info.data["traffic"])
        return limits

    @field_validator("tenants")
    @classmethod
    def _tenants_share_all(
        cls, tenants: dict[str, Tenant], info: ValidationInfo
    ) -> dict[str, Tenant]:
        traffic: Traffic | None = info.data.get("traffic")
        stated = [tenant.mix is not None for tenant in tenants.values()]
        if stated and all(stated) and traffic is not None and traffic.mix is not None:
            raise ValueError("every tenant has a mix of its own: leave traffic.mix out")
        total = sum(tenant.share for tenant in tenants.values())
        if tenants and not math.isclose(total, 1.0, abs_tol=1e-6):
            raise ValueError(f"the tenants' shares add up to {total:g}, not to 1")
        for name, tenant in tenants.items():
            if "traffic" in info.data and tenant.spend is not None:
                _refuse_sum(f"tenants.{name}.spend", tenant.spend.per, info.data["traffic"])
        return tenants

    @field_validator("fixed_costs")
    @classmethod
    def _fees_have_a_window(
        cls, fees: tuple[FixedCost, ...], info: ValidationInfo
    ) -> tuple[FixedCost, ...]:
        if not fees or not {"traffic", "objective"} <= info.data.keys():
            return fees
        refuse_names(fees)
        if info.data["objective"] is not Objective.MINIMIZE_COST:
            raise ValueError("fixed_costs need the objective 'minimize cost'")
        traffic: Traffic | None = info.data["traffic"]
        if traffic is None:
            raise ValueError("fixed_costs need traffic: how many requests share them")
        if traffic.growth is not None:
            raise ValueError(
                "fixed_costs need a steady volume: ask once per volume, or see 'break-even'"
            )
        for fee in fees:
            refuse_window(fee, traffic.per)
        return fees

    @field_validator("pay")
    @classmethod
    def _known_fees(
        cls, pay: tuple[str, ...] | None, info: ValidationInfo
    ) -> tuple[str, ...] | None:
        names = [fee.name for fee in info.data.get("fixed_costs", ())]
        for name in pay or ():
            if name not in names and "fixed_costs" in info.data:
                raise ValueError(f"no fixed cost is called {name!r}{meant(name, names)}")
        return pay

    @model_serializer(mode="wrap")
    def _without_absent(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What a spec does not use reads, and is digested, as before it existed."""
        written: dict[str, Any] = write(self)
        newer = ("fixed_costs", "value", "tenants", "allocation", "caps")
        return without(written, newer if self.pay is not None else (*newer, "pay"))

    @property
    def level(self) -> float | None:
        """The confidence as a number, None for point estimates."""
        return None if isinstance(self.confidence, str) else self.confidence

    @property
    def groups(self) -> tuple[str, ...]:
        """Columns whose groups some limit speaks about, sorted."""
        accuracy = self.limits.accuracy
        return tuple(sorted({*accuracy.by_group, *accuracy.max_gap}))

    @property
    def latency_limits_s(self) -> tuple[float, ...]:
        """Every latency limit and cap in seconds, ascending: profiles count tails at them."""
        parts = [self.limits.latency, *(tenant.latency for tenant in self.tenants.values())]
        found = {s for part in parts if part is not None for s in part.limits_s()}
        cap = None if self.caps is None else self.caps.wall_s
        return tuple(sorted(found if cap is None else {*found, cap}))

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

    def usd_per_window(self, usd_per_request: float) -> float | None:
        """Dollars of one window of traffic with the fixed costs that it owes; None without traffic.

        With growth of the first window.
        """
        if self.traffic is None:
            return None
        return self.fees_usd + self.traffic.requests * usd_per_request

    def limits_of_requests(self) -> Limits:
        """The limits, a sum of dollars less the fixed costs that it has to cover as well."""
        spend = self.limits.spend
        if spend is None or spend.usd is None or not self.fees_usd:
            return self.limits
        left = spend.model_copy(update={"usd": spend.usd - self.fees_usd})
        return self.limits.model_copy(update={"spend": left})

    def usd_per_request(self) -> float | None:
        """The spend limit as mean dollars per request, None without a limit."""
        return self.usd_of(self.limits_of_requests().spend)

    def usd_of(self, spend: SpendLimit | None, share: float = 1.0) -> float | None:
        """Mean dollars per request that a limit leaves to a share of the fullest window."""
        if spend is None:
            return None
        if spend.usd is None or self.traffic is None:
            return spend.usd_per_request
        return spend.usd / (self.traffic.most * share)


def _refuse_sums(limits: Limits, traffic: Traffic | None) -> None:
    for key, per in limits.windows():
        _refuse_sum(f"limits.{key}", per, traffic)
    for name, pool in limits.gpu.items():
        if pool.gpus is not None and (traffic is None or traffic.per.seconds is None):
            raise ValueError(
                f"limits.gpu.{name}.gpus needs traffic per second, minute, hour, day, week or month"
            )


def _refuse_sum(key: str, per: Window | None, traffic: Traffic | None) -> None:
    if per is None:
        return
    if traffic is None:
        unit = {"spend": "usd", "energy": "kwh", "carbon": "kg"}[key.rpartition(".")[2]]
        raise ValueError(f"{key}.{unit} needs traffic: how many requests share the sum")
    if traffic.per is not per:
        name = key.rpartition(".")[2]
        raise ValueError(f"traffic is per {traffic.per} and {name} is per {per}: use one window")


def read_spec(path: Path, settings: Sequence[str] = ()) -> Spec:
    """Read spec.yaml, or standard input for ``-``.

    Args:
        path: The file.
        settings: ``limits.accuracy.overall=0.9`` and the like, set over what it says.

    Raises:
        InputError: Names file, line and key of the first thing that is wrong.
    """
    return read_yaml(path, Spec, settings)
