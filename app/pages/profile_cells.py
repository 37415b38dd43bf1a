"""Coverage: what every class and strategy rests on, and the figures of one cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from app.cell_facts import cell_facts
from app.charts.coverage import CELL, KINDS, coverage_heatmap, kind_of, models_heatmap
from app.cli.profile.show import MOST_DAYS, set_aside_text
from app.figures import prose
from policies.report_layout import code
from profiles.cells.coverage import coverage_by_model, coverage_rows
from profiles.cells.report import profile_rows
from profiles.cells.tails import quantile_between

if TYPE_CHECKING:
    from app.chosen import Chosen, Key

Rows = Sequence[Mapping[str, Any]]

_AT_ONCE = 25
"""Strategies of one picture."""
_CHART, _CLASS, _STRATEGY = "coverage", "cell_class", "cell_strategy"


def section(chosen: Chosen) -> None:
    """Draw what the cells of a workload rest on."""
    profile = chosen.stored.profile
    left, right = st.columns(2)
    holding = left.text_input(
        "Strategies that contain",
        key="strategies_holding",
        bind="query-params",
        persist_state="session",
        placeholder="best_of_n",
        help="Part of a model's or a method's name; nothing shows all.",
    )
    days = right.number_input(
        "Stale after, days",
        min_value=0.0,
        max_value=MOST_DAYS,
        value=None,
        step=1.0,
        key="stale_after",
        bind="query-params",
        persist_state="session",
        placeholder="never",
        help="A cell whose newest row is older counts as stale. Without a number none does, and "
        "rows without a time never do.",
    )
    rows = coverage_rows(profile, stale_after_days=days)
    kept = [row for row in rows if (holding or "").casefold() in row["strategy"].casefold()]
    if not kept:
        st.info(f"No strategy of this workload contains {code(holding or '')}. Shorten the text.")
        return
    st.markdown(_counted(kept))
    _matrix(kept, profile.classes)
    _cell(chosen, list(dict.fromkeys(row["strategy"] for row in kept)))
    _origins(chosen)
    stale = [] if days is None else ["--stale-after", f"{days:.15g}"]
    st.code(chosen.command("show", "--coverage", *stale), language=None, wrap_lines=True)


def _counted(rows: Rows) -> str:
    """How many cells are in which state."""
    counts = Counter(kind_of(row) for row in rows)
    parts = [f"{KINDS[name].sign} {counts[name]:,} {name}" for name in KINDS if counts[name]]
    untimed = sum(row["state"] != "missing" and row["observed_until"] is None for row in rows)
    cells = "1 cell" if len(rows) == 1 else f"{len(rows):,} cells"
    text = f"**{cells}**: {'; '.join(parts)}."
    return f"{text} Of {untimed:,} no row says when it was measured." if untimed else text


def _matrix(rows: Rows, classes: Sequence[str]) -> None:
    strategies = list(dict.fromkeys(row["strategy"] for row in rows))
    many = len(strategies) > _AT_ONCE
    if many and st.toggle(
        "One row per model",
        value=True,
        key="by_model",
        bind="query-params",
        help=f"{len(strategies):,} strategies: how many of each model's are known. Switch it off "
        f"to see them one by one, {_AT_ONCE} on a page.",
    ):
        counted = coverage_by_model(rows)
        st.altair_chart(
            models_heatmap(counted, classes),
            key="coverage_by_model",
            alt="Heatmap of how many strategies of each model are known in each class.",
        )
        _as_table(counted)
        return
    if many:
        at = st.pagination(-(-len(strategies) // _AT_ONCE), key="coverage_page")
        strategies = strategies[_AT_ONCE * (at - 1) : _AT_ONCE * at]
    on_page = set(strategies)
    drawn = [row for row in rows if row["strategy"] in on_page]
    st.altair_chart(
        coverage_heatmap(drawn, classes, strategies),
        key=_CHART,
        on_select=_adopt,
        selection_mode=[CELL],
        alt="Heatmap of what each strategy's figures rest on in each class, with sample sizes. "
        "The table below it says the same.",
    )
    _as_table(
        [
            {
                "class": row["class"],
                "strategy": row["strategy"],
                "state": kind_of(row),
                "queries": row["queries"],
                "evidence": ", ".join(row["evidence"]),
                "newest row": row["observed_until"],
            }
            for row in drawn
        ]
    )


def _as_table(rows: Rows) -> None:
    with st.expander("As a table"):
        st.dataframe(list(rows), hide_index=True)


def _adopt() -> None:
    """A clicked cell becomes the one whose figures are shown."""
    picked = st.session_state[_CHART]["selection"][CELL]
    if picked:
        st.session_state[_CLASS] = picked[0]["class"]
        st.session_state[_STRATEGY] = picked[0]["strategy"]


def _cell(chosen: Chosen, strategies: list[str]) -> None:
    profile = chosen.stored.profile
    st.subheader("One cell")
    left, right = st.columns(2)
    class_name = left.selectbox(
        "Class", profile.classes, key=_CLASS, bind="query-params", help="Or click a cell above."
    )
    strategy = right.selectbox(
        "Strategy", strategies, key=_STRATEGY, bind="query-params", help="Or click a cell above."
    )
    cell = profile.cells.get((class_name, strategy))
    if cell is None:
        st.info(
            "This strategy was never measured in this class, so no plan can use it there. Measure "
            "it with `inferbudget profile measure`, or see what is worth measuring under "
            "*Measure next*."
        )
        return
    row = _rows(chosen, chosen.key)[class_name, strategy]
    median_s = quantile_between(cell, profile.latency_grid_s, 0.5)
    names = ("figure", "value", "rests on")
    st.table(
        [dict(zip(names, map(prose, fact), strict=True)) for fact in cell_facts(row, median_s)],
        hide_index=True,
        alt=f"Figures of {strategy} in {class_name}.",
    )


@st.cache_resource(show_spinner="Working out intervals", max_entries=8)
def _rows(_chosen: Chosen, key: Key) -> dict[tuple[str, str], dict[str, Any]]:  # noqa: ARG001 - a cache's
    rows = profile_rows(_chosen.stored.profile)
    return {(row["class"], row["strategy"]): row for row in rows}


def _origins(chosen: Chosen) -> None:
    """Where published cells come from, and what was published but is no cell."""
    for source in chosen.stored.publications:
        st.caption(f"Published: {code(source)}")
    if chosen.stored.set_aside:
        with st.expander(f"{len(chosen.stored.set_aside)} published means that are no cell"):
            for aggregate in chosen.stored.set_aside:
                st.markdown(prose(set_aside_text(aggregate)))
