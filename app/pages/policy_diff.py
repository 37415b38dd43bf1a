"""Policy diff: what one policy means in another's place, and which traffic it moves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from app.asking import Asked, asked, solved
from app.figures import prose
from app.moved_traffic import draw_traffic
from app.opened import policies
from app.policy_sources import MOST_MIB, Source, commands, of_bytes, of_file, of_view
from app.tables import draw_table
from app.views import View, shown
from policies.diff_report import Difference, headline, markdown, sections
from policies.report_layout import MARKDOWN, code, unpiped
from profiles.errors import InferbudgetError
from profiles.visible import escaped_lines

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

    from policies.policy import Policy

THIS_VIEW = "The plan of this view"
AS_WRITTEN = "The spec as it is written"
DROPPED = "A file of your own"
_HELP = (
    "A policy that the app was opened with, what `inferbudget compile` makes of the plan under the "
    "limits in the sidebar, the same without any change to the spec, or a policy.yaml of your own."
)


def page() -> None:
    """Draw the page."""
    st.title("Policy diff")
    st.caption(
        "What dollars, accuracy, p95 and promises become when the new policy takes the old one's "
        "place: the text that a pull request gets, and where traffic moves."
    )
    question = asked()
    files = {shown(path): path for path in policies()}
    offered = [*files, *([AS_WRITTEN, THIS_VIEW] if question else []), DROPPED]
    old, new = st.columns(2)
    first = _choice(old, "Old policy", "old_policy", offered, offered[0])
    second = _choice(
        new, "New policy", "new_policy", offered, THIS_VIEW if question else offered[:2][-1]
    )
    if THIS_VIEW in (first, second) and (question is None or solved(question) is None):
        return
    with old:
        before = _opened(first, "old_file", question, files)
    with new:
        after = _opened(second, "new_file", question, files)
    if before is None or after is None:
        return
    found = Difference.of(before.policy, after.policy)
    for caution in _cautions(before.policy, after.policy):
        st.warning(caution)
    if found.is_empty:
        st.success(
            "Nothing changed: both are the same policy. Move a limit in the sidebar, or choose "
            "another policy above.",
            icon=":material/check:",
        )
    else:
        _comment(found)
        draw_traffic(found, question.found.question.profile.strategies if question else ())
    _take_away(found, before, after)


def _choice(
    column: DeltaGenerator, label: str, key: str, offered: Sequence[str], start: str
) -> str:
    return column.selectbox(
        label, offered, offered.index(start), key=key, bind="query-params", help=_HELP
    )


def _opened(
    choice: str, key: str, question: Asked | None, files: Mapping[str, Path]
) -> Source | None:
    """What was chosen, with what it rests on; None where there is nothing, which is said."""
    try:
        found = _source(choice, key, question, files)
    except InferbudgetError as error:
        st.error(prose(str(error)))
        return None
    if found is None:
        st.info("Drop a policy.yaml, for example last week's: `git show HEAD~5:policy.yaml`.")
        return None
    st.caption(_basis(found.policy))
    return found


def _source(
    choice: str, key: str, question: Asked | None, files: Mapping[str, Path]
) -> Source | None:
    if choice in files:
        return _read(files[choice], choice, _changed(files[choice]))
    if question is None or choice == DROPPED:
        dropped = st.file_uploader(
            "policy.yaml",
            type=["yaml", "yml"],
            key=key,
            max_upload_size=MOST_MIB,
            help="It is compared, and forgotten with this session. The graph beside it is not "
            "needed.",
        )
        return _parsed(dropped.getvalue(), Path(dropped.name).name) if dropped else None
    view = question.view if choice == THIS_VIEW else replace(question.view, settings=())
    return _compiled(view, (_changed(view.spec), _changed(view.store)), question.found.named_at)


def _changed(path: Path) -> float:
    """When; a part of what is found in a cache, so that a file that changes is read again."""
    return path.stat().st_mtime if path.exists() else 0.0


@st.cache_resource(show_spinner="Reading the policy", max_entries=16)
def _read(path: Path, name: str, changed: float) -> Source:  # noqa: ARG001 -- the cache's key
    return of_file(path, name)


@st.cache_resource(show_spinner="Reading the policy", max_entries=4, scope="session")
def _parsed(content: bytes, name: str) -> Source:
    return of_bytes(content, name)


@st.cache_resource(show_spinner="Compiling the plan", max_entries=16, scope="session")
def _compiled(view: View, *changed: tuple[float, ...]) -> Source:  # noqa: ARG001 -- as above
    return of_view(view)


def _basis(policy: Policy) -> str:
    """What a policy's figures rest on; what its file does not say is said to be absent."""
    sizes = {cell.queries for entry in policy.strategies for cell in entry.by_class.values()}
    known = sorted(size for size in sizes if size is not None)
    counted = f"{known[0]:,} to {known[-1]:,} queries a cell" if known else "sizes not recorded"
    evidence = ", ".join(map(code, policy.provenance.evidence)) or "evidence not recorded"
    level = policy.confidence
    promised = f"promises hold with {100 * level:g} %" if level else "promises are point estimates"
    if policy.rungs[0].limits is None:
        promised = "promises not recorded"
    prices = f"prices of {policy.prices.as_of}" if policy.prices.as_of else "prices without a date"
    facts = (code(policy.workload), f"{counted} ({evidence})", promised, prices)
    return f"{'; '.join(facts)}; policy {code(policy.digest[:19])}"


def _cautions(before: Policy, after: Policy) -> Iterator[str]:
    """Why the two may not be alike."""
    if before.workload != after.workload:
        yield (
            f"These are policies for different workloads, {code(before.workload)} and "
            f"{code(after.workload)}: figures are compared all the same, but of other requests."
        )
    if before.provenance.estimator != after.provenance.estimator:
        yield (
            "The two sort requests into classes by different difficulty graphs: a class of the "
            "same name need not hold the same requests."
        )


def _comment(found: Difference) -> None:
    """The comment's own words; names in it stand as code, which is shown letter by letter."""
    st.subheader(headline(found))
    for section in sections(found, MARKDOWN):
        box = st.expander(section.title) if section.folded else st.container()
        if section.title and not section.folded:
            box.markdown(f"**{section.title}**")
        body = escaped_lines(section.body)
        if table := unpiped(body):
            header, *rows = table
            draw_table(box, rows, header, alt=section.title, command="inferbudget diff")
        else:
            box.markdown(body)


def _take_away(found: Difference, before: Source, after: Source) -> None:
    """The comment as a file, and the command that prints it."""
    st.subheader("Take it away")
    st.code(commands(before, after), language=None, wrap_lines=True)
    st.download_button(
        "Download the comment",
        lambda: _as_file(found),
        "policy-diff.md",
        "text/markdown",
        on_click="ignore",
        disabled=found.is_empty,
        help="The Markdown of a pull request's comment; nothing where nothing changed.",
    )


def _as_file(found: Difference) -> bytes:
    """As `inferbudget diff --format markdown` prints it."""
    return f"{markdown(found)}\n".encode()
