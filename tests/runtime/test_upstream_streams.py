from __future__ import annotations

import asyncio
import itertools
import json
import math
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from aiohttp import web
from event_streams import DONE, cut_off, event, piece, spoken, streams, usage
from fake_upstream import Behaviour, FakeUpstream, served
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from profiles.errors import UpstreamError
from runtime import reply_content as module
from runtime.replies import StreamedReply
from runtime.upstream import (
    ChatCall,
    Completion,
    Message,
    Upstream,
    UpstreamRejectedError,
    UpstreamTimeoutError,
)

COUNTS = {"prompt_tokens": 10, "completion_tokens": 0}
CALL = ChatCall("small", (Message("user", "two and two"),), max_tokens=16)
WHOLE = json.dumps(
    {
        "choices": [{"message": {"content": "four"}, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 4},
    }
).encode()


class Heard:
    def __init__(self) -> None:
        self.texts: list[str] = []
        self.call = replace(CALL, on_text=self.texts.append)


async def asked(behaviour: Behaviour, heard: Heard | None = None) -> Completion:
    async with served(FakeUpstream(behaviour=behaviour)) as fake, Upstream(fake.url) as upstream:
        return await upstream.chat((heard or Heard()).call)


@pytest.mark.asyncio
async def test_a_streamed_reply_is_the_same_as_a_whole_one() -> None:
    heard = Heard()
    found = await asked(streams(spoken("fo", "ur", finish="length")), heard)
    assert heard.texts == ["fo", "ur"]
    assert found == Completion(
        ("four",), 10, 4, ("length",), found.latency_s, None, None, confidences=(None,)
    )
    assert found.latency_s > 0


@pytest.mark.asyncio
async def test_a_stream_is_asked_for_with_its_usage_and_only_where_somebody_listens() -> None:
    async with served(FakeUpstream(behaviour=streams(spoken("four")))) as fake:
        async with Upstream(fake.url) as upstream:
            await upstream.chat(Heard().call)
        fake.behaviour = None
        async with Upstream(fake.url) as upstream:
            await upstream.chat(CALL)
            several = Heard()
            await upstream.chat(replace(several.call, n=2))
    assert fake.calls[0] == {
        **fake.calls[1],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert "stream" not in fake.calls[2]
    assert several.texts == []


@pytest.mark.asyncio
async def test_pieces_are_heard_before_the_reply_has_ended() -> None:
    heard, more = Heard(), asyncio.Event()

    async def held_back(number: int) -> None:
        if number == 2:
            await more.wait()

    behaviour = streams(spoken("fo", "ur"), held_back)
    async with served(FakeUpstream(behaviour=behaviour)) as fake, Upstream(fake.url) as upstream:
        asking = asyncio.create_task(upstream.chat(heard.call))
        async with asyncio.timeout(5):
            while not heard.texts:
                await asyncio.sleep(0.001)
        assert heard.texts == ["fo"]
        assert not asking.done()
        more.set()
        assert (await asking).texts == ("four",)


@pytest.mark.asyncio
@pytest.mark.parametrize("content", [WHOLE, b"\r\n " + WHOLE])
async def test_a_server_that_does_not_stream_is_heard_at_once(content: bytes) -> None:
    heard = Heard()

    async def whole(_: web.Request, __: dict[str, Any]) -> web.Response:
        return web.Response(body=content, content_type="application/json")

    found = await asked(whole, heard)
    assert (heard.texts, found.texts, found.tokens_out) == (["four"], ("four",), 4)
    assert found.finish_reasons == ("length",)


@pytest.mark.asyncio
async def test_an_answer_without_a_word_is_an_answer() -> None:
    for content in (b"".join(spoken()), WHOLE.replace(b"four", b"")):
        heard = Heard()
        found = await asked(streams([content]), heard)
        assert (found.texts, heard.texts) == (("",), [])


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "writes",
    [
        [piece("four"), piece(finish="stop"), DONE],
        [piece("four"), DONE],
        [piece("four"), piece(finish="stop")],
        [piece("four", finish="stop"), usage(0, 4), DONE],
        [piece("four"), usage(10, -1), DONE],
        [piece("four"), event(choices=[], usage="much"), DONE],
    ],
)
async def test_a_stream_without_possible_usage_has_unknown_usage(writes: list[bytes]) -> None:
    found = await asked(streams(writes))
    assert (found.texts, found.tokens_in, found.tokens_out) == (("four",), None, None)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "writes",
    [
        [],
        [b"\n\n"],
        [piece("fo")],
        [piece("fo"), usage()],
        [piece("fo"), b"data: {"],
        [piece("fo"), b"data: nothing\n\n", DONE],
        [piece("fo"), b"data: \xff\n\n", DONE],
        [piece("fo"), b"data: " + b"[" * 10_000 + b"\n\n", DONE],
        [piece("fo"), event(error={"message": "overloaded"}), DONE],
        [event(choices=7), DONE],
        [b"<html>"],
        [b"[]"],
        [b'{"error": {"message": "no"}}'],
    ],
)
async def test_a_stream_that_is_cut_or_rubbish_may_have_cost_something(
    writes: list[bytes],
) -> None:
    with pytest.raises(UpstreamError) as error:
        await asked(streams(writes))
    assert error.value.sent
    assert not isinstance(error.value, UpstreamRejectedError)


