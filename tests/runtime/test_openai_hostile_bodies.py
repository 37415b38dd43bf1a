"""Whatever a body is, it is a request that can be answered, or an `InputError` in words."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai_answers import CALL, SCHEMA, TOOL, served

from profiles.errors import InputError
from runtime.chat import ChatCall, request_body
from runtime.openai import (
    APIS,
    MAX_BODY_BYTES,
    embedding_body,
    embedding_tokens_bound,
    read_embedding,
    user_of,
)
from runtime.openai.reading import MAX_NESTING, MAX_SCHEMA_BYTES
from runtime.prompt_bound import prompt_tokens_bound

NAMED = {"name": "sum", "schema": SCHEMA, "strict": True}
CHAT: dict[str, Any] = {
    "model": "inferbudget",
    "messages": [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": [{"type": "text", "text": "two"}], "name": "jo"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "7"},
    ],
    "tools": [TOOL],
    "tool_choice": {"type": "function", "function": {"name": "weather"}},
    "response_format": {"type": "json_schema", "json_schema": NAMED},
    "max_tokens": 7,
    "temperature": 0.5,
    "seed": 1,
    "stop": ["\n"],
    "stream": True,
    "stream_options": {"include_usage": True},
    "metadata": {"class": "hard"},
    "user": "jane",
    "n": 1,
    "logit_bias": {},
}
COMPLETION: dict[str, Any] = {"model": "m", "prompt": ["two"], "stop": "x", "echo": False, "n": 1}
RESPONSE: dict[str, Any] = {
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "two"}]},
        {"type": "function_call", "call_id": "c", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "7"},
    ],
    "instructions": "be kind",
    "tools": [{"type": "function", "name": "weather", "parameters": SCHEMA}],
    "tool_choice": {"type": "function", "name": "weather"},
    "text": {"format": {"type": "json_schema", **NAMED}},
    "metadata": {"class": "hard"},
    "include": [],
    "max_output_tokens": 7,
}
EMBEDDING: dict[str, Any] = {"model": "m", "input": ["a", "b"], "dimensions": 3}
BODIES = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": COMPLETION,
    "/v1/responses": RESPONSE,
    "/v1/embeddings": EMBEDDING,
}

TEXTS = st.text(max_size=8) | st.sampled_from(
    [
        "auto",
        "none",
        "function",
        "user",
        "tool",
        "json_object",
        "السلام",
        "नमस्ते",
        "\U0001d518😀",
        "\x00\x7f",
    ]
)
NUMBERS = (
    st.integers() | st.sampled_from([2**63, -(2**63) - 1, 10**40]) | st.floats(allow_nan=False)
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(TEXTS, below, max_size=4),
    max_leaves=10,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    pairs = enumerate(value) if isinstance(value, list) else ()
    for key, below in value.items() if isinstance(value, dict) else pairs:
        found += places(below, (*path, key))
    return found


@st.composite
def edited(draw: st.DrawFn, body: dict[str, Any]) -> dict[str, Any]:
    """A valid body in which a few values are others, gone, or new."""
    found = copy.deepcopy(body)
    for _ in range(draw(st.integers(1, 3))):
        *above, last = draw(st.sampled_from(places(found) or [("x",)]))
        target = found
        for key in above:
            target = target[key]
        if draw(st.booleans()) and isinstance(target, dict):
            target.pop(last, None)
        elif isinstance(target, dict) or last < len(target):
            target[last] = draw(VALUES)
    return found


def is_handled(path: str, body: bytes) -> bool:
    """Whether the body is a request; then all that a gateway does with it works."""
    try:
        if path == "/v1/embeddings":
            asked = read_embedding(body)
            json.loads(embedding_body(asked, "m"))
            return embedding_tokens_bound(asked) > 0
        api = APIS[path]
        request = api.read(body)
        ask, form = api.ask(request, None), api.form(request)
    except InputError as error:
        str(error).encode()
        return False
    user = user_of(request)
    assert user is None or user.encode()
    assert prompt_tokens_bound(ask.messages, form) >= len(ask.prompt_text.encode())
    call = ChatCall("m", ask.messages, 9, tools=form.tools, response_format=form.response_format)
    json.loads(request_body(call))
    json.loads(api.body(request, served(), "m"))
    events = api.events(request, "abc", "m")
    sent = events.opening() + events.text("a") + events.closing(served("a"))
    assert sent.endswith(b"\n\n")
    return True


@pytest.mark.parametrize("path", BODIES)
def test_the_bodies_that_are_edited_here_are_requests(path: str) -> None:
    assert is_handled(path, json.dumps(BODIES[path]).encode())


@pytest.mark.parametrize("path", BODIES)
@settings(max_examples=400)
@given(data=st.data())
def test_bodies_that_are_nearly_requests(path: str, data: st.DataObject) -> None:
    body = data.draw(edited(BODIES[path]))
    is_handled(path, json.dumps(body, ensure_ascii=data.draw(st.booleans())).encode())


@pytest.mark.parametrize("path", BODIES)
@given(value=VALUES)
def test_any_json(path: str, value: Any) -> None:
    is_handled(path, json.dumps(value).encode())


@pytest.mark.parametrize("path", BODIES)
@settings(max_examples=200)
@given(data=st.data())
def test_bytes_that_were_changed_underway(path: str, data: st.DataObject) -> None:
    body = bytearray(json.dumps(BODIES[path]).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(body)))
        end = data.draw(st.integers(start, min(start + 5, len(body))))
        body[start:end] = data.draw(st.binary(max_size=4))
    is_handled(path, bytes(body))


DEEP = 50_000
HOSTILE = {
    "nothing": b"",
    "arrays without end": b"[" * DEEP,
    "objects without end": b'{"a":' * DEEP,
    "a deep array": b"[" * DEEP + b"]" * DEEP,
    "a number without end": b"1" * 100_000,
    "a byte order mark": b'\xef\xbb\xbf{"prompt":"x"}',
    "half a character": b'{"prompt":"\\ud83d","messages":[],"input":"\\ud83d","model":"m"}',
    "half a character in a name": b'{"\\ud83d":1}',
    "no UTF-8": b'{"prompt":"\xff","input":"\xff","model":"m"}',
    "surrogates as UTF-8": b'{"prompt":"\xed\xa0\xbd","input":"\xed\xa0\xbd"}',
    "UTF-16": '{"prompt":"x"}'.encode("utf-16"),
    "not a number": b'{"prompt":"x","temperature":NaN}',
    "infinity": b'{"prompt":"x","temperature":1e999}',
}


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_hostile_bodies_are_refused(path: str, body: bytes) -> None:
    assert not is_handled(path, body)


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("name", ["tools", "metadata", "reasoning", "logit_bias", "input", "text"])
def test_deep_and_long_values_in_any_field_end_in_words(path: str, name: str) -> None:
    for value in (
        b"[" * 900 + b"]" * 900,
        b'{"a":' * 900 + b"1" + b"}" * 900,
        b"1" * 30,
        b"9" * 5000,
    ):
        body = json.dumps(BODIES[path]).encode()[:-1] + b',"%b":%b}' % (name.encode(), value)
        is_handled(path, body)


def test_the_last_of_equal_names_counts_for_the_bound_and_for_what_is_sent() -> None:
    body = b'{"messages":[{"role":"user","content":"a","content":"bb"}],"tools":[],"tools":%b}'
    api = APIS["/v1/chat/completions"]
    request = api.read(body % json.dumps([TOOL]).encode())
    ask, form = api.ask(request, None), api.form(request)
    assert (ask.prompt_text, form.tools) == ("bb", (TOOL,))


def nested(zeros: int) -> bytes:
    widest: Any = [0] * zeros
    for _ in range(20):
        widest = [widest]
    tool = {"type": "function", "function": {"name": "f", "parameters": {"a": widest}}}
    body = json.dumps({**CHAT, "tools": [tool], "tool_choice": "auto"}, separators=(",", ":"))
    assert len(body) < MAX_BODY_BYTES
    return body.encode()


def test_tools_that_a_template_would_make_a_flood_of_are_refused_or_counted() -> None:
    api = APIS["/v1/chat/completions"]
    form = api.form(api.read(nested(100_000)))
    assert 10_000_000 < prompt_tokens_bound((), form) < MAX_SCHEMA_BYTES * (4 * MAX_NESTING + 2)
    flood = api.read(nested(200_000))
    with pytest.raises(InputError, match="too long"):
        api.form(flood)
