"""What the pages ask of a planner: built once for a view, asked for every move of a slider."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar, cast

from planner.frontiers.frontier import FrontierPoint, frontier
from planner.frontiers.singles import Single, singles
from planner.limit_names import LATENCY, OVERALL, SPEND
from planner.limits import LimitSet
from profiles.errors import InferbudgetError, UnprovenError

if TYPE_CHECKING:
    from app.planning import Question
    from app.views import View
    from planner.explaining.report import LimitFacts
    from planner.plan import Rung
    from planner.planner import Answer, Planner

POINTS = 30
"""Of a frontier on a page."""

TIME_LIMIT_S = 10.0
"""Of one answer on a page, and of a whole frontier; commands have as long as they are told."""

_REMEMBERED = 256
"""Answers that a view keeps: sliders go back to where they were."""

Moves = Mapping[str, float | None]
_Key = tuple[object, ...]
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Curve:
    """A frontier, or why there is none.

    Attributes:
        points: By rising dollars; empty where there is no frontier.
        missing: Why it is empty, as the command says it; empty where it is not.
        hurried: Whether time ran out before all its points were solved.
    """

    points: tuple[FrontierPoint, ...] = ()
    missing: str = ""
    hurried: bool = False


@dataclass(eq=False)
class Solving:
    """A question with its planner. One solve at a time: the solver keeps state.

    Frontiers are drawn by a planner of their own, so that a slider need not wait for one.

    Every answer is that of the planner with the limits moved: a move is a value by a limit's name,
    None takes the limit away. Answers are remembered.

    Attributes:
        view: What is asked of which files.
        question: Its spec and profile.
        planner: Warm.
        named_at: When the files were written that the spec names.
        lock: Held while it works.
    """

    view: View
    question: Question
    planner: Planner
    named_at: tuple[int, ...]
    lock: threading.RLock = field(default_factory=threading.RLock)
    _drawing: threading.RLock = field(default_factory=threading.RLock)
    _answers: dict[_Key, object] = field(default_factory=dict)

    @classmethod
    def of(cls, view: View) -> Solving:
        """Read and build.

        Raises:
            InferbudgetError: As `inferbudget plan` says it.
        """
        question = view.ask()
        named_at = _written_at(question)
        return cls(view, question, question.planner(TIME_LIMIT_S), named_at)

    @property
    def stale(self) -> bool:
        """Whether a file that the spec names has changed since it was read."""
        return self.named_at != _written_at(self.question)

    @property
    def limits(self) -> LimitSet:
        """Those of the view, fixed costs paid."""
        return self.planner.limits

    @property
    def points(self) -> tuple[FrontierPoint, ...]:
        """The view's own frontier; empty where `curve` says why."""
        return self.curve({}).points

    def under(self, moves: Moves) -> Planner:
        """The planner with its limits moved. Hold the lock while it works.

        Where the spec leaves open which fixed costs are paid, the cheapest set for the moved limits
        is, as the command finds it.
        """
        limits, spec = self._moved(moves), self.question.spec
        if limits != self.limits and spec.fixed_costs and spec.pay is None:
            return self._remembered(("paid", _key(limits)), lambda: self._read(moves))
        return self._warm("plans", limits).under(limits)

    def rung(self, moves: Moves) -> Rung:
        """The best allocation.

        Raises:
            LimitsClashError: No allocation keeps the limits; says which clash and what would help.
            UnprovenError: The solver stopped early.
            UnknownValueError: A cost or tail that a limit needs was never measured.
        """
        with self.lock:
            planner, answer = self._answered(moves)
            key = ("rung", _key(planner.limits))
            return self._remembered(key, lambda: planner.rung(answer, planner.spec.objective))

    def warnings(self, moves: Moves) -> tuple[str, ...]:
        """Risks of that allocation that a reader must know, as the command warns of them."""
        from planner.solve import warnings

        with self.lock:
            planner, rung = self.under(moves), self.rung(moves)
            key = ("warnings", _key(planner.limits))
            return self._remembered(key, lambda: warnings(planner, (rung,)))

    def limit_facts(self, moves: Moves) -> Iterator[LimitFacts]:
        """What every limit costs at the margin, one at a time: two solves each.

        Raises:
            UnprovenError: The solver stopped early.
        """
        from planner.explaining.margins import limit_facts

        with self.lock:
            planner, answer = self._answered(moves)
            rung = self.rung(moves)
        key = ("limits", _key(planner.limits))
        if key in self._answers:
            yield from cast("tuple[LimitFacts, ...]", self._answers[key])
            return
        facts = limit_facts(planner, answer, rung, lambda: None)
        told: list[LimitFacts] = []
        while True:
            with self.lock:
                one = next(facts, None)
            if one is None:
                break
            told.append(one)
            yield one
        self._remembered(key, lambda: tuple(told))

    def curve(self, moves: Moves) -> Curve:
        """The frontier along spend and overall accuracy, under the other limits.

        The fixed costs that the view's own limits pay stay paid along it.
        """
        return self._curve("curve", moves)

    def naive_curve(self, moves: Moves) -> Curve:
        """The same as if every measured mean were the truth: what plans without margins claim."""
        return self._curve("naive", moves)

    def singles(self) -> list[Single]:
        """Each strategy alone, by the same margins; of those, `kept` is about the view's limits."""
        return self._remembered(("singles",), lambda: singles(self.planner))

    def feasible(self, moves: Moves) -> bool:
        """Whether some allocation is known to keep the limits."""
        with self.lock, suppress(UnprovenError):
            planner = self.under(moves)
            return planner.feasible(planner.limits)
        return False

    def _answered(self, moves: Moves) -> tuple[Planner, Answer]:
        planner = self.under(moves)
        key = ("answer", _key(planner.limits))
        return planner, self._remembered(key, lambda: planner.explained(planner.limits))

    def _curve(self, name: str, moves: Moves) -> Curve:
        along = self._moved(moves).without(OVERALL, SPEND)
        key = (name, _key(along))
        with self._drawing:
            if key in self._answers:
                return cast("Curve", self._answers[key])
            found = _solved_curve(self._warm(name, along).under(along))
            return self._remembered(key, lambda: found)

    def _warm(self, use: str, limits: LimitSet) -> Planner:
        """The planner for a use, which answers questions with these limits.

        A latency limit of the spec that nobody measured for stays in a planner's way until it is
        asked without.
        """
        timeless = LATENCY not in limits.values and self._has_unknown_tail
        if use == "plans" and not timeless:
            return self.planner

        def build() -> Planner:
            if timeless:
                planner = self._read({LATENCY: None})
            else:
                planner = self.question.planner(TIME_LIMIT_S)
            return planner.on_point_estimates() if use == "naive" else planner

        return self._remembered(("planner", use, timeless), build)

    @cached_property
    def _has_unknown_tail(self) -> bool:
        cells = self.question.profile.cells.values()
        return LATENCY in self.limits.values and any(cell.exceeded is None for cell in cells)

    def _moved(self, moves: Moves) -> LimitSet:
        limits = self.limits
        for name, value in moves.items():
            limits = limits.without(name) if value is None else limits.moved(name, value)
        return limits

    def _read(self, moves: Moves) -> Planner:
        """A planner of the view's spec with the moves set over it."""
        from planner.spec import read_spec

        settings = self.view.moved(self.planner.spec, moves).settings
        question = replace(self.question, spec=read_spec(self.view.spec, settings))
        return question.planner(TIME_LIMIT_S)

    def _remembered(self, key: _Key, make: Callable[[], _Answer]) -> _Answer:
        with self.lock:
            if key not in self._answers:
                answer = make()
                while len(self._answers) >= _REMEMBERED:
                    del self._answers[next(iter(self._answers))]
                self._answers[key] = answer
            return cast("_Answer", self._answers[key])


def _written_at(question: Question) -> tuple[int, ...]:
    """Of the price card and the difficulty graph that a spec names, where it names them."""
    prices = question.spec.prices
    card = question.base / prices if isinstance(prices, str) else None
    named = [path for path in (card, question.estimator) if path is not None]
    return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in named)


def _key(limits: LimitSet) -> _Key:
    return tuple(sorted(limits.values.items()))


def _solved_curve(planner: Planner) -> Curve:
    started = time.monotonic()
    try:
        points = frontier(planner, POINTS, TIME_LIMIT_S)
    except InferbudgetError as error:
        return Curve(missing=str(error))
    return Curve(tuple(points), hurried=time.monotonic() - started >= TIME_LIMIT_S)
