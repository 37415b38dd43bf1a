"""Ledger: what every budget has spent, and when it runs out."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import streamlit as st

from app.cli.ledger.amounts import amount_text, unit_text
from app.cli.ledger.standings import ACCOUNT_HEAD, Standing, account_row, matches
from app.figures import prose
from app.opened import LEDGER, ledger
from app.outlook_words import in_words, when
from app.pages.burning import burn_down
from app.ranking import Order, Rest, ranked, summed
from app.watching import Reading, Watch
from policies.report_layout import code
from profiles.errors import InferbudgetError
from profiles.visible import quoted
from runtime.ledger.outlook import Outlook

EVERY_S = 3
_SEEN = "ledger seen"
_ORDERS: tuple[Order, ...] = tuple(Order)
_ROWS = (10, 25, 50, 100)
_NAMED = 3
"""Budgets that one sentence names."""


def page() -> None:
    """Draw the page."""
    st.title("Ledger")
    address = ledger()
    if address is None:
        st.info(_NO_LEDGER, icon=":material/account_balance:")
        return
    scope, order, rows, live = _controls()
    board = st.fragment(_board, run_every=EVERY_S if live else None)
    board(_watch(address), scope, order, rows, live=live)


_NO_LEDGER = (
    "This app was opened without a ledger. Open it with the store that your gateways share, or "
    "with the address of one gateway:\n\n"
    "    inferbudget app --ledger sqlite:///ledger.db\n"
    "    inferbudget app --ledger redis://host:6379/0\n"
    "    inferbudget app --ledger http://localhost:8080\n\n"
    f"The variable `{LEDGER}` says the same. A gateway is asked with the operator's key, which "
    "`INFERBUDGET_OPERATOR_KEY` has."
)


@st.cache_resource(max_entries=4)
def _watch(address: str) -> Watch:
    """One for all who look: however many they are, the store is read no more often."""
    return Watch(address)


def _controls() -> tuple[str | None, Order, int, bool]:
    """Which budgets, in which order, how many of them, and whether to go on reading."""
    scope, order, rows, live = st.columns([3, 2, 1, 1], vertical_alignment="bottom")
    pattern = scope.text_input(
        "Budgets like",
        key="ledger_scope",
        bind="query-params",
        persist_state="session",
        placeholder="org:acme*",
        help="Only budgets whose scope or name is like this; * and ? stand for anything. As "
        "`inferbudget ledger show --scope` takes it.",
    )
    first = order.selectbox(
        "First",
        _ORDERS,
        key="ledger_order",
        bind="query-params",
        persist_state="session",
        help="Which budgets stand at the top. Windows that are over stand at the end.",
    )
    most = rows.selectbox(
        "Rows",
        _ROWS,
        index=1,
        key="ledger_rows",
        bind="query-params",
        persist_state="session",
        help="How many budgets are listed; the others are summed below them.",
    )
    is_live = live.toggle(
        "Live",
        value=True,
        key="ledger_live",
        persist_state="session",
        help=f"Read the ledger every {EVERY_S} seconds. Switched off, the page stands still.",
    )
    return (pattern or "").strip() or None, first, most, is_live


def _board(watch: Watch, scope: str | None, order: Order, rows: int, *, live: bool) -> None:
    reading = _reading(watch, live=live)
    if reading is None:
        return
    found = [one for one in reading.standings if matches(one.account, scope)]
    _basis(reading, found)
    if not found:
        _nothing(reading, scope)
        return
    _headline(found, reading.now_s)
    ordered = ranked(found, order)
    _table(ordered[:rows], ordered[rows:])
    burn_down(watch, reading, ordered, rows)
    _take_away(reading, scope)


def _reading(watch: Watch, *, live: bool) -> Reading | None:
    """The ledger as it stands, or where it cannot be read as it stood; None before that."""
    state = st.session_state
    asked = st.button("Read now", key="ledger_read", help="Read the ledger at once.")
    if live or asked or _SEEN not in state:
        try:
            state[_SEEN] = watch.look(at_once=asked)
        except InferbudgetError as error:
            st.error(prose(str(error)), icon=":material/cloud_off:")
            again = f"It is tried again every {EVERY_S} seconds." if live else "Try it again above."
            old = " Below stands what was read last." if _SEEN in state else ""
            st.caption(again + old)
    found: Reading | None = state.get(_SEEN)
    return found


def _basis(reading: Reading, found: Sequence[Standing]) -> None:
    clock = "the clock of this machine" if reading.gateway else "the clock of the store"
    parts = [
        f"{code(reading.shown)}, read on {when(reading.now_s)} ({clock}); {len(found):,} of "
        f"{len(reading.standings):,} budgets.",
    ]
    if reading.gateway:
        said = reading.gateway.in_words(one.account for one in found)
        parts.append(f"One process since its start: {said}.")
    st.caption(" ".join(parts))


def _nothing(reading: Reading, scope: str | None) -> None:
    if scope is not None and reading.standings:
        st.info(f"No budget is like {code(scope)}. Take the pattern away to see all.")
        return
    st.info(
        "There is no budget yet: no gateway has used this ledger. Send a request through a gateway "
        "whose policy or tenants have budgets; the page shows it by itself."
    )


def _headline(found: Sequence[Standing], now_s: float) -> None:
    """What is spent, and what runs out first."""
    first = ranked(found, Order.RUNS_OUT)
    spent = [one for one in first if one.projection.outlook is Outlook.SPENT]
    if spent:
        names = ", ".join(code(one.account) for one in spent[:_NAMED])
        more = f" and {len(spent) - _NAMED:,} more" if len(spent) > _NAMED else ""
        st.warning(
            f"**Spent: {len(spent):,} of {len(found):,} budgets.** {names}{more}.",
            icon=":material/block:",
        )
    next_out = [one for one in first if one.projection.outlook is Outlook.RUNS_OUT]
    lasting = sum(one.projection.outlook is Outlook.LASTS for one in found)
    if next_out:
        st.info(
            f"**Next to run out:** {code(next_out[0].account)}. {in_words(next_out[0], now_s)}",
            icon=":material/trending_down:",
        )
    elif lasting:
        st.success(
            f"**No budget runs out within its window**, if all go on as they went so far: "
            f"{lasting:,} last; of {len(found) - lasting - len(spent):,} nobody can say.",
            icon=":material/check:",
        )


def _table(listed: Sequence[Standing], others: Sequence[Standing]) -> None:
    rows = [
        {
            **dict(zip(ACCOUNT_HEAD, map(str, account_row(one)), strict=True)),
            "account": quoted(one.account),
            "spent of limit": one.share_spent,
        }
        for one in listed
    ]
    st.dataframe(
        rows,
        hide_index=True,
        key="ledger_listed",
        column_order=_FIRST + [name for name in ACCOUNT_HEAD if name not in _FIRST],
        alt="Every budget with its limit, what is spent, held and left, and when it runs out.",
        column_config=_COLUMNS,
    )
    if not others:
        return
    st.caption(
        f"{len(others):,} more, summed where they can be: budgets of one kind, unit and window. "
        "A request with several tags is in all of theirs."
    )
    st.dataframe(
        [_rest_row(rest) for rest in summed(others)],
        hide_index=True,
        key="ledger_rest",
        alt="Sums of the budgets that are not listed, by kind, unit and window.",
        column_config=_COLUMNS,
    )


_FIRST = ["account", "spent of limit", "runs out"]
_COLUMNS = {
    "spent of limit": st.column_config.ProgressColumn(
        format="percent",
        min_value=0,
        max_value=1,
        help="What is charged, of limit and inheritance; empty without a limit.",
    ),
    "held": st.column_config.TextColumn(
        help="Reserved by requests in flight, or leased by gateways for those that come next."
    ),
    "remaining": st.column_config.TextColumn(
        help="Limit and inheritance less what is spent and held; below 0, so much is beyond."
    ),
    "runs out": st.column_config.TextColumn(
        width="medium",
        help="If it goes on as it went since its window began: when, or that it lasts until the "
        "window ends. A dash where nobody can say.",
    ),
    "carried": st.column_config.TextColumn(help="Inherited from the window before."),
}


def _rest_row(rest: Rest) -> dict[str, object]:
    return {
        "kind": rest.kind,
        "unit": unit_text(rest.unit),
        "window": rest.window if rest.is_current else f"{rest.window}, over",
        "budgets": rest.budgets,
        "limit": amount_text(rest.limit, rest.unit),
        "spent": amount_text(rest.spent, rest.unit),
        "held": amount_text(rest.held, rest.unit),
        "spent of limit": rest.spent / rest.limit if rest.limit else None,
        "requests": f"{rest.requests:,}",
    }


def _take_away(reading: Reading, scope: str | None) -> None:
    st.subheader("Take it away")
    where = ["--url", reading.shown] if reading.gateway else [reading.shown]
    chosen = ["--scope", scope] if scope else []
    st.code(
        shlex.join(["inferbudget", "ledger", "show", *where, *chosen]),
        language=None,
        wrap_lines=True,
    )
    if not reading.gateway and not reading.shown.startswith("sqlite:"):
        st.caption("A password that the address has is not shown, and the command needs it too.")
