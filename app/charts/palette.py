"""Colours and names that all pictures share."""

from __future__ import annotations

from collections.abc import Iterable

USD_PER_1000 = "USD per 1,000 requests"

#: Okabe and Ito's palette: distinguishable with every common kind of colour blindness.
EXPECTED, PROMISED, CURRENT, SINGLE = "#0072B2", "#E69F00", "#D55E00", "#009E73"
NAIVE = "#8A8F98"

_STRATEGIES = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999933", "#882255",
    "#44AA99", "#332288", "#AA4499", "#117733", "#DDCC77", "#88CCEE", "#661100", "#6699CC",
)  # fmt: skip
"""Okabe and Ito's without yellow and black, which vanish on one of the two themes, then Tol's."""


def strategy_colours(strategies: Iterable[str]) -> dict[str, str]:
    """One colour for every strategy, by its place among all of a profile's in sorted order.

    The same on every page of a store, whichever of them a picture shows. Colours repeat after 16:
    pictures name their strategies too.
    """
    return {
        text: _STRATEGIES[place % len(_STRATEGIES)] for place, text in enumerate(sorted(strategies))
    }
