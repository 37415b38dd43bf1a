"""Which spec and store the app is about: told by the environment, the demo's by default."""

from __future__ import annotations

import os
from pathlib import Path

from profiles.errors import InputError

SPEC, STORE = "INFERBUDGET_SPEC", "INFERBUDGET_PROFILES"
DEMO = Path("demo/out")


def environment(spec: Path | None, store: Path | None) -> dict[str, str]:
    """The variables that tell the app's process what to open.

    Raises:
        InputError: Nothing was named and the demo has not run here.
    """
    spec = spec or DEMO / "spec.yaml"
    store = store or spec.parent / "profiles.duckdb"
    for path, name in ((spec, "a spec"), (store, "a profile store")):
        if not path.exists():
            raise InputError(
                "there is nothing to open",
                where=str(path),
                expected=name,
                next_step="run 'make demo', or name them: inferbudget app SPEC --profiles STORE",
            )
    return {SPEC: str(spec.resolve()), STORE: str(store.resolve())}


def opened() -> tuple[Path, Path]:
    """Spec and store of this app."""
    named = dict(os.environ)
    if SPEC not in named or STORE not in named:
        named = environment(None, None)
    return Path(named[SPEC]), Path(named[STORE])
