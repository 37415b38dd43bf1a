"""Plans of a shape are the best of all plans of that shape, by trying every support."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from worlds import make_profile, make_spec, random_profile

from planner.estimating.allocation import Accounts
from planner.estimating.estimates import TAIL, Estimates
from planner.estimating.spending import Spending
from planner.integers.choosing import Choice, choose
from planner.integers.core import Core
from planner.integers.problem import Problem, Shape
from planner.limit_names import BY_CLASS, LATENCY, OVERALL, SPEND
from planner.limits import LimitSet
from planner.planner import Planner
from planner.programme.margin import Margin
from planner.programme.model import Programme, cost_unit
from planner.programme.question import Question
from planner.programme.session import Session
from profiles.errors import InfeasibleError, UnprovenError
from profiles.profile import Profile

Array = NDArray[np.float64]
LATENCY_ROW = 4
DOUBT = "doubt"


class World:
    """A profile's programme with its margins, and questions near what is possible."""

    def __init__(self, profile: Profile, *, careful: bool) -> None:
        planner = Planner(profile, make_spec() if careful else make_spec(confidence="none"))
        self.numbers: Estimates = planner.estimates
        self.accounts = Accounts(self.numbers, 800 if careful else None)
        unit = cost_unit(self.numbers)
        grid_s = profile.latency_grid_s
        timed = LimitSet({LATENCY: grid_s[LATENCY_ROW]} if grid_s else {})
        self.programme: Programme = planner.programme(timed)
        self.margins: dict[str, Margin] = {}
        if careful:
            self.margins = {
                OVERALL: self.accounts.accuracy_margin,
                LATENCY: self.accounts.latency_margin(LATENCY_ROW),
                SPEND: Spending(self.accounts.bill, unit).margin,
                DOUBT: self.accounts.accuracy_margin,
            }

    @classmethod
    def drawn(cls, seed: int, classes: int, strategies: int, *, careful: bool) -> World:
        profile = random_profile(np.random.default_rng(seed), classes, strategies, queries=400)
        return cls(profile, careful=careful)

    def question(self, seed: int, objective: str) -> Question:
        """Limits drawn so that some can be kept and some cannot."""
        rng = np.random.default_rng(seed)
        limits: dict[str, float] = {}
        offsets: dict[str, Array] = {}
        best, mean = self.best_and_mean()
        if rng.uniform() < 0.8:
            limits[OVERALL] = float(mean + rng.uniform(-0.5, 0.8) * (best - mean))
            if self.margins:
                offsets[OVERALL] = self.accounts.judged_offset(limits[OVERALL])
        if rng.uniform() < 0.3:
            limits[LATENCY] = TAIL
        if rng.uniform() < 0.5 or objective == "accuracy":
            costs = self.programme.objectives["cost"][: self.numbers.columns] / 100
            limits[SPEND] = float(np.quantile(costs, rng.uniform(0.2, 0.9)) * len(self.classes))
        for name in self.classes:
            if rng.uniform() < 0.3:
                limits[BY_CLASS + name] = float(rng.uniform(0.2, 0.6))
        noise = None
        if SPEND in limits and self.margins:
            noise = rng.uniform(0, 0.02, self.numbers.columns)
        doubt = DOUBT if objective == "accuracy" and self.margins else None
        return Question(objective, limits, offsets, doubt=doubt, noise=noise)

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.numbers.classes)

    def best_and_mean(self) -> tuple[float, float]:
        worth = self.numbers.traffic_share * self.numbers.accuracy_careful
        of_class = [worth[self.numbers.class_of == d] for d in range(len(self.classes))]
        return sum(w.max() for w in of_class), sum(w.mean() for w in of_class)

    def choose(
        self,
        question: Question,
        shape: Shape,
        gap: float = 0.0,
        known: Sequence[NDArray[np.bool_]] = (),
    ) -> Choice:
        n = self.numbers
        return choose(
            self.programme,
            self.margins,
            n.class_of,
            n.strategy_of,
            n.columns,
            question,
            shape,
            gap=gap,
            known=known,
        )

    def problem(self, question: Question, shape: Shape) -> Problem:
        n, q = self.numbers, question
        asked = {k: m for k, m in self.margins.items() if k in q.limits or k == q.doubt}
        return Problem(self.programme, asked, n.class_of, n.strategy_of, q, shape)

    def one_per_class(self) -> Iterator[Array]:
        n = self.numbers
        members = [np.flatnonzero(n.class_of == d) for d in range(len(self.classes))]
        for chosen in itertools.product(*members):
            x = np.zeros(n.columns)
            x[list(chosen)] = 1.0
            yield x

    def value(self, x: Array, question: Question) -> float:
        """The objective of an allocation, infinite where it breaks a limit; no solver, no cuts."""
        p, point = self.programme, np.zeros(self.programme.matrix.shape[1])
        point[: len(x)] = x
        rows = p.matrix @ point
        for name, limit in question.limits.items():
            low, high = self.sides(name, limit)
            margin = self._margin(name, x, question)
            if rows[p.row_of[name]] - margin < low - 1e-9:
                return np.inf
            if rows[p.row_of[name]] + margin > high + 1e-9:
                return np.inf
        if question.doubt is not None:
            point[p.doubt] = self._margin(question.doubt, x, question)
        return float(p.objectives[question.objective] @ point)

    def sides(self, name: str, limit: float) -> tuple[float, float]:
        return (limit, np.inf) if name in self.programme.floors else (-np.inf, limit)

    def _margin(self, name: str, x: Array, question: Question) -> float:
        if name not in self.margins:
            return 0.0
        offset = np.zeros(len(self.margins[name].matrix))
        offset += question.offsets.get(name, 0.0)
        if name == SPEND and question.noise is not None:
            offset[-1] += question.noise @ x
        return self.margins[name].value(x, offset)


