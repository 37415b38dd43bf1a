"""From files to plans: the steps that the command line and the pages share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from profiles.errors import InputError, UnknownValueError
from profiles.money import PriceCard
from profiles.profile import Profile

if TYPE_CHECKING:
    from planner.frontiers.hindsight import Hindsight
    from planner.planner import Planner
    from planner.sorting.cells_of_outcomes import Outcomes
    from planner.spec import Spec
    from profiles.aggregate import Aggregate
    from profiles.cells.by_query import QueryOutcomes
    from profiles.scaling.query_means import QueryMeans
    from profiles.store.store import Store


@dataclass(frozen=True)
class Question:
    """A spec with the profile it is asked of.

    Attributes:
        spec: The spec as written.
        profile: Measured cells, sorted by the classes that the spec names.
        base: Folder that paths in the spec are relative to.
        estimator: The difficulty graph, None for labels.
        prices: The spec's card, else what the store's cards say today.
    """

    spec: Spec
    profile: Profile
    base: Path
    estimator: Path | None
    prices: PriceCard

    def planner(self, time_limit_s: float | None = None) -> Planner:
        """A planner over this profile, built once and solved many times.

        Of the spec's fixed costs it pays the set that is cheapest for the spec's own traffic.

        Args:
            time_limit_s: Seconds that one answer may take, the planner's own limit where absent.
        """
        from planner.fees.fixed_costs import settled
        from planner.planner import TIME_LIMIT_S, Planner

        limit_s = TIME_LIMIT_S if time_limit_s is None else time_limit_s
        spec = settled(self.profile, self.spec, limit_s)
        return Planner(self.profile, spec, time_limit_s=limit_s)


def open_profile(store_path: Path, workload: str, classes: Path | None) -> Profile:
    """The profile of a workload, by the classes of a difficulty graph or by labels.

    Rows without dollars are priced by the cards that the store holds.
    """
    with _opened(store_path) as store:
        return build_profile(store, workload, classes)


def build_profile(
    store: Store,
    workload: str,
    classes: Path | None,
    *,
    prices: PriceCard | None = None,
    latency_limits: tuple[float, ...] = (),
    concurrency: int | None = None,
    caps: bool = False,
    groups: Sequence[str] = (),
    unsized: bool = False,
) -> Profile:
    """`Store.profile` by a difficulty graph's file or by labels, with cells by group of columns.

    Rows without dollars are priced by the card, else by what the store's cards say today.
    """
    from profiles.cells.by_group import with_groups
    from profiles.pricing.prices import rates_of

    digest = names = None
    if classes:
        from profiles.difficulty.graph import read_facts

        facts = read_facts(classes)
        digest, names = facts.digest, facts.class_names
    rates = rates_of(store, workload, prices)
    with store.reading() as execute:
        found = store.profile(
            workload,
            estimator_digest=digest,
            class_names=names,
            latency_limits=latency_limits,
            concurrency=concurrency,
            rates=rates,
            caps=caps,
            unsized=unsized,
        )
        return with_groups(execute, found, groups, rates=rates)


def _opened(store_path: Path) -> Store:
    from profiles.store.store import Store

    if not store_path.exists():
        raise InputError(
            "there is no profile store here",
            where=str(store_path),
            next_step="fill one with 'inferbudget profile import' or 'profile measure'",
        )
    return Store.open(store_path, read_only=True)


def ask(spec_path: Path, store_path: Path, settings: Sequence[str] = ()) -> Question:
    """Read a spec, with what is set over it, and the profile that it is about."""
    from planner.estimating.bounds import with_bounds
    from planner.spec import read_spec
    from profiles.pricing.prices import prices_of

    spec = read_spec(spec_path, settings)
    estimator = graph_of(spec, spec_path)
    with _opened(store_path) as store:
        prices = prices_of(store, spec.price_card(spec_path.parent))
        profile = build_profile(
            store,
            spec.workload,
            estimator,
            prices=prices,
            latency_limits=spec.latency_limits_s,
            caps=spec.caps is not None and spec.caps.by_prompt_length,
            groups=spec.groups,
            unsized=spec.level is None,
        )
    profile = with_bounds(profile, spec, prices)
    return Question(spec, profile, spec_path.parent, estimator, prices)


def graph_of(spec: Spec, spec_path: Path) -> Path | None:
    """The difficulty graph that a spec's classes come from, None for labels."""
    if spec.classes == "label":
        return None
    estimator = spec_path.parent / spec.classes
    if not estimator.exists():
        raise InputError(
            "the difficulty graph does not exist",
            where=f"{spec_path}: classes",
            expected="a path relative to the spec, or 'label'",
            got=spec.classes,
            next_step="write it with 'inferbudget difficulty fit -o ...'",
        )
    return estimator


