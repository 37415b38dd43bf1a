"""Votes and combinations where something fails, comes too late, or somebody wants to cheat."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
from adversary import ways_through, withstand
from fake_upstream import PRICES, InMemory, reply
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from small_policies import policy, service
from test_strategies_sampling import ONE_EACH, REQUEST, TOOLS, Paced, noted, run, trees

from profiles.errors import UpstreamError
from profiles.methods.counting import split
from profiles.methods.worst import worst_calls
from profiles.request_bound import bound_nano_usd
from profiles.strategy import parse
from runtime.caller import HeldCaller
from runtime.ledger import Ledger, Scope
from runtime.service import Ask
from runtime.strategies import Request, build
from runtime.upstream import ChatCall, Completion, Message, UpstreamRejectedError


def but(fails: Callable[[int, ChatCall], bool], error: Exception | None = None) -> InMemory:
    """Every answer is the name of its model; calls that should, fail."""

    def script(number: int, call: ChatCall) -> Completion:
        if fails(number, call):
            raise error or UpstreamError("broken")
        return reply(*[call.model] * call.n)

    return InMemory(script)


def test_answers_that_never_came_agree_with_nobody() -> None:
    vote = "small/self_consistency(k=4)"
    text = f"cascade(accept=agreement,stages=[{vote},large/single],threshold=0.75)"
    found, _ = run(text, but(lambda number, _: number in (0, 1, 2)), ONE_EACH)
    assert (noted(found, "agreement"), found.text) == ("0.25", "large")


def test_a_dearer_stage_that_says_nothing_does_not_displace_an_answer() -> None:
    for accept in ("agreement", "confidence"):
        text = f"cascade(accept={accept},stages=[small/single,large/single],threshold=0.9)"
        silent = InMemory(lambda number, _: reply("" if number else "7", tokens_out=1))
        assert run(text, silent)[0].text == "7"
        both = InMemory(lambda number, _: reply("8" if number else "7", tokens_out=1))
        assert run(text, both)[0].text == "8"


def test_a_probe_of_which_one_answer_came_is_not_enough() -> None:
    text = "small/dynamic_allocation(below=[1.0],gate=agreement,probe=3,then=[large/single])"
    found, _ = run(text, but(lambda number, _: number in (1, 2)), ONE_EACH)
    assert (noted(found, "gate"), found.text) == ("0.333: large/single", "large")


@pytest.mark.parametrize(
    "text",
    [
        "cascade(accept=agreement,stages=[small/self_consistency(k=3),large/single])",
        "cascade(accept=agreement,stages=[small/single,odd/single,large/single])",
        "small/dynamic_allocation(below=[1.0],gate=agreement,probe=3,then=[large/single])",
    ],
)
def test_empty_answers_do_not_agree(text: str) -> None:
    upstream = InMemory(
        lambda _, call: reply(*["7" if call.model == "large" else ""] * call.n, tokens_out=1)
    )
    assert run(text, upstream)[0].text == "7"
    few = InMemory(lambda _, call: reply(*["", "", "", "7", "7"][: call.n], tokens_out=1))
    assert run("small/self_consistency(k=5)", few)[0].text == "7"


def test_a_probe_of_which_nothing_came_is_not_enough_either() -> None:
    text = "small/dynamic_allocation(below=[1.0,0.5],gate={},probe=2,then=[2,{}])"
    for gate in ("agreement", "checker", "self_evaluation"):
        upstream = but(lambda _, call: call.model == "small")
        found, _ = run(text.format(gate, "large/single"), upstream)
        assert (found.text, found.finished) == ("large", False)
        late = but(lambda number, _: number == 0)
        found, _ = run(text.format(gate, "4"), late)
        assert (found.text, found.finished) == ("small", False)
        assert [call.n for call in late.calls if call.purpose == "answer"] == [2, 4]
    with pytest.raises(UpstreamError, match="broken"):
        run(text.format("agreement", "4"), but(lambda *_: True))


def test_an_answer_whose_judge_failed_is_said_to_lack_something() -> None:
    text = "cascade(accept=odd/judge(max_tokens=4),stages=[small/single,large/single])"
    found, _ = run(text, but(lambda _, call: call.purpose == "judge"))
    assert (found.text, found.finished) == ("large", False)


def test_what_turns_one_model_down_says_nothing_about_another() -> None:
    busy = UpstreamRejectedError("busy", status=429)
    for text in (
        "cascade(accept=checker,stages=[small/single,large/single])",
        "hedged(after_s=60,primary=small/single,secondary=large/single)",
    ):
        upstream = but(lambda _, call: call.model == "small", busy)
        assert run(text, upstream)[0].text == "large"
        assert [call.model for call in upstream.calls] == ["small", "large"]


@pytest.mark.parametrize(
    "text",
    [
        "small/dynamic_allocation(below=[1.0],gate=checker,probe=1,then=[{}])",
        "cascade(accept=agreement,stages=[small/single,{}])",
        "cascade(accept=confidence,stages=[small/single,{}],threshold=0.9)",
    ],
)
def test_what_a_dearer_part_has_found_until_it_is_cut_short_stands(text: str) -> None:
    text = text.format("large/self_consistency(batch=1,k=3)")
    found, _ = run(text, but(lambda number, _: number > 1))
    assert (found.text, found.finished) == ("large", False)
    late = Paced([0.0, 0.0, None])
    found, _ = run(text, late, request=replace(REQUEST, wall_s=0.05))
    assert (found.text, found.finished, late.cancelled) == ("from large", False, [2])


def test_the_best_by_a_verifier_stands_while_a_dearer_one_has_no_score() -> None:
    text = "cascade(accept=checker,stages=[small/single,large/self_consistency(batch=1,k=3)])"
    late = Paced([0.0, 0.0, None])
    found, _ = run(text, late, request=replace(REQUEST, wall_s=0.05))
    assert (found.text, found.finished) == ("from small", False)


@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize("short", [False, True])
def test_whatever_comes_and_in_whichever_order_a_decided_vote_is_the_full_vote(
    batch: int, *, short: bool
) -> None:
    k = 6

    async def both(votes: tuple[str, ...]) -> tuple[str, str, int]:
        left, all_rounds = list(votes), list(split(k, batch))
        rounds = [
            [left.pop(0) for _ in range(max(1, size - (short and i % 2)))]
            for i, size in enumerate(all_rounds)
        ]
        came = [vote for drawn in rounds for vote in drawn]
        # an empty answer votes for itself alone; a Counter keeps the order of first sight
        full = Counter(vote or place for place, vote in enumerate(came))
        wins, _ = full.most_common(1)[0]
        upstream = InMemory(lambda number, _: reply(*rounds[number]))
        ledger = Ledger([Scope("all", None)])
        caller = HeldCaller(upstream, PRICES, ledger.hold("r", 10**9))
        executor = build(f"small/self_consistency(batch={batch},k={k})", TOOLS)
        found = await executor.answer(REQUEST, caller)
        won = wins if isinstance(wins, str) else ""
        return found.text, won, len(upstream.calls) < len(all_rounds)

    async def every_order() -> list[tuple[str, str, int]]:
        return [await both(votes) for votes in product(("a", "b", ""), repeat=k)]

    found = asyncio.run(every_order())
    assert all(stopped == full for stopped, full, _ in found)
    assert any(early for *_, early in found)


@settings(max_examples=150, deadline=None)
@given(text=trees, seed=st.integers(0, 2**31), per_call=st.sampled_from([1, 2, 128]))
def test_every_call_of_every_combination_was_counted_once(
    text: str, seed: int, per_call: int
) -> None:
    request = Request((Message("user", "question"),), "question", seed, 12)
    withstand(
        text,
        request,
        dataclasses.replace(TOOLS, answers_per_call=per_call),
        ("right", "", "7"),
        seed,
    )


@settings(max_examples=150, deadline=None)
@given(
    text=trees,
    prompt=st.integers(1, 2000),
    cap=st.integers(1, 100),
    per_call=st.sampled_from([1, 2, 128]),
)
def test_the_bound_is_that_of_the_dearest_way_through(
    text: str, prompt: int, cap: int, per_call: int
) -> None:
    asked = parse(text), prompt, cap
    ways = ways_through(worst_calls(*asked, per_call))
    costs = [
        sum(
            PRICES.price(call.model).cost_nano_usd(
                call.prompt_tokens, call.answers * call.max_tokens
            )
            for call in way
        )
        for way in ways
    ]
    assert bound_nano_usd(*asked, PRICES, per_call) == max(costs)


MIXED = "mixture(shares=[0.9,0.1],strategies=[small/single,large/single])"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "text",
    [
        MIXED,
        f"hedged(after_s=60,primary={MIXED})",
        f"mixture(shares=[1,0],strategies=[{MIXED},odd/single])",
    ],
)
async def test_no_client_can_choose_the_dearest_of_a_mixture_by_its_seed(
    text: str, tmp_path: Path
) -> None:
    upstream = InMemory(lambda *_: reply("7"))
    served = service(policy(rungs=((text, 0.001),), costs={text: 0.001}), tmp_path, upstream)
    ask = Ask((Message("user", "question"),), "question", "easy", seed=7)
    runs = 400
    for _ in range(runs):
        await (await served.start(ask)).task
    dear = sum(call.model == "large" for call in upstream.calls) / runs
    assert abs(dear - 0.1) < 4 * (0.1 * 0.9 / runs) ** 0.5
    same = {(call.model, call.seed) for call in upstream.calls}
    assert len(same) == 2  # the samples of each are the client's to choose


@pytest.mark.parametrize(
    "text",
    [
        "hedged(after_s=0.001,primary=large/single)",
        "hedged(after_s=0.001,primary=hedged(after_s=0.001,primary=large/self_consistency(k=2)))",
    ],
)
def test_a_hedge_that_is_cancelled_at_any_step_leaves_nothing_behind(text: str) -> None:
    executor = build(text, ONE_EACH)
    bound = executor.bound_nano_usd(REQUEST.prompt_tokens_bound, 50, PRICES)

    async def cancelled_after(steps: int, again: int) -> None:
        hold = Ledger([Scope("all", bound)]).hold("r", bound)
        upstream = Paced([0.003, 0.0015, 0.0, *[0.001] * 5])
        caller = HeldCaller(upstream, PRICES, hold)
        task = asyncio.create_task(executor.answer(REQUEST, caller))
        for wait in (steps, again):
            for _ in range(wait):
                await asyncio.sleep(0)
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert caller.bill.calls == len(upstream.calls)
        assert caller.bill.cost_nano_usd == hold.charged.nano_usd <= bound

    for steps in range(300):
        asyncio.run(cancelled_after(steps, steps % 5))
