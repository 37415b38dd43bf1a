"""Which traffic a change of policy moves: a picture, and the same as a table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import streamlit as st

from app.charts.flow import MOST, flow_diagram
from app.charts.palette import strategy_colours
from app.charts.sankey import sankey_height
from app.tables import draw_table
from policies.diff_report import Difference
from policies.figures_in_words import per_cent
from policies.moved_traffic import Flow, flows, most_flows
from policies.report_layout import code
from profiles.visible import quoted

ALL = "All classes"
MOST_FLOWS = 50_000
"""A file of 1 MiB can have millions, which would take the memory of all who look."""


@st.fragment
def draw_traffic(found: Difference, strategies: Iterable[str]) -> None:
    """A section of a page.

    Args:
        found: Two policies that differ.
        strategies: All of the page's profile, for their colours; none without a profile.
    """
    st.subheader("Where traffic moves")
    if (most := most_flows(found.effects.first)) > MOST_FLOWS:
        st.info(
            f"Strategies share classes in up to {most:,} pairs of an old and a new one, too many "
            "to draw: `inferbudget diff --format json` prints them."
        )
        return
    every = flows(found.effects.first)
    if not any(flow.moves for flow in every):
        st.info(
            "No request changes its strategy on the first rung."
            if every
            else "No class is in both policies, so that no traffic can be followed."
        )
        return
    weighed = all(flow.of_all is not None for flow in every)
    names = [name for name in dict.fromkeys(flow.class_name for flow in every) if name != ALL]
    choice = st.selectbox(
        "Class",
        [ALL, *names] if weighed else names,
        key="flow_class",
        help="Shares of all requests, by the new policy's mix of classes, or of one class's own.",
    )
    shown = [flow for flow in every if choice in (ALL, flow.class_name)]
    moved = sorted((flow for flow in shown if flow.moves), key=lambda flow: -_share(flow, choice))
    part = math.fsum(_share(flow, choice) for flow in moved)
    of = "all requests" if choice == ALL else f"the requests of {code(choice)}"
    st.markdown(f"**{per_cent(part)}** of {of} go to another strategy.")
    if moved:
        _picture(shown, moved, choice, _colours(strategies, every))
    st.caption("  \n".join(_conventions(found, shown, weighed=weighed)))


def _share(flow: Flow, choice: str) -> float:
    return (flow.of_all if choice == ALL else flow.of_class) or 0.0


def _picture(
    shown: Sequence[Flow], moved: Sequence[Flow], choice: str, colours: Mapping[str, str]
) -> None:
    rows = [
        {"before": flow.before, "after": flow.after, "share": _share(flow, choice)}
        for flow in shown
    ]
    dark = st.context.theme.type == "dark"
    option = flow_diagram(rows, colours, ink="#fafafa" if dark else "#31333f")
    most = (
        f"{per_cent(_share(flow, choice))} from {quoted(flow.before)} to {quoted(flow.after)}"
        for flow in moved[:3]
    )
    st.echarts_chart(
        option,
        height=sankey_height(option),
        key="flow",
        alt="Bands of requests from old strategies, on the left, to new ones, on the right. The "
        f"widest that move: {'; '.join(most)}. The table below has them all.",
    )
    table = [
        (
            code(flow.class_name),
            code(flow.before),
            code(flow.after),
            per_cent(flow.of_class),
            per_cent(flow.of_all),
        )
        for flow in moved
    ]
    draw_table(
        st.container(),
        table,
        ("class", "from", "to", "of the class", "of all requests"),
        alt="Requests that go to another strategy, most first.",
        command="inferbudget diff --format json",
    )


def _colours(strategies: Iterable[str], every: Iterable[Flow]) -> dict[str, str]:
    """As on all pages; those that the profile does not have come after its own."""
    own = {text for flow in every for text in (flow.before, flow.after)}
    return strategy_colours(own.difference(strategies)) | strategy_colours(strategies)


def _conventions(found: Difference, shown: Sequence[Flow], *, weighed: bool) -> Iterator[str]:
    yield (
        "Planned shares on the first rung, while there is money. Of a class's requests every "
        "strategy keeps the smaller of its old and new share; what others lose goes to those that "
        "gain, in proportion to what each gains. Which requests these are, nobody knows."
    )
    strategies = {text for flow in shown for text in (flow.before, flow.after)}
    if len(strategies) <= MOST:
        yield "Grey bands stay."
    else:
        yield (
            f"Grey bands stay. All but {MOST - 1} of {len(strategies)} strategies are drawn as "
            "one; what moves between those is grey too, and stands in the table."
        )
    if not weighed:
        yield "The new file does not record how many requests each class has."
    alone = [one for one in found.effects.first.classes if one.state != "both"]
    if alone:
        names = ", ".join(f"{code(one.name)} ({one.state})" for one in alone)
        yield f"Classes that only one policy has are left out: {names}."
