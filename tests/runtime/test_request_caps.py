from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fake_upstream import PRICES, FakeUpstream, InMemory, reply, served
from running_gateway import running
from small_policies import CHEAP, DEAR, budget, policy, service

from planner.plan import TokenLine
from planner.spec import Caps
from policies.policy import Policy
from profiles.errors import InputError, UpstreamError
from runtime.caller import CapRefusedError
from runtime.service import Ask, Served, Service
from runtime.strategies import TimeCapError, build
from runtime.upstream import ChatCall, Completion, Message, Upstream

pytestmark = pytest.mark.asyncio
BOTH = ((DEAR, 0.001), (CHEAP, 0.0001))
WAIT_S = 1.5
"""Seconds in which a busy machine makes a local connection too."""
ROUNDS = "large/best_of_n(batch=1,n=4,verifier=checker)"


def ask(text: str = "question", **fields: int) -> Ask:
    return Ask((Message("user", text),), text, "easy", **fields)


def right(_: int, call: ChatCall) -> Completion:
    return reply(*["right"] * call.n)


def wrong(_: int, call: ChatCall) -> Completion:
    return reply(*["wrong"] * call.n)


def capped(caps: dict[str, Any], **fields: Any) -> Policy:
    found = policy(**{"budgets": (budget(1.0),), **fields})
    return found.model_copy(update={"caps": Caps.model_validate(caps)}).sealed()


def bound_usd(of: Service, text: str, prompt: str = "question") -> float:
    tokens = 160 + len(prompt)
    return build(text, of.tools).bound_nano_usd(tokens, 20, PRICES) / 1e9


async def answered(found: Service, asked: Ask | None = None) -> Served:
    return await (await found.start(asked or ask())).task


async def test_caps_that_nothing_reaches_change_nothing(tmp_path: Path) -> None:
    caps = {"tokens": 20, "calls": 1, "wall_s": 60, "usd": 1.0}
    answer = await answered(service(capped(caps), tmp_path, InMemory(right)))
    assert (answer.strategy, answer.ending) == (CHEAP, "answered")


async def test_a_cap_on_tokens_lowers_that_of_every_call(tmp_path: Path) -> None:
    upstream = InMemory(wrong)
    found = service(capped({"tokens": 5}, rungs=((ROUNDS, 0.001),)), tmp_path, upstream)
    await answered(found)
    await answered(found, ask(max_tokens=3))
    assert [call.max_tokens for call in upstream.calls] == [5] * 4 + [3] * 4


async def test_a_line_by_prompt_length_lowers_the_cap_of_short_prompts(tmp_path: Path) -> None:
    upstream = InMemory(right)
    found = policy(max_tokens=400, budgets=(budget(1.0),))
    line = TokenLine(base=-100, per_prompt_token=1)
    entries = tuple(
        entry.model_copy(update={"max_tokens_by_prompt": line}) for entry in found.strategies
    )
    lined = found.model_copy(update={"strategies": entries}).sealed()
    of = service(lined, tmp_path, upstream)
    for text in ("question", "question" * 20, "question" * 100):
        await answered(of, ask(text))
    await answered(of, ask(max_tokens=3))
    # 160 tokens of template are counted beside every byte of the prompt.
    assert [call.max_tokens for call in upstream.calls] == [68, 220, 400, 3]


async def test_a_strategy_that_may_cost_more_than_the_cap_is_passed_over(tmp_path: Path) -> None:
    probe = service(policy(rungs=BOTH), tmp_path, InMemory(right))
    long = "question" * 100
    room = (bound_usd(probe, DEAR) + bound_usd(probe, DEAR, long)) / 2
    found = service(capped({"usd": room}, rungs=BOTH), tmp_path, InMemory(right))
    assert (await answered(found)).strategy == DEAR
    answer = await answered(found, ask(long))
    assert (answer.strategy, answer.downgraded) == (CHEAP, True)
    assert found.ledger.state("global").refusals == 0


async def test_a_request_that_nothing_may_answer_is_refused_and_holds_nothing(
    tmp_path: Path,
) -> None:
    probe = service(policy(), tmp_path, InMemory(right))
    found = service(
        capped({"usd": bound_usd(probe, CHEAP)}, costs={CHEAP: 0.0001}), tmp_path, InMemory(right)
    )
    await answered(found)
    with pytest.raises(CapRefusedError, match=r"may cost more than caps\.usd") as refusal:
        await found.start(ask("question" * 100))
    assert refusal.value.retry_after_s is None
    assert found.ledger.state("global").held == 0


