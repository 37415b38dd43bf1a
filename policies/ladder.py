"""Passes on the ladder: every rung is cheaper than the one above, and can be reached."""

from __future__ import annotations

from dataclasses import replace

from policies.draft import Draft
from policies.policy import PolicyRung


def order_ladder(draft: Draft) -> Draft:
    """Dearest rung first, and no rung that is not known to be cheaper than the one above.

    The first rung is the plan as asked, which the runtime starts from: it always stays. Stepping
    down to a rung that saves nothing would only make answers worse.
    """
    first, *others = sorted(draft.rungs, key=lambda rung: -rung.budget_fraction)
    kept, warnings = [first], []
    for rung in others:
        if _is_cheaper(rung, kept[-1]):
            kept.append(rung)
        else:
            warnings.append(
                f"rungs: the rung at {rung.budget_fraction:g} of the spend is left out: it is not "
                f"known to be cheaper than the one at {kept[-1].budget_fraction:g}"
            )
    return replace(draft, rungs=tuple(kept)).warned(*warnings)


def check_reachability(draft: Draft) -> Draft:
    """Warn of what no request will meet, as far as the plan tells.

    Every strategy that is listed has a share somewhere (`order_strategies`), and the graph's labels
    and classes are those of the plan (`admit`). What is left: a class without planned requests,
    and rungs that are stepped down to only as money runs short where no money is limited.
    """
    classes = draft.plan.classes
    warnings = [
        f"classes.weights: no request of the planned traffic falls into class {name}; what does is "
        "answered as its shares say, and no promise counts it"
        for name, weight in zip(classes.names, classes.weights, strict=True)
        if weight == 0
    ]
    if len(draft.rungs) > 1 and not draft.budgets:
        warnings.append(
            "rungs: without a spend limit no money runs short, so only the first rung is ever used"
        )
    return draft.warned(*warnings)


def _is_cheaper(rung: PolicyRung, above: PolicyRung) -> bool:
    cost, most = (one.expected.cost_usd_per_request for one in (rung, above))
    return cost is not None and most is not None and cost < most
