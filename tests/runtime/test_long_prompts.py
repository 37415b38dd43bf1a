"""Prompts so long that deciding them would keep everybody else waiting."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_upstream import FakeUpstream, InMemory
from running_gateway import running
from small_policies import BY_TEXT_AND_LABEL, policy, service
from test_text_and_label_requests import post, right

from runtime.decision import DecisionSession
from runtime.gateway import Gateway
from runtime.service import LONG_TEXT, Ask
from runtime.upstream import Message

SHORT, LONG = "what is 2 + 3", "one two three " * 2_000


def asked(text: str) -> Ask:
    return Ask((Message("user", text),), text, "law")


@pytest.mark.asyncio
async def test_a_long_prompt_is_decided_as_any_other(tmp_path: Path) -> None:
    found = service(policy(sorting=BY_TEXT_AND_LABEL), tmp_path, InMemory(right))
    assert len(LONG) > LONG_TEXT
    assert [found.is_long(asked(text)) for text in (SHORT, LONG)] == [False, True]
    aside = await (await found.start(asked(LONG))).task
    at_once = found.decider.decide(LONG, 0, 0.5, "law")
    assert aside.class_name == at_once.class_name == "law/hard"


@pytest.mark.asyncio
async def test_a_policy_that_reads_no_text_has_no_long_prompts(tmp_path: Path) -> None:
    assert not service(policy(), tmp_path, InMemory(right)).is_long(asked(LONG))


class Held:
    """Long prompts begin to be decided and go on when told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.count = 0
        decide = DecisionSession.decide

        def slow(decider: DecisionSession, text: str, *more: Any) -> Any:
            if len(text) > LONG_TEXT:
                self.count += 1
                self.begun.set()
                assert self.go_on.wait(60)
            return decide(decider, text, *more)

        monkeypatch.setattr(DecisionSession, "decide", slow)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    found = Held(monkeypatch)
    yield found
    found.go_on.set()


def body(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


@pytest.mark.asyncio
async def test_a_long_prompt_keeps_no_short_one_waiting_and_a_stop_waits_for_it(
    tmp_path: Path, held: Held
) -> None:
    gateway = Gateway(service(policy(sorting=BY_TEXT_AND_LABEL), tmp_path, InMemory(right)))
    long = asyncio.create_task(post(gateway, body(LONG), "law"))
    assert await asyncio.to_thread(held.begun.wait, 60)
    assert (await post(gateway, body(SHORT), "law"))[:2] == (200, "law/easy")
    stop = asyncio.create_task(gateway.stop())
    await asyncio.sleep(0)
    assert not long.done()
    assert not stop.done()
    held.go_on.set()
    assert (await long)[:2] == (200, "law/hard")
    await stop


@pytest.mark.asyncio
async def test_a_stop_waits_for_long_prompts_no_longer_than_for_calls(
    tmp_path: Path, held: Held
) -> None:
    found = service(policy(sorting=BY_TEXT_AND_LABEL), tmp_path, InMemory(right))
    gateway = Gateway(found, drain_s=0.01)
    many = [asyncio.create_task(post(gateway, body(LONG), "law")) for _ in range(5)]
    assert await asyncio.to_thread(held.begun.wait, 60)
    await gateway.stop()
    assert {status for status, *_ in await asyncio.gather(*many)} == {503}
    assert found.ledger.snapshot().scopes[0].spent == 0


@pytest.mark.asyncio
async def test_clients_that_leave_before_their_long_prompts_are_decided_cost_nothing(
    tmp_path: Path, held: Held
) -> None:
    upstream = FakeUpstream()
    async with running(tmp_path, policy(sorting=BY_TEXT_AND_LABEL), upstream) as at:
        many = [
            asyncio.create_task(at.chat(**body(LONG), metadata={"class": "law"})) for _ in range(5)
        ]
        assert await asyncio.to_thread(held.begun.wait, 60)
        while len(at.gateway._flow._being_read) < len(many):
            await asyncio.sleep(0.001)
        for one in many:
            one.cancel()
        while at.gateway._flow._being_read:
            await asyncio.sleep(0.001)
        held.go_on.set()
        assert (await at.chat(**body(LONG), metadata={"class": "law"}))[0] == 200
        assert (len(upstream.calls), held.count) == (1, 2)  # one was being decided already
        name = 'inferbudget_requests_total{class="",outcome="disconnected",strategy=""}'
        assert f"{name} 5.0" in (await at.get("/metrics"))[1]
