"""Format 1.0 of the policy file, as it was: so that its digests can still be checked.

Nothing here follows today's format. Prices and limits are those of a spec, which are digested as
before whatever has been added to them since.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
)

from planner.spec import Limits, Window
from profiles.digest import digest
from profiles.money import PriceCard

_Share = Annotated[float, Field(ge=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


class _Encoder(_Part):
    digest: str = Field(min_length=1)
    width: int = Field(gt=0)
    max_tokens: int = Field(gt=0)
    pooling: Literal["mean", "cls"]


class _Classes(_Part):
    source: Literal["text", "label", "text+label"]
    names: tuple[str, ...] = Field(min_length=1)
    labels: tuple[str, ...] = ()
    encoder: _Encoder | None = None

    @model_serializer(mode="wrap")
    def _without_absent_parts(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        found: dict[str, Any] = dump(self)
        return {key: v for key, v in found.items() if v or key not in {"labels", "encoder"}}


class _Figures(_Part):
    accuracy: float
    cost_usd_per_request: float | None
    latency_p95_s: float | None


class _Strategy(_Part):
    text: str
    max_tokens: Annotated[int, Field(gt=0)] | None = None
    expected_cost_usd: dict[str, float] = Field(default_factory=dict)
    cost_bound_usd: dict[str, float] = Field(default_factory=dict)


class _Rung(_Part):
    budget_fraction: float
    shares: dict[str, dict[str, _Share]]
    expected: _Figures
    promised: _Figures


class _Budget(_Part):
    scope: Literal["global"] = "global"
    limit_usd: Annotated[float, Field(gt=0)] | None = None
    usd_per_request: Annotated[float, Field(gt=0)]
    window: Window = Window.TOTAL
    requests: Annotated[int, Field(gt=0)] | None = None


class _Provenance(_Part):
    plan: str
    spec: str
    profile: str
    estimator: str | None = None
    solver: str
    evidence: tuple[str, ...]


class _Graph(_Part):
    file: str
    sha256: str


class PolicyOf10(_Part):
    """A policy file of format 1.0."""

    format_version: Literal["1.0"]
    workload: str
    digest: str = ""
    confidence: float | None
    warnings: tuple[str, ...] = ()
    classes: _Classes
    graph: _Graph
    strategies: tuple[_Strategy, ...] = Field(min_length=1)
    rungs: tuple[_Rung, ...] = Field(min_length=1)
    limits: Limits
    budgets: tuple[_Budget, ...] = ()
    when_exhausted: Literal["refuse"] = "refuse"
    prices: PriceCard
    provenance: _Provenance

    @field_validator("budgets")
    @classmethod
    def _one_budget_per_window(cls, budgets: tuple[_Budget, ...]) -> tuple[_Budget, ...]:
        if len({budget.window for budget in budgets}) < len(budgets):
            raise ValueError("two budgets share a window")
        return budgets

    def content_digest(self) -> str:
        """Digest of everything but the digest itself."""
        return digest(self.model_dump(mode="json", exclude={"digest"}))


def to_1_1(data: dict[str, Any]) -> dict[str, Any]:
    """The same in format 1.1, its digest left open; what 1.0 did not record is null."""
    return data | {
        "format_version": "1.1",
        "digest": "",
        "classes": data["classes"] | {"weights": None},
        "strategies": [_strategy(entry) for entry in data["strategies"]],
        "rungs": [
            rung | dict.fromkeys(("objective", "by_class", "limits", "shadow_prices"))
            for rung in data["rungs"]
        ],
        "traffic": None,
    }


def _strategy(entry: dict[str, Any]) -> dict[str, Any]:
    means, bounds = entry["expected_cost_usd"], entry["cost_bound_usd"]
    unknown = dict.fromkeys(("queries", "accuracy", "accuracy_se", "cost_se_usd", "latency_p95_s"))
    return {
        "text": entry["text"],
        "max_tokens": entry["max_tokens"],
        "by_class": {
            name: unknown | {"cost_usd": means.get(name), "cost_max_usd": bounds.get(name)}
            for name in {**means, **bounds}
        },
    }