def _check(world: World, question: Question, shape: Shape, best: float) -> None:
    """Whether the choice is as good as the best one, whatever supports it starts from."""
    drawn = np.random.default_rng(int(1e3 * abs(best)) if np.isfinite(best) else 0)
    any_of_them = list(drawn.random((3, world.numbers.columns)) < np.array([[0.3], [0.6], [1.0]]))
    if not np.isfinite(best):
        for known in ([], any_of_them):
            with pytest.raises(InfeasibleError):
                world.choose(question, shape, known=known)
        return
    first = world.choose(question, shape)
    for known in ([], any_of_them, [first.support]):
        found = world.choose(question, shape, known=known)
        assert found.proven
        assert found.value == pytest.approx(best, rel=3e-6, abs=1e-5)
        assert found.bound <= best + 1e-5 * abs(best)
        assert found.gap == pytest.approx((found.value - found.bound) / abs(found.value))


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    classes=st.integers(1, 4),
    strategies=st.integers(1, 5),
    careful=st.booleans(),
    objective=st.sampled_from(["cost", "accuracy"]),
    at_most=st.sampled_from([None, 1, 2]),
)
def test_one_strategy_per_class_is_the_best_of_all_such_plans(
    *, seed: int, classes: int, strategies: int, careful: bool, objective: str, at_most: int | None
) -> None:
    world = World.drawn(seed, classes, strategies, careful=careful)
    question = world.question(seed, objective)
    of = world.numbers.strategy_of
    values = [
        world.value(x, question)
        for x in world.one_per_class()
        if at_most is None or len(set(of[x > 0])) <= at_most
    ]
    _check(world, question, Shape(one_per_class=True, at_most=at_most), min(values))


