"""Monte Carlo tree search: what it sends and what it keeps."""

from __future__ import annotations

import asyncio

import pytest
from fake_upstream import PRICES, InMemory
from msgspec.structs import replace
from step_scripts import REQUEST, TAIL, TOOLS, growing, prefills, replied, run

from profiles.errors import UpstreamError
from runtime.caller import HeldCaller
from runtime.checkers import as_verifiers
from runtime.ledger import Ledger, Scope
from runtime.strategies import Outcome, Tools, build
from runtime.upstream import ChatCall, Completion, UpstreamRejectedError

TREE = f"small/mcts(depth=4,expand=2,simulations={{}},{TAIL})"


def test_equal_states_are_expanded_and_scored_once_however_they_were_reached() -> None:
    seen: list[str] = []

    def note(_: str, answer: str) -> float:
        seen.append(answer)
        return 0.5

    tools = Tools(as_verifiers({"table": note}))
    script = growing({"": "a ab", "a": "b c", "ab": "x. y.", "ac": "x. y."})
    found, upstream = run(TREE.format(9), script, tools)
    assert sorted(prefills(upstream)) == ["", "a", "ab", "ac"]
    assert sorted(seen) == sorted(set(seen)) == ["a", "ab", "abx", "aby", "ac", "acx", "acy"]
    assert [step.detail for step in found.steps if step.what == "tree"] == ["7 states"]
    assert found.finish_reason == "stop"


def test_white_space_makes_no_new_state_and_what_says_nothing_is_none() -> None:
    def script(_: int, call: ChatCall) -> Completion:
        after = call.messages[-1].content if call.continues else ""
        return {
            "": replied("a b", "a  b"),
            "a b": replied("", " \n"),
            "a b \n": replied("c.", "c ."),
        }[after]

    found, upstream = run(TREE.format(9), script)
    assert prefills(upstream) == ["", "a b", "a b \n"]
    assert found.text == "a b \nc"


def test_tree_search_lets_its_best_say_the_rest_where_no_answer_ended() -> None:
    def script(number: int, call: ChatCall) -> Completion:
        return replied("rest.") if number == 2 else replied("ab", "x")

    found, upstream = run(TREE.format(2), script)
    last = upstream.calls[2]
    assert (last.n, last.max_tokens, last.messages[-1].content) == (1, 6, "ab")
    assert (found.text, found.finish_reason) == ("abrest", "stop")


def test_tree_search_goes_on_after_an_expansion_that_failed() -> None:
    def script(number: int, _: ChatCall) -> Completion:
        if number == 0:
            raise UpstreamError("broken")
        return replied("a.", "ab.")

    found, upstream = run(TREE.format(2), script)
    assert (found.text, found.finished, len(upstream.calls)) == ("ab", False, 2)


def test_tree_search_ends_with_the_error_where_nothing_arrives_or_calls_are_turned_down() -> None:
    def broken(_: int, __: ChatCall) -> Completion:
        raise UpstreamError("broken")

    def turned_down(number: int, _: ChatCall) -> Completion:
        if number:
            raise UpstreamRejectedError("no prefill here", status=400)
        return replied("a", "b")

    with pytest.raises(UpstreamError, match="broken"):
        run(TREE.format(3), broken)
    found, upstream = run(TREE.format(9), turned_down)
    assert (found.text, found.finished, len(upstream.calls)) == ("a", False, 2)


def test_tree_search_of_a_model_that_says_nothing_returns_nothing() -> None:
    found, upstream = run(TREE.format(9), growing({"": ""}))
    assert (found.text, found.finish_reason, len(upstream.calls)) == ("", "length", 1)


def test_at_the_deadline_the_best_until_then_is_returned() -> None:
    class Slow(InMemory):
        async def chat(self, call: ChatCall) -> Completion:
            found = await super().chat(call)
            await asyncio.sleep(60 * call.continues)
            return found

    executor = build(TREE.format(4), TOOLS)
    upstream = Slow(lambda _, call: replied("x", "a"))
    hold = Ledger([Scope("all", 10**9)]).hold("r", 10**9)
    request = replace(REQUEST, wall_s=0.2)

    async def asked() -> Outcome:
        found = await executor.answer(request, HeldCaller(upstream, PRICES, hold))
        assert len(asyncio.all_tasks()) == 1
        return found

    found = asyncio.run(asked())
    assert (found.text, found.finished, found.usage_known) == ("a", False, False)
