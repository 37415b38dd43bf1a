"""Searches that go level by level: what they send and what they keep."""

from __future__ import annotations

import asyncio

import pytest
from fake_upstream import PRICES, InMemory
from msgspec.structs import replace
from step_scripts import REQUEST, TAIL, TOOLS, growing, prefills, replied, run

from profiles.errors import InputError, UpstreamError
from profiles.methods.instructions import EVALUATE, EVALUATE_PARTIAL
from runtime.caller import HeldCaller
from runtime.checkers import as_verifiers
from runtime.ledger import Ledger, Scope
from runtime.strategies import Tools, build
from runtime.upstream import ChatCall, Completion, Message


def test_a_beam_continues_its_best_by_prefill_and_returns_the_joined_text() -> None:
    script = growing({"": "a b x x", "a": "b. x", "b": "a. a."})
    found, upstream = run(f"small/beam_search(depth=3,expand=2,width=2,{TAIL})", script)
    assert (found.text, found.finish_reason, found.finished) == ("ab", "stop", True)
    first, *second = upstream.calls
    assert (first.n, first.max_tokens, first.continues, first.purpose) == (4, 2, False, "step")
    assert [call.messages[1] for call in second] == [
        Message("assistant", "a"),
        Message("assistant", "b"),
    ]
    assert {(call.n, call.max_tokens, call.continues) for call in second} == {(2, 2, True)}
    assert len({call.seed for call in upstream.calls}) == 3
    assert first.seed == REQUEST.seed


def test_what_ended_keeps_its_place_and_is_not_called_again() -> None:
    script = growing({"": "a. b x", "b": "x", "bx": "x"})
    found, upstream = run(f"small/beam_search(depth=3,expand=2,width=2,{TAIL})", script)
    assert prefills(upstream) == ["", "b", "bx"]
    assert found.text == "a"


def test_a_finished_answer_that_is_right_ends_the_search() -> None:
    script = growing({"": "ab x", "ab": "c. x", "x": "x", "abx": "x", "xx": "x"})
    text = f"small/beam_search(depth=9,expand=1,outcome=table,width=2,{TAIL})"
    found, upstream = run(text, script)
    assert (found.text, len(upstream.calls)) == ("abc", 3)
    found, upstream = run(
        f"small/mcts(depth=9,expand=2,outcome=table,simulations=9,{TAIL})", script
    )
    assert (found.text, len(upstream.calls)) == ("abc", 2)


def test_a_step_verifier_alone_cannot_tell_that_an_answer_ended_too_early() -> None:
    tools = Tools(as_verifiers({"table": lambda _, answer: float("abcd".startswith(answer))}))
    script = growing({"": "a ab.", "a": "b ab", "ab": "c. cd.", "aab": "x."})
    found, _ = run(f"small/beam_search(depth=4,expand=2,width=1,{TAIL})", script, tools)
    assert found.text == "abc"
    tools.verifiers["whole"] = as_verifiers({"whole": lambda _, answer: answer == "abcd"})["whole"]
    text = f"small/beam_search(depth=4,expand=2,outcome=whole,width=1,{TAIL})"
    assert run(text, script, tools)[0].text == "abcd"


def test_of_equal_scores_a_whole_answer_is_better_than_a_longer_one_that_was_cut() -> None:
    tools = Tools(as_verifiers({"table": lambda _, answer: float("abcd".startswith(answer))}))
    script = growing({"": "a ab.", "a": "b", "ab": "c"})
    for search in ("beam_search(expand=2,width=2", "mcts(expand=2,simulations=9"):
        found, _ = run(f"small/{search},depth=3,{TAIL})", script, tools)
        assert (found.text, found.finish_reason) == ("ab", "stop")


