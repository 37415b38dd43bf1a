from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from event_streams import DONE, cut_off, piece, spoken, streams, usage
from fake_upstream import FakeUpstream
from running_gateway import BODY, Running, running
from small_policies import CHEAP, DEAR, budget, policy, service

from runtime import client as module
from runtime.client import Pieces
from runtime.decision import Decision
from runtime.gateway import Gateway
from runtime.gathering import Gathering
from runtime.upstream import ChatCall, Completion

pytestmark = pytest.mark.asyncio
BOUND = (11 + 32 + 128) * 100 + 20 * 400
"""Nano-dollars of "two and two" to "small" with 20 tokens out."""
BILL = 10 * 100 + 4 * 400
"""What the usage of `spoken` costs."""


def data_of(stream: str) -> list[Any]:
    """The events' data, JSON decoded."""
    assert stream.endswith("\n\n")
    found = [line.removeprefix("data: ") for line in stream[:-2].split("\n\n")]
    return [item if item == "[DONE]" else json.loads(item) for item in found]


def text_of(events: list[Any]) -> str:
    choices = [
        choice for event in events if event != "[DONE]" for choice in event.get("choices", [])
    ]
    return "".join(choice["delta"].get("content", "") for choice in choices)


async def settled(at: Running) -> tuple[int, int]:
    """Spent and held, once no request is open."""
    async with asyncio.timeout(5):
        while at.service.ledger.snapshot().open_holds:
            await asyncio.sleep(0.005)
    state = at.service.ledger.state("global")
    return state.spent, state.held


def held_back(at: int, until: asyncio.Event) -> Callable[[int], Any]:
    async def between(number: int) -> None:
        if number == at:
            await until.wait()
        await asyncio.sleep(0.005)

    return between


@pytest.mark.parametrize("include_usage", [False, True])
async def test_the_first_piece_leaves_before_the_upstream_has_ended(
    tmp_path: Path, *, include_usage: bool
) -> None:
    more = asyncio.Event()
    fake = FakeUpstream(behaviour=streams(spoken("fo", "ur"), held_back(2, more)))
    sent = {**BODY, "stream": True, "stream_options": {"include_usage": include_usage}}
    async with running(tmp_path, fake=fake) as at:
        async with at.client.post("/v1/chat/completions", json=sent) as found:
            begin = ""
            while '"fo"' not in begin:
                begin += (await found.content.readany()).decode()
            assert at.service.ledger.snapshot().open_holds == 1
            more.set()
            events = data_of(begin + (await found.content.read()).decode())
        assert await settled(at) == (BILL, 0)
        metrics = (await at.get("/metrics"))[1]
    assert (found.status, found.content_type) == (200, "text/event-stream")
    headers = {name: value for name, value in found.headers.items() if "inferbudget" in name}
    assert headers == {
        "x-inferbudget-class": "hard",
        "x-inferbudget-strategy": CHEAP,
        "x-inferbudget-rung": "0",
        "x-inferbudget-request-id": events[0]["id"].removeprefix("chatcmpl-"),
    }
    assert text_of(events) == "four"
    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert events[-1] == "[DONE]"
    last = events[-2]
    assert last["inferbudget"] == {"outcome": "answered", "cost_usd": f"0.{BILL:09d}"}
    assert len({(event["id"], event["created"]) for event in events[:-1]}) == 1
    if include_usage:
        tokens = {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}
        assert (last["usage"], last["choices"]) == (tokens, [])
        assert all(event["usage"] is None for event in events[:-2])
    else:
        assert last["choices"][0]["finish_reason"] == "stop"
        assert all("usage" not in event for event in events[:-1])
    assert f'class="hard",outcome="answered",strategy="{CHEAP}"}} 1.0' in metrics


async def test_a_strategy_that_cannot_stream_sends_its_answer_whole(tmp_path: Path) -> None:
    sent = {**BODY, "stream": True}
    async with (
        running(tmp_path, policy(rungs=((DEAR, 0.1),))) as at,
        at.client.post("/v1/chat/completions", json=sent) as found,
    ):
        events = data_of(await found.text())
    assert "stream" not in at.fake.calls[0]
    assert found.headers["x-inferbudget-outcome"] == "answered"
    assert found.headers["x-inferbudget-cost-usd"] == events[-2]["inferbudget"]["cost_usd"]
    assert int(found.headers["content-length"]) > 0
    assert (text_of(events), events[-1]) == ("four", "[DONE]")


async def test_an_upstream_that_does_not_stream_is_no_failure(tmp_path: Path) -> None:
    async with running(tmp_path) as at:
        async with at.client.post("/v1/chat/completions", json={**BODY, "stream": True}) as found:
            events = data_of(await found.text())
        assert at.fake.calls[0]["stream"] is True
        assert (await settled(at))[0] == at.fake.bill_nano_usd
    assert (text_of(events), events[-1]) == ("four", "[DONE]")


