"""What hard caps may cut of answers in use, so that no promise counts it."""

from __future__ import annotations

from planner.estimating.capped import line_of
from planner.plan import Rung
from planner.planner import Planner


def may_be_cut(planner: Planner, rungs: tuple[Rung, ...]) -> list[str]:
    """Strategies in use whose calls differ by request: profiles do not know the most of them."""
    caps = planner.spec.caps
    if caps is None or caps.calls is None:
        return []
    calls: dict[str, float] = {}
    for cell in planner.estimates.cells:
        used = any(cell.strategy in rung.allocation[cell.class_name] for rung in rungs)
        if used and cell.calls is not None and cell.calls % 1:
            calls[cell.strategy] = max(cell.calls, calls.get(cell.strategy, 0.0))
    if not calls:
        return []
    means = ", ".join(f"{mean:.3g} by {strategy}" for strategy, mean in calls.items())
    return [
        "caps.calls: profiles know the mean of calls, not the most; answers that would take more "
        f"than {caps.calls} are cut short, and no promise counts that. Up to {means}"
    ]


def cut_by_length(planner: Planner, rungs: tuple[Rung, ...]) -> list[str]:
    """What caps by prompt length cut, and where too little was measured for them."""
    caps = planner.spec.caps
    if caps is None or not caps.by_prompt_length:
        return []
    used = {s for rung in rungs for shares in rung.allocation.values() for s in shares}
    cells = [cell for cell in planner.estimates.cells if cell.strategy in used]
    lacking = sorted({cell.strategy for cell in cells if line_of(cell) is None})
    warnings = []
    if lacking:
        warnings.append(
            "caps.by_prompt_length: the cap is the longest answer seen, whatever the prompt, where "
            "not every class has 1,000 requests of one call with tokens: " + ", ".join(lacking)
        )
    if used - set(lacking):
        warnings.append(
            "caps.by_prompt_length: about 1 % of answers may be longer than their caps and are "
            "cut; no promise counts that"
        )
    return warnings