def outcomes_by_level(
    store_path: Path, workload: str, classes: Path | None, prices: PriceCard | None = None
) -> tuple[dict[tuple[str, str], QueryMeans], list[Aggregate]]:
    """What the shapes of compute rest on: query means by (class, strategy), and published cells.

    Rows without dollars are priced by the card, else by what the store's cards say today.

    Raises:
        InputError: Nothing is stored for the workload.
    """
    from profiles.difficulty.graph import read_facts
    from profiles.pricing.prices import rates_of
    from profiles.scaling.query_means import query_means

    digest = read_facts(classes).digest if classes else None
    with _opened(store_path) as store:
        rates = rates_of(store, workload, prices)
        observed = query_means(store, workload, estimator_digest=digest, rates=rates)
        published = store.aggregates(workload)
    if not observed and not published:
        raise InputError(
            "nothing is stored for this workload",
            where=f"{store_path}, workload {workload}",
            next_step="import or measure some, or check the workload's name",
        )
    return observed, published


def outcomes_by_query(
    store_path: Path, spec: Spec, estimator: Path | None, base: Path, *, answers: bool = False
) -> QueryOutcomes:
    """The store's own outcomes of the spec's workload, query by query, of every strategy.

    With `answers` also what they are means of, and the groups that the spec's limits are about.
    """
    from profiles.cells.by_query import read_by_query
    from profiles.difficulty.graph import read_facts
    from profiles.pricing.prices import rates_of

    with _opened(store_path) as store:
        return read_by_query(
            store,
            spec.workload,
            estimator_digest=read_facts(estimator).digest if estimator else None,
            rates=rates_of(store, spec.workload, spec.price_card(base)),
            answers=answers,
            groups=spec.groups if answers else (),
        )


def prompts_by_query(store_path: Path, workload: str) -> dict[str, str]:
    """The prompt of every query that has one."""
    with _opened(store_path) as store:
        return store.prompts(workload)


def outcomes_under(
    found: QueryOutcomes, strategies: Sequence[str], grid_s: tuple[float, ...] = ()
) -> Outcomes:
    """The same queries under some of their strategies, given sorted.

    Args:
        found: From `outcomes_by_query`.
        strategies: Those that count.
        grid_s: Limits that cells count slow answers beyond, as in the profile.
    """
    from planner.sorting.cells_of_outcomes import Outcomes

    columns = [found.strategies.index(strategy) for strategy in strategies]
    return Outcomes(
        found.workload,
        tuple(strategies),
        found.scores[:, columns],
        found.costs[:, columns],
        found.answers and found.answers.under(columns, len(found.strategies)),
        grid_s,
        found.labels,
    )


def ask_in_hindsight(
    spec_path: Path, store_path: Path, points: int, settings: Sequence[str] = ()
) -> Hindsight:
    """The frontier over the store's own outcomes, query by query, for a spec's strategies and mix.

    Limits of the spec are left out: without them the bound can only be higher.
    """
    from planner.frontiers.hindsight import hindsight, weights_of
    from planner.spec import read_spec

    spec = read_spec(spec_path, settings)
    found = outcomes_by_query(store_path, spec, graph_of(spec, spec_path), spec_path.parent)
    used = sorted(set(spec.strategies or found.strategies))
    for strategy in used:
        if strategy not in found.strategies:
            raise UnknownValueError(
                "this strategy has no outcomes of single queries",
                where=f"{spec_path}: strategies: {strategy}",
                expected=f"one of {', '.join(found.strategies)}",
            )
    mix = spec.traffic.mix if spec.traffic else None
    weights = weights_of(found.class_names, mix)
    return hindsight(outcomes_under(found, used), points, weights)
