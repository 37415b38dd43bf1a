from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from adversary import withstand
from fake_upstream import PRICES, InMemory
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from profiles.errors import InputError, UnknownValueError, UpstreamError
from profiles.methods.counting import quoted_bytes
from profiles.methods.instructions import STEP_BY_STEP
from profiles.methods.worst import longest_answer
from profiles.money import PriceCard, TokenPrice
from profiles.request_bound import bound_nano_usd
from profiles.strategy import parse
from runtime.caller import HeldCaller
from runtime.ledger import Ledger, Scope
from runtime.strategies import Outcome, Request, Tools, build
from runtime.upstream import (
    ChatCall,
    Completion,
    Message,
    UpstreamRejectedError,
    request_body,
)

Script = Callable[[int, ChatCall], Completion]
REQUEST = Request((Message("user", "question"),), "question", seed=5, max_tokens=2000)
CARD = PriceCard(models={"a": TokenPrice(input=1, output=10)})
"""USD per million tokens: millionths of a dollar per token."""


def said(text: str, tokens: int, ended: str = "stop", reasoning: int | None = 0) -> Completion:
    return Completion((text,), 10, tokens, (ended,), 0.0, reasoning)


def of(*replies: Completion | Exception) -> Script:
    """One reply after the other; an exception is raised."""

    def script(number: int, _: ChatCall) -> Completion:
        found = replies[number]
        if isinstance(found, Exception):
            raise found
        return found

    return script


def run(text: str, script: Script, request: Request = REQUEST) -> tuple[Outcome, list[ChatCall]]:
    executor = build(text)
    bound = executor.bound_nano_usd(request.prompt_tokens_bound, request.max_tokens, PRICES)
    hold = Ledger([Scope("all", bound)]).hold("r", bound)
    upstream = InMemory(script)
    try:
        outcome = asyncio.run(executor.answer(request, HeldCaller(upstream, PRICES, hold)))
    finally:
        hold.close()
    return outcome, upstream.calls


def test_a_chain_of_thought_is_told_its_number_of_steps_and_pays_for_the_words() -> None:
    _, (call,) = run("small/chain_of_thought(steps=8)", of(said("a", 1)))
    assert call.messages[0] == Message("system", f"{STEP_BY_STEP} Take exactly 8 steps.")
    _, (plain,) = run("small/chain_of_thought", of(said("a", 1)))
    assert plain.messages[0] == Message("system", STEP_BY_STEP)
    longer = bound_nano_usd(parse("a/chain_of_thought(steps=8)"), 200, 50, CARD)
    shorter = bound_nano_usd(parse("a/chain_of_thought"), 200, 50, CARD)
    assert longer - shorter == 1000 * len(" Take exactly 8 steps.")


def test_an_effort_travels_in_the_request() -> None:
    outcome, (call,) = run(
        "small/reasoning_effort(effort=xhigh,max_tokens=90)", of(said("a", 80, reasoning=70))
    )
    assert (call.extra, call.max_tokens) == ({"reasoning_effort": "xhigh"}, 90)
    assert b'"reasoning_effort":"xhigh"' in request_body(call)
    assert (outcome.text, outcome.tokens_out, outcome.tokens_reasoning) == ("a", 80, 70)
    assert bound_nano_usd(parse("a/reasoning_effort(effort=low)"), 200, 50, CARD) == 700_000


