"""Several upstreams as one: who is asked, who is asked again, and what an operator sees."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any
from unittest.mock import patch

import pytest
from fake_upstream import PRICES, reply
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from msgspec.structs import replace
from several_upstreams import CALL, NOT_SENT, Together, settings
from small_policies import policy

from profiles.errors import InputError, UpstreamError
from profiles.methods.counting import ANSWERS_PER_CALL
from runtime.caller import HeldCaller
from runtime.ledger import Ledger, Scope
from runtime.upstream import (
    Completion,
    UpstreamLostError,
    UpstreamRejectedError,
    UpstreamTimeoutError,
    certainly_not_sent,
)
from runtime.upstreams import (
    BreakerSettings,
    BreakerState,
    HealthSettings,
    NoUpstreamError,
    RetrySettings,
    models_of,
)

AT_ONCE = RetrySettings(backoff_s=1e-6)
ONCE = RetrySettings(tries=1, within_s=0.0)


def rejected(status: int, retry_after_s: int | None = None) -> UpstreamRejectedError:
    return UpstreamRejectedError("no", status=status, retry_after_s=retry_after_s)


FREE = [
    NOT_SENT,
    UpstreamTimeoutError("late for a connection", sent=False),
    *map(rejected, (401, 403, 404, 405, 429, 503)),
]
PERHAPS_PAID = [
    UpstreamError("rubbish"),
    UpstreamError("failed", status=500),
    UpstreamError("failed", status=503),
    UpstreamTimeoutError("late"),
    UpstreamLostError("broke"),
]
THE_REQUESTS_FAULT = [*map(rejected, (400, 413, 415, 422))]


@pytest.mark.asyncio
async def test_calls_go_where_their_model_is_served() -> None:
    found = Together(
        settings("a", models=("small",)),
        settings("b", models={"large": "big"}),
        settings("c", models={"odd": "strange", "large": "LARGE"}),
        models=("small", "large", "odd"),
    )
    for model, expected in (("small", {"a"}), ("odd", {"c"}), ("large", {"b", "c"})):
        answers = [await found.upstreams.chat(replace(CALL, model=model)) for _ in range(40)]
        assert {answer.texts[0] for answer in answers} == expected
    with pytest.raises(NoUpstreamError, match="no upstream serves the model 'none'") as error:
        await found.upstreams.chat(replace(CALL, model="none"))
    assert certainly_not_sent(error.value)


def test_a_model_of_the_policy_that_nobody_serves_is_refused_at_the_start() -> None:
    with pytest.raises(InputError) as error:
        Together(
            settings("a", models=("small",)), settings("b", models=()),
            models=("small", "large", "odd"),
        )  # fmt: skip
    assert "no upstream serves 'large', 'odd', which the policy calls" in str(error.value)
    assert "got a (small), b ()" in str(error.value)
    assert "next: add the model to the `models`" in str(error.value)


@pytest.mark.asyncio
async def test_a_policy_in_its_place_needs_its_own_models_and_the_old_ones_are_served_on() -> None:
    found = Together(
        settings("a", models=("small",), breaker=BreakerSettings(failures=1)),
        settings("b", models=("large",)),
        retries=ONCE,
    )
    with pytest.raises(InputError, match="no upstream serves 'odd'"):
        found.upstreams.require(["large", "odd"])
    with pytest.raises(NoUpstreamError):
        await found.upstreams.chat(replace(CALL, model="large"))
    found.upstreams.require(["large"])
    assert (await found.upstreams.chat(replace(CALL, model="large"))).texts == ("b",)
    found.servers["a"].failures = [NOT_SENT]
    with pytest.raises(UpstreamError, match="cannot connect"):
        await found.upstreams.chat(CALL)
    assert found.upstreams.unready() == ()
    found.upstreams.require(["small", "large"])
    assert found.upstreams.unready() == ("small",)


def test_the_models_of_a_policy_are_those_of_its_strategies_and_their_judges() -> None:
    assert models_of(policy()) == ("large", "small")


@pytest.mark.asyncio
async def test_idle_upstreams_share_calls_by_their_weights() -> None:
    found = Together(*(settings(name, weight=w) for name, w in (("a", 6), ("b", 3), ("c", 1))))
    shares = await found.shares(4000)
    for name, share in (("a", 0.6), ("b", 0.3), ("c", 0.1)):  # five standard errors
        assert abs(shares[name] / 4000 - share) < 5 * (share * (1 - share) / 4000) ** 0.5


@pytest.mark.asyncio
@pytest.mark.parametrize(("weights", "expected"), [((1, 1, 1), 20), ((4, 1, 1), None)])
async def test_calls_in_flight_are_spread_by_the_weights(
    weights: tuple[int, ...], expected: int | None
) -> None:
    found = Together(*(settings(f"{n}", weight=w) for n, w in enumerate(weights)))
    never = asyncio.Event()

    async def stuck(_: Any) -> Completion:
        await never.wait()
        return reply("late")

    for server in found.servers.values():
        server.answer = stuck
    tasks = [asyncio.create_task(found.upstreams.chat(CALL)) for _ in range(60)]
    await asyncio.sleep(0)
    in_flight = [state.in_flight for state in found.upstreams.snapshot()]
    assert sum(in_flight) == 60
    for got, weight in zip(in_flight, weights, strict=True):
        assert abs(got - 60 * weight / sum(weights)) <= 3
    never.set()
    await asyncio.gather(*tasks)
    assert [state.in_flight for state in found.upstreams.snapshot()] == [0, 0, 0]


@pytest.mark.asyncio
async def test_a_slow_upstream_gets_fewer_calls() -> None:
    found = Together(settings("slow"), settings("quick"))
    turns = {"slow": 20, "quick": 1}
    for name, server in found.servers.items():

        async def answer(_: Any, turns: int = turns[name], name: str = name) -> Completion:
            for _ in range(turns):
                await asyncio.sleep(0)
            return reply(name)

        server.answer = answer
    await asyncio.gather(*(found.shares(25) for _ in range(8)))
    asked = found.asked()
    assert asked["quick"] > 4 * asked["slow"] > 0


@pytest.mark.asyncio
async def test_a_higher_priority_is_asked_only_when_the_lower_cannot_be() -> None:
    found = Together(
        settings("first", breaker=BreakerSettings(failures=1, open_s=5)),
        settings("second", priority=1),
        retries=AT_ONCE,
    )
    assert await found.shares(50) == {"first": 50}
    found.servers["first"].failures = [NOT_SENT]
    assert await found.shares(50) == {"second": 50}
    found.clock.now_s += 5
    assert await found.shares(50) == {"first": 50}


@pytest.mark.asyncio
async def test_an_upstream_that_is_full_passes_calls_on() -> None:
    found = Together(settings("a", max_in_flight=2), settings("b", priority=1, max_in_flight=1))
    go_on = asyncio.Event()

    async def waits(_: Any) -> Completion:
        await go_on.wait()
        return reply("done")

    for server in found.servers.values():
        server.answer = waits
    tasks = [asyncio.create_task(found.upstreams.chat(CALL)) for _ in range(4)]
    await asyncio.sleep(0)
    assert found.asked() == {"a": 2, "b": 1}  # the fourth waits
    go_on.set()
    assert [done.texts for done in await asyncio.gather(*tasks)] == [("done",)] * 4
    assert sum(found.asked().values()) == 4


@pytest.mark.asyncio
async def test_where_all_are_full_until_the_end_nothing_was_sent() -> None:
    found = Together(settings("a", max_in_flight=1), retries=RetrySettings(within_s=0.0))
    never = asyncio.Event()

    async def stuck(_: Any) -> Completion:
        await never.wait()
        return reply("late")

    found.servers["a"].answer = stuck
    first = asyncio.create_task(found.upstreams.chat(CALL))
    await asyncio.sleep(0)
    with pytest.raises(NoUpstreamError, match="no upstream of 'small' can be asked now") as error:
        await found.upstreams.chat(CALL)
    assert not error.value.sent
    assert error.value.retry_after_s is None
    never.set()
    await first


@pytest.mark.asyncio
@pytest.mark.parametrize("error", FREE, ids=repr)
async def test_what_cost_nothing_is_asked_elsewhere_at_once(error: UpstreamError) -> None:
    found = Together(settings("a"), settings("b", priority=1))
    found.servers["a"].failures = [error]
    assert (await found.upstreams.chat(CALL)).texts == ("b",)
    assert found.asked() == {"a": 1, "b": 1}


@pytest.mark.asyncio
@pytest.mark.parametrize("error", [*PERHAPS_PAID, *THE_REQUESTS_FAULT], ids=repr)
async def test_what_may_be_paid_or_would_end_alike_is_never_asked_again(
    error: UpstreamError,
) -> None:
    found = Together(settings("a"), settings("b", priority=1), retries=AT_ONCE)
    found.servers["a"].failures = [error]
    with pytest.raises(type(error)) as raised:
        await found.upstreams.chat(CALL)
    assert raised.value is error
    found.servers["a"].failures = [NOT_SENT]
    found.servers["b"].failures = [error]
    with pytest.raises(type(error)) as raised:
        await found.upstreams.chat(CALL)
    assert raised.value is error
    assert found.asked() == {"a": 2, "b": 1}


@pytest.mark.asyncio
async def test_no_call_is_asked_more_often_than_allowed() -> None:
    found = Together(*map(settings, "abcde"), retries=RetrySettings(tries=3, backoff_s=1e-6))
    for server in found.servers.values():
        server.failures = [NOT_SENT] * 9
    with pytest.raises(UpstreamError):
        await found.upstreams.chat(CALL)
    assert sorted(found.asked().values()) == [0, 0, 1, 1, 1]


@pytest.mark.asyncio
async def test_when_all_were_tried_they_are_tried_again_after_a_wait() -> None:
    found = Together(settings("a"), retries=RetrySettings(tries=3, backoff_s=1e-6))
    found.servers["a"].failures = [NOT_SENT, NOT_SENT]
    assert (await found.upstreams.chat(CALL)).texts == ("a",)
    found.servers["a"].failures = [rejected(401)]  # a wrong key stays wrong
    with pytest.raises(UpstreamRejectedError):
        await found.upstreams.chat(CALL)
    assert found.asked() == {"a": 4}


@pytest.mark.asyncio
async def test_no_try_begins_after_the_time_for_tries() -> None:
    found = Together(settings("a"), retries=RetrySettings(tries=9, backoff_s=1.0, within_s=0.4))
    found.servers["a"].failures = [NOT_SENT]
    with pytest.raises(UpstreamError, match="cannot connect"):
        await found.upstreams.chat(CALL)
    assert found.asked() == {"a": 1}


@pytest.mark.asyncio
async def test_waits_are_longer_each_time_and_never_quite_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    retries = RetrySettings(tries=7, backoff_s=0.25, most_backoff_s=2.0, within_s=100)
    never_open = BreakerSettings(failures=100)
    found = Together(settings("a", breaker=never_open), retries=retries)
    found.servers["a"].failures = [NOT_SENT] * 7
    waits: list[float] = []

    async def note(wait_s: float) -> None:
        waits.append(wait_s)
        found.clock.now_s += wait_s

    monkeypatch.setattr(asyncio, "sleep", note)
    with pytest.raises(UpstreamError):
        await found.upstreams.chat(CALL)
    for wait, most in zip(waits, [0.25, 0.5, 1.0, 2.0, 2.0, 2.0], strict=True):
        assert most / 2 <= wait <= most
    assert len(set(waits)) == 6


@pytest.mark.asyncio
async def test_a_busy_upstream_is_left_alone_as_long_as_it_wants_and_is_not_broken() -> None:
    found = Together(settings("a"), settings("b", priority=1))
    found.servers["a"].failures = [rejected(429, 7)]
    assert await found.shares(20) == {"b": 20}
    (state, _) = found.upstreams.snapshot()
    assert (state.breaker, dict(state.resting_s)) == (BreakerState.CLOSED, {"small": 7.0})
    assert found.upstreams.unready() == ()
    found.clock.now_s += 6.9
    assert await found.shares(1) == {"b": 1}
    found.clock.now_s += 0.1
    assert await found.shares(1) == {"a": 1}
    assert found.upstreams.snapshot()[0].resting_s == {}


@pytest.mark.asyncio
async def test_a_good_call_that_began_before_does_not_end_the_rest_that_one_was_told() -> None:
    found = Together(settings("a"), settings("b", priority=1))
    go_on = asyncio.Event()

    async def waits(_: Any) -> Completion:
        await go_on.wait()
        return reply("late")

    found.servers["a"].answer = waits
    early = asyncio.create_task(found.upstreams.chat(CALL))
    await asyncio.sleep(0)
    found.servers["a"].failures = [rejected(429, 7)]
    assert await found.shares(1) == {"b": 1}
    go_on.set()
    await early
    assert await found.shares(1) == {"b": 1}
    found.clock.now_s += 7
    assert await found.shares(1) == {"late": 1}


@pytest.mark.asyncio
async def test_a_busy_model_does_not_keep_the_others_of_its_upstream() -> None:
    found = Together(settings("a"), models=("small", "large"), retries=ONCE)
    found.servers["a"].failures = [rejected(429, 7)]
    with pytest.raises(UpstreamRejectedError):
        await found.upstreams.chat(CALL)
    assert (await found.upstreams.chat(replace(CALL, model="large"))).texts == ("a",)
    with pytest.raises(NoUpstreamError) as error:
        await found.upstreams.chat(CALL)
    assert error.value.retry_after_s == 7
    assert found.asked() == {"a": 2}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("error", "rests_s"),
    [
        (rejected(429), None),
        (rejected(429, 0), None),
        (rejected(503, 4), 4.0),
        (rejected(429, 99_999), 300.0),
        (rejected(404), 30.0),
    ],
)
async def test_who_says_not_now_rests_for_a_while_and_never_for_days(
    error: UpstreamError, rests_s: float | None
) -> None:
    found = Together(settings("a", breaker=BreakerSettings(failures=1)), retries=ONCE)
    found.servers["a"].failures = [error]
    with pytest.raises(UpstreamRejectedError):
        await found.upstreams.chat(CALL)
    (state,) = found.upstreams.snapshot()
    assert state.breaker is BreakerState.CLOSED
    assert dict(state.resting_s) == ({} if rests_s is None else {"small": rests_s})


@pytest.mark.asyncio
async def test_a_time_to_come_back_within_the_calls_own_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = Together(settings("a"), retries=RetrySettings(within_s=10))
    waits: list[float] = []

    async def note(wait_s: float) -> None:
        waits.append(wait_s)
        found.clock.now_s += wait_s

    monkeypatch.setattr(asyncio, "sleep", note)
    found.servers["a"].failures = [rejected(429, 7)]
    assert (await found.upstreams.chat(CALL)).texts == ("a",)
    assert len(waits) == 1
    assert 7 < waits[0] <= 7.1
    found.servers["a"].failures = [rejected(429, 11)]
    with pytest.raises(UpstreamRejectedError):
        await found.upstreams.chat(CALL)
    assert len(waits) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("error", "breaks"),
    [
        *((error, True) for error in PERHAPS_PAID),
        *((error, False) for error in THE_REQUESTS_FAULT),
        (NOT_SENT, True),
        (rejected(401), True),
        (rejected(405), True),
        (rejected(503), True),
        (rejected(403), False),
        (rejected(404), False),
        (rejected(429), False),
        (rejected(503, 1), False),
    ],
    ids=repr,
)
async def test_only_what_is_the_servers_fault_opens_its_breaker(
    error: UpstreamError, *, breaks: bool
) -> None:
    found = Together(settings("a", breaker=BreakerSettings(failures=1)), retries=ONCE)
    found.servers["a"].failures = [error]
    with pytest.raises(UpstreamError):
        await found.upstreams.chat(CALL)
    (state,) = found.upstreams.snapshot()
    assert (state.breaker is BreakerState.OPEN) == breaks


@pytest.mark.asyncio
async def test_a_call_that_nobody_waits_for_is_neither_good_nor_bad() -> None:
    found = Together(settings("a", breaker=BreakerSettings(failures=1)))

    async def stuck(_: Any) -> Completion:
        await asyncio.Event().wait()
        raise AssertionError

    found.servers["a"].answer = stuck
    task = asyncio.create_task(found.upstreams.chat(CALL))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as cancelled:
        await task
    assert not certainly_not_sent(cancelled.value)
    (state,) = found.upstreams.snapshot()
    assert (state.in_flight, state.breaker) == (0, BreakerState.CLOSED)
    assert dict(state.failures) == {"cancelled": 1}


@pytest.mark.asyncio
async def test_who_leaves_while_a_call_waits_for_its_next_try_has_sent_nothing() -> None:
    found = Together(settings("a"), retries=RetrySettings(backoff_s=5))
    found.servers["a"].failures = [NOT_SENT]
    task = asyncio.create_task(found.upstreams.chat(CALL))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as cancelled:
        await task
    assert certainly_not_sent(cancelled.value)


@pytest.mark.asyncio
async def test_a_half_open_breaker_lets_one_of_many_calls_try() -> None:
    found = Together(
        settings("a", breaker=BreakerSettings(failures=1, open_s=5)),
        retries=RetrySettings(within_s=0.0),
    )
    found.servers["a"].failures = [NOT_SENT]
    with pytest.raises(UpstreamError):
        await found.upstreams.chat(CALL)
    found.clock.now_s += 5
    found.servers["a"].failures = [UpstreamError("still broken", status=500)]
    results = await asyncio.gather(
        *(found.upstreams.chat(CALL) for _ in range(20)), return_exceptions=True
    )
    assert sum(isinstance(result, NoUpstreamError) for result in results) == 19
    assert found.asked() == {"a": 2}
    assert found.upstreams.snapshot()[0].breaker is BreakerState.OPEN


@pytest.mark.asyncio
async def test_several_answers_are_asked_of_those_who_can() -> None:
    found = Together(settings("one", several_answers=False), settings("many", priority=1))
    assert (await found.upstreams.chat(replace(CALL, n=3))).texts == ("many",)
    assert (await found.upstreams.chat(CALL)).texts == ("one",)
    assert found.upstreams.answers_per_call == 1
    assert Together(settings("many")).upstreams.answers_per_call == ANSWERS_PER_CALL
    alone = Together(settings("one", several_answers=False))
    with pytest.raises(NoUpstreamError, match="no upstream gives 3 answers of 'small'"):
        await alone.upstreams.chat(replace(CALL, n=3))
    assert alone.asked() == {"one": 0}


@pytest.mark.asyncio
async def test_embeddings_take_the_same_way_as_chats() -> None:
    found = Together(settings("a"), settings("b", priority=1), models=("vectors",))
    found.servers["a"].failures = [NOT_SENT, UpstreamLostError("broke")]
    reply_ = await found.upstreams.embeddings("vectors", b"{}")
    assert (reply_.content, reply_.tokens_in) == (b"b vectors {}", 3)
    with pytest.raises(UpstreamLostError):
        await found.upstreams.embeddings("vectors", b"{}")
    with pytest.raises(NoUpstreamError):
        await found.upstreams.embeddings("small", b"{}")


@pytest.mark.asyncio
async def test_ready_is_who_has_for_every_model_one_that_is_not_broken() -> None:
    one = BreakerSettings(failures=1, open_s=5)
    found = Together(
        settings("a", models=("small",), breaker=one),
        settings("b", breaker=one),
        models=("small", "large"),
        retries=ONCE,
    )
    assert found.upstreams.unready() == ()
    found.servers["b"].failures = [NOT_SENT]
    with pytest.raises(UpstreamError):
        await found.upstreams.chat(replace(CALL, model="large"))
    assert found.upstreams.unready() == ("large",)
    found.servers["a"].failures = [NOT_SENT]
    with pytest.raises(UpstreamError):
        await found.upstreams.chat(CALL)
    assert found.upstreams.unready() == ("small", "large")
    found.clock.now_s += 5
    assert found.upstreams.unready() == ()


@pytest.mark.asyncio
async def test_probes_find_a_dead_server_before_any_call_and_a_living_one_again() -> None:
    health = HealthSettings(path="/v1/models", every_s=1e-3, timeout_s=0.5)
    found = Together(settings("a", health=health), settings("b", priority=1))
    server = found.servers["a"]
    server.probe_error = UpstreamError("the page answers with status 502", status=502)

    async def until(*, ready: bool) -> None:
        async with asyncio.timeout(10):
            while (found.upstreams.snapshot()[0].breaker is not BreakerState.OPEN) != ready:
                await asyncio.sleep(0)

    async with found.upstreams:
        await until(ready=False)
        assert await found.shares(3) == {"b": 3}
        probed = found.upstreams.snapshot()[0].probed
        assert probed is not None
        assert (probed.good, probed.error) == (False, "the page answers with status 502")
        server.probe_error = None
        await until(ready=True)
        assert await found.shares(3) == {"a": 3}
        found.upstreams.start()  # a second time begins nothing
        assert len(asyncio.all_tasks()) == 2
    assert set(server.probes) == {("/v1/models", 0.5)}
    assert server.closed
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.asyncio
async def test_no_call_starts_a_task_or_a_timer_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = Together(settings("a"), settings("b"))
    loop = asyncio.get_running_loop()

    def none(*_: Any, **__: Any) -> None:
        raise AssertionError("a call begins something beside itself")

    with monkeypatch.context() as patched:
        for name in ("create_task", "call_later", "call_at", "call_soon"):
            patched.setattr(loop, name, none)
        await found.shares(10)


@pytest.mark.asyncio
async def test_the_snapshot_counts_what_happened() -> None:
    found = Together(settings("a", weight=1e6), settings("b", weight=1e-6), retries=ONCE)
    found.servers["a"].failures = [NOT_SENT, UpstreamError("x", status=500), rejected(400)]
    for _ in range(3):
        with pytest.raises(UpstreamError):
            await found.upstreams.chat(CALL)
    await found.upstreams.chat(CALL)
    found.clock.now_s += 3
    a, b = found.upstreams.snapshot()
    assert (a.name, a.calls, a.in_flight, a.breaker, a.breaker_for_s) == (
        "a", 4, 0, BreakerState.CLOSED, 3.0,
    )  # fmt: skip
    assert dict(a.failures) == {"connect": 1, "status": 1, "rejected": 1}
    assert (b.calls, dict(b.failures), b.probed) == (0, {}, None)


ENDINGS = {
    "answers": None,
    "not sent": NOT_SENT,
    "busy": rejected(429),
    "wants later": rejected(429, 1),
    "unavailable": rejected(503),
    "refused": rejected(401),
    "at fault": rejected(400),
    "lost": UpstreamLostError("broke"),
    "failed": UpstreamError("failed", status=500),
    "late": UpstreamTimeoutError("late"),
}
# What a server did work for, and may bill.
WORKED = {"answers", "lost", "failed", "late"}


@given(
    runs=st.lists(st.lists(st.sampled_from(sorted(ENDINGS)), max_size=6), min_size=1, max_size=8),
    count=st.integers(1, 4),
    tries=st.integers(1, 5),
    seed=st.integers(0, 99),
)
@hypothesis_settings(max_examples=300, deadline=None)
def test_whatever_servers_do_each_call_is_worked_on_at_most_once_and_then_charged(
    runs: list[list[str]], count: int, tries: int, seed: int
) -> None:
    ledger = Ledger([Scope("all")])
    found = Together(
        *(settings(str(number)) for number in range(count)),
        retries=RetrySettings(tries=tries, backoff_s=0.1, within_s=3),
        seed=seed,
    )
    bill = worked = 0
    endings: list[str] = []

    def answering(name: str) -> Any:
        async def answer(_: Any) -> Completion:
            nonlocal worked, bill
            ending = endings.pop(0) if endings else "answers"
            if ending in WORKED:
                worked += 1
                bill += PRICES.price("small").cost_nano_usd(10, 4)
            error = ENDINGS[ending]
            if error is not None:
                raise error
            return reply(name, tokens_in=10, tokens_out=4)

        return answer

    for name, server in found.servers.items():
        server.answer = answering(name)

    async def ask(number: int) -> None:
        nonlocal worked
        worked = 0
        hold = ledger.hold(str(number), 10**9)
        caller = HeldCaller(found.upstreams, PRICES, hold)
        with suppress(UpstreamError):
            await caller(CALL)
        hold.close()
        assert worked <= 1
        assert (caller.bill.cost_nano_usd > 0) == (worked == 1)

    async def ask_all() -> None:
        for number, run in enumerate(runs):
            endings[:] = run
            await ask(number)

    with patch("asyncio.sleep", found.pass_time):
        asyncio.run(ask_all())
    assert bill <= ledger.snapshot().scopes[0].spent
