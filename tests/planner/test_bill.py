"""The promised bill: the noise of the estimates and of the judged requests, exact and in plans."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import Array, make_profile, make_spec, random_profile, shares, table

from planner.estimating.spending import Spending
from planner.explain import LimitsClashError
from planner.frontiers.frontier import frontier
from planner.limit_names import SPEND
from planner.limits import LimitSet
from planner.planner import Planner
from planner.programme.model import OBJECTIVE_SCALE, cost_unit
from planner.programme.question import Question, Solution
from planner.programme.session import Session
from planner.spec import Objective, Spec
from profiles.errors import InfeasibleError, UnprovenError
from profiles.profile import Profile

ACCURATE = Objective.MAXIMIZE_ACCURACY


def spread_out(profile: Profile, times: float) -> Profile:
    """The same profile with requests that cost their mean, give or take `times` as much."""
    cells = {
        key: replace(cell, cost_sd_usd=None if cell.cost_usd is None else times * cell.cost_usd)
        for key, cell in profile.cells.items()
    }
    return replace(profile, cells=cells)


def judged_on(requests: int, **keys: object) -> Spec:
    return make_spec(objective="maximize accuracy", traffic={"requests": requests}, **keys)


def asking(seed: int, requests: int, times: float, **keys: object) -> Planner:
    profile = random_profile(np.random.default_rng(seed), 3, 5, queries=300)
    return Planner(spread_out(profile, times), judged_on(requests, **keys))


def cheapest_usd(planner: Planner) -> float:
    return min(planner.accounts.bill.promised(x) for _, x in planner.singles())


def test_the_bill_is_what_simulated_requests_cost_at_most() -> None:
    rng = np.random.default_rng(1)
    profile = spread_out(random_profile(rng, 3, 4, queries=10**9), 1.5)
    planner = Planner(profile, judged_on(400))
    e = planner.estimates
    x = np.concatenate([rng.dirichlet(np.ones(4)) for _ in range(3)])
    worlds, requests = 4000, 400
    column = rng.choice(len(x), size=(worlds, requests), p=e.traffic_share * x)
    shape = 1 / 1.5**2  # of a gamma distribution with this spread
    bills = (rng.gamma(shape, size=column.shape) / shape * e.cost_usd[column]).mean(axis=1)
    promised = planner.accounts.bill.promised(x)
    assert promised == pytest.approx(bills.mean() + 1.6449 * bills.std(), rel=0.01)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1000), st.integers(20, 2000), st.floats(0.0, 4.0))
def test_the_linear_noise_is_exact_at_its_centre_and_nowhere_too_small(
    seed: int, requests: int, times: float
) -> None:
    planner = asking(seed, requests, times)
    bill, e = planner.accounts.bill, planner.estimates
    rng = np.random.default_rng(seed)
    at, other = (np.concatenate([rng.dirichlet(np.ones(5)) for _ in range(3)]) for _ in range(2))
    margin, share = bill.margin_around(at), e.traffic_share * e.cost_usd
    assert share @ at + margin.value(at) == pytest.approx(bill.promised(at), rel=1e-9)
    assert share @ other + margin.value(other) >= bill.promised(other) * (1 - 1e-9)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    requests=st.integers(50, 5000),
    times=st.floats(0.2, 3.0),
    low=st.floats(0.9, 4.0),
    more=st.floats(1.0, 3.0),
)
def test_every_plan_keeps_its_bill_and_more_money_never_buys_less(
    seed: int, requests: int, times: float, low: float, more: float
) -> None:
    planner = asking(seed, requests, times)
    usd = cheapest_usd(planner) * low
    worth = []
    for limit in (usd, usd * more):
        try:
            answer = planner.answer(ACCURATE, LimitSet({SPEND: limit}))
        except InfeasibleError:
            worth.append(-np.inf)
            continue
        assert planner.accounts.bill.promised(answer.x) <= limit * (1 + 1e-8)
        worth.append(answer.value)
    assert worth[1] >= worth[0] - 1e-5


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10_000), requests=st.integers(50, 5000), times=st.floats(0.2, 3.0))
def test_the_menu_makes_the_plan_feasible_and_little_less_does_not(
    seed: int, requests: int, times: float
) -> None:
    planner = asking(seed, requests, times)
    limits = LimitSet({"accuracy.overall": 0.5, SPEND: cheapest_usd(planner) / 2})
    with pytest.raises(LimitsClashError) as raised:
        planner.explained(limits)
    for name, value in raised.value.menu.items():
        answer = planner.answer(ACCURATE, limits.moved(name, value))
        assert planner.keeps(answer.x, limits.moved(name, value), 1e-7)
    if SPEND in raised.value.menu:
        assert not planner.feasible(limits.moved(SPEND, raised.value.menu[SPEND] * 0.998))


def _grid(classes: int, strategies: int, steps: int) -> Array:
    """Every allocation in steps, shape (allocations, classes * strategies)."""
    one = [
        parts
        for parts in itertools.product(range(steps + 1), repeat=strategies)
        if sum(parts) == steps
    ]
    return np.array([sum(rows, ()) for rows in itertools.product(one, repeat=classes)]) / steps


def _bills(grid: Array, planner: Planner, requests: int) -> Array:
    """The promised bills of many allocations, by the second moment of one request's dollars."""
    e = planner.estimates
    chance = grid * e.traffic_share
    mean = chance @ e.cost_usd
    variance = chance @ (e.cost_spread**2 + e.cost_usd**2) - mean**2
    margin = planner.accounts.bill.margin
    matrix = np.column_stack([margin.matrix.times(column) for column in np.eye(e.columns)])
    estimated = ((grid @ matrix.T) ** 2).sum(axis=1)
    return np.asarray(mean + margin.z * np.sqrt(estimated + variance / requests))