@pytest.mark.parametrize(
    ("budget", "fields"),
    [
        ("dialect=vllm,tokens=900", {"thinking_token_budget": 900}),
        ("dialect=vllm,tokens=0", {"thinking_token_budget": 0}),
        (
            "dialect=qwen,tokens=900",
            {"enable_thinking": True, "thinking_budget": 900, "max_tokens": 1100},
        ),
        ("dialect=qwen,tokens=0", {"enable_thinking": False}),
        (
            "dialect=anthropic,tokens=1024",
            {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        ),
        ("dialect=anthropic,tokens=0", {"thinking": {"type": "disabled"}}),
    ],
)
def test_a_budget_travels_in_the_words_of_its_dialect(budget: str, fields: object) -> None:
    outcome, (call,) = run(f"small/thinking_budget({budget})", of(said("a", 3)))
    assert (call.extra, call.max_tokens, outcome.text) == (fields, 2000, "a")


def test_what_a_server_bills_at_most_is_the_cap_in_every_dialect() -> None:
    for dialect, sent in (("vllm", b'"max_tokens":2000'), ("qwen", b'"max_tokens":1100')):
        text = f"a/thinking_budget(dialect={dialect},tokens=900)"
        assert bound_nano_usd(parse(text), 200, 2000, CARD) == 1000 * (200 + 2000 * 10)
        assert longest_answer(parse(text), 200, 2000, 1) == 2000
        _, (call,) = run(text.replace("a/", "small/"), of(said("a", 3)))
        assert sent in request_body(call)


def test_claude_thinks_without_a_temperature_and_qwen_only_in_a_stream() -> None:
    warm = replace(REQUEST, temperature=0.3, top_p=0.5)
    text = "small/thinking_budget(dialect={},tokens={})"
    _, (call,) = run(text.format("anthropic", 1024), of(said("a", 1)), warm)
    assert (call.temperature, call.top_p, call.on_text) == (None, None, None)
    _, (call,) = run(text.format("anthropic", 0), of(said("a", 1)), warm)
    assert (call.temperature, call.top_p) == (0.3, 0.5)
    _, (call,) = run(text.format("qwen", 9), of(said("a", 1)), warm)
    assert (call.temperature, call.on_text is None) == (0.3, False)
    assert call.on_text is not None
    call.on_text("nobody reads this")
    assert run(text.format("qwen", 0), of(said("a", 1)))[1][0].on_text is None


@pytest.mark.parametrize(
    ("text", "cap", "said_of_it"),
    [
        ("dialect=vllm,tokens=50", 50, "leaves no token for the answer"),
        ("dialect=qwen,tokens=51", 50, "leaves no token for the answer"),
        ("dialect=vllm,max_tokens=40,tokens=40", None, "fewer than max_tokens, 40"),
        ("dialect=vllm,max_tokens=90,tokens=60", 50, "leaves no token for the answer"),
        ("dialect=anthropic,tokens=1023", 5000, "0, or 1024 or more"),
        ("dialect=anthropic,temperature=0.5,tokens=1024", 5000, "no temperature or top_p"),
        ("dialect=anthropic,tokens=1024,top_p=0.5", 5000, "no temperature or top_p"),
        ("dialect=vllm,tokens=5", None, "nothing caps the completion tokens"),
        ("dialect=openai,tokens=5", 50, "'anthropic', 'qwen' or 'vllm'"),
        ("tokens=5", 50, "this parameter is missing"),
    ],
)
def test_a_budget_that_cannot_be_is_refused(text: str, cap: int | None, said_of_it: str) -> None:
    with pytest.raises(InputError, match=said_of_it):
        bound_nano_usd(parse(f"a/thinking_budget({text})"), 200, cap, CARD)


def test_an_unknown_effort_is_refused() -> None:
    with pytest.raises(InputError, match="'none', 'minimal', 'low'"):
        build("small/reasoning_effort(effort=hard)")
    with pytest.raises(UnknownValueError, match="nothing caps"):
        build("small/reasoning_effort(effort=low)").bound_nano_usd(10, None, PRICES)


@pytest.mark.parametrize(
    "text",
    [
        "small/chain_of_thought(steps=2)",
        "small/reasoning_effort(effort=low)",
        "small/thinking_budget(dialect=vllm,tokens=9)",
        "small/thinking_budget(dialect=qwen,tokens=9)",
    ],
)
def test_one_call_hands_on_its_text_as_it_comes(text: str) -> None:
    pieces: list[str] = []
    _, (call,) = run(text, of(said("a", 1)), replace(REQUEST, on_text=pieces.append))
    assert call.on_text == pieces.append


FORCED = "small/budget_forcing(answer_tokens=20,think_tokens=100,waits={})"


def test_a_thought_that_ends_early_is_made_to_go_on_and_then_answers() -> None:
    replies = of(said("one", 30), said(" two", 30), said("\n\n42", 2))
    outcome, calls = run(FORCED.format(1), replies, replace(REQUEST, stop=("#",)))
    assert [call.messages[-1] for call in calls] == [
        Message("assistant", "<think>"),
        Message("assistant", "<think>oneWait"),
        Message("assistant", "<think>oneWait two</think>"),
    ]
    assert [call.max_tokens for call in calls] == [100, 70, 20]
    assert [call.stop for call in calls] == [("</think>",), ("</think>",), ("#",)]
    assert all(call.continues and call.messages[:-1] == REQUEST.messages for call in calls)
    assert [call.purpose for call in calls] == ["think", "think", "answer"]
    assert len({call.seed for call in calls}) == 3
    assert (outcome.text, outcome.finished, outcome.calls) == ("42", True, 3)
    assert (outcome.tokens_out, outcome.tokens_reasoning) == (62, 60)


def test_a_thought_at_its_budget_is_cut_and_waits_no_more() -> None:
    outcome, calls = run(FORCED.format(3), of(said("long", 100, "length"), said("7", 1)))
    assert [call.messages[-1].content for call in calls] == ["<think>", "<think>long</think>"]
    assert outcome.text == "7"
    # a server that stops at the mark in the wrong way, or spends more than it may
    _, calls = run(FORCED.format(3), of(said("a</think>b", 100), said("7", 1)))
    assert calls[-1].messages[-1].content == "<think>a</think>"


def test_reasoning_is_unknown_where_the_server_does_not_say() -> None:
    replies = of(said("x", 9, reasoning=None), said("7", 1, reasoning=None))
    assert run(FORCED.format(0), replies)[0].tokens_reasoning is None
    replies = of(said("x", 9, reasoning=9), said("7", 1))
    assert run(FORCED.format(0), replies)[0].tokens_reasoning == 9


def test_usage_that_is_unknown_counts_as_the_whole_budget() -> None:
    silent = Completion(("x",), None, None, ("stop",), 0.0)
    _, calls = run(FORCED.format(3), of(silent, said("7", 1)))
    assert len(calls) == 2


def test_a_server_that_hides_the_thought_is_asked_for_the_answer() -> None:
    _, calls = run(FORCED.format(3), of(said("", 30), said("7", 1)))
    assert [call.messages[-1].content for call in calls] == ["<think>", "<think></think>"]


def test_a_thought_of_too_many_bytes_is_cut_where_they_end() -> None:
    _, calls = run(FORCED.format(3), of(said("é" * 900, 30), said("7", 1)))
    assert len(calls) == 2
    thought = calls[1].messages[-1].content.removeprefix("<think>").removesuffix("</think>")
    assert set(thought) == {"é"}
    assert len(thought.encode()) in (quoted_bytes(100), quoted_bytes(100) - 1)


def test_a_thought_that_breaks_off_after_a_wait_is_enough_to_answer() -> None:
    replies = of(said("one", 30), UpstreamError("broken"), said("42", 2))
    outcome, calls = run(FORCED.format(2), replies)
    assert calls[-1].messages[-1].content == "<think>one</think>"
    assert (outcome.text, outcome.finished) == ("42", False)
    with pytest.raises(UpstreamRejectedError):
        run(FORCED.format(2), of(said("one", 30), UpstreamRejectedError("too long", status=400)))
    with pytest.raises(UpstreamError):
        run(FORCED.format(2), of(UpstreamError("broken")))


def test_only_the_answer_of_a_forced_budget_is_streamed_from_its_first_word() -> None:
    pieces: list[str] = []

    def script(_: int, call: ChatCall) -> Completion:
        if call.purpose == "think":
            assert call.on_text is None
            return said("hm", 5)
        assert call.on_text is not None
        for piece in ("\n", " \n4", "2 ", "\n"):
            call.on_text(piece)
        return said("\n \n42 \n", 4)

    outcome, _ = run(FORCED.format(0), script, replace(REQUEST, on_text=pieces.append))
    assert "".join(pieces) == outcome.text == "42 \n"


def test_the_bound_of_a_forced_budget_counts_each_call_with_what_was_written_before() -> None:
    text = "a/budget_forcing(answer_tokens=20,think_tokens=100,waits=2)"
    begun = 200 + 32 + len("<think>")
    written = begun + quoted_bytes(100) + 2 * len("Wait")
    answered = written + len("</think>")
    millionths = begun + 100 * 10 + 2 * (written + 100 * 10) + answered + 20 * 10
    assert bound_nano_usd(parse(text), 200, None, CARD) == 1000 * millionths
    without = begun + 1000 + begun + quoted_bytes(100) + len("</think>") + 200
    assert bound_nano_usd(parse(text.replace(",waits=2", "")), 200, None, CARD) == 1000 * without
    assert longest_answer(parse(text), 200, None, 1) == 20
    assert longest_answer(parse(text), 200, 7, 1) == 7


texts = st.one_of(
    st.builds("small/chain_of_thought(steps={})".format, st.integers(2, 99)),
    st.builds("odd/reasoning_effort(effort={})".format, st.sampled_from(["none", "max"])),
    st.builds(
        "large/thinking_budget(dialect={},tokens={})".format,
        st.sampled_from(["vllm", "qwen"]),
        st.integers(0, 9),
    ),
    st.builds(
        "odd/budget_forcing(answer_tokens={},think_tokens={},waits={})".format,
        st.integers(1, 30),
        st.integers(1, 60),
        st.integers(0, 5),
    ),
)


@settings(max_examples=200, deadline=None)
@given(
    text=texts,
    content=st.text(max_size=30),
    cap=st.integers(10, 50),
    seed=st.integers(0, 2**31),
)
def test_no_strategy_of_one_pass_costs_more_than_its_bound(
    text: str, content: str, cap: int, seed: int
) -> None:
    request = Request((Message("user", content),), content, seed, cap)
    words = ["", "a thought", "x" * 700, "日本" * 300, "a</think>b", "\ud800" * 90]
    withstand(text, request, Tools(), words, seed)
