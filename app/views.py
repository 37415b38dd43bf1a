"""A view: what is asked of which files, exactly as the command line asks it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from app.scratch import is_scratch
from profiles.errors import InputError
from profiles.visible import quoted

if TYPE_CHECKING:
    from app.planning import Question
    from planner.spec import Spec


@dataclass(frozen=True, slots=True)
class View:
    """A spec, a store, and what is set over the spec.

    Attributes:
        spec: The spec's file.
        store: The profile store.
        settings: ``limits.accuracy.overall=0.9`` and the like, as `--set` takes them.
    """

    spec: Path
    store: Path
    settings: tuple[str, ...] = ()

    def ask(self) -> Question:
        """The question with its profile, as `inferbudget plan` asks it.

        Raises:
            InferbudgetError: As the command says it; or a setting names a file. Settings come from
                whoever opens a page, and files from whoever started the app.
        """
        from app.planning import ask

        self._refuse_other_files()
        return ask(self.spec, self.store, self.settings)

    def _refuse_other_files(self) -> None:
        from planner.spec import read_spec

        if not self.settings:
            return
        own = files_of(read_spec(self.spec))
        for key, name in files_of(read_spec(self.spec, self.settings)).items():
            if own.get(key) != name:
                raise InputError(
                    "a page opens no other files than its spec does",
                    where=f"--set {key}",
                    expected=f"{own.get(key, 'no file')}, as the spec has it",
                    got=quoted(name),
                    next_step=f"change {key} in the spec itself, or ask on the command line",
                )

    def moved(self, spec: Spec, limits: Mapping[str, float | None]) -> View:
        """The same view with limits at other values.

        Args:
            spec: The view's own, read.
            limits: By name; None takes a limit away.
        """
        from planner.moving import moved

        more = [text for name, value in limits.items() for text in moved(spec, name, value)]
        return replace(self, settings=(*self.settings, *more))

    def command(self, *words: str) -> str:
        """The command line that answers the same, e.g. of ``plan`` or ``plan explain``."""
        sets = [word for text in self.settings for word in ("--set", text)]
        files = [shown(self.spec), "--profiles", shown(self.store)]
        return shlex.join(["inferbudget", *words, *files, *sets])


def files_of(spec: Spec) -> dict[str, str]:
    """Paths of the files that a spec names, by its keys."""
    named = {"classes": spec.classes if spec.classes != "label" else None, "prices": spec.prices}
    return {key: name for key, name in named.items() if isinstance(name, str)}


def shown(path: Path) -> str:
    """A path as people type it where the app was started; of a temporary file its name."""
    if is_scratch(path):
        return path.name
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
