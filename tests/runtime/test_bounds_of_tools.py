"""Prompts with tools and schemas: no template makes more of them than the bound says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fake_upstream import PRICES
from hypothesis import given
from hypothesis import strategies as st
from openai_answers import CALL, SCHEMA, TOOL, Scripted

from profiles.errors import InputError
from profiles.methods import NAMES, understood
from profiles.methods.passing import passes_through
from profiles.strategy import parse
from runtime.chat import FunctionCall, Message, ReplyForm, ToolCall
from runtime.prompt_bound import prompt_tokens_bound
from runtime.strategies import Request, build
from runtime.strategies.attempt import Answer
from runtime.upstream import ChatCall, Completion

TEXTS = st.text(max_size=6) | st.text(st.sampled_from("<>&'"), min_size=400, max_size=600)
SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | TEXTS
JSON = st.recursive(
    SCALARS,
    lambda below: (
        st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=4), below, max_size=3)
    ),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text(max_size=4), JSON, max_size=4)
USER = Message("user", "é?")


def renderings(value: Any) -> Iterator[str]:
    """JSON as chat templates and servers write it into prompts."""
    for ascii_only in (False, True):
        for indent in (None, 2, 4):
            text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
            yield text
            for sign in "<>&'":
                text = text.replace(sign, f"\\u{ord(sign):04x}")
            yield text


@given(st.lists(OBJECTS, min_size=1, max_size=3))
def test_tools_are_bounded_however_a_template_writes_them(parameters: list[Any]) -> None:
    tools = tuple(
        {"type": "function", "function": {"name": "f", "parameters": one}} for one in parameters
    )
    bound = prompt_tokens_bound((USER,), ReplyForm(tools=tools))
    plain = prompt_tokens_bound((USER,))
    explained = 1024  # tokens of the system text that tells a model how to call
    each = zip(*map(renderings, tools), strict=True)
    for whole in (*renderings(tools), *map("\n".join, each)):
        assert plain + explained + len(whole.encode()) <= bound


@given(OBJECTS)
def test_schemas_of_replies_are_bounded(schema: Any) -> None:
    form = ReplyForm(response_format={"type": "json_schema", "json_schema": {"schema": schema}})
    bound = prompt_tokens_bound((USER,), form) - prompt_tokens_bound((USER,))
    for text in renderings(form.response_format):
        assert len(text.encode()) <= bound


@given(OBJECTS, st.text(max_size=9), st.sampled_from([(",", ":"), (", ", ": ")]))
def test_calls_in_a_chat_are_bounded_as_texts_and_as_objects(
    arguments: Any, name: str, separators: tuple[str, str]
) -> None:
    text = json.dumps(arguments, separators=separators, ensure_ascii=False)
    call = ToolCall("call_1", FunctionCall(name, text))
    bound = prompt_tokens_bound([Message("assistant", "so", tool_calls=(call,))])
    for said in (text, json.loads(text)):
        wanted = {"name": name, "arguments": said}
        for ascii_only in (False, True):
            assert len(json.dumps(wanted, ensure_ascii=ascii_only).encode()) <= bound


@given(st.text(max_size=30))
def test_results_of_tools_are_bounded_where_a_template_writes_them_as_json(text: str) -> None:
    bound = prompt_tokens_bound([Message("tool", text, tool_call_id="call_1")])
    for said in (text, json.dumps(text), json.dumps({"output": text}, ensure_ascii=False)):
        assert len(said.encode()) <= bound


def test_plain_chats_are_bounded_as_before() -> None:
    assert prompt_tokens_bound((USER, Message("user", "abc", "jo"))) == 128 + (32 + 3) + (32 + 5)


def test_a_call_is_bounded_like_the_request_that_it_came_from() -> None:
    form = ReplyForm(tools=(TOOL,), response_format={"type": "json_object"})
    call = ChatCall("m", (USER,), 9, tools=form.tools, response_format=form.response_format)
    assert prompt_tokens_bound(call.messages, call) == prompt_tokens_bound((USER,), form)


def test_a_request_holds_the_money_for_its_tools() -> None:
    plain = Request((USER,), "?", 1, max_tokens=9)
    tools = Request((USER,), "?", 1, max_tokens=9, form=ReplyForm(tools=(TOOL,)))
    bounds = [
        build("small/single").bound_nano_usd(request.prompt_tokens_bound, 9, PRICES)
        for request in (plain, tools)
    ]
    more = tools.prompt_tokens_bound - plain.prompt_tokens_bound
    assert bounds[1] - bounds[0] == PRICES.price("small").cost_nano_usd(more, 0)


PASSING = {
    "small/single": True,
    "small/single(max_tokens=9,temperature=0.5)": True,
    "small/reasoning_effort(effort=high)": True,
    "small/thinking_budget(dialect=vllm,tokens=5)": True,
    "hedged(after_s=1,primary=small/single)": True,
    "hedged(after_s=1,primary=small/single,secondary=large/reasoning_effort(effort=low))": True,
    "hedged(after_s=1,primary=small/single,secondary=large/chain_of_thought)": False,
    "small/chain_of_thought": False,
    "small/self_consistency(k=3)": False,
    "small/best_of_n(n=2,verifier=checker)": False,
    "cascade(accept=checker,stages=[small/single,large/single])": False,
}


@pytest.mark.parametrize(("strategy", "expected"), PASSING.items())
def test_only_one_reply_handed_back_as_it_is_passes_through(
    strategy: str, *, expected: bool
) -> None:
    assert passes_through(strategy) is expected


def test_the_methods_that_pass_through_are_those_that_say_so() -> None:
    said = {parse(text).method for text, passing in PASSING.items() if passing}
    assert said == {"single", "reasoning_effort", "thinking_budget", "hedged"}
    assert said < set(NAMES)
    method, params = understood(parse("small/single"))
    assert method.passes_through(params)


@pytest.mark.asyncio
async def test_a_strategy_that_compares_texts_refuses_tools_before_any_call() -> None:
    caller = Scripted(lambda call: Completion(("x",), 1, 1, ("stop",), 0.0))
    for form in (ReplyForm(tools=(TOOL,)), ReplyForm(response_format={"type": "json_object"})):
        asked = Request((USER,), "?", 1, max_tokens=9, form=form)
        with pytest.raises(InputError, match="cannot answer requests with tools"):
            await build("small/self_consistency(k=3)").answer(asked, caller)
    assert not caller.calls


@pytest.mark.asyncio
async def test_every_strategy_that_passes_through_sends_tools_and_returns_calls() -> None:
    reply = Completion(("",), 5, 5, ("tool_calls",), 0.0, tool_calls=((CALL,),))
    format_ = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
    form = ReplyForm((TOOL,), "required", parallel_tool_calls=False, response_format=format_)
    for strategy, passing in PASSING.items():
        if passing:
            caller = Scripted(lambda call: reply)
            asked = Request((USER,), "?", 1, max_tokens=9, form=form)
            found = await build(strategy).answer(asked, caller)
            assert (found.tool_calls, found.finish_reason) == ((CALL,), "tool_calls")
            (call,) = caller.calls
            assert (call.messages, call.tools) == ((USER,), (TOOL,))
            assert (call.tool_choice, call.parallel_tool_calls) == ("required", False)
            assert call.response_format == format_


def test_an_answer_of_calls_alone_is_whole() -> None:
    assert Answer("", "tool_calls", tool_calls=(CALL,)).wholeness == 2
    assert Answer("", "length", tool_calls=(CALL,)).wholeness == 1
    assert Answer("").wholeness == 0