def test_finished_answers_can_have_a_judge_of_their_own() -> None:
    def script(_: int, call: ChatCall) -> Completion:
        if call.purpose == "judge":
            assert (call.model, call.messages[-1].content) == ("large", EVALUATE)
            return replied("10" if call.messages[1].content == "ba" else "2")
        return replied("a.", "x.") if call.continues else replied("b", "a.")

    text = f"small/beam_search(depth=3,expand=2,outcome=large/judge,width=1,{TAIL})"
    found, upstream = run(text, script)
    assert (found.text, found.finish_reason) == ("ba", "stop")
    assert [call.purpose for call in upstream.calls] == ["step", "judge", "step", "judge", "judge"]


def test_equal_partial_answers_each_keep_a_place_but_are_scored_once() -> None:
    seen: list[str] = []

    def note(_: str, answer: str) -> float:
        seen.append(answer)
        return 0.5

    tools = Tools(as_verifiers({"table": note}))
    script = growing({"": "a", "a": "b."})
    _, upstream = run(f"small/beam_search(depth=2,expand=1,width=3,{TAIL})", script, tools)
    assert seen == ["a", "ab"]
    assert prefills(upstream) == ["", "a", "a", "a"]
    assert len({call.seed for call in upstream.calls}) == 4


def test_steps_end_where_the_cap_on_the_answer_does() -> None:
    script = growing({"": "a", "a": "b", "ab": "x"})
    request = replace(REQUEST, max_tokens=5)
    text = f"small/beam_search(depth=9,expand=1,width=1,{TAIL})"
    found, upstream = run(text, script, request=request)
    assert [call.max_tokens for call in upstream.calls] == [2, 2, 1]
    assert (found.text, found.finish_reason, found.finished) == ("abx", "length", True)


def test_a_partial_answer_of_more_bytes_than_its_tokens_may_have_is_not_continued() -> None:
    found, upstream = run(
        f"small/beam_search(depth=3,expand=1,width=1,{TAIL})", growing({"": "y" * 24})
    )
    assert (len(upstream.calls), found.text) == (1, "y" * 24)


def test_characters_that_cannot_be_sent_count_as_a_question_mark() -> None:
    script = growing({"": "\ud800", "?": "b."})
    found, _ = run(f"small/beam_search(depth=3,expand=1,width=1,{TAIL})", script)
    assert found.text == "?b"


def test_where_nothing_was_said_yet_there_is_nothing_to_prefill() -> None:
    found, upstream = run(f"small/beam_search(depth=2,expand=1,width=1,{TAIL})", growing({"": ""}))
    assert prefills(upstream) == ["", ""]
    assert found.text == ""


def test_more_answers_than_asked_for_are_left_aside() -> None:
    script = lambda _, call: replied(*["a"] * (call.n + 3))  # noqa: E731
    found, upstream = run(
        "small/beam_search(depth=1,expand=2,step_tokens=2,verifier=large/judge,width=1)",
        lambda number, call: replied("3") if call.purpose == "judge" else script(number, call),
    )
    assert (found.text, len(upstream.calls)) == ("a", 2)


def test_branches_that_fail_are_missed_and_the_others_go_on() -> None:
    def script(_: int, call: ChatCall) -> Completion:
        after = call.messages[-1].content if call.continues else ""
        if after == "a":
            raise UpstreamError("broken")
        return replied("a.") if after else replied("a", "b")

    found, _ = run(f"small/beam_search(depth=2,expand=1,width=2,{TAIL})", script)
    assert (found.text, found.finished) == ("ba", False)


def test_where_all_branches_fail_the_best_until_then_is_returned() -> None:
    def script(number: int, call: ChatCall) -> Completion:
        if number:
            raise UpstreamError("broken")
        return replied(*["a", "b"][: call.n])

    text = f"small/pruned_search(depth=3,expand=2,n=2,survivors=1,{TAIL})"
    found, _ = run(text, script)
    assert (found.text, found.finished, found.finish_reason) == ("a", False, "length")


def test_a_mistake_of_ours_is_no_failed_branch() -> None:
    def script(_: int, call: ChatCall) -> Completion:
        if call.continues:
            raise ZeroDivisionError
        return replied("a", "b")

    with pytest.raises(ZeroDivisionError):
        run(f"small/beam_search(depth=2,expand=1,width=2,{TAIL})", script)


