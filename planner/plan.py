"""The plan file: what was solved, what it promises, and on which evidence it rests.

`plan.json` is written by the planner and read by everything above it; reading it needs no solver.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from planner.figures import ClassSource, Figures, LimitFigures, TokenLine
from planner.ladder import given_up, tenants_ladder
from planner.limit_names import whose
from planner.spec import Caps, Limits, Traffic, Window
from profiles.digest import digest
from profiles.errors import InputError
from profiles.money import PriceCard
from profiles.yaml_input import input_bytes

FORMAT_VERSION = "1.0"

__all__ = [
    "CellFacts",
    "ClassSource",
    "Classes",
    "Figures",
    "FixedCosts",
    "GapFigures",
    "GroupFigures",
    "LimitFigures",
    "Plan",
    "PlannedTenant",
    "Rung",
    "SingleStrategy",
    "TenantRung",
    "TokenLine",
    "read_plan",
]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


class CellFacts(_Part):
    """What the plan relied on for one strategy in one class."""

    queries: int = Field(
        description="Distinct queries measured; 1 where a publication does not say how many."
    )
    accuracy: float = Field(description="Mean measured score, 0..1.")
    planned_accuracy: float = Field(description="After shrinkage; what the plan counted on.")
    accuracy_se: float = Field(description="Standard error of that.")
    cost_usd: float | None = Field(description="Mean dollars per request.")
    cost_se_usd: float | None = Field(description="Standard error of that.")
    cost_max_usd: float | None = Field(description="Dearest request measured, dollars.")
    latency_p95_s: float | None = Field(description="Measured 95th percentile, seconds.")
    tokens_out_max: int | None = Field(description="Most completion tokens of one request.")
    evidence: tuple[str, ...] = Field(description="Kinds of evidence behind the cell.")
    cap_line: TokenLine | None = Field(
        default=None,
        description="Line that about 1 % of completions exceed; only where the spec asks for caps "
        "by prompt length and enough was measured.",
    )

    @model_serializer(mode="wrap")
    def _without_line(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A cell without a line reads, and is digested, as before there were any."""
        written: dict[str, Any] = write(self)
        return {k: v for k, v in written.items() if v is not None or k != "cap_line"}


class GroupFigures(_Part):
    """What an allocation does for one group of requests."""

    queries: int = Field(description="Distinct queries measured.")
    share: float = Field(description="Share of traffic, 0..1.")
    accuracy: float = Field(description="Expected mean score, 0..1.")
    promised_accuracy: float | None = Field(
        description="What it is at least, with the spec's confidence for all floors of groups "
        "together; None where the spec gives this group no floor."
    )


class GapFigures(_Part):
    """How far apart the groups of one column are."""

    expected: float = Field(description="Best less worst expected mean score.")
    promised: float | None = Field(
        description="The most by which any group does better than another, with the spec's "
        "confidence; None where the spec gives no cap."
    )
    best: str = Field(description="The group with the highest expected mean score.")
    worst: str = Field(description="The one with the lowest.")


class TenantRung(_Part):
    """One tenant's part of a solved allocation."""

    allocation: dict[str, dict[str, float]] = Field(
        description="Share of each class's requests per strategy; each class sums to 1."
    )
    expected: Figures = Field(description="Best estimate of the outcome.")
    promised: Figures = Field(
        description="What holds with the spec's confidence for all tenants together."
    )
    by_class: dict[str, Figures] = Field(description="Expected figures per class.")