async def test_an_error_after_the_first_piece_is_an_event_and_the_stream_has_no_end(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, fake=FakeUpstream(behaviour=cut_off(spoken("fo")[:2]))) as at:
        async with at.client.post("/v1/chat/completions", json={**BODY, "stream": True}) as found:
            events = data_of(await found.text())
        assert await settled(at) == (BOUND, 0)
        metrics = (await at.get("/metrics"))[1]
    assert found.status == 200
    assert text_of(events[:-1]) == "fo"
    assert events[-1] == {
        "error": {
            "message": "the upstream failed",
            "type": "server_error",
            "param": None,
            "code": None,
        }
    }
    assert 'outcome="failed"' in metrics


async def test_an_error_before_the_first_piece_has_its_status(tmp_path: Path) -> None:
    async def broken(_: web.Request, __: dict[str, Any]) -> web.Response:
        return web.Response(status=500, text="secret")

    async with running(tmp_path, fake=FakeUpstream(behaviour=broken)) as at:
        status, body, _ = await at.chat(stream=True)
    assert (status, body["error"]["type"]) == (502, "server_error")


async def test_a_stream_without_usage_is_charged_at_its_bound(tmp_path: Path) -> None:
    silent = [piece("four"), piece(finish="stop"), DONE]
    sent = {**BODY, "stream": True, "stream_options": {"include_usage": True}}
    async with running(tmp_path, fake=FakeUpstream(behaviour=streams(silent))) as at:
        async with at.client.post("/v1/chat/completions", json=sent) as found:
            events = data_of(await found.text())
        assert await settled(at) == (BOUND, 0)
    assert events[-2]["usage"] is None
    assert events[-2]["inferbudget"]["cost_usd"] == f"0.{BOUND:09d}"


async def test_a_client_that_leaves_in_a_stream_pays_what_its_call_cost(tmp_path: Path) -> None:
    more = asyncio.Event()
    fake = FakeUpstream(behaviour=streams(spoken("fo", "ur"), held_back(2, more)))
    async with running(tmp_path, fake=fake) as at:
        async with at.client.post("/v1/chat/completions", json={**BODY, "stream": True}) as found:
            await found.content.readany()
            found.close()
        async with asyncio.timeout(5):
            while 'outcome="disconnected"' not in (await at.get("/metrics"))[1]:
                await asyncio.sleep(0.01)
        assert at.service.ledger.snapshot().open_holds == 1
        more.set()
        assert await settled(at) == (BILL, 0)


async def test_a_gateway_that_stops_ends_its_streams_with_an_error(tmp_path: Path) -> None:
    never = asyncio.Event()
    fake = FakeUpstream(behaviour=streams(spoken("fo", "ur"), held_back(2, never)))
    async with running(tmp_path, fake=fake, drain_s=0.1) as at:
        async with at.client.post("/v1/chat/completions", json={**BODY, "stream": True}) as found:
            begin = (await found.content.readany()).decode()
            await at.gateway.stop()
            events = data_of(begin + (await found.content.read()).decode())
        assert await settled(at) == (BOUND, 0)
        never.set()
    assert "is charged" in events[-1]["error"]["message"]


class Speaker:
    """The `Chat` seam without a network: says words one by one as fast as it may."""

    def __init__(self, words: float, answer: str | None = None) -> None:
        self.said = 0
        self._words = words
        self._answer = answer

    async def chat(self, call: ChatCall) -> Completion:
        texts = []
        while len(texts) < self._words:
            await asyncio.sleep(0)
            self.said += 1
            texts.append("word ")
            if call.on_text:
                call.on_text("word ")
        text = "".join(texts) if self._answer is None else self._answer
        return Completion((text,), 10, 4, ("stop",), 0.0)


class Reader:
    """An ASGI client that takes bodies only while it may."""

    def __init__(self, *, stream: bool = True) -> None:
        self.may_take = asyncio.Event()
        self.sent: list[dict[str, Any]] = []
        self._stream = stream
        self._asked = False

    async def receive(self) -> dict[str, Any]:
        if self._asked:
            await asyncio.Event().wait()
        self._asked = True
        body = json.dumps({**BODY, "stream": self._stream}).encode()
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, event: dict[str, Any]) -> None:
        if event["type"] == "http.response.body":
            await self.may_take.wait()
        self.sent.append(event)

    async def ask(self, gateway: Gateway) -> None:
        path = {"path": "/v1/chat/completions", "method": "POST"}
        await gateway({"type": "http", "headers": [], **path}, self.receive, self.send)

    def stream(self) -> str:
        return b"".join(event.get("body", b"") for event in self.sent).decode()


