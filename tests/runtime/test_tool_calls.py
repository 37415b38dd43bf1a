"""Tools travel to the upstream as they were offered, and back as it asked for them."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from aiohttp import web
from event_streams import DONE, event, streams, usage
from fake_upstream import FakeUpstream, served
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from profiles.errors import UpstreamError
from runtime.tool_calls import StreamedToolCalls, tool_calls
from runtime.upstream import ChatCall, Completion, Message, Upstream

TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
CALL = ChatCall("small", (Message("user", "two and two"),), max_tokens=16)
ASKING = replace(CALL, tools=(TOOL,))
COUNTS = {"prompt_tokens": 10, "completion_tokens": 4}


def asked(number: int = 1, arguments: str = '{"a":2}') -> dict[str, Any]:
    function = {"name": "add", "arguments": arguments}
    return {"id": f"call_{number}", "type": "function", "function": function}


async def answered(*messages: dict[str, Any], call: ChatCall = ASKING) -> Completion:
    async def behaviour(_: web.Request, __: dict[str, Any]) -> web.Response:
        choices = [{"message": each, "finish_reason": "tool_calls"} for each in messages]
        return web.json_response({"choices": choices, "usage": COUNTS})

    async with served(FakeUpstream(behaviour=behaviour)) as fake, Upstream(fake.url) as upstream:
        return await upstream.chat(call)


async def streamed(*deltas: Any) -> Completion:
    pieces = [event(choices=[{"delta": {"tool_calls": delta}}]) for delta in deltas]
    end = event(choices=[{"delta": {}, "finish_reason": "tool_calls"}])
    behaviour = streams([*pieces, end, usage(), DONE])
    async with served(FakeUpstream(behaviour=behaviour)) as fake, Upstream(fake.url) as upstream:
        return await upstream.chat(replace(ASKING, on_text=print))


@pytest.mark.asyncio
async def test_what_is_offered_is_sent_and_nothing_else() -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "sum", "schema": {}}}
    full = replace(
        CALL, tools=(TOOL,), tool_choice="required", parallel_tool_calls=False,
        response_format=schema,
    )  # fmt: skip
    without = replace(full, tools=None)
    async with served(FakeUpstream()) as fake, Upstream(fake.url) as upstream:
        for call in (CALL, ASKING, full, without):
            await upstream.chat(call)
    plain, asking, every, none = fake.calls
    assert set(plain) == {"model", "messages", "max_tokens"}
    assert asking == {**plain, "tools": [TOOL]}
    assert every == {
        **asking,
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "response_format": schema,
    }
    assert none == {**plain, "response_format": schema}


@pytest.mark.asyncio
async def test_calls_come_back_as_the_upstream_wrote_them() -> None:
    odd = {**asked(), "extra_content": {"google": {"thought_signature": "x"}}}
    found = await answered({"content": None, "tool_calls": [odd, asked(2)]}, {"content": "four"})
    assert found.tool_calls == ((odd, asked(2)), None)
    assert found.texts == ("", "four")
    assert (found.tokens_in, found.tokens_out) == (10, 4)


@pytest.mark.asyncio
@pytest.mark.parametrize("none", [None, []])
async def test_an_answer_that_asks_for_nothing_has_no_calls(none: Any) -> None:
    assert (await answered({"content": "four", "tool_calls": none})).tool_calls == ()
    assert (await streamed(none)).tool_calls == ()


@pytest.mark.asyncio
@pytest.mark.parametrize("rubbish", [7, "call", {}, [7], ["add"]])
async def test_what_is_no_call_is_an_unusable_reply(rubbish: Any) -> None:
    with pytest.raises(UpstreamError, match="no tool call") as error:
        await answered({"content": "four", "tool_calls": rubbish})
    assert error.value.sent
    with pytest.raises(UpstreamError, match="no tool call"):
        await streamed(rubbish)


@pytest.mark.asyncio
async def test_a_streamed_call_is_joined_from_its_pieces() -> None:
    found = await streamed(
        [{"index": 0, **asked(1, "")}],
        [{"index": 0, "function": {"arguments": '{"a"'}}],
        [{"index": 1, **asked(2, "")}, {"index": 0, "function": {"arguments": ":2}"}}],
        [{"index": 1, "id": None, "function": {"name": None, "arguments": "{}"}}],
    )  # fmt: skip
    assert found.tool_calls == ((asked(1), asked(2, "{}")),)
    assert found.finish_reasons == ("tool_calls",)


@pytest.mark.asyncio
async def test_usage_that_was_counted_before_a_call_goes_on_is_not_the_whole() -> None:
    early = event(choices=[], usage=COUNTS)
    late = {"tool_calls": [{"index": 0, **asked()}]}
    more = event(choices=[{"delta": late, "finish_reason": "tool_calls"}])
    behaviour = streams([early, more, DONE])
    async with served(FakeUpstream(behaviour=behaviour)) as fake, Upstream(fake.url) as upstream:
        found = await upstream.chat(replace(ASKING, on_text=print))
    assert (found.tokens_in, found.tool_calls) == (None, ((asked(),),))


def test_pieces_without_an_index_are_calls_of_their_own_or_go_on_with_the_last() -> None:
    reading = StreamedToolCalls()
    for delta in ([asked(1)], [asked(2, "{")], [{"function": {"arguments": "}"}}]):
        reading.add(msgspec.Raw(json.dumps(delta).encode()))
    assert reading.whole() == (asked(1), asked(2, "{}"))


@given(st.lists(st.text(min_size=1), min_size=1, max_size=4), st.data())
def test_however_arguments_are_cut_they_come_together(texts: list[str], data: Any) -> None:
    pieces: list[dict[str, Any]] = []
    for index, text in enumerate(texts):
        cut = data.draw(st.integers(0, len(text)))
        pieces.append({"index": index, **asked(index, text[:cut])})
        pieces.append({"index": index, "function": {"arguments": text[cut:]}})
    heads, tails = pieces[::2], data.draw(st.permutations(pieces[1::2]))
    reading = StreamedToolCalls()
    for piece in (*heads, *tails):
        reading.add(msgspec.Raw(msgspec.json.encode([piece])))
    assert reading.whole() == tuple(asked(index, text) for index, text in enumerate(texts))


def test_calls_that_nest_beyond_all_reason_are_unusable() -> None:
    deep = b'[{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}]"
    with pytest.raises(UpstreamError, match="no tool call"):
        tool_calls(msgspec.Raw(deep))
