"""Scenarios side by side: the plan of each, and what it differs by from the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.plan_differences import Differences, of_effects, of_figures
from planner.explain import LimitsClashError
from planner.limit_names import price_name
from policies.effects import effects
from profiles.errors import InfeasibleError, InferbudgetError, InputError
from profiles.money import PriceCard

if TYPE_CHECKING:
    from app.planning import Question
    from planner.plan import Plan, Rung
    from policies.policy import Policy
    from profiles.profile import Cell, Profile

FEWEST, MOST = 2, 4
"""Scenarios beside each other."""


@dataclass(frozen=True, slots=True)
class Fix:
    """One limit of a clash that, moved alone, lets all others hold.

    Attributes:
        limit: Its name.
        value: In the limit's own unit.
        settings: ``path=value`` that move it.
    """

    limit: str
    value: float
    settings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan and what it rests on.

    Attributes:
        plan: Its first rung alone, which holds while there is money; no ladder.
        policy: As it would be enforced, which is what differences are told of; None for a plan
            that makes no single policy.
        profile: What was measured.
    """

    plan: Plan
    policy: Policy | None
    profile: Profile

    @property
    def cells(self) -> list[Cell]:
        """The measured cells that the plan uses."""
        return [
            self.profile.cells[one, text]
            for one, shares in self.rung.allocation.items()
            for text in shares
        ]

    @property
    def evidence(self) -> list[str]:
        """Kinds of evidence behind them, sorted."""
        return sorted({kind for cell in self.cells for kind in cell.evidence})

    @property
    def rung(self) -> Rung:
        """What the spec asks for."""
        return self.plan.rungs[0]

    @property
    def binding(self) -> tuple[str, ...]:
        """Limits that have a shadow price, in the spec's order."""
        prices = self.rung.shadow_prices
        return tuple(name for name in self.rung.limits if price_name(name) in prices)

    @property
    def spend(self) -> tuple[str, float | None]:
        """Expected dollars of requests, and what they are per: a month, a total or a request."""
        if self.policy is None:
            return "request", self.rung.expected.cost_usd_per_request
        found = effects(None, self.policy)
        return found.per, found.first.spend.change.after


@dataclass(frozen=True, slots=True)
class Refused:
    """No plan, and why.

    Attributes:
        error: What `inferbudget plan` says.
        fixes: What would help; none where nobody knows.
    """

    error: InferbudgetError
    fixes: tuple[Fix, ...] = ()


@dataclass(frozen=True, slots=True)
class Column:
    """One scenario of a comparison.

    Attributes:
        name: The scenario's.
        settings: ``path=value`` each, over the spec's own.
        found: The plan, or why there is none.
        against: The difference to the comparison's base; None for the base itself, and without a
            plan.
    """

    name: str
    settings: tuple[str, ...]
    found: Planned | Refused
    against: Differences | None

    @property
    def planned(self) -> Planned | None:
        """The plan, None where there is none."""
        return self.found if isinstance(self.found, Planned) else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Scenarios side by side.

    Attributes:
        columns: In the order asked for.
        base: The first column that has a plan, which others are compared with.
    """

    columns: tuple[Column, ...]
    base: Column | None

    @property
    def several(self) -> bool:
        """Whether there is more than one plan to tell apart."""
        return any(column.against for column in self.columns)


def planned(question: Question, time_limit_s: float | None = None) -> Planned | Refused:
    """Solve a question; refused where no plan keeps its limits.

    Args:
        question: Spec, with what the scenario sets, and profile.
        time_limit_s: Seconds that the answer may take, the planner's own limit where absent.

    Raises:
        InferbudgetError: Any other reason why `inferbudget plan` would print no plan.
    """
    try:
        return _solved(question, time_limit_s)
    except LimitsClashError as error:
        return Refused(error, _fixes(question, error))
    except InfeasibleError as error:
        return Refused(error)


def compared(found: Sequence[tuple[str, tuple[str, ...], Planned | Refused]]) -> Comparison:
    """Answers side by side, each told apart from the first that is a plan.

    Args:
        found: Name, settings and answer of `FEWEST` to `MOST` scenarios.

    Raises:
        InputError: There are fewer or more.
    """
    refuse_number(len(found))
    answers = [one for _, _, one in found]
    first = next((i for i, one in enumerate(answers) if isinstance(one, Planned)), None)
    columns = tuple(
        Column(
            name, settings, one, None if first in (None, place) else _against(answers[first], one)
        )
        for place, (name, settings, one) in enumerate(found)
    )
    return Comparison(columns, None if first is None else columns[first])


def refuse_number(scenarios: int) -> None:
    """Refuse to compare what does not fit beside each other.

    Raises:
        InputError: There are fewer than `FEWEST` or more than `MOST`.
    """
    if not FEWEST <= scenarios <= MOST:
        raise InputError(
            "so many scenarios cannot stand beside each other",
            where="scenarios",
            expected=f"{FEWEST} to {MOST}",
            got=str(scenarios),
            next_step="choose among them with --scenario NAME, or write another one",
        )


def _solved(question: Question, time_limit_s: float | None) -> Planned:
    from planner.planner import TIME_LIMIT_S
    from planner.solve import solve
    from profiles.difficulty.sorting.combined import reads_labels

    graph = question.estimator.read_bytes() if question.estimator else None
    plan = solve(
        question.profile,
        question.spec.model_copy(update={"rungs": (1.0,)}),
        prices=question.prices,
        estimator=question.estimator.name if question.estimator else None,
        reads_labels=bool(graph and reads_labels(graph)),
        time_limit_s=TIME_LIMIT_S if time_limit_s is None else time_limit_s,
    )
    return Planned(plan, _policy(plan, graph), question.profile)


def _policy(plan: Plan, graph: bytes | None) -> Policy | None:
    """The policy less what differences do not tell of: a missing price would refuse the whole.

    All scenarios are asked of one store, so the same figures of a cell are the same measurement,
    whatever else their profiles count: its workload stands for the profile.
    """
    from policies.compile import compile_plan

    if plan.tenants:
        return None  # one policy each
    bare = plan.model_copy(
        update={"prices": PriceCard(), "caps": None, "profile_digest": plan.workload}
    )
    return compile_plan(bare.sealed(), estimator=graph).policy


def _fixes(question: Question, clash: LimitsClashError) -> tuple[Fix, ...]:
    from planner.moving import moved

    return tuple(
        Fix(name, value, moved(question.spec, name, value)) for name, value in clash.menu.items()
    )


def _against(base: Planned | Refused, one: Planned | Refused) -> Differences | None:
    if isinstance(base, Refused) or isinstance(one, Refused):
        return None
    if base.policy is None or one.policy is None:
        return of_figures(base.rung, one.rung)
    return of_effects(effects(base.policy, one.policy))
