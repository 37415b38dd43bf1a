"""The breaker by examples, and against a model that keeps whole histories."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from several_upstreams import Clock

from runtime.upstreams import BreakerSettings, BreakerState
from runtime.upstreams.breaker import Breaker

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


class Tried:
    def __init__(self, **more: Any) -> None:
        self.clock = Clock()
        self.breaker = Breaker("one", BreakerSettings(**more), self.clock)

    def call(self, *, good: bool | None) -> None:
        assert self.breaker.admits()
        self.breaker.end(self.breaker.begin(), good=good)

    def calls(self, pattern: str) -> None:
        """A dot for a good call, an x for a failed one."""
        for each in pattern:
            self.call(good=each == ".")


def test_failures_in_a_row_open_it_and_a_good_call_between_them_does_not() -> None:
    tried = Tried(failures=3)
    tried.calls("xx.xx.xx")
    assert tried.breaker.state is CLOSED
    tried.calls("x")
    assert tried.breaker.state is OPEN
    assert not tried.breaker.admits()


def test_a_share_of_failures_opens_it_once_there_were_enough_calls() -> None:
    tried = Tried(failures=100, share=0.5, least_calls=10)
    tried.calls("x.x.x.x.")
    assert tried.breaker.state is CLOSED
    tried.calls(".x")
    assert tried.breaker.state is OPEN


def test_failures_that_slid_out_of_the_window_count_no_more() -> None:
    tried = Tried(failures=100, share=0.5, least_calls=10, window_s=10)
    tried.calls("xxxxx....")
    tried.clock.now_s += 10
    tried.calls("....x")
    assert tried.breaker.state is CLOSED
    tried.calls("xxxxx")
    assert tried.breaker.state is OPEN


def test_a_server_that_closed_it_again_begins_anew() -> None:
    tried = Tried(failures=100, share=0.5, least_calls=4, window_s=100, open_s=5)
    tried.calls("xxxx")
    tried.clock.now_s += 5
    tried.calls(".xxx")
    assert tried.breaker.state is CLOSED
    tried.calls("x")
    assert tried.breaker.state is OPEN


def test_calls_that_say_nothing_open_and_close_nothing() -> None:
    tried = Tried(failures=2, open_s=5)
    for good in (False, None, None, False):
        tried.call(good=good)
    assert tried.breaker.state is OPEN
    tried.clock.now_s += 5
    tried.call(good=None)
    assert tried.breaker.state is HALF_OPEN
    assert tried.breaker.admits()


def test_after_its_time_a_few_may_try_and_as_many_good_ones_close_it() -> None:
    tried = Tried(failures=1, open_s=5, trials=2)
    tried.calls("x")
    tried.clock.now_s += 4.9
    assert tried.breaker.state is OPEN
    assert tried.breaker.opens_in_s == pytest.approx(0.1)
    tried.clock.now_s += 0.1
    eras = [tried.breaker.begin(), tried.breaker.begin()] if tried.breaker.admits() else []
    assert not tried.breaker.admits()
    tried.breaker.end(eras[0], good=True)
    assert tried.breaker.state is HALF_OPEN
    tried.breaker.end(eras[1], good=True)
    assert tried.breaker.state is CLOSED


def test_it_stays_open_twice_as_long_each_time_up_to_the_most() -> None:
    tried = Tried(failures=1, open_s=5, most_open_s=30)
    waits = []
    for _ in range(5):
        tried.calls("x")
        waits.append(tried.breaker.opens_in_s)
        tried.clock.now_s += waits[-1]
    assert waits == [5, 10, 20, 30, 30]


def test_a_server_that_fails_soon_after_it_was_trusted_is_not_trusted_as_soon() -> None:
    tried = Tried(failures=1, open_s=5, window_s=30)
    for expected in (5, 10, 20):
        tried.calls("x")
        assert tried.breaker.opens_in_s == expected
        tried.clock.now_s += expected
        tried.calls(".")
    tried.clock.now_s += 30
    tried.calls("x")
    assert tried.breaker.opens_in_s == 5


def test_a_call_that_began_before_it_opened_says_nothing_of_a_server_tried_since() -> None:
    tried = Tried(failures=1, open_s=5)
    early = tried.breaker.begin()
    tried.calls("x")
    tried.clock.now_s += 5
    assert tried.breaker.state is HALF_OPEN
    tried.breaker.end(early, good=False)
    assert tried.breaker.state is HALF_OPEN
    tried.breaker.end(early, good=True)
    assert tried.breaker.state is HALF_OPEN


def test_failed_probes_open_it_without_any_call() -> None:
    tried = Tried()
    tried.breaker.probed(good=False)
    tried.breaker.probed(good=True)
    tried.breaker.probed(good=False)
    assert tried.breaker.state is CLOSED
    tried.breaker.probed(good=False)
    assert tried.breaker.state is OPEN


def test_a_server_seen_down_and_up_again_is_tried_at_once() -> None:
    tried = Tried(failures=1, open_s=60)
    tried.calls("x")
    tried.breaker.probed(good=True)  # its page lives while its calls fail: that is no news
    assert tried.breaker.state is OPEN
    tried.breaker.probed(good=False)
    assert tried.breaker.opens_in_s == 60
    tried.breaker.probed(good=True)
    assert tried.breaker.state is HALF_OPEN
    tried.breaker.probed(good=False)
    assert tried.breaker.state is OPEN


@dataclass
class Model:
    """Knows a breaker's whole history since its last change of state."""

    settings: BreakerSettings
    state: BreakerState = CLOSED
    since_s: float = 1000.0
    until_s: float = 0.0
    spells: int = 0
    ended: list[tuple[float, bool]] = field(default_factory=list)
    running: int = 0
    probes: list[bool] = field(default_factory=list)

    def change(self, state: BreakerState, now_s: float) -> None:
        if state is OPEN:
            again = self.state is HALF_OPEN or now_s - self.since_s < self.settings.window_s
            self.spells = self.spells + 1 if again else 1
            open_s = min(self.settings.open_s * 2 ** (self.spells - 1), self.settings.most_open_s)
            self.until_s = now_s + open_s
        self.state, self.since_s, self.running = state, now_s, 0
        self.ended, self.probes = [], []

    def look(self, now_s: float) -> None:
        if self.state is OPEN and now_s >= self.until_s:
            self.change(HALF_OPEN, now_s)

    def end(self, now_s: float, *, good: bool) -> None:
        self.ended.append((now_s, good))
        if self.state is HALF_OPEN:
            if not good:
                self.change(OPEN, now_s)
            elif len(self.ended) >= self.settings.trials:
                self.change(CLOSED, now_s)
        elif not good and (self.in_a_row() or self.too_large_a_share(now_s)):
            self.change(OPEN, now_s)

    def in_a_row(self) -> bool:
        last = [good for _, good in self.ended[-self.settings.failures :]]
        return len(last) == self.settings.failures and not any(last)

    def too_large_a_share(self, now_s: float) -> bool:
        span_s = self.settings.window_s / 10
        late = [good for at, good in self.ended if at // span_s > now_s // span_s - 10]
        return len(late) >= self.settings.least_calls and (
            late.count(False) >= self.settings.share * len(late)
        )

    def probe(self, now_s: float, *, good: bool) -> None:
        self.look(now_s)
        self.probes.append(good)
        if self.state is OPEN:
            if not good:
                self.until_s = max(self.until_s, now_s + self.settings.open_s)
            elif not all(self.probes):
                self.change(HALF_OPEN, now_s)
            return
        two_in_a_row = len(self.probes) > 1 and not any(self.probes[-2:])
        if two_in_a_row or (self.state is HALF_OPEN and not good):
            self.change(OPEN, now_s)
            self.probes = [False]


SETTINGS = st.builds(
    BreakerSettings,
    failures=st.integers(1, 4),
    share=st.sampled_from([0.25, 0.5, 1.0]),
    window_s=st.sampled_from([2.0, 10.0]),
    least_calls=st.integers(1, 6),
    open_s=st.sampled_from([1.0, 4.0]),
    most_open_s=st.sampled_from([4.0, 8.0]),
    trials=st.integers(1, 3),
)


class BreakerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.model: Model | None = None
        self.began: list[tuple[int, float]] = []

    @precondition(lambda self: self.model is None)
    @rule(settings=SETTINGS)
    def start(self, settings: BreakerSettings) -> None:
        self.clock = Clock()
        self.breaker = Breaker("one", settings, self.clock)
        self.model, self.changes = Model(settings), 0

    @precondition(lambda self: self.model)
    @rule(quarters=st.integers(1, 60))
    def time_passes(self, quarters: int) -> None:
        self.clock.now_s += quarters / 4

    @precondition(lambda self: self.model)
    @rule()
    def a_call_begins(self) -> None:
        assert self.model is not None
        self.model.look(self.clock.now_s)
        free = self.model.state is CLOSED or (
            self.model.state is HALF_OPEN and self.model.running < self.model.settings.trials
        )
        assert self.breaker.admits() == free
        if free:
            self.model.running += 1
            # Every change of state forgets the calls before it: their list is another one.
            self.began.append((self.breaker.begin(), id(self.model.ended)))
            self.kept = [*getattr(self, "kept", []), self.model.ended]

    @precondition(lambda self: self.began)
    @rule(data=st.data(), good=st.sampled_from([True, False, False, None]))
    def a_call_ends(self, data: st.DataObject, good: bool | None) -> None:  # noqa: FBT001
        assert self.model is not None
        era, history = self.began.pop(data.draw(st.integers(0, len(self.began) - 1)))
        self.breaker.end(era, good=good)
        if history != id(self.model.ended):
            return
        self.model.running -= 1
        if good is not None:
            self.model.end(self.clock.now_s, good=good)

    @precondition(lambda self: self.model)
    @rule(good=st.booleans())
    def a_probe_ends(self, good: bool) -> None:  # noqa: FBT001
        assert self.model is not None
        self.breaker.probed(good=good)
        self.model.probe(self.clock.now_s, good=good)

    @invariant()
    def both_are_in_the_same_state(self) -> None:
        if self.model is None:
            return
        self.model.look(self.clock.now_s)
        assert self.breaker.state is self.model.state
        if self.model.state is OPEN:
            assert self.breaker.opens_in_s == pytest.approx(self.model.until_s - self.clock.now_s)
        assert self.breaker.for_s == pytest.approx(self.clock.now_s - self.model.since_s)


TestBreakerMachine = BreakerMachine.TestCase
TestBreakerMachine.settings = hypothesis_settings(max_examples=300, stateful_step_count=60)
