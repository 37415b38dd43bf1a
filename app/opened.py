"""What the app is about: told by the environment, or dropped into a session; else the demo's."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from app import example, uploads
from profiles.errors import InputError

if TYPE_CHECKING:
    from app.uploads import Own

SPEC, STORE = "INFERBUDGET_SPEC", "INFERBUDGET_PROFILES"
POLICIES, LEDGER = "INFERBUDGET_POLICIES", "INFERBUDGET_LEDGER"
DEMO = Path("demo/out")
_OWN = "own files"


def environment(
    spec: Path | None, store: Path | None, policies: Sequence[Path] = (), ledger: str | None = None
) -> dict[str, str]:
    """The variables that tell the app's process what to open.

    An address can hold a password, so it is told in no other way.

    Args:
        spec: None for the demo's, or the example's where the demo has not run here.
        store: None for the one beside the spec.
        policies: Policy files to compare.
        ledger: Address of a ledger store, or the http(s) address of a gateway.

    Raises:
        InputError: A file is not there, or a store was named without a spec.
    """
    found: dict[str, str] = {}
    if spec is None and store is None and (DEMO / "spec.yaml").exists():
        spec = DEMO / "spec.yaml"
    if spec is None and store is not None:
        raise InputError(
            "a store alone is no question",
            where=str(store),
            expected="a spec too",
            next_step="name it: inferbudget app SPEC --profiles STORE",
        )
    if spec is not None:
        store = store or spec.parent / "profiles.duckdb"
        _require(spec, "a spec")
        _require(store, "a profile store")
        found |= {SPEC: str(spec.resolve()), STORE: str(store.resolve())}
    if policies:
        found[POLICIES] = os.pathsep.join(str(path.resolve()) for path in policies)
    if ledger:
        found[LEDGER] = ledger
    return found


def opened() -> tuple[Path, Path]:
    """Spec and store of this session.

    Raises:
        InputError: They are not there, or not any more.
    """
    dropped = own()
    if dropped is None:
        return _named()
    return dropped.spec, dropped.store or _named()[1]


def policies() -> tuple[Path, ...]:
    """Policy files that the app was started with, in the order given."""
    return tuple(Path(name) for name in os.environ.get(POLICIES, "").split(os.pathsep) if name)


def ledger() -> str | None:
    """The ledger's address as it was given, password and ``${NAME}`` and all; show it nowhere."""
    return os.environ.get(LEDGER, "").strip() or None


def own() -> Own | None:
    """What this session dropped.

    Raises:
        InputError: It was deleted meanwhile; the next call answers None.
    """
    found: Own | None = st.session_state.get(_OWN)
    if found is None:
        return None
    _present(str(found.folder))
    if not found.is_there:
        keep(None)
        raise InputError(
            "the files that you dropped are no longer kept",
            where="this session",
            next_step="drop them again on the page Start; until then the page shows what the app "
            "was started with",
        )
    return found


def keep(files: Own | None) -> None:
    """Open these in this session; None opens again what the app was started with."""
    last: Own | None = st.session_state.get(_OWN)
    if last is not None:
        uploads.delete(last.folder)
    st.session_state[_OWN] = files


@st.cache_resource(
    scope="session", show_spinner=False, on_release=lambda folder: uploads.leave(Path(folder))
)
def _present(folder: str) -> str:
    """Streamlit forgets it when the visitor's connection ends, and asks again when it is back."""
    uploads.stay(Path(folder))
    return folder


def _named() -> tuple[Path, Path]:
    named = dict(os.environ)
    if SPEC not in named or STORE not in named:
        spec = named.get(SPEC)
        named = environment(Path(spec) if spec else None, None)
    if not named:
        return example.unpacked()
    return Path(named[SPEC]), Path(named[STORE])


def _require(path: Path, what: str) -> None:
    if not path.is_file():
        raise InputError(
            "there is nothing to open",
            where=str(path),
            expected=what,
            next_step="name a file that is there: inferbudget app SPEC --profiles STORE",
        )
