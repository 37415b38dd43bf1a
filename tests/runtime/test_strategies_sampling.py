"""Votes, diverse samples, ladders, gates, mixtures and hedges, run against a scripted upstream."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from fake_upstream import PRICES, InMemory, reply
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from profiles.errors import InputError, UpstreamError
from profiles.methods.instructions import STYLES
from runtime.caller import Chat, HeldCaller
from runtime.checkers import as_verifiers
from runtime.ledger import Ledger, Scope
from runtime.strategies import Outcome, Request, TimeCapError, Tools, build
from runtime.strategies.attempt import Attempt
from runtime.strategies.parts import answer_of
from runtime.upstream import ChatCall, Completion, Message, UpstreamRejectedError

Script = Callable[[int, ChatCall], Completion]
SCORES = {"right": 1.0, "near": 0.5, "far": 0.2}


def check(_: str, answer: str) -> float:
    return SCORES.get(answer.splitlines()[-1] if answer else "", 0.0)


TOOLS = Tools(as_verifiers({"checker": check}))
ONE_EACH = dataclasses.replace(TOOLS, answers_per_call=1)
REQUEST = Request((Message("user", "question"),), "question", seed=5, max_tokens=50)


def run(
    text: str, upstream: Chat, tools: Tools = TOOLS, request: Request = REQUEST
) -> tuple[Outcome, Ledger]:
    """Run with the hold at the bound, to the nano-dollar; no task may be left."""
    executor = build(text, tools)
    bound = executor.bound_nano_usd(request.prompt_tokens_bound, request.max_tokens, PRICES)
    ledger = Ledger([Scope("exactly", bound)])
    hold = ledger.hold("r", bound)
    caller = HeldCaller(upstream, PRICES, hold)

    async def answer() -> Outcome:
        try:
            return await executor.answer(request, caller)
        finally:
            assert asyncio.all_tasks() == {asyncio.current_task()}

    try:
        found = asyncio.run(answer())
    finally:
        hold.close()
        state = ledger.state("exactly")
        assert (state.refusals, ledger.snapshot().alarms) == (0, 0)
        assert caller.bill.cost_nano_usd == state.spent <= bound
    return found, ledger


def of(*texts: str) -> InMemory:
    """Answers come from this list, as many per call as it asks for."""
    left = list(texts)
    return InMemory(lambda _, call: reply(*(left.pop(0) for _ in range(call.n))))


def sure(confidence: dict[str, float]) -> Script:
    """Answers in turn, each with the mean probability of its tokens where it was asked for."""
    left = list(confidence.items())

    def script(_: int, call: ChatCall) -> Completion:
        drawn = [left.pop(0) for _ in range(call.n)]
        probabilities = tuple(p if call.logprobs else None for _, p in drawn)
        return replace(reply(*(text for text, _ in drawn)), confidences=probabilities)

    return script


def noted(found: Outcome, what: str) -> str:
    return next(step.detail for step in found.steps if step.what == what)


def failing_from(number: int, error: Exception, *texts: str) -> InMemory:
    def script(place: int, call: ChatCall) -> Completion:
        if place >= number:
            raise error
        return reply(*texts[: call.n])

    return InMemory(script)


def test_a_vote_in_rounds_ends_when_it_is_decided() -> None:
    upstream = of("7", "7", "8", "7", "7", "9", "9", "9")
    found, _ = run("small/self_consistency(batch=2,k=7)", upstream)
    assert (found.text, found.finished) == ("7", True)
    # 4 of 6: the one that is left cannot change it; 3 of 4 could still have been caught up with
    assert [call.n for call in upstream.calls] == [2, 2, 2]
    assert noted(found, "vote") == "4 of 6 agree, 1 not drawn"
    assert len({call.seed for call in upstream.calls}) == 3


def test_a_vote_that_is_never_settled_is_the_full_vote_with_its_ties() -> None:
    upstream = of("8", "7", "7", "8")
    found, _ = run("small/self_consistency(batch=1,k=4)", upstream)
    assert (found.text, len(upstream.calls)) == ("8", 4)
    assert noted(found, "vote") == "2 of 4 agree"


def test_a_vote_can_stop_at_a_probability() -> None:
    upstream = of(*["7"] * 16)
    found, _ = run("small/self_consistency(batch=2,k=16,stop=0.95)", upstream)
    assert (found.text, found.finished, len(upstream.calls)) == ("7", True, 2)
    patient = of(*["7"] * 16)
    run("small/self_consistency(batch=2,k=16)", patient)
    assert len(patient.calls) == 4


def test_rounds_of_a_vote_that_fail_leave_the_vote_before_them() -> None:
    upstream = failing_from(1, UpstreamError("broken"), "7", "8", "8")
    found, _ = run("small/self_consistency(batch=3,k=9)", upstream)
    assert (found.text, found.finished) == ("8", False)


def test_a_weighted_vote_adds_up_scores_and_gives_the_best_words_of_the_winner() -> None:
    texts = ("a\nfar", "b\nnear", "c\nfar", "d\nfar")
    assert run("small/weighted_vote(k=4,verifier=checker)", of(*texts))[0].text == "a\nfar"
    found, _ = run("small/weighted_vote(k=3,verifier=checker)", of(*texts))
    assert found.text == "b\nnear"
    assert noted(found, "vote") == "1 of 3 agree with the heaviest"


def test_where_the_verifier_tells_nothing_the_majority_wins() -> None:
    found, _ = run("small/weighted_vote(k=4,verifier=checker)", of("7", "8", "8", "9"))
    assert found.text == "8"


def test_a_vote_by_log_probability_weighs_each_answer_with_its_own() -> None:
    script = sure({"a\n7": 0.2, "b\n8": 0.9, "c\n7": 0.3})
    found, _ = run("small/weighted_vote(k=3,verifier=confidence)", InMemory(script))
    assert found.text == "b\n8"
    script = sure({"a\n7": 0.5, "b\n8": 0.9, "c\n7": 0.6})
    found, _ = run("small/weighted_vote(k=3,verifier=confidence)", InMemory(script))
    assert found.text == "c\n7"


def test_diverse_samples_climb_a_ladder_of_styles_and_temperatures() -> None:
    upstream = of(*"78788")
    text = "small/diverse_sampling(k=5,styles=[plain,steps],temperatures=[0.5,1.0],top_p=0.9)"
    found, _ = run(text, upstream)
    assert found.text == "8"
    asked = [
        (call.messages[0].content, call.temperature, call.top_p, call.n) for call in upstream.calls
    ]
    assert asked == [
        ("question", 0.5, 0.9, 2),
        (STYLES["steps"], 0.5, 0.9, 1),
        ("question", 1.0, 0.9, 1),
        (STYLES["steps"], 1.0, 0.9, 1),
    ]
    assert [len(call.messages) for call in upstream.calls] == [1, 2, 1, 2]
    assert len({call.seed for call in upstream.calls}) == 4
    assert noted(found, "clusters") == "2 of 5 answers differ"


def test_diverse_samples_that_vote_stop_when_the_vote_is_decided() -> None:
    upstream = of(*"77777777")
    text = "small/diverse_sampling(batch=2,k=8,temperatures=[0.5,1.0])"
    assert run(text, upstream)[0].text == "7"
    assert len(upstream.calls) == 4


def test_a_verifier_scores_each_different_answer_once_and_nothing_new_ends_the_rounds() -> None:
    def script(number: int, call: ChatCall) -> Completion:
        if call.purpose == "judge":
            return reply("9" if call.messages[-2].content == "8" else "3")
        return reply({0: "7", 1: "8", 4: "7", 5: "8"}.get(number, "?"))

    upstream = InMemory(script)
    text = "small/diverse_sampling(batch=2,k=8,temperatures=[0.5,1.0],verifier=large/judge)"
    found, _ = run(text, upstream)
    assert found.text == "8"
    assert [call.purpose for call in upstream.calls] == ["answer"] * 2 + ["judge"] * 2 + [
        "answer"
    ] * 2


def test_a_right_answer_ends_the_rounds_of_diverse_samples() -> None:
    upstream = of("near", "right", "far", "far")
    text = "small/diverse_sampling(batch=1,k=4,temperatures=[1.0],verifier=checker)"
    assert run(text, upstream)[0].text == "right"
    assert len(upstream.calls) == 2


def test_diverse_samples_can_be_picked_by_their_confidence() -> None:
    script = sure({"7": 0.5, "8": 0.7, "9": 0.6})
    text = "small/diverse_sampling(k=3,temperatures=[1.0],verifier=confidence)"
    assert run(text, InMemory(script))[0].text == "8"


def test_fewer_diverse_answers_than_asked_are_said() -> None:
    upstream = InMemory(lambda *_: reply("7"))
    found, _ = run("small/diverse_sampling(k=4,temperatures=[1.0])", upstream)
    assert (found.text, found.finished) == ("7", False)


LADDER = "cascade(accept=agreement,stages=[{}],threshold={})"


def test_a_cascade_accepts_a_stage_whose_samples_agree() -> None:
    text = LADDER.format("small/self_consistency(k=4),large/single", 0.75)
    upstream = of("7", "8", "7", "7")
    found, _ = run(text, upstream)
    assert (found.text, len(upstream.calls), noted(found, "agreement")) == ("7", 1, "0.75")
    upstream = of("7", "8", "7", "9", "9")
    found, _ = run(text, upstream)
    assert (found.text, found.finished, len(upstream.calls)) == ("9", True, 2)


def test_a_cascade_accepts_a_single_answer_that_agrees_with_the_stage_before() -> None:
    text = LADDER.format("small/single,odd/single,large/single", 1.0)
    upstream = of("a\n7", "b\n7", "c\n9")
    found, _ = run(text, upstream)
    assert (found.text, len(upstream.calls)) == ("b\n7", 2)
    upstream = of("a\n7", "b\n8", "c\n9")
    assert run(text, upstream)[0].text == "c\n9"


def test_a_stage_that_failed_has_nothing_to_agree_with() -> None:
    def script(number: int, _: ChatCall) -> Completion:
        if number == 0:
            raise UpstreamError("broken")
        return reply("7")

    upstream = InMemory(script)
    found, _ = run(LADDER.format("small/single,odd/single,large/single", 1.0), upstream)
    assert (found.text, found.finished, len(upstream.calls)) == ("7", False, 3)


def test_a_cascade_by_confidence_asks_every_stage_for_it() -> None:
    text = "cascade(accept=confidence,stages=[small/single,large/best_of_n(n=2,verifier=checker)],"
    text += "threshold=0.8)"
    upstream = InMemory(sure({"7": 0.9}))
    assert run(text, upstream)[0].text == "7"
    assert [call.logprobs for call in upstream.calls] == [True]
    # neither is sure enough: the last stage answers, however sure the first was
    upstream = InMemory(sure({"7": 0.7, "8": 0.1, "near": 0.2}))
    assert run(text, upstream)[0].text == "near"
    assert [call.logprobs for call in upstream.calls] == [True, True]


def test_a_cascade_by_confidence_asks_reward_models_for_nothing() -> None:
    @dataclass
    class Rewards:
        calls: list[ChatCall] = field(default_factory=list)

        async def chat(self, call: ChatCall) -> Completion:
            self.calls.append(call)
            if call.max_tokens == 0:
                return reply("1.5", tokens_in=3, tokens_out=0)
            return replace(reply(*"78"[: call.n]), confidences=(0.9, 0.9)[: call.n])

    upstream = Rewards()
    text = "cascade(accept=confidence,stages=[small/best_of_n(n=2,verifier=odd/reward),"
    assert run(text + "large/single],threshold=0.8)", upstream)[0].text == "7"
    assert [(call.max_tokens > 0, call.logprobs) for call in upstream.calls] == [
        (True, True),
        (False, False),
        (False, False),
    ]


GATED = "small/dynamic_allocation(below=[1.0,0.6],gate=agreement,probe=3,then=[2,large/single])"


def test_a_probe_that_agrees_is_enough() -> None:
    upstream = of("7", "7", "7")
    found, _ = run(GATED, upstream)
    assert (found.text, len(upstream.calls), noted(found, "gate")) == ("7", 1, "1: enough")


def test_a_probe_that_half_agrees_gets_more_answers_that_are_counted_with_it() -> None:
    upstream = of("7", "8", "7", "8", "8")
    found, _ = run(GATED, upstream)
    assert (found.text, noted(found, "gate")) == ("8", "0.667: 2")
    assert [(call.model, call.n) for call in upstream.calls] == [("small", 3), ("small", 2)]
    assert len({call.seed for call in upstream.calls}) == 2


def test_a_probe_that_disagrees_hands_over_to_another_strategy() -> None:
    upstream = of("7", "8", "9", "5")
    found, _ = run(GATED, upstream)
    assert (found.text, noted(found, "gate")) == ("5", "0.333: large/single")
    assert [call.model for call in upstream.calls] == ["small", "large"]
    upstream = failing_from(1, UpstreamError("broken"), "7", "8", "9")
    found, _ = run(GATED, upstream)
    assert (found.text, found.finished) == ("7", False)


def test_a_verifier_or_confidence_can_be_the_gate() -> None:
    text = "small/dynamic_allocation(below=[0.5],gate={},probe=2,then=[2])"
    upstream = of("far", "near")
    assert run(text.format("checker"), upstream)[0].text == "near"
    assert len(upstream.calls) == 1
    upstream = of("bad", "far", "worse", "bad")
    found, _ = run(text.format("checker"), upstream, ONE_EACH)
    assert (found.text, len({call.seed for call in upstream.calls})) == ("far", 4)
    unsure = InMemory(sure({"7": 0.2, "8": 0.4, "9": 0.45, "6": 0.1}))
    assert run(text.format("confidence"), unsure)[0].text == "9"


def test_a_mixture_gives_each_strategy_its_share_of_seeds() -> None:
    text = "mixture(shares=[0.7,0.3],strategies=[small/single,large/single])"
    executor = build(text, TOOLS)
    chosen = Counter[str]()

    async def draw_all(seeds: int) -> None:
        for seed in range(seeds):
            upstream, ledger = of("7"), Ledger([Scope("all", None)])
            with_money = HeldCaller(upstream, PRICES, ledger.hold("r", 10**9))
            await executor.answer(replace(REQUEST, seed=seed), with_money)
            chosen[upstream.calls[0].model] += 1

    asyncio.run(draw_all(1000))
    error = math.sqrt(0.7 * 0.3 / 1000)
    assert abs(chosen["small"] / 1000 - 0.7) < 3 * error


def test_a_mixture_answers_the_same_request_the_same_way_and_streams_its_answer() -> None:
    pieces: list[str] = []
    request = replace(REQUEST, on_text=pieces.append)
    text = "mixture(max_tokens=9,shares=[1,0],strategies=[small/single,large/single])"
    upstream = of("7")
    found, _ = run(text, upstream, request=request)
    (call,) = upstream.calls
    assert (call.model, call.max_tokens, call.on_text) == ("small", 9, pieces.append)
    assert noted(found, "mixture") == "small/single"
    again = of("7")
    run(text, again, request=request)
    assert again.calls == upstream.calls


@dataclass
class Paced:
    """Answers each call after its own time; a call with none never ends."""

    seconds: list[float | None]
    calls: list[ChatCall] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)
    error: Exception | None = None

    async def chat(self, call: ChatCall) -> Completion:
        number = len(self.calls)
        self.calls.append(call)
        try:
            wait_s = self.seconds[number]
            await (asyncio.sleep(wait_s) if wait_s is not None else asyncio.Event().wait())
        except asyncio.CancelledError:
            self.cancelled.append(number)
            raise
        if self.error is not None and number == 0:
            raise self.error
        self.ended.append(number)
        return reply(f"from {call.model}", tokens_in=10, tokens_out=2)


HEDGED = "hedged(after_s=0.02,primary=large/single,secondary=small/single)"


def test_a_hedge_that_is_not_needed_is_not_sent() -> None:
    upstream = Paced([0.0])
    found, _ = run("hedged(after_s=60,primary=large/single)", upstream)
    assert (found.text, found.calls, found.finished) == ("from large", 1, True)
    assert upstream.cancelled == []


def test_a_late_first_call_is_overtaken_cancelled_and_charged_at_its_bound() -> None:
    upstream = Paced([None, 0.0])
    found, ledger = run(HEDGED, upstream)
    assert (found.text, found.finished, found.calls) == ("from small", True, 2)
    assert (upstream.ended, upstream.cancelled) == ([1], [0])
    prompt = REQUEST.prompt_tokens_bound
    bound = PRICES.price("large").cost_nano_usd(prompt, 50)
    assert ledger.state("exactly").spent == bound + PRICES.price("small").cost_nano_usd(10, 2)
    assert not found.usage_known
    assert [step.detail for step in found.steps if step.what == "hedge"] == [
        "the second starts",
        "the second answered",
    ]


def test_a_first_call_that_is_late_can_still_win() -> None:
    upstream = Paced([0.05, None])
    found, _ = run(HEDGED, upstream)
    assert (found.text, found.finished, upstream.cancelled) == ("from large", True, [1])


def test_a_first_call_that_fails_is_hedged_at_once_and_a_rejected_one_is_not() -> None:
    upstream = Paced([0.0, 0.0], error=UpstreamError("broken"))
    found, _ = run("hedged(after_s=3600,primary=large/single)", upstream)
    assert (found.text, found.finished, upstream.cancelled) == ("from large", True, [])
    assert len({call.seed for call in upstream.calls}) == 2
    upstream = Paced([0.0, 0.0], error=UpstreamRejectedError("too long", status=400))
    with pytest.raises(UpstreamRejectedError):
        run("hedged(after_s=3600,primary=large/single)", upstream)
    assert len(upstream.calls) == 1


def test_where_both_fail_the_best_that_was_left_behind_stands() -> None:
    upstream = failing_from(1, UpstreamError("broken"), "near")
    rounds = "small/best_of_n(batch=1,n=2,verifier=checker)"
    found, _ = run(f"hedged(after_s=3600,primary={rounds},secondary=large/single)", upstream)
    assert (found.text, found.finished) == ("near", False)
    with pytest.raises(UpstreamError, match="broken"):
        run(
            "hedged(after_s=3600,primary=large/single)",
            failing_from(0, UpstreamError("broken")),
        )


def test_a_hedge_that_runs_out_of_time_leaves_no_call_behind() -> None:
    upstream = Paced([None, None])
    with pytest.raises(TimeCapError):
        run(HEDGED, upstream, request=replace(REQUEST, wall_s=0.05))
    assert (upstream.ended, sorted(upstream.cancelled)) == ([], [0, 1])


def test_a_part_that_ends_without_an_answer_and_without_an_error_is_a_bug_and_said() -> None:
    money = Ledger([Scope("all", None)]).hold("r", 0)
    with pytest.raises(AssertionError, match="without an answer"):
        answer_of(Attempt(REQUEST, HeldCaller(of(), PRICES, money)))


def test_parts_have_no_say_over_verifiers_that_nobody_registered() -> None:
    for text in (
        "hedged(after_s=1,primary=small/best_of_n(n=2,verifier=nobody))",
        "mixture(shares=[1,0],strategies=[small/weighted_vote(k=2,verifier=nobody),a/single])",
        "small/dynamic_allocation(below=[1],gate=nobody,probe=1,then=[1])",
        "small/diverse_sampling(k=2,temperatures=[1.0],verifier=agreement)",
    ):
        with pytest.raises(InputError, match="no verifier is called"):
            build(text, TOOLS)


models = st.sampled_from(["small", "large", "odd"])
verifiers = st.sampled_from(["checker", "confidence", "self_evaluation", "odd/judge(max_tokens=3)"])
judges = st.sampled_from(["checker", "odd/judge(max_tokens=3)", "agreement"])
few = st.integers(2, 6)
batches = st.integers(1, 4)
leaves = st.one_of(
    st.builds("{}/single".format, models),
    st.builds("{}/self_consistency(batch={},k={},max_tokens=7)".format, models, batches, few),
    st.builds("{}/self_consistency(batch={},k={},stop=0.8)".format, models, batches, few),
    st.builds("{}/weighted_vote(k={},verifier={})".format, models, few, verifiers),
    st.builds(
        "{}/diverse_sampling(batch={},k={},styles=[plain,plan],temperatures=[0.5,1],verifier={})"
        "".format,
        models,
        batches,
        few,
        verifiers,
    ),
    st.builds("{}/diverse_sampling(batch={},k={},temperatures=[1])".format, models, batches, few),
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(
            "{}/dynamic_allocation(below=[1.0,0.5],gate={},probe={},then=[{},{}])".format,
            models,
            st.one_of(verifiers, st.just("agreement")),
            few,
            st.one_of(few.map(str), inner),
            st.one_of(few.map(str), inner),
        ),
        st.builds("cascade(accept={},stages=[{},{}],threshold=0.9)".format, judges, inner, inner),
        st.builds("cascade(accept=confidence,stages=[{},{}],threshold=0.9)".format, inner, inner),
        st.builds("mixture(shares=[0.5,0.5],strategies=[{},{}])".format, inner, inner),
        st.builds("hedged(after_s=0.001,primary={})".format, inner),
        st.builds("hedged(after_s=0.001,primary={},secondary={})".format, inner, inner),
    ),
    max_leaves=4,
)


@dataclass
class Adversary:
    """Bills the most it may, and fails, stalls, and says little, as the seed wants."""

    rng: random.Random
    patient: bool

    async def chat(self, call: ChatCall) -> Completion:
        rng, chance = self.rng, self.rng.random()
        await asyncio.sleep(0.003 if rng.random() < 0.2 else 0)
        if chance < 0.07:
            raise UpstreamError("broken", sent=rng.random() < 0.5)
        if chance < 0.1:
            raise UpstreamRejectedError("busy", status=429)
        if chance < 0.12 and not self.patient:
            await asyncio.Event().wait()
        count = call.n if rng.random() < 0.9 else 1
        texts = [rng.choice(["right", "near", "far", "", "10"]) for _ in range(count)]
        told = rng.random() < 0.9
        size = 128 + sum(len(message.content.encode()) + 32 for message in call.messages)
        found = reply(
            *texts,
            tokens_in=size if told else None,
            tokens_out=call.n * call.max_tokens if told else None,
        )
        probabilities = tuple(rng.random() if call.logprobs else None for _ in texts)
        return replace(found, confidences=probabilities)


@settings(max_examples=200, deadline=None)
@given(
    text=trees,
    content=st.text(max_size=30),
    seed=st.integers(0, 2**31),
    per_call=st.sampled_from([1, 2, 128]),
    wall_s=st.sampled_from([None, 0.004]),
)
def test_none_of_them_ever_costs_more_than_its_bound_or_leaves_a_call_behind(
    text: str, content: str, seed: int, per_call: int, wall_s: float | None
) -> None:
    adversary = Adversary(random.Random(seed), patient=wall_s is None)
    request = Request((Message("user", content),), content, seed, 12, wall_s=wall_s)
    try:
        found, ledger = run(
            text, adversary, dataclasses.replace(TOOLS, answers_per_call=per_call), request
        )
    except (UpstreamError, TimeCapError):
        return
    assert found.cost_nano_usd == ledger.state("exactly").spent