@pytest.mark.asyncio
async def test_a_connection_that_breaks_in_a_stream_leaves_the_cost_unknown() -> None:
    heard = Heard()
    with pytest.raises(UpstreamError, match="broke") as error:
        await asked(cut_off(spoken("fo", "ur")[:2]), heard)
    assert (error.value.sent, heard.texts) == (True, ["fo"])


@pytest.mark.asyncio
async def test_a_connection_that_breaks_after_the_end_changes_nothing() -> None:
    assert (await asked(cut_off(spoken("four")))).tokens_out == 4


@pytest.mark.asyncio
async def test_a_connection_that_breaks_after_answer_and_usage_changes_nothing() -> None:
    found = await asked(cut_off(spoken("fo", "ur")[:-1]))
    assert (found.texts, found.tokens_out) == (("four",), 4)
    for cut in (4, 3):  # without usage, without an end
        with pytest.raises(UpstreamError, match="broke"):
            await asked(cut_off(spoken("fo", "ur")[:cut]))


@pytest.mark.asyncio
async def test_a_stream_that_stalls_is_given_up_in_time() -> None:
    async def stall(number: int) -> None:
        await asyncio.sleep(0.5 if number == 2 else 0)

    behaviour = streams(spoken("fo", "ur"), stall)
    async with (
        served(FakeUpstream(behaviour=behaviour)) as fake,
        Upstream(fake.url, timeout_s=0.1) as upstream,
    ):
        with pytest.raises(UpstreamTimeoutError) as error:
            await upstream.chat(Heard().call)
    assert error.value.sent


@pytest.mark.asyncio
async def test_a_server_that_says_done_and_does_not_end_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_END_S", 0.05)

    async def stall(number: int) -> None:
        await asyncio.sleep(1.0 if number == 5 else 0)

    behaviour = streams([*spoken("four"), b": nothing more"], stall)
    async with served(FakeUpstream(behaviour=behaviour)) as fake, Upstream(fake.url) as upstream:
        async with asyncio.timeout(0.9):
            found = await upstream.chat(Heard().call)
    assert (found.texts, found.latency_s < 0.5) == (("four",), True)


@pytest.mark.asyncio
async def test_a_connection_serves_again_after_a_stream() -> None:
    ports: set[Any] = set()
    inner = streams(spoken("four"))

    async def noted(request: web.Request, body: dict[str, Any]) -> web.StreamResponse | None:
        assert request.transport is not None
        ports.add(request.transport.get_extra_info("peername"))
        return await inner(request, body)

    async with served(FakeUpstream(behaviour=noted)) as fake, Upstream(fake.url) as upstream:
        for _ in range(5):
            await upstream.chat(Heard().call)
    assert len(ports) == 1


@pytest.mark.asyncio
async def test_a_stream_is_no_longer_than_a_whole_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_REPLY_BYTES", 20_000)
    with pytest.raises(UpstreamError, match="longer than 20000 bytes"):
        await asked(streams([piece("x" * 100) for _ in range(1000)]))
    with pytest.raises(UpstreamError, match="longer than 20000 bytes"):
        await asked(streams([b"data: " + b"x" * 30_000]))
    with pytest.raises(UpstreamError, match="longer than 20000 bytes"):
        await asked(streams([b" " * 30_000]))
    with pytest.raises(UpstreamError, match="longer than 20000 bytes"):
        await asked(streams([b"{" + b" " * 30_000]))


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [429, 500])
async def test_an_error_status_is_one_for_streams_too(status: int) -> None:
    async def turn_down(_: web.Request, __: dict[str, Any]) -> web.Response:
        return web.Response(status=status, text="busy")

    with pytest.raises(UpstreamError, match="busy") as error:
        await asked(turn_down)
    assert isinstance(error.value, UpstreamRejectedError) == (status == 429)


def reply_of(*events: bytes) -> Completion:
    """The events' data, each as it stands after ``data: ``."""
    reply = StreamedReply(lambda _: None)
    for one in events:
        reply.take(one.removeprefix(b"data: "))
    return reply.completion(1.0)


