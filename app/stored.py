"""What a store holds of one workload: what `inferbudget profile show` prints and a page draws."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from profiles.aggregate import Aggregate
    from profiles.money import PriceCard
    from profiles.profile import Profile


@dataclass(frozen=True, slots=True)
class Stored:
    """A workload's profile and where its published cells come from.

    Attributes:
        profile: All cells, those of an unknown number of queries too.
        publications: Sources of its published cells.
        set_aside: Published means that are no cell: their class is none of the profile's.
    """

    profile: Profile
    publications: tuple[str, ...]
    set_aside: tuple[Aggregate, ...]


def workloads(store_path: Path) -> list[str]:
    """Names of all workloads of a store, sorted; empty where it has none.

    Raises:
        InputError: There is no such store.
    """
    from profiles.store.store import Store

    with Store.open(store_path, read_only=True) as store:
        return store.workloads()


def read_stored(
    store_path: Path,
    workload: str,
    classes: Path | None,
    *,
    prices: PriceCard | None = None,
    concurrency: int | None = None,
) -> Stored:
    """Read a workload by the classes of a difficulty graph or by labels.

    Raises:
        InputError: There is no such store or workload, or some of its queries have no class.
    """
    from app.planning import build_profile
    from profiles.store.store import Store

    with Store.open(store_path, read_only=True) as store:
        profile = build_profile(
            store,
            workload,
            classes,
            prices=prices,
            concurrency=concurrency,
            caps=True,
            unsized=True,
        )
        published = store.aggregates(workload)
    used: list[Aggregate] = []
    unused: list[Aggregate] = []
    for found in published:
        has_cell = (found.class_name, found.strategy) in profile.cells
        (used if has_cell else unused).append(found)
    sources = dict.fromkeys(found.source for found in used)
    return Stored(profile, tuple(sources), tuple(unused))