async def test_a_cap_below_every_bound_of_a_strategy_is_refused_at_the_start(
    tmp_path: Path,
) -> None:
    with pytest.raises(InputError, match=r"passes over this strategy every time") as raised:
        service(capped({"usd": 0.0001}, rungs=BOTH), tmp_path, InMemory(right))
    assert f"strategy {DEAR}" in str(raised.value)
    assert "raise caps.usd" in str(raised.value)
    # 160 tokens of template, and four answers of 20
    assert "at least 0.000144, what an empty prompt" in str(raised.value)
    service(capped({"usd": 0.000144}, rungs=BOTH), tmp_path, InMemory(right))


async def test_a_call_too_many_is_not_sent_and_the_answer_so_far_counts(tmp_path: Path) -> None:
    upstream = InMemory(wrong)
    found = service(capped({"calls": 2}, rungs=((ROUNDS, 0.001),)), tmp_path, upstream)
    answer = await answered(found)
    assert (answer.outcome.text, answer.outcome.calls, answer.ending) == ("wrong", 2, "incomplete")
    assert len(upstream.calls) == 2
    assert found.ledger.state("global").spent == upstream.bill_nano_usd


async def test_a_call_that_failed_counts_as_one(tmp_path: Path) -> None:
    def broken(_: int, __: ChatCall) -> Completion:
        raise UpstreamError("broken")

    upstream = InMemory(broken)
    cascade = "cascade(accept=checker,stages=[small/single,large/single])"
    found = service(capped({"calls": 1}, rungs=((cascade, 0.001),)), tmp_path, upstream)
    with pytest.raises(CapRefusedError, match="so many calls"):
        await answered(found)
    assert len(upstream.calls) == 1


@asynccontextmanager
async def silent_after(calls: int, text: str = "right") -> AsyncIterator[FakeUpstream]:
    """A server that takes further calls and says nothing to them."""
    told = asyncio.Event()

    async def wait(_: Any, __: dict[str, Any]) -> None:
        if len(fake.calls) > calls:
            await told.wait()

    fake = FakeUpstream(reply=text, behaviour=wait)
    async with served(fake):
        try:
            yield fake
        finally:
            told.set()


async def test_what_takes_too_long_is_given_up_and_charged_at_its_bound(tmp_path: Path) -> None:
    async with silent_after(0) as fake, Upstream(fake.url) as upstream:
        found = service(capped({"wall_s": WAIT_S}), tmp_path, upstream)
        with pytest.raises(TimeCapError, match=r"no answer within 1\.5 s"):
            await answered(found)
        state = found.ledger.state("global")
    assert len(fake.calls) == 1
    assert state.spent == round(bound_usd(found, CHEAP) * 1e9)
    assert state.held == 0
    assert found.ledger.snapshot().open_holds == 0


async def test_only_the_calls_in_flight_are_charged_at_their_bounds(tmp_path: Path) -> None:
    async with silent_after(1, "wrong") as fake, Upstream(fake.url) as upstream:
        rungs = ((ROUNDS, 0.001),)
        found = service(capped({"wall_s": WAIT_S}, rungs=rungs), tmp_path, upstream)
        served_answer = await answered(found)
        assert served_answer.ending == "incomplete"
        assert served_answer.outcome.text == "wrong"  # the best so far
        assert served_answer.outcome.steps[-1].what == "cut short"
        one_call = round(bound_usd(found, "large/single") * 1e9)
        assert len(fake.calls) == 2
        spent = found.ledger.state("global").spent
        assert spent == fake.bill_nano_usd + one_call  # the second call is not billed yet


