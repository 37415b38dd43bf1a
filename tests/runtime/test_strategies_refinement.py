from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from adversary import withstand
from fake_upstream import PRICES, InMemory, reply
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from profiles.errors import InputError, UpstreamError
from profiles.methods.counting import quoted_tokens, said_tokens
from profiles.methods.instructions import CRITIQUE, EVALUATE, REFINE, REFLECT, RETRY
from profiles.money import PriceCard, TokenPrice
from profiles.request_bound import bound_nano_usd
from profiles.strategy import parse
from runtime.caller import HeldCaller
from runtime.checkers import as_verifiers
from runtime.ledger import Ledger, Scope
from runtime.strategies import Outcome, Request, Tools, build
from runtime.upstream import ChatCall, Completion, Message

Script = Callable[[int, ChatCall], Completion]
QUESTION = Message("user", "question")
REQUEST = Request((QUESTION,), "question", seed=5, max_tokens=50, stop=("#",))
CARD = PriceCard(models={"a": TokenPrice(input=1, output=10), "b": TokenPrice(input=2, output=20)})
"""USD per million tokens: millionths of a dollar per token."""


def check(_: str, answer: str) -> float:
    return {"right": 1.0, "near": 0.5, "nearer": 0.5}.get(answer, 0.0)


TOOLS = Tools(as_verifiers({"checker": check}))


def user(text: str) -> Message:
    return Message("user", text)


def assistant(text: str) -> Message:
    return Message("assistant", text)


def of(*texts: str | Exception | Completion) -> Script:
    """One reply after the other; an exception is raised."""

    def script(number: int, _: ChatCall) -> Completion:
        found = texts[number]
        if isinstance(found, Exception):
            raise found
        return found if isinstance(found, Completion) else reply(found)

    return script


def run(text: str, script: Script, request: Request = REQUEST) -> tuple[Outcome, list[ChatCall]]:
    executor = build(text, TOOLS)
    bound = executor.bound_nano_usd(request.prompt_tokens_bound, request.max_tokens, PRICES)
    hold = Ledger([Scope("all", bound)]).hold("r", bound)
    upstream = InMemory(script)
    try:
        outcome = asyncio.run(executor.answer(request, HeldCaller(upstream, PRICES, hold)))
    finally:
        hold.close()
    return outcome, upstream.calls


def test_an_answer_is_criticised_and_refined_until_no_issues_are_found() -> None:
    replies = of("7", "wrong: 8", "8", "There are No issues.")
    outcome, calls = run("small/self_refine(rounds=3)", replies)
    assert [call.messages for call in calls] == [
        (QUESTION,),
        (QUESTION, assistant("7"), user(CRITIQUE)),
        (QUESTION, assistant("7"), user(CRITIQUE), assistant("wrong: 8"), user(REFINE)),
        (QUESTION, assistant("8"), user(CRITIQUE)),
    ]
    assert [call.purpose for call in calls] == ["answer", "critique", "refine", "critique"]
    assert [call.stop for call in calls] == [("#",), (), ("#",), ()]
    assert len({call.seed for call in calls}) == 4
    assert (outcome.text, outcome.finished, outcome.calls) == ("8", True, 4)
    assert len(run("small/self_refine(rounds=3)", of("7", " "))[1]) == 2


def test_rounds_end_where_the_final_answer_stays_as_it_was_or_they_are_through() -> None:
    unchanged = "so it is shorter\n#### 7"
    outcome, calls = run("small/self_refine(rounds=3)", of("long\n#### 7", "too long", unchanged))
    assert (outcome.text, len(calls), outcome.finished) == (unchanged, 3, True)
    outcome, calls = run("small/self_refine(rounds=2)", of("1", "no", "2", "no", "3"))
    assert (outcome.text, len(calls)) == ("3", 5)


def test_an_empty_or_cut_answer_does_not_replace_a_whole_one() -> None:
    cut = Completion(("8 or",), 10, 50, ("length",), 0.0)
    for bad in (" ", cut):
        outcome, calls = run("small/self_refine(rounds=3)", of("7", "no", bad))
        assert (outcome.text, len(calls)) == ("7", 3)
    for before in ("", cut):
        outcome, _ = run(
            "small/self_refine(rounds=1)", of(before, "no", replace(cut, texts=("9",)))
        )
        assert outcome.text == "9"


