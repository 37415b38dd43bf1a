"""Chat completions with tools and formats: read, asked, answered."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai_answers import CALL, SCHEMA, TOOL, Scripted, answered, chat, served

from profiles.errors import InputError
from runtime import openai
from runtime.chat import FunctionCall, Message, ReplyForm, ToolCall, request_body
from runtime.openai.apis import CHAT
from runtime.openai.chat import chat_form, read_chat
from runtime.upstream import ChatCall, Completion

USER = {"role": "user", "content": "what is the weather"}
ASKED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
TOLD = {"role": "tool", "tool_call_id": "call_1", "content": "7 degrees"}


def test_a_chat_in_which_tools_were_called_reaches_the_model_server_as_it_is() -> None:
    ask = openai.ask_of(read_chat(chat(USER, ASKED, TOLD)), None)
    call = ToolCall("call_1", FunctionCall("weather", '{"city": "Zürich"}'))
    assert ask.messages == (
        Message("user", "what is the weather"),
        Message("assistant", "", tool_calls=(call,)),
        Message("tool", "7 degrees", tool_call_id="call_1"),
    )
    assert ask.prompt_text == "what is the weather"
    sent = json.loads(request_body(ChatCall("small", ask.messages, 9)))
    assert sent["messages"] == [USER, ASKED, TOLD]


def test_plain_messages_are_sent_byte_for_byte_as_before() -> None:
    ask = openai.ask_of(read_chat(chat({"role": "user", "content": "é", "name": "jo"})), None)
    sent = request_body(ChatCall("small", ask.messages, 9))
    expected = (
        '{"model":"small","messages":[{"role":"user","content":"é","name":"jo"}],"max_tokens":9}'
    )
    assert sent.decode() == expected


def test_parts_that_are_texts_are_joined_in_every_role() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    said = [{"role": role, "content": parts} for role in ("system", "developer", "user")]
    told = {"role": "tool", "tool_call_id": "x", "content": parts}
    calls = {"role": "assistant", "content": parts, "tool_calls": [CALL]}
    ask = openai.ask_of(read_chat(chat(*said, calls, told)), None)
    assert [message.content for message in ask.messages] == ["ab"] * 5
    roles = ["system", "developer", "user", "assistant", "tool"]
    assert [message.role for message in ask.messages] == roles


def test_tools_choices_and_formats_become_the_form_of_the_reply() -> None:
    one = {"type": "function", "function": {"name": "weather"}}
    for choice in (None, "auto", "none", "required", one):
        asked = read_chat(chat(tools=[TOOL], tool_choice=choice, parallel_tool_calls=False))
        expected = ReplyForm(tools=(TOOL,), tool_choice=choice, parallel_tool_calls=False)
        assert chat_form(asked) == expected
        assert not chat_form(asked).plain
    named = {
        "type": "json_schema",
        "json_schema": {"name": "sum", "schema": SCHEMA, "strict": True},
    }
    for wanted in ({"type": "json_object"}, named):
        assert chat_form(read_chat(chat(response_format=wanted))).response_format == wanted
        assert not chat_form(read_chat(chat(response_format=wanted))).plain


IDLE: list[dict[str, Any]] = [
    {},
    {"tools": None},
    {"tools": [], "tool_choice": "auto"},
    {"tool_choice": "none", "parallel_tool_calls": True},
    {"response_format": {"type": "text"}},
    {"response_format": None},
]


@pytest.mark.parametrize("fields", IDLE)
def test_what_asks_for_nothing_leaves_the_reply_plain(fields: dict[str, Any]) -> None:
    assert chat_form(read_chat(chat(**fields))) == ReplyForm()
    assert chat_form(read_chat(chat(**fields))).plain


AT_REST = {
    "store": False,
    "service_tier": "auto",
    "user": "jane",
    "safety_identifier": "j4",
    "prompt_cache_key": "k",
    "logit_bias": {},
    "verbosity": None,
}


def test_fields_at_rest_are_accepted_and_say_on_whose_behalf() -> None:
    assert openai.user_of(read_chat(chat(**AT_REST))) == "j4"
    assert openai.user_of(read_chat(chat(user="jane"))) == "jane"
    assert openai.user_of(read_chat(chat())) is None


DEEP: Any = {}
for _ in range(40):
    DEEP = {"properties": DEEP}

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"store": True}, "store is not supported"),
    ({"service_tier": "flex"}, "service_tier is not supported"),
    ({"moderation": {"model": "m"}}, "moderation is not supported"),
    ({"functions": [{"name": "f"}]}, "functions is not supported"),
    ({"user": 7}, "$.user"),
    ({"user": "u" * 513}, "$.user"),
    ({"tool_choice": "required"}, "tool_choice is not supported without tools"),
    ({"tool_choice": "sometimes"}, "$.tool_choice"),
    ({"tools": [{"type": "function"}]}, "`function`"),
    ({"tools": [{"type": "custom", "custom": {"name": "c"}}]}, "$.tools[0].type"),
    ({"tools": [TOOL, TOOL]}, "two tools have one name"),
    ({"tools": [TOOL] * 129}, "$.tools"),
    ({"tools": [{"type": "function", "function": {"name": ""}}]}, "$.tools[0].function.name"),
    (
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "other"}}},
        "not among the tools",
    ),
    (
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": DEEP}}]},
        "tools: this is nested too deeply",
    ),
    (
        {"tools": [{"type": "function", "function": {"name": "f", "description": "x" * 300_000}}]},
        "tools: this is too long",
    ),
    ({"response_format": {"type": "grammar"}}, "$.response_format"),
    ({"response_format": {"type": "json_schema"}}, "`json_schema`"),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": DEEP}}},
        "nested too deeply",
    ),
]


@pytest.mark.parametrize(("fields", "message"), REFUSED)
def test_what_cannot_be_honoured_is_refused_in_words(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as refused:
        chat_form(read_chat(chat(**fields)))
    assert message in str(refused.value)


SAID: list[tuple[dict[str, Any], str]] = [
    (
        {"role": "user", "content": [{"type": "text", "text": "see"}, {"type": "image_url"}]},
        "messages[0].content[1]: a part of this type is not supported: only text travels",
    ),
    ({"role": "user", "content": [{"type": "text"}]}, "this part has no text"),
    ({"role": "user", "content": None}, "content"),
    ({"role": "assistant"}, "says nothing and calls no tool"),
    ({"role": "assistant", "content": None, "tool_calls": []}, "says nothing and calls no tool"),
    ({"role": "assistant", "tool_calls": [{"id": "x", "type": "custom"}]}, "tool_calls[0]"),
    ({"role": "tool", "content": "x"}, "tool_call_id"),
    ({"role": "function", "name": "f", "content": "x"}, "role"),
]


@pytest.mark.parametrize(("message", "words"), SAID)
def test_messages_that_cannot_travel_are_refused(message: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as refused:
        openai.ask_of(read_chat(chat(message)), None)
    assert words in str(refused.value)


@pytest.mark.asyncio
async def test_tools_reach_the_one_call_and_its_calls_come_back_unchanged() -> None:
    odd = {"id": "c9", "type": "function", "function": {"name": "f", "arguments": "{"}, "x": [1]}
    reply = Completion(("",), 19, 4, ("tool_calls",), 0.0, tool_calls=((CALL, odd),))
    caller = Scripted(lambda call: reply)
    named = {"type": "json_schema", "json_schema": {"name": "sum", "schema": SCHEMA}}
    asked = read_chat(chat(tools=[TOOL], tool_choice="auto", response_format=named))
    found = await answered(CHAT, asked, caller)
    (call,) = caller.calls
    sent = json.loads(request_body(call))
    assert (sent["tools"], sent["tool_choice"]) == ([TOOL], "auto")
    assert sent["response_format"] == named
    body = json.loads(CHAT.body(asked, found, "inferbudget"))
    (choice,) = body["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"] == {"role": "assistant", "content": None, "tool_calls": [CALL, odd]}


def test_a_text_beside_calls_is_kept() -> None:
    body = json.loads(openai.completion_body(served("I look", tool_calls=(CALL,)), "m"))
    message = {"role": "assistant", "content": "I look", "tool_calls": [CALL]}
    assert body["choices"][0]["message"] == message


@pytest.mark.parametrize("usage", [False, True])
def test_a_stream_brings_calls_whole_before_the_end(*, usage: bool) -> None:
    chunks = openai.ChatChunks("abc", "m", usage)
    found = served("", tool_calls=(CALL, {**CALL, "id": "call_2"}), finish_reason="tool_calls")
    *events, done, rest = (chunks.opening() + chunks.closing(found)).split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    bodies = [json.loads(event.removeprefix(b"data: ")) for event in events]
    deltas = [choice["delta"] for body in bodies for choice in body["choices"]]
    calls = [{**CALL, "index": 0}, {**CALL, "id": "call_2", "index": 1}]
    assert deltas == [{"role": "assistant", "content": ""}, {"tool_calls": calls}, {}]
    assert bodies[-1]["inferbudget"] == {"outcome": "answered", "cost_usd": "0.000002600"}
    assert all(("usage" in body) == usage for body in bodies)
    ends = [choice["finish_reason"] for body in bodies for choice in body["choices"]]
    assert ends == [None, None, "tool_calls"]
