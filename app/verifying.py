"""A policy's promises judged by the outcomes of a store: kept, broken, or not surely.

Every rung's shares are weighed on the store's own queries, sorted as the policy sorts requests:
by their labels, or by its decision graph. Queries that the estimator was fitted on keep the class
that a model gave them that had not seen them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.planning import outcomes_under
from app.sorted_outcomes import Sorted
from profiles.errors import InputError

if TYPE_CHECKING:
    from planner.sorting.cells_of_outcomes import Outcomes
    from planner.spec import Spec
    from planner.trials.held_out import HeldOut
    from policies.policy import Policy
    from policies.whole import WholePolicy
    from profiles.cells.by_query import QueryOutcomes
    from profiles.store.store import Store


@dataclass(frozen=True)
class JudgedRung:
    """What a store's queries say of one rung.

    Attributes:
        rung: Its position, the dearest is 0.
        held: Every promise that could be judged; None where its shares could not be weighed.
        why_not: Why they could not.
    """

    rung: int
    held: HeldOut | None
    why_not: InputError | None = None


@dataclass(frozen=True)
class JudgedPolicy:
    """What a store's queries say of a policy.

    Attributes:
        rungs: One verdict per rung, in the policy's order.
        left_out: In words, which limits the store's outcomes do not tell.
    """

    rungs: tuple[JudgedRung, ...]
    left_out: tuple[str, ...]


def judge_policy(whole: WholePolicy, store_path: Path, workload: str | None = None) -> JudgedPolicy:
    """Weigh every rung of a policy on a store's outcomes.

    A rung is held to the limits that it says it keeps, and to the accuracy, dollars and p95 that it
    promises. The mix of classes is the store's own, unless the policy's traffic names one.

    Args:
        whole: What is judged; its graph sorts new prompts.
        store_path: The judging store.
        workload: Its traffic; the policy's own where absent.

    Raises:
        InputError: No store, no outcomes of single queries, or queries that the policy cannot sort.
    """
    import numpy as np

    from planner.sorting.plan_questions import judgeable
    from profiles.store.store import Store

    policy = whole.policy
    spec = _spec(policy, workload or policy.workload)
    with Store.open(store_path, read_only=True) as store:
        found = _outcomes_by_query(store, policy, spec)
        names = _class_names(store, found, whole)
    outcomes = _outcomes(found, policy)
    own = np.flatnonzero(outcomes.known.any(axis=1))
    sorted_by = _sorted([names[int(at)] for at in own], policy, store_path)
    spec, left_out = judgeable(spec, outcomes.recorded, outcomes.labels)
    rungs = tuple(
        _judged(policy, at, spec, outcomes.part(own), sorted_by) for at in range(len(policy.rungs))
    )
    if any(rung.limits is None for rung in policy.rungs):
        left_out += ("which limits a rung keeps",)  # format 1.0 did not record it
    return JudgedPolicy(rungs, left_out)


def _spec(policy: Policy, workload: str) -> Spec:
    """The question that the policy's limits, traffic, prices and confidence are parts of."""
    from planner.spec import Objective, Spec

    return Spec(
        format_version="1.0",
        workload=workload,
        objective=Objective.MAXIMIZE_ACCURACY,  # the one that needs no costs; nothing is solved
        traffic=policy.traffic,
        limits=policy.limits,
        confidence="none" if policy.confidence is None else policy.confidence,
        prices=policy.prices,
    )


def _outcomes_by_query(store: Store, policy: Policy, spec: Spec) -> QueryOutcomes:
    from profiles.cells.by_query import read_by_query
    from profiles.pricing.prices import rates_of

    return read_by_query(
        store,
        spec.workload,
        estimator_digest=policy.provenance.estimator,
        rates=rates_of(store, spec.workload, policy.prices),
        answers=True,
        groups=spec.groups,
    )


