"""From files to plans: the steps that the command line and the pages share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from profiles.errors import InputError
from profiles.profile import Profile

if TYPE_CHECKING:
    from planner.planner import Planner
    from planner.spec import Spec


@dataclass(frozen=True)
class Question:
    """A spec with the profile it is asked of.

    Attributes:
        spec: The spec as written.
        profile: Measured cells, sorted by the classes that the spec names.
        base: Folder that paths in the spec are relative to.
        estimator: The difficulty graph, None for labels.
    """

    spec: Spec
    profile: Profile
    base: Path
    estimator: Path | None

    def planner(self) -> Planner:
        """A planner over this profile, built once and solved many times."""
        from planner.planner import Planner

        return Planner(self.profile, self.spec)


def open_profile(
    store_path: Path, workload: str, classes: Path | None, latency_limits: tuple[float, ...] = ()
) -> Profile:
    """The profile of a workload, by the classes of a difficulty graph or by labels."""
    from profiles.store.store import Store

    if not store_path.exists():
        raise InputError(
            "there is no profile store here",
            where=str(store_path),
            next_step="fill one with 'inferbudget profile import' or 'profile measure'",
        )
    digest = names = None
    if classes:
        from profiles.difficulty.graph import read_facts

        facts = read_facts(classes)
        digest, names = facts.digest, facts.class_names
    with Store.open(store_path, read_only=True) as store:
        return store.profile(
            workload, estimator_digest=digest, class_names=names, latency_limits=latency_limits
        )


def ask(spec_path: Path, store_path: Path) -> Question:
    """Read a spec and the profile that it is about."""
    from planner.spec import read_spec

    spec = read_spec(spec_path)
    base = spec_path.parent
    estimator = None if spec.classes == "label" else base / spec.classes
    if estimator and not estimator.exists():
        raise InputError(
            "the difficulty graph does not exist",
            where=f"{spec_path}: classes",
            expected="a path relative to the spec, or 'label'",
            got=spec.classes,
            next_step="write it with 'inferbudget difficulty fit -o ...'",
        )
    limits = (spec.limits.latency.p95_s,) if spec.limits.latency else ()
    return Question(
        spec, open_profile(store_path, spec.workload, estimator, limits), base, estimator
    )