def test_pruning_halves_the_branches_until_the_survivors_are_left() -> None:
    text = f"small/pruned_search(depth=5,expand=1,n=7,survivors=2,{TAIL})"
    found, upstream = run(text, lambda _, call: replied(*"abcdefg"[: call.n]))
    sizes = [len(text) for text in prefills(upstream)]
    assert [sizes.count(size) for size in range(5)] == [1, 4, 2, 2, 2]
    assert [step.detail for step in found.steps if step.what == "keep"][:2] == ["4 of 7", "2 of 4"]


def test_a_tree_of_thoughts_asks_its_own_model_what_can_become_right() -> None:
    def script(_: int, call: ChatCall) -> Completion:
        if call.purpose == "judge":
            thought, instruction = call.messages[-2:]
            whole = thought.content.endswith("!")
            assert instruction.content == (EVALUATE if whole else EVALUATE_PARTIAL)
            return replied(str(thought.content.count("b")))
        return replied("b!.", "a") if call.continues else replied("a", "b")

    text = "small/tree_of_thoughts(breadth=2,depth=3,step_tokens=2,width=1)"
    found, upstream = run(text, script)
    assert {call.model for call in upstream.calls} == {"small"}
    assert (found.text, found.finish_reason) == ("bb!", "stop")
    assert prefills(upstream)[3] == "b"


def test_the_confidence_of_an_answer_is_that_of_all_its_steps() -> None:
    script = growing({"": "a b", "a": "b.", "b": "a."})

    def confident(number: int, call: ChatCall) -> Completion:
        assert call.logprobs
        given = {"": (0.9, 0.8), "a": (0.1,), "b": (0.8,)}
        after = call.messages[-1].content if call.continues else ""
        return replace(script(number, call), confidences=given[after])

    text = "small/beam_search(depth=2,expand=1,step_tokens=2,verifier=confidence,width=2)"
    found, _ = run(text, confident)
    assert found.text == "ba"
    said = [step.detail for step in found.steps if step.what == "confidence"]
    assert said == ["0.9 0.8", "0.3 0.8"]
    found, _ = run(text, script)
    assert [step.detail for step in found.steps if step.what == "confidence"] == ["? ?"] * 2


def test_where_no_money_is_left_for_a_judge_what_was_said_until_then_is_returned() -> None:
    executor = build(
        "small/beam_search(depth=2,expand=2,step_tokens=2,verifier=large/judge,width=1)", TOOLS
    )
    drawing = PRICES.price("small").cost_nano_usd(REQUEST.prompt_tokens_bound, 4)
    hold = Ledger([Scope("all", drawing)]).hold("r", drawing)
    upstream = InMemory(lambda _, __: replied("a", "b"))
    found = asyncio.run(executor.answer(REQUEST, HeldCaller(upstream, PRICES, hold)))
    assert (found.text, found.finished, len(upstream.calls)) == ("a", False, 1)


def test_a_reward_model_scores_answers_that_are_not_finished_too() -> None:
    def script(number: int, call: ChatCall) -> Completion:
        if call.reward:
            return Completion((f"{len(call.messages[-1].content)}",), 5, 0, ("stop",), 0.0)
        return replied("x", "yy.") if call.continues else replied("a", "bb")

    text = "small/beam_search(depth=2,expand=2,step_tokens=2,verifier=large/reward,width=1)"
    found, upstream = run(text, script)
    assert (found.text, len(upstream.calls)) == ("bbyy", 6)


def test_a_clients_temperature_of_zero_would_make_all_branches_equal() -> None:
    cold = replace(REQUEST, temperature=0.0)
    script = growing({"": "a. b."})
    _, upstream = run(f"small/beam_search(depth=2,expand=2,width=1,{TAIL})", script, request=cold)
    assert upstream.calls[0].temperature is None


def test_a_verifier_that_nobody_knows_is_found_before_the_first_call() -> None:
    with pytest.raises(InputError, match="no verifier is called 'nobody'"):
        build("small/mcts(depth=2,expand=2,simulations=2,step_tokens=2,verifier=nobody)", TOOLS)