def test_another_model_can_be_the_critic() -> None:
    text = "small/self_refine(critic=large/critic(max_tokens=9),rounds=1)"
    _, calls = run(text, of("7", "x" * 200, "8"))
    assert [(call.model, call.max_tokens) for call in calls] == [
        ("small", 50),
        ("large", 9),
        ("small", 50),
    ]
    assert "[...]" in calls[2].messages[3].content
    assert parse(text).models() == ("small", "large")
    _, calls = run("small/self_refine(critic=large/critic,rounds=1)", of("7", "no issues"))
    assert [call.max_tokens for call in calls] == [50, 50]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("small/self_refine(rounds=2)", "7"),
        ("small/reflexion(rounds=2,verifier=checker)", "7"),
    ],
)
def test_a_round_that_fails_leaves_the_answer_before_it(text: str, answer: str) -> None:
    for replies in (of("7", UpstreamError("broken")), of("7", "no", UpstreamError("broken"))):
        outcome, _ = run(text, replies)
        assert (outcome.text, outcome.finished) == (answer, False)


def test_a_refinement_is_not_streamed_for_nobody_knows_which_answer_is_the_last() -> None:
    listening = replace(REQUEST, on_text=lambda _: None)
    for text in ("small/self_refine(rounds=1)", "small/reflexion(rounds=1,verifier=checker)"):
        _, calls = run(text, of("7", "no", "8"), listening)
        assert [call.on_text for call in calls] == [None] * 3


def test_a_wrong_answer_is_reflected_on_and_tried_again_until_it_is_right() -> None:
    replies = of("bad", "forgot the carry", "near", "again", "right")
    outcome, calls = run("small/reflexion(rounds=4,verifier=checker)", replies)
    reflected = (QUESTION, assistant("bad"), user(REFLECT))
    assert calls[1].messages == reflected
    assert calls[2].messages == (*reflected, assistant("forgot the carry"), user(RETRY))
    assert calls[3].messages == (QUESTION, assistant("near"), user(REFLECT))
    assert [call.purpose for call in calls] == ["answer", "reflect", "answer", "reflect", "answer"]
    assert [call.stop for call in calls[:3]] == [("#",), (), ("#",)]
    assert len({call.seed for call in calls}) == 5
    assert (outcome.text, outcome.finished) == ("right", True)
    assert len(run("small/reflexion(rounds=4,verifier=checker)", of("right"))[1]) == 1


def test_the_best_answer_is_kept_and_of_equals_the_last() -> None:
    text = "small/reflexion(rounds=2,verifier=checker)"
    outcome, calls = run(text, of("near", "r", "bad", "r", "worse"))
    assert (outcome.text, outcome.finished) == ("near", True)
    assert calls[3].messages[1] == assistant("near")
    assert run(text, of("near", "r", "nearer", "r", "bad"))[0].text == "nearer"


def test_of_equal_scores_an_empty_or_cut_answer_does_not_replace_a_whole_one() -> None:
    text = "small/reflexion(rounds=1,verifier=checker)"
    cut = Completion(("9 or",), 10, 50, ("length",), 0.0)
    for bad in (" ", cut):
        assert run(text, of("7", "r", bad))[0].text == "7"
    assert run(text, of("", "r", cut))[0].text == "9 or"
    stops = text.replace("rounds=1", "if_worse=stop,rounds=2")
    assert len(run(stops, of("7", "r", "", "r", "8"))[1]) == 5


def test_reflexion_can_stop_at_an_answer_that_is_worse() -> None:
    text = "small/reflexion(if_worse=stop,rounds=3,verifier=checker)"
    outcome, calls = run(text, of("near", "r", "bad"))
    assert (outcome.text, outcome.finished, len(calls)) == ("near", True, 3)
    assert outcome.steps[-1].detail == "0 is worse than 0.5"
    assert len(run(text, of("bad", "r", "worse", "r", "worst", "r", "bad"))[1]) == 7


