"""Prompts so long that deciding them would keep everybody else waiting."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from fake_upstream import InMemory
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
    aside = await (await found.start_long(asked(LONG))).task
    assert aside.class_name == (await found.start(asked(LONG)).task).class_name == "law/hard"


@pytest.mark.asyncio
async def test_a_policy_that_reads_no_text_has_no_long_prompts(tmp_path: Path) -> None:
    assert not service(policy(), tmp_path, InMemory(right)).is_long(asked(LONG))


@pytest.mark.asyncio
async def test_a_long_prompt_keeps_no_short_one_waiting_and_a_stop_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    decide = DecisionSession.decide

    def slow(self: DecisionSession, text: str, *more: Any) -> Any:
        if len(text) > LONG_TEXT:
            begun.set()
            assert go_on.wait(60)
        return decide(self, text, *more)

    monkeypatch.setattr(DecisionSession, "decide", slow)
    found = service(policy(sorting=BY_TEXT_AND_LABEL), tmp_path, InMemory(right))
    gateway = Gateway(found)
    bodies = [{"messages": [{"role": "user", "content": text}]} for text in (LONG, SHORT)]
    long = asyncio.create_task(post(gateway, bodies[0], "law"))
    assert await asyncio.to_thread(begun.wait, 60)
    assert (await post(gateway, bodies[1], "law"))[:2] == (200, "law/easy")
    stop = asyncio.create_task(gateway.stop())
    await asyncio.sleep(0)
    assert not long.done()
    assert not stop.done()
    go_on.set()
    assert (await long)[:2] == (200, "law/hard")
    await stop