@pytest.mark.parametrize("requests", [100, 1000])
def test_small_plans_are_as_good_as_the_best_on_a_grid_that_keep_the_exact_bill(
    requests: int,
) -> None:
    grid = _grid(2, 3, 20)
    for seed in range(12):
        rng = np.random.default_rng(seed)
        profile = spread_out(random_profile(rng, 2, 3, queries=500), float(rng.uniform(0.3, 2.5)))
        planner = Planner(profile, judged_on(requests))
        e, bill, unit = planner.estimates, planner.accounts.bill, cost_unit(planner.estimates)
        spending = Spending(bill, unit)
        programme = planner.programme(LimitSet())
        session = Session(programme, {SPEND: spending.margin}, e.columns)
        bills = _bills(grid, planner, requests)
        accuracy = grid @ (e.traffic_share * e.accuracy)
        for share in (0.2, 0.5, 0.8):
            limit = float((1 - share) * bills.min() + share * bills.max())
            found = spending.solve(session, Question("accuracy", {SPEND: limit / unit}, {}))
            assert bill.promised(found.x[: e.columns]) <= limit
            assert -found.value / OBJECTIVE_SCALE >= accuracy[bills <= limit].max() - 1e-4


class Stopping:
    """A session whose clock runs out after so many solves."""

    def __init__(self, session: Session, solves: int) -> None:
        self._session = session
        self._left = solves

    def solve(self, question: Question) -> Solution:
        self._left -= 1
        return self._session.solve(question if self._left >= 0 else replace(question, until_s=0.0))


@pytest.mark.parametrize("solves", [1, 2, 3])
def test_out_of_time_the_best_plan_known_to_keep_the_bill_has_a_value_and_a_bound(
    solves: int,
) -> None:
    planner = asking(0, 300, 2.0)
    e, bill, unit = planner.estimates, planner.accounts.bill, cost_unit(planner.estimates)
    spending = Spending(bill, unit)
    session = Session(planner.programme(LimitSet()), {SPEND: spending.margin}, e.columns)
    question = Question("accuracy", {SPEND: 2.5 * cheapest_usd(planner) / unit}, {})
    proven = spending.solve(session, question).value
    with pytest.raises(UnprovenError) as raised:
        spending.solve(Stopping(session, solves), question)
    error = raised.value
    assert error.bound is not None
    assert error.bound <= proven * (1 - np.sign(proven) * 1e-9)
    assert (error.incumbent is None) == (solves == 1)
    assert error.incumbent is None or error.incumbent >= proven - 1e-7 * abs(proven)


def test_all_solves_behind_one_answer_share_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = spread_out(random_profile(np.random.default_rng(2), 6, 12, queries=300), 1.5)
    planner = Planner(profile, judged_on(500), time_limit_s=30.0)
    asked: list[float] = []
    solve = Session.solve

    def watched(session: Session, question: Question) -> Solution:
        asked.append(question.until_s)
        return solve(session, question)

    monkeypatch.setattr(Session, "solve", watched)
    planner.solve(usd_per_request=2.5 * cheapest_usd(planner))
    assert len(asked) > 3
    assert len(set(asked)) == 1
    assert np.isfinite(asked[0])


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_the_shadow_price_of_money_counts_the_noise_of_the_requests(seed: int) -> None:
    planner = asking(seed, 2000, 1.0)
    usd = 2.5 * cheapest_usd(planner)

    def worth(limit: float) -> float:
        return planner.answer(ACCURATE, LimitSet({SPEND: limit})).value

    price = planner.answer(ACCURATE, LimitSet({SPEND: usd})).shadow_prices[SPEND]
    step = 0.003 * usd
    assert price == pytest.approx((worth(usd + step) - worth(usd - step)) / (2 * step), rel=0.05)


