"""One budget of the Ledger page: when it runs out, and how it came there."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app.charts.burn_down import EVEN, SO_FAR, burn_down_chart
from app.cli.ledger.amounts import amount_text, in_whole_units, unit_text
from app.cli.ledger.standings import LEASE_HEAD, Standing, lease_row, runs_out, telling_leases
from app.cli.options import share
from app.outlook_words import counted, in_words, lasting
from app.watching import Reading, Watch
from profiles.visible import quoted


def burn_down(watch: Watch, reading: Reading, ordered: Sequence[Standing], rows: int) -> None:
    """Draw the part of the page that is about one budget, which is chosen there.

    Args:
        watch: What was read before.
        reading: What was read last.
        ordered: Budgets to choose from, at least one.
        rows: How many of them are offered.
    """
    st.subheader("When does it run out?")
    by_name = {one.account: one for one in ordered}
    listed = list(by_name)[:rows]
    chosen = st.session_state.get("ledger_budget")
    if chosen in by_name and chosen not in listed:
        listed.append(chosen)  # it may not vanish when others pass it
    name = st.selectbox(
        "Budget",
        listed,
        format_func=quoted,
        key="ledger_budget",
        bind="query-params",
        persist_state="session",
        help="One of those listed above; type to search. The pattern above finds others.",
    )
    one = by_name[name]
    _figures(one, reading.now_s)
    st.markdown(in_words(one, reading.now_s))
    if one.remaining is not None and one.remaining <= 0 < one.held and one.is_current:
        st.warning(
            "Nothing is free now: what is not spent is held by requests in flight, or leased by "
            "gateways. What they do not need comes back.",
            icon=":material/hourglass_top:",
        )
    if one.remaining is not None:
        _chart(one, watch, reading)
    leases = telling_leases(one)
    if leases:
        with st.expander("Leases of gateways that hold something or were lost"):
            cells = ([quoted(str(cell)) for cell in lease_row(one, lease)] for lease in leases)
            st.dataframe(
                [dict(zip(LEASE_HEAD, row, strict=True)) for row in cells],
                hide_index=True,
                key="ledger_leases",
                alt="Leases of this budget by replica.",
            )


def _figures(one: Standing, now_s: float) -> None:
    unit, out_s = unit_text(one.unit), one.projection.runs_out_s
    with st.container(horizontal=True, gap="medium"):
        st.metric(
            f"Spent, {unit}",
            amount_text(one.spent, one.unit),
            width="content",
            help=f"{share(one.share_spent)} of {amount_text(one.limit, one.unit)} and what it "
            f"inherited, in {one.requests:,} requests.",
        )
        st.metric(
            f"Held, {unit}",
            amount_text(one.held, one.unit),
            width="content",
            help="Reserved by requests in flight, or leased by gateways for those that come next. "
            "What they do not need comes back.",
        )
        st.metric(
            f"Left and free, {unit}",
            amount_text(one.remaining, one.unit),
            width="content",
            help="Limit and inheritance less what is spent and held.",
        )
        st.metric(
            "Runs out",
            runs_out(one.projection) if out_s is None else f"in {lasting(out_s - now_s)}",
            width="content",
            help="At the mean pace since the window began, until all of it is charged.",
        )


def _chart(one: Standing, watch: Watch, reading: Reading) -> None:
    most = (one.limit or 0) + (one.carried or 0)
    points = [
        {
            "at_s": point.at_s,
            "free": in_whole_units(point.remaining, one.unit),
            "left": in_whole_units(point.remaining + point.held, one.unit),
        }
        for point in watch.points(one, reading.now_s)
    ]
    found = one.projection
    lines: dict[str, list[tuple[float, float]]] = {}
    if one.ends_s is not None:
        begun = (float(one.epoch), in_whole_units(most, one.unit))
        lines[EVEN] = [begun, (one.ends_s, 0)]
        if found.runs_out_s is not None:
            lines[SO_FAR] = [begun, (found.runs_out_s, 0)]
        elif found.left_at_end is not None:
            lines[SO_FAR] = [begun, (one.ends_s, in_whole_units(found.left_at_end, one.unit))]
    out = found.runs_out_s
    st.altair_chart(
        burn_down_chart(
            points,
            lines,
            unit=unit_text(one.unit),
            window=None if one.ends_s is None else (one.epoch, one.ends_s),
            runs_out=None if out is None else (out, f"runs out {runs_out(found)}"),
        ),
        key="ledger_burn_down",
        alt=f"What is left of {quoted(one.account)} against time: "
        f"{amount_text(one.remaining, one.unit)} {unit_text(one.unit)} are free and "
        f"{amount_text(one.held, one.unit)} are held. {in_words(one, reading.now_s)}",
    )
    st.caption(
        f"{counted(len(points), 'reading')} since this app first looked. Amounts are counted, not "
        "estimated, so they have no interval; dollars are those that gateways charged at the "
        "prices of their policies. *Pace so far* is a straight line: it knows of no nights and no "
        "crowds, and of what is held it expects nothing."
    )
