from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from planner.spec import Window
from profiles.errors import BudgetRefusedError, InputError
from runtime.ledger import Call, Hold, Ledger, Scope, Unit, limit_nano_usd
from runtime.ledger.windows import span


class Clock:
    def __init__(self, now_s: float = 1_000_000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


@dataclass
class ModelCall:
    call: Call
    bound: int
    actual: int | None = None


@dataclass
class ModelHold:
    hold: Hold
    amount: int
    epochs: dict[str, int]
    calls: list[ModelCall] = field(default_factory=list)
    closed: bool = False

    def charged(self) -> int:
        return sum(call.actual for call in self.calls if call.actual is not None)

    def open_bounds(self) -> int:
        return sum(call.bound for call in self.calls if call.actual is None)


class LedgerMachine(RuleBasedStateMachine):
    """The ledger against sums over a plain list of holds."""

    @initialize(tight=st.integers(0, 200), wide=st.integers(0, 400))
    def start(self, tight: int, wide: int) -> None:
        self.clock = Clock()
        self.scopes = [
            Scope("total", wide),
            Scope("minute", tight, Window.MINUTE),
            Scope("counted"),
        ]
        self.ledger = Ledger(self.scopes, self.clock)
        self.holds: list[ModelHold] = []
        self.number = 0

    def epoch(self, scope: Scope) -> int:
        return span(scope.window, self.clock.now_s).start_s

    def sums(self, scope: Scope, epoch: int) -> tuple[int, int]:
        mine = [hold for hold in self.holds if hold.epochs[scope.name] == epoch]
        spent = sum(hold.charged() for hold in mine)
        held = sum(hold.hold.left_nano_usd for hold in mine if not hold.closed)
        return spent, held

    @rule(amount=st.integers(0, 120))
    def hold(self, amount: int) -> None:
        self.number += 1
        fits = all(
            scope.limit is None or sum(self.sums(scope, self.epoch(scope))) + amount <= scope.limit
            for scope in self.scopes
        )
        try:
            hold = self.ledger.hold(f"r{self.number}", amount)
        except BudgetRefusedError:
            assert not fits
            return
        assert fits
        epochs = {scope.name: self.epoch(scope) for scope in self.scopes}
        self.holds.append(ModelHold(hold, amount, epochs))

    def pick(self, data: st.DataObject) -> ModelHold:
        return data.draw(st.sampled_from(self.holds))

    @precondition(lambda self: self.holds)
    @rule(data=st.data(), bound=st.integers(0, 60))
    def open_call(self, data: st.DataObject, bound: int) -> None:
        hold = self.pick(data)
        try:
            hold.calls.append(ModelCall(hold.hold.call(bound), bound))
        except InputError:
            assert hold.closed
        except BudgetRefusedError:
            assert bound > hold.hold.left_nano_usd - hold.open_bounds()

    @precondition(lambda self: any(hold.calls for hold in self.holds))
    @rule(data=st.data(), actual=st.integers(0, 90))
    def settle(self, data: st.DataObject, actual: int) -> None:
        hold = data.draw(st.sampled_from([hold for hold in self.holds if hold.calls]))
        call = data.draw(st.sampled_from(hold.calls))
        call.call.settle(actual)
        if call.actual is None:
            call.actual = actual

    @precondition(lambda self: self.holds)
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        hold = self.pick(data)
        hold.hold.close()
        hold.closed = True
        for call in hold.calls:
            if call.actual is None:
                call.actual = call.bound

    @rule(seconds=st.integers(-30, 90))
    def pass_time(self, seconds: int) -> None:
        forward = max(seconds, 0)
        self.clock.now_s += forward

    @invariant()
    def spending_and_holding_agree_with_the_model(self) -> None:
        snapshot = self.ledger.snapshot()
        for scope, state in zip(self.scopes, snapshot.scopes, strict=True):
            spent, held = self.sums(scope, self.epoch(scope))
            assert (state.spent, state.held) == (spent, held)
            assert state.held >= 0
            assert state.spent_ever == sum(hold.charged() for hold in self.holds)
            if scope.limit is not None:
                assert spent + held <= scope.limit + snapshot.overrun_nano_usd
        assert snapshot.open_holds == sum(not hold.closed for hold in self.holds)

    @invariant()
    def only_calls_above_their_bound_are_alarms(self) -> None:
        above = sum(
            call.actual is not None and call.actual > call.bound
            for hold in self.holds
            for call in hold.calls
        )
        snapshot = self.ledger.snapshot()
        assert snapshot.alarms == above
        assert above or snapshot.overrun_nano_usd == 0

    @invariant()
    def closed_holds_keep_nothing_and_open_ones_cover_their_calls(self) -> None:
        for hold in self.holds:
            if hold.closed:
                assert hold.hold.left_nano_usd == 0
            else:
                assert hold.hold.left_nano_usd >= hold.open_bounds()


LedgerMachine.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestLedgerAgainstModel = LedgerMachine.TestCase


def test_a_hold_takes_all_scopes_or_none() -> None:
    ledger = Ledger([Scope("wide", 100), Scope("tight", 10)])
    with pytest.raises(BudgetRefusedError, match="'tight' has no room"):
        ledger.hold("a", 50)
    assert [state.held for state in ledger.snapshot().scopes] == [0, 0]
    assert [state.refusals for state in ledger.snapshot().scopes] == [0, 1]


def test_settling_twice_charges_once() -> None:
    ledger = Ledger([Scope("all", 100)])
    hold = ledger.hold("a", 50)
    call = hold.call(50)
    call.settle(20)
    call.settle(45)
    call.unknown()
    hold.close()
    hold.close()
    call.settle(50)
    assert ledger.state("all").spent == 20


def test_an_unknown_outcome_is_charged_in_full_and_proof_of_not_sending_refunds() -> None:
    ledger = Ledger([Scope("all", 100)])
    hold = ledger.hold("a", 60)
    hold.call(20).unknown()
    hold.call(20).not_sent()
    hold.call(20)
    hold.close()
    assert hold.charged.nano_usd == 40
    assert ledger.state("all").remaining == 60


def test_a_charge_above_the_hold_is_the_truth_and_an_alarm() -> None:
    ledger = Ledger([Scope("all", 100)])
    hold = ledger.hold("a", 80)
    hold.call(80).settle(130)
    hold.close()
    snapshot = ledger.snapshot()
    assert snapshot.scopes[0].spent == 130
    assert snapshot.scopes[0].remaining == 0
    assert (snapshot.alarms, snapshot.overrun_nano_usd) == (1, 50)


def test_a_call_is_not_refused_for_what_another_request_took_above_its_hold() -> None:
    ledger = Ledger([Scope("all", 100)])
    first, second = ledger.hold("a", 50), ledger.hold("b", 50)
    first.call(50).settle(90)
    second.call(50, tokens=300).settle(50, tokens=300)  # nothing counts tokens, none were held
    second.close()
    assert ledger.state("all").spent == 140


def test_a_call_that_needs_more_of_one_unit_is_not_refused_for_another() -> None:
    ledger = Ledger([Scope("dollars", 100), Scope("tokens", 1_000, unit=Unit.TOKENS)])
    first, second = (ledger.hold(name, 50, tokens=100) for name in "ab")
    first.call(50).settle(90)
    call = second.call(50, tokens=150)
    assert ledger.state("tokens").held == 250
    call.settle(50, tokens=150)
    with pytest.raises(BudgetRefusedError, match="'dollars' has no room"):
        second.call(1, tokens=0)


def test_a_late_settle_goes_to_the_window_that_held_it() -> None:
    clock = Clock(60.0 * 1000)
    ledger = Ledger([Scope("minute", 100, Window.MINUTE)], clock)
    hold = ledger.hold("a", 70)
    call = hold.call(70)
    clock.now_s += 60
    ledger.hold("b", 100).close()
    call.settle(70)
    hold.close()
    state = ledger.state("minute")
    assert (state.spent, state.held, state.spent_ever) == (0, 0, 70)


def test_a_clock_that_steps_back_opens_no_window_twice() -> None:
    clock = Clock(60.0 * 1000)
    ledger = Ledger([Scope("minute", 100, Window.MINUTE)], clock)
    ledger.hold("a", 100).call(100).settle(100)
    clock.now_s -= 5
    with pytest.raises(BudgetRefusedError):
        ledger.hold("b", 1)


@pytest.mark.parametrize(
    ("spent", "held", "amount", "window", "expected"),
    [
        (0, 90, 20, Window.MINUTE, 1.0),
        (90, 0, 20, Window.MINUTE, 45.0),
        (90, 0, 20, Window.TOTAL, None),
        (0, 0, 101, Window.MINUTE, None),
    ],
)
def test_a_refusal_says_when_the_money_is_back(
    spent: int, held: int, amount: int, window: Window, expected: float | None
) -> None:
    ledger = Ledger([Scope("all", 100, window)], Clock(60.0 * 1000 + 15))
    first = ledger.hold("spent", spent)
    first.call(spent).settle(spent)
    first.close()
    ledger.hold("held", held)
    with pytest.raises(BudgetRefusedError) as refusal:
        ledger.hold("a", amount)
    assert refusal.value.retry_after_s == expected


def test_a_refusal_by_several_scopes_waits_for_the_last_of_them() -> None:
    clock = Clock(60.0 * 1000 + 15)
    scopes = [Scope("minute", 100, Window.MINUTE), Scope("hour", 100, Window.HOUR)]
    for more, expected in (([], 45.0 + 60 * 19), ([Scope("ever", 100)], None)):
        ledger = Ledger([*scopes, *more], clock)
        first = ledger.hold("spent", 90)
        first.call(90).settle(90)
        first.close()
        with pytest.raises(BudgetRefusedError) as refusal:
            ledger.hold("a", 20)
        assert refusal.value.retry_after_s == expected
        assert all(state.refusals == 1 for state in ledger.snapshot().scopes)


def test_two_scopes_never_share_a_name() -> None:
    with pytest.raises(InputError, match="share a name"):
        Ledger([Scope("all", 100), Scope("all", 200)])


def test_unknown_scopes_and_doubled_ids_are_refused() -> None:
    ledger = Ledger([Scope("all", 100)])
    ledger.hold("a", 1)
    with pytest.raises(InputError, match="new request id"):
        ledger.hold("a", 1)
    with pytest.raises(InputError, match="unknown scope"):
        ledger.hold("b", 1, ["nobody"])


def test_a_limit_is_never_stretched_by_rounding() -> None:
    assert limit_nano_usd(0.1) == 100_000_000
    assert limit_nano_usd(1.9e-9) == 1


@pytest.mark.parametrize(
    ("window", "start", "end"),
    [
        (Window.SECOND, "2024-02-29T13:45:10", "2024-02-29T13:45:11"),
        (Window.MINUTE, "2024-02-29T13:45:00", "2024-02-29T13:46:00"),
        (Window.HOUR, "2024-02-29T13:00:00", "2024-02-29T14:00:00"),
        (Window.DAY, "2024-02-29T00:00:00", "2024-03-01T00:00:00"),
        (Window.WEEK, "2024-02-26T00:00:00", "2024-03-04T00:00:00"),
        (Window.MONTH, "2024-02-01T00:00:00", "2024-03-01T00:00:00"),
    ],
)
def test_windows_follow_the_utc_calendar(window: Window, start: str, end: str) -> None:
    moment = datetime(2024, 2, 29, 13, 45, 10, 500_000, tzinfo=UTC).timestamp()
    found = span(window, moment)
    assert datetime.fromtimestamp(found.start_s, UTC).isoformat() == f"{start}+00:00"
    assert found.end_s is not None
    assert datetime.fromtimestamp(found.end_s, UTC).isoformat() == f"{end}+00:00"