@pytest.mark.parametrize("seed", range(8))
def test_beside_a_free_strategy_no_budget_is_too_small(seed: int) -> None:
    profile = spread_out(random_profile(np.random.default_rng(seed), 3, 5, queries=400), 1.0)
    free = profile.strategies[0]
    cells = {
        (name, strategy): replace(cell, cost_usd=0.0, cost_sd_usd=0.0) if strategy == free else cell
        for (name, strategy), cell in profile.cells.items()
    }
    planner = Planner(replace(profile, cells=cells), judged_on(50))
    limit = 0.02 * sorted(planner.accounts.bill.promised(x) for _, x in planner.singles())[1]
    spent = planner.solve(usd_per_request=limit).promised.cost_usd_per_request
    assert spent is not None
    assert spent <= limit * (1 + 1e-6)


def test_a_frontier_of_few_requests_rises_and_promises_more_dollars() -> None:
    few, many = (frontier(asking(4, requests, 1.0), points=8) for requests in (300, 10**9))
    for points in (few, many):
        assert [p.usd_per_request for p in points] == sorted(p.usd_per_request for p in points)
    assert few[0].promised_usd_per_request > many[0].promised_usd_per_request


WORLDS = 200


class _World:
    """Lognormal dollars with a spread of 0.5 to 2.7 times their mean, measured and then served."""

    def __init__(self, seed: int, queries: int) -> None:
        self._rng = np.random.default_rng(seed)
        self.truth = random_profile(self._rng, 3, 4)
        self._sigma = self._rng.uniform(0.5, 1.45, (3, 4))
        self._level = np.log(table(self.truth, "cost_usd")) - self._sigma**2 / 2
        noise = self._sigma[..., None] * self._rng.normal(size=(3, 4, queries))
        seen = np.exp(self._level[..., None] + noise)
        accuracy, weights = table(self.truth, "accuracy"), self.truth.weights
        profile = make_profile(accuracy, seen.mean(axis=2), queries=queries, weights=weights)
        spreads = zip(profile.cells.items(), seen.std(axis=2, ddof=1).ravel(), strict=True)
        cells = {key: replace(cell, cost_sd_usd=float(spread)) for (key, cell), spread in spreads}
        self.profile = replace(profile, cells=cells)

    def planner(self, requests: int) -> Planner:
        """Plans for so many requests, in a mix that is known."""
        mix = dict(zip(self.truth.classes, self.truth.weights, strict=True))
        traffic = {"requests": requests, "mix": mix}
        return Planner(self.profile, make_spec(objective="maximize accuracy", traffic=traffic))

    def served(self, x: Array, requests: int) -> float:
        """Mean dollars of so many requests under an allocation of shape (3, 4)."""
        chance = (np.array(self.truth.weights)[:, None] * x).ravel()
        cell = self._rng.choice(12, size=requests, p=chance / chance.sum())
        noise = self._sigma.ravel()[cell] * self._rng.normal(size=requests)
        return float(np.exp(self._level.ravel()[cell] + noise).mean())


SIZES = [(100, 200), (300, 200), (500, 1000)]


@pytest.mark.slow
@pytest.mark.parametrize(("queries", "requests"), SIZES)
def test_few_requests_cost_more_than_a_fixed_allocation_promises_in_five_percent_of_worlds(
    queries: int, requests: int
) -> None:
    x, worlds = np.full((3, 4), 1 / 4), 2 * WORLDS
    over = 0
    for seed in range(worlds):
        world = _World(seed, queries)
        promised = world.planner(requests).accounts.bill.promised(x.ravel())
        over += world.served(x, requests) > promised
    assert over / worlds <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / worlds)  # standard error 0.011


def _over_budget(queries: int, requests: int, promised_for: int) -> float:
    """Share of plans whose judged requests cost more than a limit that binds, on average."""
    over = 0
    for seed in range(WORLDS):
        world = _World(seed, queries)
        planner = world.planner(promised_for)
        bills = [planner.accounts.bill.promised(x) for _, x in planner.singles()]
        limit = float(np.sqrt(min(bills) * max(bills)))
        allocation = planner.solve(usd_per_request=limit).allocation
        over += world.served(shares(world.truth, allocation), requests) > limit
    return over / WORLDS


@pytest.mark.slow
@pytest.mark.parametrize(("queries", "requests"), SIZES)
def test_few_requests_go_over_a_binding_budget_in_five_percent_of_worlds(
    queries: int, requests: int
) -> None:
    for_few, for_many = (_over_budget(queries, requests, n) for n in (requests, 10**9))
    standard_error = np.sqrt(0.05 * 0.95 / WORLDS)  # 0.015
    assert for_few <= 0.05 + 2 * standard_error
    assert for_few < for_many - standard_error