@asynccontextmanager
async def listening(*, backlog: int = 8) -> AsyncIterator[socket.socket]:
    """A server that nobody accepts connections of; the kernel makes as many as `backlog` says."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(backlog)
        yield server


@asynccontextmanager
async def saturated() -> AsyncIterator[socket.socket]:
    """A server whose connections are all taken: the next one waits to be made."""
    async with listening(backlog=0) as server:
        loop, clients = asyncio.get_running_loop(), []
        try:
            for _ in range(16):
                client = socket.socket()
                client.setblocking(False)
                clients.append(client)
                try:
                    async with asyncio.timeout(0.1):
                        await loop.sock_connect(client, server.getsockname())
                except TimeoutError:
                    break
            else:
                pytest.skip("this system queues more connections than it was asked to")
            yield server
        finally:
            for client in clients:
                client.close()


def url_of(server: socket.socket) -> str:
    return f"http://127.0.0.1:{server.getsockname()[1]}/v1"


async def test_a_call_that_still_waits_for_its_connection_costs_nothing(tmp_path: Path) -> None:
    async with saturated() as server, Upstream(url_of(server)) as upstream:
        found = service(capped({"wall_s": 0.1}, rungs=((ROUNDS, 0.001),)), tmp_path, upstream)
        for _ in range(3):
            with pytest.raises(TimeCapError):
                await answered(found)
        state = found.ledger.state("global")
    assert (state.spent, state.held, state.requests) == (0, 0, 3)


async def test_an_upstream_that_no_connection_is_made_to_in_time_costs_nothing(
    tmp_path: Path,
) -> None:
    async with saturated() as server, Upstream(url_of(server), timeout_s=0.1) as upstream:
        found = service(policy(budgets=(budget(1.0),)), tmp_path, upstream)
        with pytest.raises(UpstreamError) as raised:
            await answered(found)
        state = found.ledger.state("global")
    assert not raised.value.sent
    assert (state.spent, state.held) == (0, 0)


async def test_a_call_to_a_server_that_takes_it_and_stays_silent_is_charged(
    tmp_path: Path,
) -> None:
    async with listening() as server, Upstream(url_of(server)) as upstream:
        found = service(capped({"wall_s": WAIT_S}), tmp_path, upstream)
        with pytest.raises(TimeCapError):
            await answered(found)
        state = found.ledger.state("global")
    assert (state.spent, state.held) == (round(bound_usd(found, CHEAP) * 1e9), 0)


async def test_a_call_on_a_connection_that_was_used_before_is_charged_too(tmp_path: Path) -> None:
    async with silent_after(1) as fake, Upstream(fake.url) as upstream:
        found = service(capped({"wall_s": WAIT_S}), tmp_path, upstream)
        await answered(found)
        with pytest.raises(TimeCapError):
            await answered(found)
        spent = found.ledger.state("global").spent
        assert spent == fake.bill_nano_usd + round(bound_usd(found, CHEAP) * 1e9)


async def test_a_server_that_refuses_connections_costs_nothing(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        async with Upstream(url_of(free)) as upstream:
            found = service(capped({"wall_s": 5}), tmp_path, upstream)
            with pytest.raises(UpstreamError, match="cannot connect"):
                await answered(found)
            state = found.ledger.state("global")
    assert (state.spent, state.held) == (0, 0)


async def test_a_client_that_leaves_before_the_connection_is_made_costs_nothing(
    tmp_path: Path,
) -> None:
    async with saturated() as server, Upstream(url_of(server)) as upstream:
        found = service(policy(budgets=(budget(1.0),)), tmp_path, upstream)
        run = await found.start(ask())
        await asyncio.sleep(0.05)
        run.abandon(0.0)
        await asyncio.wait([run.task])
        state = found.ledger.state("global")
    assert run.task.cancelled()
    assert (state.spent, state.held) == (0, 0)


async def test_clients_are_told_402_and_504_without_the_operators_sums(tmp_path: Path) -> None:
    probe = service(policy(), tmp_path, InMemory(right))
    caps = {"usd": bound_usd(probe, CHEAP) * 1.1}
    async with running(tmp_path, capped(caps, costs={CHEAP: 0.0001})) as at:
        assert (await at.chat())[0] == 200
        message = [{"role": "user", "content": "question" * 100}]
        status, body, _ = await at.chat(messages=message)
    assert (status, body["error"]["code"]) == (402, "request_cap")
    assert "shorten it or lower max_tokens" in body["error"]["message"]
    async with running(tmp_path, capped({"wall_s": 0.05}), FakeUpstream(delay_s=1)) as at:
        status, body, _ = await at.chat()
        held = at.service.ledger.state("global").held
    assert (status, held) == (504, 0)
    assert body["error"]["message"] == "no answer within 0.05 s, which one request may take"


THINKING = "large/thinking_budget(dialect=vllm,tokens=10)"


async def test_a_clients_cap_passes_over_what_thinks_longer(tmp_path: Path) -> None:
    upstream, dear = InMemory(right), {THINKING: 0.001}
    both = policy(rungs=((THINKING, 0.001),), costs=dear | {CHEAP: 0.0001})
    found = service(both, tmp_path, upstream)
    assert (await answered(found, ask(max_tokens=11))).strategy == THINKING
    short = await answered(found, ask(max_tokens=10))
    assert (short.strategy, short.ending) == (CHEAP, "downgraded")
    alone = service(policy(rungs=((THINKING, 0.001),), costs=dear), tmp_path, upstream)
    with pytest.raises(InputError, match="leaves no token for the answer"):
        await answered(alone, ask(max_tokens=10))
