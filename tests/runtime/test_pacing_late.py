"""Requests that come when a shape expects none share what is left."""

from __future__ import annotations

import pytest

from planner.spec import Window
from profiles.errors import BudgetRefusedError
from runtime.ledger import Ledger, Scope
from runtime.pacing import Pacer, Shape

DAY_S = 86_400
START_S = 20_000 * DAY_S
DEAR, CHEAP = 3_000_000, 1_000_000
VALUE = (0.8, 0.7)
BY_DAY = Shape([1.0] * 12 + [0.0] * 12)


class Day:
    """Traffic of days whose forecast ends at noon, answered in order under one budget."""

    def __init__(self, limit: int) -> None:
        self.now_s = float(START_S)
        self.ledger = Ledger([Scope("a", limit, Window.DAY)], lambda: self.now_s)
        self.pacer = Pacer([DEAR, CHEAP], shape=BY_DAY)
        self.number = 0

    def value(self, requests: int, begin_s: float, end_s: float) -> float:
        """Of requests that come evenly."""
        found = 0.0
        for one in range(requests):
            self.now_s = begin_s + (end_s - begin_s) * (one + 0.5) / requests
            found += self._answered()
        return found

    def _answered(self) -> float:
        self.number += 1
        rung = self.pacer.rung(
            {"a": 1_000.0},
            self.ledger.state,
            now_s=self.now_s,
            uniform=self.number * 0.618034 % 1,
        )
        for drawn in range(rung, 2):
            cost = (DEAR, CHEAP)[drawn]
            try:
                hold = self.ledger.hold(str(self.number), cost)
            except BudgetRefusedError:
                continue
            hold.call(cost).settle(cost)
            hold.close()
            return VALUE[drawn]
        return 0.0


@pytest.mark.parametrize("late", [20, 100, 200, 290])
def test_late_requests_share_the_money_that_is_left(late: int) -> None:
    day = Day(1_000 * DEAR + 300 * CHEAP)
    noon_s = START_S + DAY_S / 2
    assert day.value(1_000, START_S, noon_s) == pytest.approx(1_000 * VALUE[0], rel=0.01)
    dear = min(late, (300 - late) / 2)
    hindsight = dear * VALUE[0] + (late - dear) * VALUE[1]
    assert day.value(late, noon_s, START_S + DAY_S) > 0.9 * hindsight


def test_late_requests_are_no_crowd_of_the_next_day() -> None:
    day = Day(1_000 * DEAR + 300 * CHEAP)
    noon_s = START_S + DAY_S / 2
    day.value(1_000, START_S, noon_s)
    day.value(290, noon_s, START_S + DAY_S)
    day.value(1, START_S + DAY_S + 60, START_S + DAY_S + 60)
    assert day.pacer._recent["a"].rate == pytest.approx(1_000, rel=0.05)