def _outcomes(found: QueryOutcomes, policy: Policy) -> Outcomes:
    """Those of the policy's strategies, with slow answers counted as a profile counts them."""
    from profiles.cells.build import latency_grid

    used = sorted({*policy.strategy_texts()} & {*found.strategies})
    limits_s = policy.limits.latency.limits_s() if policy.limits.latency else ()
    promised_s = [rung.promised.latency_p95_s for rung in policy.rungs]
    points = [*limits_s, *(limit_s for limit_s in promised_s if limit_s)]
    answers = found.answers
    timed = answers is not None and answers.timed.any()
    grid_s = latency_grid(answers.latencies_s, points) if answers is not None and timed else ()
    return outcomes_under(found, used, grid_s)


def _class_names(store: Store, found: QueryOutcomes, whole: WholePolicy) -> Sequence[str | None]:
    """Class of every query; the policy's own graph sorts those that nobody sorted yet."""
    names, policy = found.class_names, whole.policy
    if policy.provenance.estimator is None or None not in names:
        return names
    if policy.classes.inputs != ("text",) or policy.classes.encoder is not None:
        raise InputError(
            "new queries cannot be sorted here: the policy reads more than their text",
            where=f"workload {found.workload}",
            expected="a policy that reads text alone or labels, or queries that it was made from",
        )
    from runtime.decision import DecisionSession

    prompts = store.prompts(found.workload)
    fresh = [query for query, name in zip(found.query_ids, names, strict=True) if name is None]
    decided = DecisionSession(policy, policy.graph_path(whole.path)).decide_many(
        [prompts[query] for query in fresh],
        [0] * len(fresh),
        [0.0] * len(fresh),
    )
    by_graph = {query: one.class_name for query, one in zip(fresh, decided, strict=True)}
    return [name or by_graph[query] for query, name in zip(found.query_ids, names, strict=True)]


def _sorted(names: Sequence[str | None], policy: Policy, store_path: Path) -> Sorted:
    """Positions of the classes, of which none may be without queries: its promise is judged too."""
    import numpy as np

    classes = policy.classes.names
    if len(classes) == 1:
        names = [name or classes[0] for name in names]
    for name in dict.fromkeys(names):
        if name not in classes:
            raise InputError(
                "a query has no class that the policy knows",
                where=str(store_path),
                expected=f"one of {', '.join(classes)}",
                got="none" if name is None else name,
                next_step="import the queries with the same classes",
            )
    place = {name: at for at, name in enumerate(classes)}
    index = np.array([place[name] for name in names if name is not None], dtype=np.intp)
    for name, weight in zip(classes, policy.classes.weights or [1.0] * len(classes), strict=True):
        if weight and place[name] not in index:
            raise InputError(
                "no query of the store is of this class of the policy",
                where=f"{store_path}: class {name}",
                next_step="judge it by queries of every class",
            )
    return Sorted(index, classes)


def _judged(
    policy: Policy, at: int, spec: Spec, outcomes: Outcomes, sorted_by: Sorted
) -> JudgedRung:
    """One rung held to the limits that it keeps and to its own promised figures."""
    import numpy as np

    from planner.limits import LimitSet
    from planner.plan import Rung
    from planner.planner import Planner
    from planner.sorting.cells_of_outcomes import profile_of
    from planner.trials.held_out import held_out

    said = policy.rungs[at]
    rung = Rung(
        budget_fraction=said.budget_fraction,
        objective=said.objective or "not recorded",
        allocation=said.shares,
        expected=said.expected,
        promised=said.promised,
        by_class=said.by_class or {},
        shadow_prices=said.shadow_prices or {},
        limits=said.limits or {},
    )
    try:
        rows = np.arange(len(sorted_by.classes))
        planner = Planner(profile_of(outcomes, sorted_by.classes, sorted_by.names, rows), spec)
        planner.limits = LimitSet(
            {
                name: rung.limits[name].asked
                for name in planner.limits.values
                if name in rung.limits and rung.limits[name].kept
            }
        )
        return JudgedRung(at, held_out(planner, rung, outcomes, sorted_by))
    except InputError as error:
        return JudgedRung(at, None, error)
