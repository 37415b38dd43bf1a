"""Which part of the opened store a page shows: a workload, sorted into classes."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from app.asking import Asked, asked
from app.figures import prose
from app.opened import opened
from app.stored import Stored, read_stored, workloads
from app.views import shown
from policies.report_layout import code
from profiles.errors import InferbudgetError

if TYPE_CHECKING:
    from planner.spec import Spec

Changed = tuple[int, ...]
Key = tuple[str | int, ...]
_LABELS, _GRAPH = "labels of the data", "the spec's difficulty graph"


@dataclass(frozen=True, slots=True)
class Chosen:
    """A workload of the opened store.

    Attributes:
        spec_path: The opened spec.
        store_path: The opened store.
        spec: The spec as written; None where it cannot be read.
        workload: Its name in the store.
        classes: The difficulty graph that sorts it, None for labels.
        stored: What the store holds of it.
    """

    spec_path: Path
    store_path: Path
    spec: Spec | None
    workload: str
    classes: Path | None
    stored: Stored

    @property
    def key(self) -> Key:
        """What caches of this workload's figures go by: the files, and when they changed last."""
        files = (self.store_path, self.classes)
        return (*map(str, files), self.workload, *changed(*files))

    def command(self, *words: str) -> str:
        """The command line that prints the same: `profile show` with these words, and the like."""
        head, *more = words
        about = ["--profiles", shown(self.store_path), "--workload", self.workload]
        if self.classes:
            about += ["--classes", shown(self.classes)]
        return shlex.join(["inferbudget", "profile", head, *about, *more])


def chosen() -> Chosen | None:
    """Draw the choice and read what it names; None where nothing can be read, which is said."""
    try:
        spec_path, store_path = opened()
        names = _workloads(store_path, changed(store_path))
    except InferbudgetError as error:
        st.error(prose(str(error)))
        return None
    if not names:
        _say_empty(store_path)
        return None
    spec = _spec(spec_path)
    workload, classes = _choice(spec_path, spec, names)
    try:
        stored = _stored(store_path, workload, classes, changed(store_path, classes))
    except InferbudgetError as error:
        st.error(prose(str(error)))
        return None
    return Chosen(spec_path, store_path, spec, workload, classes, stored)


def spec_question(chosen: Chosen) -> Asked | None:
    """The spec's question with the sidebar's limits; None where it is not about what is chosen."""
    if chosen.spec is None:
        st.info("This needs a spec that can be read: mend it, then reload.")
        return None
    if chosen.spec.workload != chosen.workload:
        st.info(
            f"The opened spec is about {code(chosen.spec.workload)}. Choose that workload above, "
            f"or open a spec of {code(chosen.workload)}: `inferbudget app SPEC --profiles STORE`."
        )
        return None
    return asked()


def changed(*paths: Path | None) -> Changed:
    """When files changed last, nanoseconds; 0 for one that does not exist."""
    return tuple(path.stat().st_mtime_ns if path and path.exists() else 0 for path in paths)


def _say_empty(store_path: Path) -> None:
    st.info(
        "This store is empty: it holds no workload yet. Fill it with one of these, then reload."
    )
    name = shlex.quote(shown(store_path))
    st.code(
        f"inferbudget profile import OUTCOMES --profiles {name} --workload NAME "
        "--evidence measured\n"
        f"inferbudget profile measure TASKS --profiles {name} --workload NAME --endpoint URL",
        language=None,
        wrap_lines=True,
    )


def _spec(spec_path: Path) -> Spec | None:
    """The opened spec; the page does without one that cannot be read, and says so."""
    from planner.spec import read_spec

    try:
        return read_spec(spec_path)
    except InferbudgetError as error:
        st.warning(
            f"The spec cannot be read; what the store holds is shown without it.\n\n"
            f"{prose(str(error))}"
        )
    return None


def _choice(spec_path: Path, spec: Spec | None, names: list[str]) -> tuple[str, Path | None]:
    """A workload of the store and what sorts it; the spec's where it has them."""
    asked = spec.workload if spec else None
    if asked is not None and asked not in names:
        st.warning(f"The spec is about {code(asked)}, which this store does not hold.")
    left, right = st.columns(2)
    workload = left.selectbox(
        "Workload",
        names,
        index=names.index(asked) if asked in names else 0,
        key="workload",
        bind="query-params",
        persist_state="session",
        help=f"Traffic that outcomes were recorded for; this store holds {len(names)}.",
    )
    if spec is None or spec.classes == "label" or workload != asked:
        return workload, None
    sorted_by = right.selectbox(
        "Classes from",
        [_GRAPH, _LABELS],
        key="classes",
        bind="query-params",
        persist_state="session",
        help="A difficulty graph sorts requests as the runtime will; labels came with the data.",
    )
    return workload, spec_path.parent / spec.classes if sorted_by == _GRAPH else None


@st.cache_resource(show_spinner=False, max_entries=16)
def _workloads(store_path: Path, changed: Changed) -> list[str]:  # noqa: ARG001 - in the key
    return workloads(store_path)


@st.cache_resource(show_spinner="Reading the profile", max_entries=8)
def _stored(
    store_path: Path,
    workload: str,
    classes: Path | None,
    changed: Changed,  # noqa: ARG001 - in the key
) -> Stored:
    return read_stored(store_path, workload, classes)
