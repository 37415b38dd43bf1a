"""How a choice of classes reads."""

from __future__ import annotations

from planner.sorting.plan_questions import Asked
from planner.sorting.plan_value import HeldOut, Mean


def called(kind: str, classes: int) -> str:
    """A candidate's name."""
    return f"{classes} class{'es' if classes > 1 else ''} ({kind})"


def figure(mean: Mean, *, money: bool) -> str:
    """A value or a difference of values, with its standard error."""
    if money:
        return f"{mean.value:.4g} +- {mean.error:.2g} USD per request"
    return f"{mean.value:.4f} +- {mean.error:.4f} accuracy"


def compared(lead: Mean, *, doubted: bool, chance: bool, money: bool) -> str:
    """How one candidate's lead over another reads, and why it does not count where it does not."""
    if lead.value <= 0:
        return "would be no better"
    better = f"would be better by {figure(lead, money=money)}"
    if not doubted:
        return better
    level = "accuracy" if money else "spend"
    return f"{better}, {'which may be chance' if chance else f'but not surely at equal {level}'}"


def asking(ask: Asked, telling: int) -> str:
    """What plans were asked, where no spec says so.

    Args:
        ask: The questions.
        telling: At how many of them plans differ.
    """
    if ask.by_spec:
        return "" if telling else "; every plan is the same strategy for all, by any classes"
    if len(ask.limits) > 1:
        low, high = (limits.usd_per_request for limits in (ask.limits[0], ask.limits[-1]))
        return (
            f", mean over {len(ask.limits)} budgets from {low:.3g} to {high:.3g} USD per request; "
            f"plans differ at {telling} of them"
        )
    return ", each class with its best strategy: costs are unknown or all the same"


def limits_missed(own: HeldOut, passed_over: int) -> list[str]:
    """Sentences on what was not kept."""
    parts = []
    if passed_over:
        parts.append(f"Passed over for missing a limit on unseen queries: {passed_over}.")
    if own.missed:
        parts.append(f"It misses on unseen queries, as all do: {', '.join(own.missed)}.")
    if own.refused:
        parts.append(f"Plans that could not be certified: {own.refused} of {len(own.folds)}.")
    return parts
