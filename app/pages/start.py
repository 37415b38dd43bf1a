"""Start: what this is, what is open, what its plan is, and which page answers which question."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import streamlit as st

from app import example
from app.asking import solving
from app.figures import OBJECTIVES, evidence_words, number, price_words, prose
from app.opened import keep, opened, own
from app.uploads import KEPT_S, MOST_MIB, SUFFIXES, Dropped, take
from app.views import View, shown
from planner.limit_names import SPEND, in_words
from policies.report_layout import code
from profiles.errors import InfeasibleError, InferbudgetError

if TYPE_CHECKING:
    from streamlit.navigation.page import StreamlitPage

    from app.solving import Solving
    from app.uploads import Own
    from planner.plan import Rung
    from profiles.profile import Profile

_INTRODUCTION = (
    "Some requests need a large model and many tries, most do not. inferbudget measures what each "
    "way of answering costs and how often it is right, plans how much every kind of request "
    "deserves within your limits, and enforces that plan in front of your models. Here you ask "
    "what other limits would mean: every figure is the planner's own, and every page has the "
    "command that prints it."
)
_QUESTIONS = (
    ("what-if", "What would more accuracy cost, 90 % for example?"),
    ("sensitivity", "Which limit binds, and what would change the plan?"),
    ("profiles", "What should be measured next?"),
    ("policy-diff", "What changed since last week's policy?"),
    ("ledger", "When does the money run out?"),
)
_NAMES = 12
"""Classes and limits that are listed by name."""
_DROPPED, _REFUSED = "dropped files", "refused files"


def page(others: Sequence[StreamlitPage]) -> None:
    """Draw the page.

    Args:
        others: The other pages, to link to.
    """
    st.title("How much compute does each request deserve?")
    st.markdown(_INTRODUCTION)
    found = _found()
    if found is not None:
        _plan(found)
    _questions(others)
    if found is not None:
        _what_is_open(found)
    _own_files()


def _found() -> Solving | None:
    """What is open, asked as its spec asks; None where it cannot be read, which is said."""
    try:
        return solving(View(*opened()))
    except InferbudgetError as error:
        st.error(prose(str(error)), icon=":material/error:")
        return None


def _plan(found: Solving) -> None:
    st.subheader("The plan")
    try:
        st.markdown(_in_one_line(found, found.rung({})))
    except InfeasibleError as error:
        st.error(
            f"No plan keeps the limits of this spec.\n\n{prose(str(error))}\n\nThe page What-if "
            "moves them.",
            icon=":material/block:",
        )
    except InferbudgetError as error:
        st.error(prose(str(error)), icon=":material/error:")


def _in_one_line(found: Solving, rung: Rung) -> str:
    """Expectation and promise, and what they rest on."""
    expected, promised = rung.expected, rung.promised
    level = found.question.spec.level
    usd = number(expected.cost_usd_per_request, 1000)
    line = f"**Accuracy {expected.accuracy:.1%} for {usd} USD per 1,000 requests.** "
    queries = found.question.profile.queries
    if level is None:
        return f"{line}Point estimates from {queries:,} queries: nothing is promised."
    return (
        f"{line}Promised with {100 * level:g} % confidence, from {queries:,} queries: at least "
        f"{promised.accuracy:.1%}, for at most {number(promised.cost_usd_per_request, 1000)} USD."
    )


def _questions(others: Sequence[StreamlitPage]) -> None:
    st.subheader("What would you like to know?")
    known = {other.url_path: other for other in others}
    for path, text in _QUESTIONS:
        if path in known:
            st.page_link(
                known[path],
                label=text,
                icon=":material/arrow_forward:",
                help=f"The page {known[path].title}.",
            )


def _what_is_open(found: Solving) -> None:
    st.subheader("What is open")
    if example.is_example(found.view.spec):
        st.info(example.ABOUT, icon=":material/science:")
        st.download_button(
            "Download these measurements",
            example.ARCHIVE.read_bytes,
            "inferbudget-example.zip",
            "application/zip",
            on_click="ignore",
            help="Spec, prices, profile store and difficulty graph: what the commands on the pages "
            "name.",
        )
    st.markdown("\n".join(f"- {fact}" for fact in _facts(found)))


def _facts(found: Solving) -> Iterator[str]:
    """Markdown, a line each."""
    asked_of, view = found.question, found.view
    spec, profile = asked_of.spec, asked_of.profile
    asks = OBJECTIVES[spec.objective]
    yield f"Spec {code(shown(view.spec))} asks for {asks}; {_limits(found)}"
    yield (
        f"Store {code(shown(view.store))}: workload {code(profile.workload)}, "
        f"{profile.queries:,} queries in {len(profile.strategies)} strategies{_until(profile)}"
    )
    yield f"Evidence: {evidence_words(profile.cells.values())}"
    names = ", ".join(code(name) for name in profile.classes[:_NAMES])
    more = len(profile.classes) - _NAMES
    yield f"{len(profile.classes)} classes, {_sorted_by(found)}: {names}" + (
        f" and {more} more" if more > 0 else ""
    )
    yield f"Prices: {price_words(profile.cells.values(), asked_of.prices)}"


def _limits(found: Solving) -> str:
    limits = found.limits.values
    named = [f"{code(name)} {_limit(name, value)}" for name, value in limits.items()]
    more = [f"{len(named) - _NAMES} more"] if len(named) > _NAMES else []
    return f"limits: {', '.join([*named[:_NAMES], *more])}" if named else "it has none"


def _limit(name: str, value: float) -> str:
    if name == SPEND:
        return f"{number(value, 1000)} USD per 1,000"
    return in_words(name, value)


def _until(profile: Profile) -> str:
    times = [cell.observed_until for cell in profile.cells.values() if cell.observed_until]
    return f", the newest row of {max(times):%Y-%m-%d}" if times else ""


def _sorted_by(found: Solving) -> str:
    graph = found.question.estimator
    return f"predicted by {code(graph.name)}" if graph else "by labels of the data"


def _own_files() -> None:
    """Drop a spec and a store; they are opened in this session alone."""
    st.subheader("Your own files")
    refused = st.session_state.pop(_REFUSED, None)
    if refused:
        st.error(prose(refused), icon=":material/error:")
    with st.form("own files form", clear_on_submit=True):
        st.file_uploader(
            "Spec and profile store",
            type=list(SUFFIXES),
            accept_multiple_files=True,
            key=_DROPPED,
            max_upload_size=MOST_MIB,
            help="A spec (.yaml), a profile store (.duckdb), or both, with the difficulty graph "
            "(.onnx) and the price card (.yaml) that the spec names. A store that comes alone is "
            "asked for the most accurate plan.",
        )
        st.form_submit_button("Open these files", on_click=_open)
    st.caption(
        f"At most {MOST_MIB} MiB a file. They are open for you alone and deleted when you close "
        f"the page, after {KEPT_S / 3600:g} hours at the latest. Commands on the pages call them "
        "`spec.yaml` and `profiles.duckdb`. A policy is dropped on the page Policy diff."
    )
    if _has_own():
        st.button(
            "Close them",
            on_click=_start_over,
            args=(None,),
            help="Deletes them, and opens again what the app was started with.",
        )


def _has_own() -> bool:
    try:
        return own() is not None
    except InferbudgetError:
        return False


def _open() -> None:
    files = st.session_state.get(_DROPPED) or []
    try:
        found = take([Dropped(file.name, file.getvalue()) for file in files])
    except InferbudgetError as error:
        st.session_state[_REFUSED] = str(error)
        return
    _start_over(found)


def _start_over(files: Own | None) -> None:
    """Another question: limits and choices that were made for the last one mean nothing to it."""
    keep(None)
    st.session_state.clear()
    st.query_params.clear()
    keep(files)
