"""Compare: two to four scenarios side by side, what differs first."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import streamlit as st

from app.asking import Asked, asked
from app.charts.compare import outcomes_chart, shares_chart
from app.charts.palette import strategy_colours
from app.comparing import FEWEST, Column, Comparison, Planned, Refused, compared, planned
from app.comparison_classes import accuracy_rows, share_rows, shares
from app.comparison_rows import (
    READING,
    REQUESTS,
    Row,
    figure_rows,
    p95_words,
    prices_of,
    same_title,
    scaled,
    thousand,
    usd_words,
)
from app.figures import basis, prose
from app.kept_scenarios import columns, fix, kept, save_form, share_by_address, shelf
from app.scenarios import Scenario
from app.solving import TIME_LIMIT_S
from app.tables import draw_table
from app.views import View
from planner.limit_names import in_words
from policies.change import Change
from policies.figures_in_words import per_cent, points_change, seconds_change, usd_change
from policies.report_layout import code
from profiles.errors import InferbudgetError, UnprovenError

_MOST_BARS = 48
_MOST_ROWS = 60


def page() -> None:
    """Draw the page."""
    st.title("Compare")
    question = asked()
    if question is None:
        return
    st.caption(basis(question.found))
    scenarios = kept()
    save_form(question.view.settings)
    shelf(scenarios)
    chosen = columns(scenarios) if scenarios else []
    if not share_by_address(chosen):
        st.caption(
            "These scenarios are too long for the address of this page: share scenarios.yaml."
        )
    if len(chosen) < FEWEST:
        st.info(
            "Two scenarios are needed. Move the limits in the sidebar, give them a name above and "
            "save; then move them again and save the next. Or open a file of scenarios."
        )
        return
    _draw(_comparison(question, chosen), question)
    _commands(question.view, chosen)


@st.cache_resource(show_spinner="Planning a scenario", max_entries=32)
def _planned(asked_of: tuple[View, tuple[int, ...]]) -> Planned | Refused:
    """The answer to a view of files that were last changed then; kept where it came too late."""
    try:
        return planned(asked_of[0].ask(), TIME_LIMIT_S)
    except UnprovenError as error:
        return Refused(error)


def _comparison(question: Asked, chosen: Sequence[Scenario]) -> Comparison:
    view, written_at = question.view, question.written_at
    found: list[tuple[str, tuple[str, ...], Planned | Refused]] = []
    for one in chosen:
        own = View(view.spec, view.store, one.settings)
        try:
            found.append((one.name, one.settings, _planned((own, written_at))))
        except InferbudgetError as error:
            found.append((one.name, one.settings, Refused(error)))
    return compared(found)


def _draw(found: Comparison, question: Asked) -> None:
    for place, column in zip(st.columns(len(found.columns)), found.columns, strict=True):
        with place.container(border=True):
            _card(column)
    if found.base and found.several:
        st.caption(
            f"Differences are against {code(found.base.name)}, in colour where their 95 % interval "
            "leaves no doubt."
        )
    figures = figure_rows(found, code)
    by_class = accuracy_rows(found, code)
    _table("What differs", found, [row for row in figures if row.differs])
    if found.base is None:
        return
    _outcomes(found)
    if found.several:
        _answers(found, question)
        _table("Accuracy by class, where it differs", found, [r for r in by_class if r.differs])
    with st.expander(same_title(found), expanded=not found.several):
        same = [row for row in figures if not row.differs]
        _table(same_title(found), found, same, titled=False)
    st.caption(READING)


def _card(column: Column) -> None:
    """A scenario's figures with what they differ by, or why it has none and what would help."""
    st.markdown(f"**{code(column.name)}**")
    one = column.found
    if isinstance(one, Refused):
        st.error(prose(str(one.error)), icon=":material/block:")
        if isinstance(one.error, UnprovenError):
            st.caption(f"It had {TIME_LIMIT_S:g} seconds; its command below takes `--time-limit`.")
            st.button("Try again", key=f"again {column.name}", on_click=_planned.clear)
        for suggested in one.fixes:
            st.button(
                f"Move {code(suggested.limit)} to {in_words(suggested.limit, suggested.value)}",
                key=f"fix {column.name} {suggested.limit}",
                on_click=fix,
                args=(column.name, suggested.settings),
                help="Sets it in this scenario; all its other limits then hold.",
            )
        return
    against, expected, promised = column.against, one.rung.expected, one.rung.promised
    rests = f"{one.profile.queries:,} queries, {', '.join(one.evidence)}."
    _metric(
        "Accuracy",
        per_cent(expected.accuracy),
        f"{_promise(one, 'At least', per_cent(promised.accuracy))} {rests}",
        (against.accuracy, points_change(against.accuracy)) if against else None,
        lower_is_better=False,
    )
    usd = scaled(against.usd_per_request, REQUESTS) if against else None
    _metric(
        f"USD per {REQUESTS:,} requests",
        thousand(expected.cost_usd_per_request),
        f"{_promise(one, 'At most', thousand(promised.cost_usd_per_request))} {rests} Dollars are "
        f"{prices_of(one, code)}." + (f" Difference: {usd_words(usd)}." if usd else ""),
        (usd, usd_change(usd)) if usd else None,
    )
    _metric(
        "p95 latency",
        p95_words(one, expected.latency_p95_s),
        f"{_tail_promise(one)} {rests}",
        (against.latency_p95_s, seconds_change(against.latency_p95_s)) if against else None,
    )
    st.caption("What binds: " + (", ".join(map(code, one.binding)) or "no limit"))


