"""What may answer where the strategy drawn does not fit the money."""

from __future__ import annotations

from collections.abc import Iterable

from policies.policy import StrategyEntry


def fallbacks(entries: Iterable[StrategyEntry], class_name: str, strategy: str) -> tuple[str, ...]:
    """The drawn strategy, then what may answer in its place, in order.

    First every strategy of the policy that is no dearer by mean measured dollars in this class,
    dearest first. Then the dearer ones, cheapest first: one of them fits where the drawn one does
    not only because its bound is lower (a cascade is cheap on average and bounded by its last
    stage). A strategy whose cost in this class is unknown is never a substitute.
    """
    costs = {entry.text: entry.cost_usd(class_name) for entry in entries}
    own = costs.pop(strategy, None)
    if own is None:
        return (strategy,)
    known = [(cost, text) for text, cost in costs.items() if cost is not None]
    cheaper = sorted(((cost, text) for cost, text in known if cost <= own), reverse=True)
    dearer = sorted((cost, text) for cost, text in known if cost > own)
    return (strategy, *(text for _, text in (*cheaper, *dearer)))