class Rung(_Part):
    """One solved allocation."""

    budget_fraction: float = Field(
        description="Share of the first rung's spend that this one may use."
    )
    objective: str = Field(description="What was optimised, in the spec's words.")
    allocation: dict[str, dict[str, float]] = Field(
        description="Share of each class's requests per strategy; each class sums to 1."
    )
    expected: Figures = Field(description="Best estimate of the outcome.")
    promised: Figures = Field(
        description="What holds with the spec's confidence: accuracy at least, the others at most."
    )
    by_class: dict[str, Figures] = Field(description="Expected figures per class.")
    shadow_prices: dict[str, float] = Field(
        description="Change of the objective per unit of a binding limit, by limit name."
    )
    limits: dict[str, LimitFigures] = Field(
        default_factory=dict, description="Per limit of the spec, kept or given up."
    )
    by_group: dict[str, dict[str, GroupFigures]] = Field(
        default_factory=dict, description="Per column that a limit names, and group."
    )
    gaps: dict[str, GapFigures] = Field(
        default_factory=dict, description="Per column that a limit names."
    )
    by_tenant: dict[str, TenantRung] = Field(
        default_factory=dict,
        description="Per tenant of the spec; the rung's own allocation is then their mean.",
    )

    @model_serializer(mode="wrap")
    def _without_groups(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A plan without groups reads, and is digested, as it was before there were any."""
        written: dict[str, Any] = write(self)
        newer = {"limits", "by_group", "gaps", "by_tenant"}
        return {k: v for k, v in written.items() if v or k not in newer}


class SingleStrategy(_Part):
    """The best that one strategy for everything could do under the same limits."""

    strategy: str = Field(description="Canonical text.")
    expected: Figures = Field(description="Its figures over the whole traffic.")


class Classes(_Part):
    """How requests are sorted."""

    source: ClassSource = Field(description="Prompt text, a label that the caller sends, or both.")
    names: tuple[str, ...] = Field(description="Easiest first.")
    weights: tuple[float, ...] = Field(description="Planned share of requests, same order.")
    estimator: str | None = Field(default=None, description="Difficulty graph beside the plan.")
    estimator_digest: str | None = Field(default=None, description="Digest of that graph.")


class PlannedTenant(_Part):
    """Who sends a part of the traffic, and the limits that hold for it alone."""

    share: float = Field(description="Share of all requests, 0..1.")
    weights: tuple[float, ...] = Field(description="Share of its requests per class.")
    limits: Limits


class FixedCosts(_Part):
    """What is owed whatever the requests are, and what a window of traffic costs with it."""

    per: Window = Field(description="The window of traffic that all dollars here are for.")
    paid: dict[str, float] = Field(description="Dollars by name, of those that the plan pays.")
    not_paid: dict[str, float] = Field(description="The same of those that it does without.")
    usd: float = Field(description="Sum of those paid.")
    expected_total_usd: float = Field(description="That sum and the expected cost of requests.")
    promised_total_usd: float = Field(description="That sum and the promised cost of requests.")


class Plan(_Part):
    """A solved plan. `rungs[0]` is the spec as asked; the others spend less."""

    format_version: str = Field(default=FORMAT_VERSION, description="Minor additive, major breaks.")
    status: Literal["optimal"] = Field(description="Only proven plans are written.")
    digest: str = Field(
        default="",
        description="Content digest of everything else in this file but the solver and where the "
        "difficulty graph lies.",
    )
    workload: str = Field(description="The traffic that was planned for.")
    confidence: float | None = Field(description="Of every promise; None for point estimates.")
    warnings: tuple[str, ...] = Field(default=(), description="Risks that a reader must know.")
    classes: Classes
    traffic: Traffic | None = Field(description="Volume the limits were scaled to.")
    limits: Limits = Field(
        description="The spec's limits; a sum of dollars less the fixed costs that are paid."
    )
    caps: Caps | None = Field(
        default=None, description="Hard caps on every request; only where the spec has caps."
    )
    tenants: dict[str, PlannedTenant] = Field(
        default_factory=dict, description="Only where the spec has tenants."
    )
    fixed_costs: FixedCosts | None = Field(
        default=None, description="Only where the spec has fixed costs."
    )
    prices: PriceCard = Field(description="Prices that the runtime charges by; may be empty.")
    cells: dict[str, dict[str, CellFacts]] = Field(
        description="Per class and strategy, for every strategy that some rung uses."
    )
    rungs: tuple[Rung, ...] = Field(min_length=1)
    best_single_strategy: SingleStrategy | None = Field(
        description="None when no single strategy keeps the limits."
    )
    spec_digest: str
    profile_digest: str
    solver: str = Field(description="Name and version of the solver.")

    @model_serializer(mode="wrap")
    def _without_fees(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A plan without fixed costs, tenants or caps reads as before there were any."""
        written: dict[str, Any] = write(self)
        newer = {"fixed_costs", "tenants", "caps"}
        return {k: v for k, v in written.items() if v or k not in newer}

    def of_tenant(self, name: str) -> Plan:
        """One tenant's part as a plan of its own, under the limits that hold for it alone.

        Its traffic has the mix that was planned for it, its ladder the rungs that spend less of its
        own money, and its prices are per request of its own (`planner.ladder`). Fixed costs are
        owed by all tenants together and stay with their plan.

        Raises:
            InputError: There is no such tenant.
        """
        if name not in self.tenants:
            raise InputError(
                f"the plan has no tenant {name!r}",
                where="tenants",
                expected=f"one of {', '.join(self.tenants)}" if self.tenants else "no tenant",
            )
        tenant = self.tenants[name]
        rungs = tenants_ladder(self.rungs, name, tenant.share, self.confidence)
        traffic = self.traffic
        if traffic is not None:
            requests = max(round(traffic.requests * tenant.share), 1)
            mix = dict(zip(self.classes.names, tenant.weights, strict=True))
            traffic = traffic.model_copy(update={"requests": requests, "mix": mix})
        joint = given_up(self.rungs)
        warnings = [warning for warning in self.warnings if warning not in joint]
        warnings += given_up(rungs)
        shared = [limit for limit in self.rungs[0].limits if whose(limit)[0] is None]
        if shared:
            warnings.append(
                f"{' and '.join(shared)} hold over all tenants together: a policy for {name} alone "
                "does not enforce them"
            )
        return self.model_copy(
            update={
                "warnings": tuple(warnings),
                "classes": self.classes.model_copy(update={"weights": tenant.weights}),
                "traffic": traffic,
                "limits": tenant.limits,
                "tenants": {},
                "fixed_costs": None,
                "rungs": rungs,
                "best_single_strategy": None,
            }
        ).sealed()

    def sealed(self) -> Plan:
        """The same plan with its content digest filled in."""
        return self.model_copy(update={"digest": self.content_digest()})

    def content_digest(self) -> str:
        """Digest of everything but the digest itself, the solver and where the graph lies.

        The difficulty graph counts by its own digest: a plan made in another folder is the same
        plan, and so is one that another version of the solver finds.
        """
        classes = self.classes.model_copy(update={"estimator": None})
        content = self.model_copy(update={"classes": classes})
        return digest(content.model_dump(mode="json", exclude={"digest", "solver"}))

    def to_json(self) -> str:
        """The file's text; the same plan gives the same bytes."""
        return self.model_dump_json(indent=2) + "\n"

    def write(self, path: Path) -> None:
        """Write the file whole."""
        path.write_text(self.to_json(), encoding="utf-8")


def read_plan(path: Path) -> Plan:
    """Read a plan file, or standard input for ``-``.

    Raises:
        InputError: Unreadable, not a plan, a newer major version, or changed since it was solved.
    """
    try:
        plan = Plan.model_validate_json(input_bytes(path))
    except OSError as error:
        raise InputError("cannot read the plan", where=str(path), got=str(error)) from error
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            first["msg"],
            where=f"{path}: {'.'.join(map(str, first['loc'])) or 'the file'}",
            expected="a plan written by 'inferbudget plan'",
            next_step="run 'inferbudget plan' again",
        ) from error
    if plan.format_version.split(".")[0] != FORMAT_VERSION.split(".", maxsplit=1)[0]:
        raise InputError(
            "this plan has a format that this version cannot read",
            where=f"{path}: format_version",
            expected=FORMAT_VERSION,
            got=plan.format_version,
            next_step="upgrade inferbudget or run 'inferbudget plan' again",
        )
    if plan.digest != plan.content_digest():
        raise InputError(
            "the plan was changed after it was solved",
            where=f"{path}: digest",
            expected=plan.content_digest(),
            got=plan.digest,
            next_step="run 'inferbudget plan' again; a plan is never edited by hand",
        )
    return plan
