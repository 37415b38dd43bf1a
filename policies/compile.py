"""Plan to policy, as an ordered tuple of small passes. The same plan gives the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

from pydantic import ValidationError

from planner.plan import Plan
from policies.admission import admit
from policies.caps import choose_budgets, choose_caps, choose_prices, keep_cap_on_dollars
from policies.draft import Draft
from policies.estimator import known_labels, pinned_encoder
from policies.file import CompiledPolicy
from policies.graph import build_graph
from policies.ladder import check_reachability, order_ladder
from policies.policy import Graph, Policy, PolicyClasses, Provenance
from policies.shares import move_figures, order_strategies, simplify_shares
from profiles.digest import digest_bytes
from profiles.errors import InputError

__all__ = ["PASSES", "CompiledPolicy", "compile_plan"]

PASSES: tuple[Callable[[Draft], Draft], ...] = (
    admit,
    simplify_shares,
    move_figures,
    order_ladder,
    order_strategies,
    choose_caps,
    choose_prices,
    keep_cap_on_dollars,
    choose_budgets,
    check_reachability,
)


def compile_plan(
    plan: Plan, *, estimator: bytes | None, graph_file: str = "policy.onnx"
) -> CompiledPolicy:
    """Make a plan enforceable.

    Args:
        plan: A solved plan.
        estimator: Bytes of the difficulty graph that the plan was made with; None for labels.
        graph_file: Name that the decision graph will have beside the policy file.

    Raises:
        InputError: The plan cannot be enforced as it stands, or has a figure that no policy has;
            says what to do.
        UnknownValueError: A price or a measured cell that the policy needs is missing.
    """
    if plan.tenants:
        raise InputError(
            "a policy is for one tenant, and this plan has several",
            where="tenants",
            expected=f"one of {', '.join(plan.tenants)}",
            next_step="name it: 'inferbudget compile PLAN --tenant NAME -o NAME.yaml'",
        )
    draft = Draft(plan=plan, estimator=estimator, warnings=plan.warnings)
    try:
        return _assemble(reduce(lambda current, step: step(current), PASSES, draft), graph_file)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InputError(
            f"the plan leads to a figure that no policy has: {first['msg']}",
            where=".".join([error.title, *map(str, first["loc"])]),
            got=repr(first["input"]),
            next_step="look for it in the spec and in what was measured, and plan again",
        ) from error


def _assemble(draft: Draft, graph_file: str) -> CompiledPolicy:
    plan = draft.plan
    source, estimator = plan.classes.source, draft.estimator
    classes = PolicyClasses(
        source=source,
        names=plan.classes.names,
        weights=plan.classes.weights,
        labels=known_labels(estimator, source) if estimator else (),
        encoder=pinned_encoder(estimator) if estimator else None,
    )
    policy = Policy(
        workload=plan.workload,
        confidence=plan.confidence,
        warnings=draft.warnings,
        classes=classes,
        graph=Graph(file=graph_file, sha256=""),
        strategies=draft.entries,
        rungs=draft.rungs,
        traffic=plan.traffic,
        limits=plan.limits,
        caps=plan.caps,
        budgets=draft.budgets,
        prices=draft.prices,
        provenance=_provenance(draft),
    )
    graph = build_graph(policy, estimator)
    pinned = policy.model_copy(update={"graph": Graph(file=graph_file, sha256=digest_bytes(graph))})
    return CompiledPolicy(pinned.sealed(), graph)


def _provenance(draft: Draft) -> Provenance:
    plan = draft.plan
    cells = [draft.cell(name, text) for name in plan.classes.names for text in draft.order]
    return Provenance(
        plan=plan.content_digest(),
        spec=plan.spec_digest,
        profile=plan.profile_digest,
        estimator=plan.classes.estimator_digest,
        solver=plan.solver,
        evidence=tuple(sorted({kind for cell in cells if cell for kind in cell.evidence})),
    )
