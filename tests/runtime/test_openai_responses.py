"""Responses: items become a chat, an answer becomes items and numbered events."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai_answers import CALL, SCHEMA, raw, served

from profiles.errors import InputError
from runtime.chat import FunctionCall, Message, ReplyForm, ToolCall
from runtime.openai.apis import RESPONSES
from runtime.openai.errors import error_body
from runtime.openai.response_events import ResponseEvents
from runtime.openai.responses import read_response, response_ask, response_form

FUNCTION = {"name": "weather", "description": "Of a city.", "parameters": SCHEMA, "strict": True}
CALLED = {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"}
GIVEN = {"type": "function_call_output", "call_id": "c1", "output": "7 degrees"}


def messages(*items: dict[str, Any], **fields: Any) -> tuple[Message, ...]:
    return response_ask(read_response(raw(input=list(items), **fields)), None).messages


def test_a_text_with_instructions_is_a_chat_of_two() -> None:
    body = raw(input="two", instructions="be kind", max_output_tokens=7, temperature=1, top_p=0.5)
    ask = response_ask(read_response(body), None)
    assert ask.messages == (Message("system", "be kind"), Message("user", "two"))
    assert (ask.prompt_text, ask.max_tokens) == ("two", 7)
    assert (ask.temperature, ask.top_p) == (1.0, 0.5)


def test_items_of_a_conversation_become_its_messages() -> None:
    found = messages(
        {"role": "developer", "content": "be kind"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]},
        {
            "type": "message",
            "id": "msg_1",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "hi", "annotations": [], "logprobs": []}],
        },
        {"role": "user", "content": "weather?"},
    )
    assert found == (
        Message("developer", "be kind"),
        Message("user", "hello"),
        Message("assistant", "hi"),
        Message("user", "weather?"),
    )


def test_calls_join_the_assistants_message_before_them() -> None:
    user = {"role": "user", "content": "weather?"}
    said = {"role": "assistant", "content": "I look"}
    other = {**CALLED, "call_id": "c2"}
    first = ToolCall("c1", FunctionCall("weather", "{}"))
    second = ToolCall("c2", FunctionCall("weather", "{}"))
    gave = [Message("tool", "7 degrees", tool_call_id=name) for name in ("c1", "c2")]
    both = messages(user, said, CALLED, other, GIVEN, {**GIVEN, "call_id": "c2"})
    assert both[1:] == (Message("assistant", "I look", tool_calls=(first, second)), *gave)
    in_turn = messages(user, CALLED, GIVEN, other, {**GIVEN, "call_id": "c2"})
    assert in_turn[1:] == (
        Message("assistant", "", tool_calls=(first,)),
        gave[0],
        Message("assistant", "", tool_calls=(second,)),
        gave[1],
    )


def test_tools_and_formats_are_told_as_chats_tell_them() -> None:
    named = {"type": "json_schema", "name": "sum", "schema": SCHEMA, "strict": True}
    body = raw(
        input="x",
        tools=[{"type": "function", **FUNCTION}],
        tool_choice={"type": "function", "name": "weather"},
        parallel_tool_calls=False,
        text={"format": named},
    )
    schema = {"name": "sum", "schema": SCHEMA, "strict": True}
    assert response_form(read_response(body)) == ReplyForm(
        tools=({"type": "function", "function": FUNCTION},),
        tool_choice={"type": "function", "function": {"name": "weather"}},
        parallel_tool_calls=False,
        response_format={"type": "json_schema", "json_schema": schema},
    )
    for rest in ({}, {"text": {}}, {"text": {"format": {"type": "text"}, "verbosity": "medium"}}):
        assert response_form(read_response(raw(input="x", **rest))).plain


def test_fields_at_rest_are_accepted() -> None:
    rest = {
        "store": False,
        "background": False,
        "previous_response_id": None,
        "truncation": "disabled",
        "include": ["reasoning.encrypted_content"],
        "reasoning": {"effort": None},
        "service_tier": "auto",
        "max_tool_calls": 3,
    }
    read_response(raw(input="x", **rest))


IMAGE = {"type": "input_image", "image_url": "data:,"}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"previous_response_id": "resp_1"}, "previous_response_id is not supported"),
    ({"store": True}, "store is not supported"),
    ({"background": True}, "background is not supported"),
    ({"conversation": "conv_1"}, "conversation is not supported"),
    ({"prompt": {"id": "p"}}, "prompt is not supported"),
    ({"reasoning": {"effort": "high"}}, "reasoning is not supported"),
    ({"truncation": "auto"}, "truncation is not supported"),
    ({"include": ["message.output_text.logprobs"]}, "include is not supported"),
    ({"top_logprobs": 3}, "top_logprobs is not supported"),
    ({"text": {"verbosity": "low"}}, "$.text.verbosity"),
    ({"tools": [{"type": "web_search"}]}, "tools[0]: only functions of your own"),
    ({"tools": [{"type": "function"}]}, "tools[0]: only functions of your own"),
    ({"tool_choice": {"type": "web_search"}}, "$.tool_choice"),
    ({"metadata": {"class": 3}}, "$.metadata"),
    ({"input": []}, "$.input"),
    ({"input": None}, "$.input"),
    ({"input": [{"role": "user", "content": [IMAGE]}]}, "input[0].content[0]: a part of this type"),
    ({"input": [{"role": "robot", "content": "x"}]}, "input[0]: a message needs a role"),
    ({"input": [{"role": "user"}]}, "input[0]: a message needs a role and a content"),
    ({"input": [{"type": "item_reference", "id": "x"}]}, "an item of this type is not supported"),
    ({"input": [{"type": "reasoning", "summary": []}]}, "an item of this type is not supported"),
    ({"input": [{**CALLED, "name": None}]}, "a function_call needs"),
    ({"input": [{**GIVEN, "output": None}]}, "a function_call_output needs"),
    ({"input": [{**GIVEN, "output": [IMAGE]}]}, "input[0].output[0]: a part of this type"),
]


@pytest.mark.parametrize(("fields", "message"), REFUSED)
def test_what_cannot_be_honoured_is_refused_in_words(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as refused:
        everything_of(raw(**{"input": "x", **fields}))
    assert message in str(refused.value)


def everything_of(body: bytes) -> None:
    asked = read_response(body)
    response_ask(asked, None)
    response_form(asked)


def test_an_answer_is_a_response_with_its_items_and_its_bill() -> None:
    tools = [{"type": "function", **FUNCTION}]
    asked = read_response(raw(input="x", tools=tools, metadata={"class": "hard"}, user="jane"))
    found = served("I look", tool_calls=(CALL,), tokens_cached=5, tokens_reasoning=2)
    body = json.loads(RESPONSES.body(asked, found, "m"))
    assert (body["id"], body["object"], body["status"]) == ("resp_abc", "response", "completed")
    said, called = body["output"]
    assert said["content"] == [
        {"type": "output_text", "text": "I look", "annotations": [], "logprobs": []}
    ]
    assert called == {
        "type": "function_call",
        "id": "fc_abc_0",
        "call_id": "call_1",
        "name": "weather",
        "arguments": '{"city": "Zürich"}',
        "status": "completed",
    }
    assert body["usage"] == {
        "input_tokens": 19,
        "input_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 0},
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 23,
    }
    assert (body["tools"], body["tool_choice"], body["user"]) == (tools, "auto", "jane")
    assert (body["metadata"], body["error"]) == ({"class": "hard"}, None)


def test_an_answer_that_was_cut_is_incomplete_and_one_without_usage_says_none() -> None:
    found = served(finish_reason="length", usage_known=False)
    body = json.loads(RESPONSES.body(read_response(raw(input="x")), found, "m"))
    assert (body["status"], body["usage"]) == ("incomplete", None)
    assert body["incomplete_details"] == {"reason": "max_output_tokens"}
    assert body["output"][0]["status"] == "incomplete"


ODD_CALLS: list[dict[str, Any]] = [
    {},
    {"function": None},
    {"id": 7, "function": {"name": None, "arguments": {"a": 1}}},
    {"id": "x", "type": "custom", "custom": {"name": "c", "input": "i"}},
]


@pytest.mark.parametrize("call", ODD_CALLS)
def test_calls_that_an_upstream_wrote_oddly_are_still_items(call: dict[str, Any]) -> None:
    asked = read_response(raw(input="x"))
    body = json.loads(RESPONSES.body(asked, served("", tool_calls=(call,)), "m"))
    (item,) = body["output"]
    assert all(isinstance(item[name], str) for name in ("call_id", "name", "arguments"))


def events(sent: bytes) -> list[dict[str, Any]]:
    found = []
    for event in sent.split(b"\n\n")[:-1]:
        name, _, data = event.partition(b"\ndata: ")
        found.append(json.loads(data))
        assert name == b"event: " + found[-1]["type"].encode()
    assert [body["sequence_number"] for body in found] == list(range(len(found)))
    return found


def test_the_events_of_a_text_come_in_openais_order() -> None:
    writer = ResponseEvents(read_response(raw(input="x")), "abc", "m")
    sent = writer.opening() + writer.text("fo") + writer.text("") + writer.text("ur")
    found = events(sent + writer.closing(served()))
    assert [event["type"] for event in found] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event["delta"] for event in found[4:6]] == ["fo", "ur"]
    assert found[6]["text"] == "four"
    assert found[0]["response"]["status"] == "in_progress"
    last = found[-1]["response"]
    assert last["output"] == [found[-2]["item"]]
    assert last["usage"]["total_tokens"] == 23
    assert last["inferbudget"] == {"outcome": "answered", "cost_usd": "0.000002600"}


def test_the_events_of_calls_follow_those_of_the_text() -> None:
    writer = ResponseEvents(read_response(raw(input="x")), "abc", "m")
    found = events(writer.opening() + writer.closing(served("", tool_calls=(CALL, CALL))))
    assert [event["type"].removeprefix("response.") for event in found[2:-1]] == 2 * [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
    ]
    assert [event["output_index"] for event in found[2:-1]] == [0] * 4 + [1] * 4
    assert found[2]["item"]["arguments"] == ""
    assert found[4]["arguments"] == '{"city": "Zürich"}'


def test_a_stream_that_fails_says_so_and_why() -> None:
    writer = ResponseEvents(read_response(raw(input="x")), "abc", "m")
    sent = writer.opening() + writer.text("fo")
    last = events(sent + writer.failure(error_body(502, "the upstream failed")))[-1]
    assert last["type"] == "response.failed"
    assert last["response"]["status"] == "failed"
    error = {"code": "server_error", "message": "the upstream failed"}
    assert last["response"]["error"] == error


def test_a_stream_that_was_cut_ends_incomplete() -> None:
    writer = ResponseEvents(read_response(raw(input="x")), "abc", "m")
    found = events(writer.opening() + writer.closing(served(finish_reason="length")))
    assert found[-1]["type"] == "response.incomplete"