def _promise(one: Planned, side: str, promised: str) -> str:
    level = one.plan.confidence
    if level is None:
        return "A point estimate: nothing is promised."
    return f"{side} {promised} is promised with {100 * level:g} % confidence."


def _tail_promise(one: Planned) -> str:
    promised = one.rung.promised.latency_p95_s
    if promised is None and one.plan.confidence is not None:
        return f"Promised: {p95_words(one, None)}."
    return _promise(one, "At most", p95_words(one, promised))


def _metric(
    label: str,
    value: str,
    about: str,
    change: tuple[Change, str] | None,
    *,
    lower_is_better: bool = True,
) -> None:
    """A figure, its change in the colour of good or bad only where the interval leaves no doubt."""
    if change is None:
        st.metric(label, value, help=about)
        return
    low, high = change[0].low, change[0].high
    sure = low is not None and high is not None and (low > 0 or high < 0)
    st.metric(
        label,
        value,
        change[1],
        delta_color=("inverse" if lower_is_better else "normal") if sure else "off",
        delta_arrow="auto" if change[0].change else "off",
        help=about,
    )


def _outcomes(found: Comparison) -> None:
    rows = [
        {
            "name": column.name,
            "cost": REQUESTS * expected.cost_usd_per_request,
            "promised_cost": REQUESTS * (promised.cost_usd_per_request or 0.0),
            "accuracy": 100 * expected.accuracy,
            "promised_accuracy": 100 * promised.accuracy,
        }
        for column in found.columns
        if column.planned
        for expected, promised in [(column.planned.rung.expected, column.planned.rung.promised)]
        if expected.cost_usd_per_request is not None
    ]
    if not rows:
        return
    st.subheader("What each costs and gets right")
    st.altair_chart(
        outcomes_chart(rows),
        key="outcomes",
        alt="Accuracy against spend, a named point a scenario; lines lead to what is promised. "
        + " ".join(
            f"{row['name']}: {row['accuracy']:.1f} % for {row['cost']:.4g} USD per 1,000 requests."
            for row in rows
        ),
    )


def _answers(found: Comparison, question: Asked) -> None:
    """Who answers, in the classes where that differs: a picture of the first, a table of all."""
    classes = shares(found)
    differ = [one for one in classes if one.differ]
    alike = len(classes) - len(differ)
    st.subheader("Who answers, where it differs")
    if alike:
        st.caption(
            f"{alike} {'class is' if alike == 1 else 'classes are'} answered alike in all plans."
        )
    if not differ:
        return
    drawn = differ[: _MOST_BARS // len(found.columns)]
    bars = [
        {"class": one.class_name, "scenario": column.name, "strategy": text, "share": share}
        for one in drawn
        for place, column in enumerate(found.columns)
        for text, parts in one.by_strategy.items()
        if (share := parts[place])
    ]
    used = {text for one in drawn for text in one.by_strategy}
    st.altair_chart(
        shares_chart(bars, strategy_colours({*question.found.question.profile.strategies, *used})),
        key="shares",
        alt="Bars of the share of a class that each strategy answers, a bar for every class and "
        "scenario, parts numbered as in the key. The table below has the same figures.",
    )
    if len(drawn) < len(differ):
        st.caption(f"The picture has the {len(drawn)} classes with most moved traffic.")
    rows = share_rows(found, differ, code)
    with st.expander("The shares as a table", expanded=len(rows) <= _MOST_ROWS):
        _table("Who answers", found, rows, ("class", "strategy"), titled=False)


def _table(
    about: str,
    found: Comparison,
    rows: Sequence[Row],
    head: tuple[str, ...] = ("figure",),
    *,
    titled: bool = True,
) -> None:
    """Rows with a column for every scenario; below a row what differs from the first plan."""
    if not rows:
        return
    if titled:
        st.subheader(about)
    header = (*head, *(code(column.name) for column in found.columns))
    base = code(found.base.name) if found.base else ""
    lines = []
    for row in rows:
        lines.append((*row.head, *row.cells))
        if row.against:
            lines.append((f"against {base}", *("" for _ in row.head[1:]), *row.against))
    draw_table(
        st.container(),
        lines,
        header,
        alt=f"{about}: a row for each {' and '.join(head)}, a column for every scenario.",
        command="inferbudget compare",
    )


def _commands(view: View, chosen: Sequence[Scenario]) -> None:
    """What answers the same on the command line."""
    st.subheader("Take it away")
    bare = View(view.spec, view.store)
    names = [word for one in chosen for word in ("--scenario", one.name)]
    words = shlex.join(["--scenarios", "scenarios.yaml", *names])
    st.caption("All of them, from the file that you can download above:")
    st.code(f"{bare.command('compare')} {words}", language=None, wrap_lines=True)
    for one in chosen:
        st.caption(f"The plan of {code(one.name)}:")
        own = View(view.spec, view.store, one.settings)
        st.code(own.command("plan"), language=None, wrap_lines=True)
