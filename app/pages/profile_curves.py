"""Scaling curves: what more samples, longer thinking or more money bring, family by family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import streamlit as st

from app.charts.curves import curve_chart
from app.charts.palette import strategy_colours
from app.figures import prose
from app.planning import outcomes_by_level
from policies.report_layout import code
from profiles.errors import InferbudgetError
from profiles.scaling.families import Family, families
from profiles.scaling.fitting import shapes
from profiles.scaling.in_words import downturn_words, knee_words
from profiles.scaling.levels import Unit

if TYPE_CHECKING:
    from app.chosen import Chosen, Key
    from profiles.aggregate import Aggregate
    from profiles.scaling.query_means import QueryMeans
    from profiles.scaling.shape import Shape

_AT_ONCE = 4
"""Families of one page."""
_UNITS = {
    "the parameter that varies": None,
    "tokens": Unit.TOKENS,
    "USD": Unit.COST_USD,
    "calls to models": Unit.CALLS,
    "GPU seconds": Unit.GPU_S,
    "seconds": Unit.LATENCY_S,
    "general compute": Unit.COMPUTE,
}
_TITLES = {str(unit): f"{name} per request" for name, unit in _UNITS.items() if unit}


def section(chosen: Chosen) -> None:
    """Draw the curves of one class."""
    profile = chosen.stored.profile
    left, right = st.columns(2)
    class_name = left.selectbox(
        "Class", profile.classes, key="curves_class", bind="query-params", persist_state="session",
        help="Easiest first.",
    )  # fmt: skip
    counted = right.selectbox(
        "Compute counted in",
        list(_UNITS),
        key="curves_unit",
        bind="query-params",
        persist_state="session",
        help="What stands for compute. The parameter that varies is the number of samples, the "
        "thinking budget and the like; where it is no amount, the first measured one stands in.",
    )
    points = left.number_input(
        "A doubling pays from, points of accuracy",
        min_value=0.1,
        max_value=100.0,
        value=1.0,
        step=0.1,
        key="curves_points",
        bind="query-params",
        persist_state="session",
        help="The knee is the compute after which no doubling gains so much.",
    )
    holding = right.text_input(
        "Families that contain",
        key="families_holding",
        bind="query-params",
        persist_state="session",
        placeholder="best_of_n",
        help="A family is one model and method with all parameters alike but one.",
    )
    try:
        looked_at = _on_page(chosen, class_name, (holding or "").casefold())
        found = _shapes(chosen, chosen.key, class_name, looked_at, _UNITS[counted], points)
    except InferbudgetError as error:
        st.error(prose(str(error)))
        return
    colours = strategy_colours(profile.strategies)
    for shape in found:
        _family(shape, points, colours)
    unit = _UNITS[counted]
    words = ["--points", f"{points:.15g}", *([] if unit is None else ["--compute", unit.value])]
    st.code(chosen.command("shape", *words), language=None, wrap_lines=True)


def _on_page(chosen: Chosen, class_name: str, holding: str) -> tuple[Family, ...]:
    """The families of a class that are shown; why there are none is said."""
    observed, published = _outcomes(chosen, chosen.key)
    used = {strategy for name, strategy in observed if name == class_name}
    used |= {cell.strategy for cell in published if cell.class_name == class_name}
    every = families(used)
    if not every:
        st.info(
            f"In {code(class_name)} no two strategies differ in one parameter alone, so there is "
            "no curve. Measure one of them with another number of samples, or with more thinking."
        )
    kept = [family for family in every if holding in family.name.casefold()]
    if every and not kept:
        st.info(f"None of {len(every)} families contains {code(holding)}. Shorten the text.")
    if len(kept) <= _AT_ONCE:
        return tuple(kept)
    st.caption(f"{len(kept)} families, {_AT_ONCE} on a page.")
    at = st.pagination(-(-len(kept) // _AT_ONCE), key="curves_page")
    return tuple(kept[_AT_ONCE * (at - 1) : _AT_ONCE * at])


def _family(shape: Shape, points: float, colours: Mapping[str, str]) -> None:
    """One family: its picture, and the same in sentences."""
    st.markdown(f"**{code(shape.family)}**")
    if shape.levels:
        unit = _TITLES.get(shape.unit, shape.unit)
        low, high = shape.levels[0], shape.levels[-1]
        st.altair_chart(
            curve_chart(shape, colours, unit),
            key=f"curve {shape.family}",
            alt=f"Accuracy of {shape.family} in {shape.class_name}: {low.accuracy:.1%} at {unit} "
            f"{low.compute:.4g}, {high.accuracy:.1%} at {high.compute:.4g}; "
            f"{knee_words(shape, points)}; {'; '.join(downturn_words(shape))}.",
        )
    for line in (knee_words(shape, points), *downturn_words(shape)):
        st.markdown(prose(line))
    if shape.levels:
        st.caption(
            f"{_sizes([level.queries for level in shape.levels])} behind each level; bars are 95 % "
            "intervals of the measured accuracy, the band that of the curve."
        )


def _sizes(queries: Sequence[int | None]) -> str:
    known = sorted({count for count in queries if count is not None})
    if not known or None in queries:
        return "A number of queries that nobody says stands"
    if len(known) == 1:
        return f"{known[0]:,} queries stand"
    return f"{known[0]:,} to {known[-1]:,} queries stand"


@st.cache_resource(show_spinner="Reading outcomes query by query", max_entries=4)
def _outcomes(
    _chosen: Chosen,
    key: Key,  # noqa: ARG001 - what the cache goes by
) -> tuple[dict[tuple[str, str], QueryMeans], list[Aggregate]]:
    return outcomes_by_level(_chosen.store_path, _chosen.workload, _chosen.classes)


@st.cache_resource(show_spinner="Fitting curves", max_entries=64)
def _shapes(
    _chosen: Chosen,
    key: Key,
    class_name: str,
    looked_at: tuple[Family, ...],
    unit: Unit | None,
    points: float,
) -> tuple[Shape, ...]:
    """Those that `profile shape` finds: families do not depend on one another, nor do classes."""
    observed, published = _outcomes(_chosen, key)
    return shapes(
        {cell: means for cell, means in observed.items() if cell[0] == class_name},
        [cell for cell in published if cell.class_name == class_name],
        chosen=looked_at,
        unit=unit,
        points=points / 100,
    )