def _by_linprog(world: World, question: Question, support: Array, least: float) -> float:
    """The continuous optimum over a support, without margins."""
    p, n = world.programme, world.numbers.columns
    matrix = p.matrix.toarray()[:, :n]
    body, most = [], []
    for name, limit in question.limits.items():
        low, _ = world.sides(name, limit)
        sign = -1.0 if np.isfinite(low) else 1.0
        body.append(sign * matrix[p.row_of[name]])
        most.append(sign * limit)
    equal = p.lower == p.upper
    found = linprog(
        p.objectives[question.objective][:n],
        A_ub=np.array(body) if body else None,
        b_ub=most or None,
        A_eq=matrix[equal],
        b_eq=p.lower[equal],
        bounds=np.stack([least * support, 1.0 * support], axis=1),
    )
    return float(found.fun) if found.status == 0 else np.inf


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    classes=st.integers(1, 4),
    strategies=st.integers(2, 6),
    at_most=st.integers(1, 3),
    objective=st.sampled_from(["cost", "accuracy"]),
)
def test_a_few_strategies_are_the_best_few_of_all(
    seed: int, classes: int, strategies: int, at_most: int, objective: str
) -> None:
    world = World.drawn(seed, classes, strategies, careful=False)
    question = world.question(seed, objective)
    of = world.numbers.strategy_of
    sets = itertools.combinations(range(strategies), min(at_most, strategies))
    best = min(_by_linprog(world, question, np.isin(of, few), 0.0) for few in sets)
    _check(world, question, Shape(at_most=at_most), best)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    share=st.sampled_from([0.1, 0.3, 0.4, 0.5]),
    at_most=st.sampled_from([None, 2]),
    objective=st.sampled_from(["cost", "accuracy"]),
)
def test_a_minimum_share_is_kept_at_the_least_loss(
    seed: int, share: float, at_most: int | None, objective: str
) -> None:
    world = World.drawn(seed, 2, 4, careful=False)
    question = world.question(seed, objective)
    of = world.numbers
    of_class = [s for size in (1, 2, 3) for s in itertools.combinations(range(4), size)]
    best = np.inf
    for mine, theirs in itertools.product(of_class, of_class):
        if at_most is None or len({*mine, *theirs}) <= at_most:
            support = np.where(of.class_of == 0, np.isin(of.strategy_of, mine), False)
            support |= np.where(of.class_of == 1, np.isin(of.strategy_of, theirs), False)
            best = min(best, _by_linprog(world, question, support, share))
    _check(world, question, Shape(minimum_share=share, at_most=at_most), best)


@pytest.mark.parametrize("seed", range(12))
def test_a_few_strategies_with_margins_are_the_best_few_of_all(seed: int) -> None:
    world = World.drawn(seed, 3, 5, careful=True)
    question = world.question(seed, ("cost", "accuracy")[seed % 2])
    shape = Shape(at_most=2)
    whole, best = world.problem(question, shape), np.inf
    for few in itertools.combinations(range(5), 2):
        part = whole.of_columns(np.isin(world.numbers.strategy_of, few))
        session = Session(part.programme, part.margins, part.columns)
        try:
            best = min(best, session.solve(part.question).value)
        except InfeasibleError:
            continue
    _check(world, question, shape, best)