def test_reflections_have_a_cap_of_their_own() -> None:
    text = "small/reflexion(reflection_tokens=9,rounds=1,verifier=checker)"
    _, calls = run(text, of("bad", "x" * 200, "bad"))
    assert [call.max_tokens for call in calls] == [50, 9, 50]
    assert "[...]" in calls[2].messages[3].content


def test_answers_but_no_reflections_are_asked_for_their_confidence() -> None:
    def script(number: int, _: ChatCall) -> Completion:
        return Completion(("x",), 9, 1, ("stop",), 0.0, None, None, (0.5 if number < 2 else 1.0,))

    outcome, calls = run("small/reflexion(rounds=2,verifier=confidence)", script)
    assert [call.logprobs for call in calls] == [True, False, True]
    assert outcome.finished


def test_the_bound_of_self_refine_counts_every_round_with_what_it_reads() -> None:
    criticised = 200 + quoted_tokens(50) + said_tokens(CRITIQUE)
    refined = criticised + quoted_tokens(50) + said_tokens(REFINE)
    millionths = 200 + 500 + 3 * (criticised + 500) + 3 * (refined + 500)
    found = bound_nano_usd(parse("a/self_refine(rounds=3)"), 200, 50, CARD)
    assert found == 1000 * millionths
    refined = criticised + quoted_tokens(9) + said_tokens(REFINE)
    millionths = 700 + (2 * criticised + 9 * 20) + refined + 500
    text = "a/self_refine(critic=b/critic(max_tokens=9),rounds=1)"
    assert bound_nano_usd(parse(text), 200, 50, CARD) == 1000 * millionths


def test_the_bound_of_reflexion_counts_every_round_and_every_score() -> None:
    reflected = 200 + quoted_tokens(50) + said_tokens(REFLECT)
    retried = reflected + quoted_tokens(9) + said_tokens(RETRY)
    judged = 200 + quoted_tokens(50) + said_tokens(EVALUATE)
    millionths = 700 + 2 * (reflected + 9 * 10) + 2 * (retried + 500) + 3 * (2 * judged + 4 * 20)
    text = "a/reflexion(reflection_tokens=9,rounds=2,verifier=b/judge(max_tokens=4))"
    assert bound_nano_usd(parse(text), 200, 50, CARD) == 1000 * millionths


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("small/self_refine(critic=large,rounds=1)", "critic: expected model/critic"),
        ("small/self_refine(critic=large/single,rounds=1)", "expected model/critic"),
        ("small/self_refine(critic=large/critic(k=1),rounds=1)", "unknown parameter"),
        ("small/self_refine", "rounds: this parameter is missing"),
        ("small/self_refine(round=1)", "did you mean 'rounds'"),
        ("small/reflexion(rounds=1,verifier=nobody)", "no verifier is called 'nobody'"),
        ("small/reflexion(if_worse=cry,rounds=1,verifier=checker)", "'continue' or 'stop'"),
    ],
)
def test_what_is_wrong_with_a_refinement_is_said_before_it_runs(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(text, TOOLS)


models = st.sampled_from(["small", "large", "odd"])
rounds = st.integers(1, 4)
caps = st.integers(1, 30)
texts = st.one_of(
    st.builds("{}/self_refine(rounds={})".format, models, rounds),
    st.builds(
        "{}/self_refine(critic={}/critic(max_tokens={}),max_tokens={},rounds={})".format,
        models,
        models,
        caps,
        caps,
        rounds,
    ),
    st.builds(
        "{}/reflexion(if_worse={},reflection_tokens={},rounds={},verifier={})".format,
        models,
        st.sampled_from(["continue", "stop"]),
        caps,
        rounds,
        st.sampled_from(["checker", "confidence", "self_evaluation", "large/judge(max_tokens=3)"]),
    ),
)


@settings(max_examples=200, deadline=None)
@given(text=texts, content=st.text(max_size=30), cap=caps, seed=st.integers(0, 2**31))
def test_no_refinement_costs_more_than_its_bound(
    text: str, content: str, cap: int, seed: int
) -> None:
    request = Request((Message("user", content),), content, seed, cap)
    words = ["", "near", "right", "wrong", "no issues", "x" * 400, "日本" * 99, "\ud800" * 300]
    withstand(text, request, TOOLS, words, seed)
