"""A view: what is asked of which files, exactly as the command line asks it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

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
        """The question with its profile, as `inferbudget plan` asks it."""
        from app.planning import ask

        return ask(self.spec, self.store, self.settings)

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
        files = [_shown(self.spec), "--profiles", _shown(self.store)]
        return shlex.join(["inferbudget", *words, *files, *sets])


def _shown(path: Path) -> str:
    """A path as people type it where the app was started."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