@pytest.mark.parametrize("seed", range(8))
def test_more_than_half_as_least_share_is_one_strategy_and_next_to_nothing_is_none(
    seed: int,
) -> None:
    world = World.drawn(seed, 4, 6, careful=True)
    best, mean = world.best_and_mean()
    floor = 0.5 * (best + mean)
    question = Question("cost", {OVERALL: floor}, {OVERALL: world.accounts.judged_offset(floor)})
    one = world.choose(question, Shape(one_per_class=True))
    most = world.choose(question, Shape(minimum_share=0.51))
    assert most.value == pytest.approx(one.value, rel=1e-6)
    assert list(most.support) == list(one.support)
    free = Session(world.programme, world.margins, world.numbers.columns).solve(question).value
    little = world.choose(question, Shape(minimum_share=1e-4)).value
    some = world.choose(question, Shape(minimum_share=0.3)).value
    assert free - 1e-4 <= little <= some + 1e-4
    assert some <= one.value + 1e-4
    assert little == pytest.approx(free, rel=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_scipy_finds_the_same_plan(seed: int) -> None:
    world = World.drawn(seed, 8, 30, careful=False)
    best, mean = world.best_and_mean()
    question = Question("cost", {OVERALL: 0.6 * best + 0.4 * mean, LATENCY: TAIL}, {})
    p, n = world.programme, world.numbers.columns
    lower, upper = p.lower.copy(), p.upper.copy()
    for name, row in p.row_of.items():
        lower[row], upper[row] = -np.inf, np.inf
        if name in question.limits:
            lower[row], upper[row] = world.sides(name, question.limits[name])
    theirs = milp(
        p.objectives["cost"][:n],
        integrality=np.ones(n),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(p.matrix[:, :n], lower, upper),
        options={"mip_rel_gap": 0.0},
    )
    ours = world.choose(question, Shape(one_per_class=True))
    assert ours.value == pytest.approx(theirs.fun, rel=1e-6)
    assert list(ours.support) == list(theirs.x > 0.5)


def test_with_few_strategies_the_best_one_may_be_dominated_in_every_class() -> None:
    profile = make_profile(
        [[0.90, 0.50, 0.85], [0.50, 0.90, 0.85]],
        [[1e-4, 1e-3, 2e-4], [1e-3, 1e-4, 2e-4]],
    )
    world = World(profile, careful=False)
    question = Question("cost", {OVERALL: 0.7}, {})
    generalist, of = 2, world.numbers.strategy_of
    one = world.choose(question, Shape(at_most=1))
    assert set(of[one.support]) == {generalist}
    without = world.problem(question, Shape(at_most=1)).of_columns(of != generalist)
    pruned = Core(without, 0.0, lambda: 60.0).search()
    assert pruned.value == pytest.approx(2.75 * one.value)
    assert generalist not in of[world.choose(question, Shape(at_most=2)).support]


@pytest.mark.parametrize("seed", range(4))
def test_a_search_that_runs_out_of_time_never_calls_a_question_infeasible(seed: int) -> None:
    world = World.drawn(seed, 4, 5, careful=True)
    shape = Shape(at_most=3)
    question = Question("accuracy", {}, {}, doubt="doubt" if "doubt" in world.margins else None)
    problem = world.problem(question, shape)
    ended = set()
    for looks in range(0, 60, 2):
        left = itertools.chain(itertools.repeat(60.0, looks), itertools.repeat(0.0))
        try:
            found = Core(problem, 0.0, lambda left=left: next(left)).search()  # type: ignore[misc]
        except UnprovenError:
            ended.add("unproven")
        else:
            ended.add("proven" if found.proven else "stopped")
    assert ended >= {"unproven", "proven"}


def test_equally_cheap_plans_are_decided_by_accuracy() -> None:
    profile = make_profile([[0.6, 0.9, 0.7], [0.5, 0.5, 0.8]], np.full((2, 3), 1e-4))
    world = World(profile, careful=False)
    question = Question("cost", {}, {}, then="accuracy")
    one = world.choose(question, Shape(one_per_class=True))
    assert list(np.flatnonzero(one.support)) == [1, 5]
    few = world.choose(question, Shape(at_most=1))
    assert set(world.numbers.strategy_of[few.support]) == {2}


def test_the_least_miss_of_a_limit_that_no_plan_keeps() -> None:
    world = World.drawn(3, 3, 4, careful=False)
    best, _ = world.best_and_mean()
    spend = Question("accuracy", {SPEND: 2.0}, {})
    question = Question("accuracy", {OVERALL: best + 0.1, SPEND: 2.0}, {}, free=OVERALL)
    most = max(-world.value(x, spend) / 100 for x in world.one_per_class())
    found = world.choose(question, Shape(one_per_class=True))
    assert found.value == pytest.approx(best + 0.1 - most, abs=1e-7)


def _knapsack() -> tuple[World, Question]:
    """A mixture keeps both limits; one strategy per class cannot."""
    world = World(make_profile([[0.5, 0.9]], [[1e-4, 3e-4]]), careful=False)
    unit = cost_unit(world.numbers)
    return world, Question("cost", {OVERALL: 0.7, SPEND: 2.5e-4 / unit}, {})


def test_limits_that_only_a_mixture_keeps_are_infeasible_for_one_strategy_per_class() -> None:
    world, question = _knapsack()
    assert world.choose(question, Shape(minimum_share=0.4)).value > 0
    with pytest.raises(InfeasibleError):
        world.choose(question, Shape(one_per_class=True))
    with pytest.raises(InfeasibleError):
        world.choose(question, Shape(at_most=1))


def test_a_class_without_a_strategy_that_keeps_its_floor_is_infeasible() -> None:
    world, _ = _knapsack()
    question = Question("cost", {BY_CLASS + "c0": 0.95}, {})
    with pytest.raises(InfeasibleError):
        world.choose(question, Shape(one_per_class=True))


def test_without_time_nothing_is_claimed() -> None:
    world = World.drawn(5, 5, 20, careful=True)
    with pytest.raises(UnprovenError):
        Core(
            world.problem(Question("cost", {OVERALL: 0.6}, {}), Shape(True)), 0.0, lambda: 0.0
        ).search()


def test_time_that_runs_out_leaves_a_plan_with_its_gap() -> None:
    world = World.drawn(5, 20, 80, careful=False)
    question = Question("cost", {OVERALL: 0.66, LATENCY: TAIL}, {})
    for calls in range(1, 20):
        left = itertools.chain([60.0] * calls, itertools.repeat(0.0))
        core = Core(world.problem(question, Shape(at_most=2)), 0.0, left.__next__)
        try:
            found = core.search()
        except UnprovenError:
            continue
        break
    assert not found.proven
    proven = world.choose(question, Shape(at_most=2))
    assert found.bound <= proven.value + 1e-6
    assert found.bound < proven.value <= found.value + 1e-6


@pytest.mark.parametrize(
    "shape", [Shape(True), Shape(at_most=2), Shape(at_most=3, minimum_share=0.2)]
)
def test_the_same_question_has_the_same_answer(shape: Shape) -> None:
    answers = []
    for _ in range(2):
        world = World.drawn(7, 6, 12, careful=True)
        offsets = {OVERALL: world.accounts.judged_offset(0.6)}
        question = Question("cost", {OVERALL: 0.6, LATENCY: TAIL}, offsets, then="accuracy")
        answers.append(world.choose(question, shape))
    assert answers[0].support.tobytes() == answers[1].support.tobytes()
    assert replace(answers[0], support=answers[1].support) == answers[1]


@pytest.mark.parametrize(
    "shape", [Shape(True), Shape(at_most=2), Shape(minimum_share=0.3), Shape(True, at_most=2)]
)
@pytest.mark.parametrize("objective", ["cost", "accuracy"])
def test_the_session_over_the_support_has_the_value_of_the_choice(
    shape: Shape, objective: str
) -> None:
    kept = 0
    for seed in range(8):
        world = World.drawn(seed, 4, 6, careful=True)
        question = world.question(seed, objective)
        try:
            found = world.choose(question, shape)
        except InfeasibleError:
            continue
        least = shape.least * found.support
        session = Session(world.programme, world.margins, world.numbers.columns)
        solution = session.solve(replace(question, support=found.support, least=least))
        assert solution.value == pytest.approx(found.value, rel=3e-6, abs=1e-4)
        kept += 1
    assert kept


def test_margins_without_weight_change_nothing() -> None:
    world = World.drawn(8, 4, 6, careful=True)
    question = Question("cost", {OVERALL: 0.6}, {})
    margins: Mapping[str, Margin] = world.margins
    world.margins = {name: Margin(0.0, margin.matrix) for name, margin in margins.items()}
    without = world.choose(question, Shape(True))
    world.margins = {}
    assert world.choose(question, Shape(True)).value == without.value