async def test_a_slow_reader_gets_few_large_pieces_and_keeps_nobody_waiting(
    tmp_path: Path,
) -> None:
    upstream = Speaker(2000)
    inner = service(policy(budgets=(budget(1.0),)), tmp_path, upstream)
    gateway = Gateway(inner)
    slow, quick = Reader(), Reader()
    quick.may_take.set()
    slow_one = asyncio.create_task(slow.ask(gateway))
    await quick.ask(gateway)
    assert text_of(data_of(quick.stream())) == "word " * 2000
    async with asyncio.timeout(5):  # the answer ends and is paid for though nobody takes it
        while inner.ledger.snapshot().open_holds:
            await asyncio.sleep(0)
    assert upstream.said == 4000
    assert not slow_one.done()
    slow.may_take.set()
    await slow_one
    assert text_of(data_of(slow.stream())) == "word " * 2000
    assert len(slow.sent) == 3  # the start, the first piece, all that came meanwhile
    assert not slow.sent[-1]["more_body"]


@pytest.mark.parametrize("words", [3, math.inf])
async def test_a_reader_that_takes_nothing_has_left(
    words: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STALLED_S", 0.02)
    inner = service(policy(budgets=(budget(1.0),)), tmp_path, Speaker(words))
    gateway = Gateway(inner, drain_s=0.0)
    stuck = Reader()
    async with asyncio.timeout(5):
        await stuck.ask(gateway)
    await inner.drain(5.0)
    assert [event["type"] for event in stuck.sent] == ["http.response.start"]
    assert inner.ledger.snapshot().open_holds == 0
    expected = "answered" if words == 3 else "disconnected"
    assert f'outcome="{expected}"' in gateway.metrics.text().decode()


async def test_an_answer_that_is_not_the_one_begun_is_an_error(tmp_path: Path) -> None:
    inner = service(policy(budgets=(budget(1.0),)), tmp_path, Speaker(50, "other"))
    reader = Reader()
    reader.may_take.set()
    await reader.ask(Gateway(inner))
    events = data_of(reader.stream())
    assert events[-1]["error"]["message"] == "the answer is another one than was begun"
    assert "[DONE]" not in events


class Broken:
    """A seam with a bug: it speaks, and then raises what nobody expects."""

    async def chat(self, call: ChatCall) -> Completion:
        if call.on_text:
            call.on_text("fo")
            await asyncio.sleep(0.01)
        raise KeyError("secret")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_bug_is_logged_and_not_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, *, stream: bool
) -> None:
    inner = service(policy(budgets=(budget(1.0),)), tmp_path, Broken())
    reader = Reader(stream=stream)
    reader.may_take.set()
    await reader.ask(Gateway(inner))
    assert reader.sent[0]["status"] == (200 if stream else 500)
    assert reader.stream().count("internal error") == 1
    assert "secret" not in reader.stream()
    assert any(record.exc_info for record in caplog.records)
    assert inner.ledger.state("global").spent == BOUND


class Undecided:
    """A decider with a bug."""

    provider = "none"

    def decide_many(self, *_: Any) -> list[Decision]:
        raise KeyError("secret")


async def test_a_bug_before_the_decision_counts_as_a_failure(tmp_path: Path) -> None:
    inner = service(policy(), tmp_path, Speaker(3))
    inner._gathering = Gathering(Undecided())
    gateway = Gateway(inner)
    reader = Reader(stream=False)
    reader.may_take.set()
    await reader.ask(gateway)
    assert reader.sent[0]["status"] == 500
    counted = 'inferbudget_requests_total{class="",outcome="failed",strategy=""} 1.0'
    assert counted in gateway.metrics.text().decode()


async def test_pieces_come_together_and_know_what_is_left() -> None:
    pieces = Pieces()
    assert pieces.take() == ""
    for text in ("a", "b", "c"):
        pieces.put(text)
    assert pieces.take() == "abc"
    pieces.put("d")
    assert pieces.rest_of("abcdef") == "def"
    assert pieces.rest_of("abd") is None
    assert pieces.take() == "d"


async def test_usage_of_kinds_is_charged_from_the_last_event(tmp_path: Path) -> None:
    counted = [piece("four"), usage(10, 1), piece(finish="stop"), usage(10, 4), DONE]
    async with running(tmp_path, fake=FakeUpstream(behaviour=streams(counted))) as at:
        assert text_of(data_of(await _text(at))) == "four"
        assert await settled(at) == (BILL, 0)


async def _text(at: Running) -> str:
    async with at.client.post("/v1/chat/completions", json={**BODY, "stream": True}) as found:
        return await found.text()