def test_the_last_usage_counts_with_its_kinds_of_tokens() -> None:
    details = {
        "prompt_tokens_details": {"cached_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    found = reply_of(piece("x"), usage(10, 1), usage(10, 5, **details), event(usage=None), DONE)
    assert (found.tokens_in, found.tokens_out) == (10, 5)
    assert (found.tokens_cached, found.tokens_reasoning) == (3, 2)


@pytest.mark.parametrize(
    ("parts", "tokens_out"),
    [
        ((usage(10, 1), piece("four"), piece(finish="stop")), None),
        ((piece("fo", usage=None), usage(10, 1), piece("ur", finish="stop")), None),
        ((event(choices=[{"index": 0}], usage=COUNTS), piece("four")), None),
        ((piece("four"), usage(10, 2), event(choices=[{"index": 1}])), None),
        ((piece("four"), usage(10, 4), piece(finish="stop")), 4),
        ((piece("four"), usage(10, 4), event(choices=[])), 4),
    ],
)
def test_usage_that_more_of_the_answer_follows_is_not_the_bill(
    parts: tuple[bytes, ...], tokens_out: int | None
) -> None:
    assert reply_of(*parts, DONE).tokens_out == tokens_out


def test_probabilities_of_all_pieces_make_one_confidence() -> None:
    def said(*logs: float) -> bytes:
        return piece("x", logprobs={"content": [{"token": "x", "logprob": log} for log in logs]})

    halves = [math.log(0.5), math.log(0.25)]
    found = reply_of(said(halves[0]), piece("x", logprobs=None), said(halves[1]), DONE)
    assert found.confidences == (pytest.approx(math.sqrt(0.125)),)
    for odd in ("high", {"content": [{"logprob": "x"}]}):
        assert reply_of(said(-1.0), piece(logprobs=odd), said(-1.0), DONE).confidences == (None,)
    for impossible in (1.0, 1e308):
        assert reply_of(said(impossible, impossible), DONE).confidences == (None,)


def test_other_answers_and_thoughts_are_not_the_answer() -> None:
    other = event(choices=[{"index": 1, "delta": {"content": "no"}, "finish_reason": "stop"}])
    thought = event(choices=[{"index": 0, "delta": {"reasoning_content": "hm"}}])
    bare = event(choices=[{"index": 0}])
    found = reply_of(thought, other, bare, piece("yes"), b"", DONE, piece("no"))
    assert found.texts == ("yes",)


def pieces_of(content: bytes, cuts: list[int]) -> Iterator[bytes]:
    places = [0, *sorted({cut % (len(content) + 1) for cut in cuts}), len(content)]
    return (content[a:b] for a, b in itertools.pairwise(places))


class Scripted:
    """A reply's bytes without a wire."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = (chunk for chunk in chunks if chunk)

    async def readany(self) -> bytes:
        return next(self._chunks, b"")


def streamed(content: bytes, cuts: list[int]) -> tuple[Completion, list[str]]:
    texts: list[str] = []
    came = module.Content(Scripted(pieces_of(content, cuts)))
    found = asyncio.run(module.streamed(came, texts.append, 0.0))
    return found, texts


line_ends = st.sampled_from([b"\n", b"\r\n", b"\r"])
fillers = st.lists(st.sampled_from([b"", b": ping\n\n", b"event: x\n", b"id: 1\r\n"]), max_size=3)
cuts = st.lists(st.integers(0, 10_000), max_size=12)


@settings(deadline=None)
@given(st.lists(st.text(max_size=6), max_size=5), cuts, line_ends, fillers)
def test_a_stream_reads_the_same_wherever_it_is_parted(
    said: list[str], where: list[int], line_end: bytes, filler: list[bytes]
) -> None:
    said = [text.encode("utf-8", "replace").decode() for text in said]
    content = (b"".join(filler) + b"".join(spoken(*said))).replace(b"\n", line_end)
    found, texts = streamed(content, where)
    assert found.texts == ("".join(said),)
    assert texts == [text for text in said if text]
    assert (found.tokens_in, found.tokens_out) == (10, 4)


rubbish = st.lists(
    st.one_of(
        st.binary(max_size=20),
        st.sampled_from([*spoken("four"), WHOLE, b"data:", b"\n\n", b"{", b"[DONE]"]),
    ),
    max_size=8,
)


@settings(deadline=None, max_examples=300)
@given(rubbish, cuts)
def test_rubbish_is_a_reply_or_our_own_error(parts: list[bytes], where: list[int]) -> None:
    with suppress(UpstreamError):
        found, texts = streamed(b"".join(parts), where)
        assert found.texts[0] == "".join(texts)
