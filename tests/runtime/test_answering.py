from __future__ import annotations

import pytest
from fake_upstream import PRICES, FakeUpstream, InMemory, reply, served

from profiles.errors import BudgetRefusedError, InputError, UnknownValueError, UpstreamError
from profiles.measuring.jobs import Job
from profiles.money import PriceCard
from profiles.observation import LONGEST_ANSWER
from runtime.answering import make_answerer, recorded_answer
from runtime.spending import Spending
from runtime.upstream import ChatCall, Completion, Upstream

pytestmark = pytest.mark.asyncio
SINGLE = "small/single(max_tokens=8)"


def job(strategy: str = SINGLE, prompt: str = "x", sample: int = 0) -> Job:
    return Job("q", prompt, strategy, sample, 1)


def right(_: int, call: ChatCall) -> Completion:
    return reply(*["right"] * call.n)


async def test_a_measured_cost_is_the_upstreams_bill() -> None:
    asked = job(prompt="two and two")
    async with served(FakeUpstream()) as fake, Upstream(fake.url) as upstream:
        found = await make_answerer(upstream, PRICES)(asked)
    assert found.cost_nano_usd == fake.bill_nano_usd
    assert (found.text, found.tokens_in, found.tokens_out, found.calls) == ("four", 19, 4, 1)
    assert found.latency_s > 0
    assert fake.calls[0]["seed"] == asked.seed


async def test_without_a_price_or_usage_the_cost_is_unknown() -> None:
    unpriced = await make_answerer(InMemory(right), PriceCard())(job())
    assert (unpriced.cost_nano_usd, unpriced.tokens_out) == (None, 5)
    silent = InMemory(lambda _, __: reply("x", tokens_in=None))
    unknown = await make_answerer(silent, PRICES)(job())
    assert (unknown.cost_nano_usd, unknown.tokens_in, unknown.tokens_out) == (None, None, None)


async def test_limited_spending_wants_prices_and_stops_when_the_money_is_gone() -> None:
    with pytest.raises(UnknownValueError, match="no price"):
        await make_answerer(InMemory(right), PriceCard(), spending=Spending(40_000))(job())
    spending = Spending(40_000)
    answer = make_answerer(InMemory(right), PRICES, spending=spending)
    found = [await answer(job(sample=sample)) for sample in range(3)]
    spent = sum(one.cost_nano_usd for one in found)
    with pytest.raises(BudgetRefusedError):
        await answer(job("large/self_consistency(k=8,max_tokens=8)"))
    assert 0 < spending.paid_nano_usd == spent <= 40_000


async def test_what_cannot_be_measured_is_an_error_and_costs_nothing() -> None:
    def broken(_: int, __: ChatCall) -> Completion:
        raise UpstreamError("broken", sent=False)

    spending = Spending(10**9)
    answer = make_answerer(InMemory(broken), PRICES, spending=spending)
    for text, error in (
        ("small/nothing", InputError),
        ("small/single", UnknownValueError),
        (SINGLE, UpstreamError),
    ):
        with pytest.raises(error):
            await answer(job(text))
    assert spending.paid_nano_usd == 0


async def test_an_answer_that_misses_a_call_is_no_outcome() -> None:
    def third_fails(number: int, call: ChatCall) -> Completion:
        if number == 2:
            raise UpstreamError("broken", status=500)
        return right(number, call)

    upstream = InMemory(third_fails)
    answer = make_answerer(upstream, PRICES, answers_per_call=1)
    with pytest.raises(UpstreamError, match="a call failed or brought fewer answers"):
        await answer(job("small/self_consistency(k=4,max_tokens=8)"))
    one_choice = InMemory(lambda _, __: reply("only one"))
    with pytest.raises(UpstreamError, match="--answers-per-call 1"):
        await make_answerer(one_choice, PRICES)(job("small/self_consistency(k=4,max_tokens=8)"))


async def test_verifiers_and_extractors_take_part() -> None:
    answers = iter(["a 1", "b 2", "c 2"])

    def script(_: int, call: ChatCall) -> Completion:
        return reply(*(next(answers) for _ in range(call.n)))

    answer = make_answerer(
        InMemory(script),
        PRICES,
        verifiers={"checker": lambda prompt, text: float(text == prompt)},
        extract=lambda text: text.split()[-1],
        max_tokens=8,
    )
    assert (await answer(job("small/self_consistency(k=3)"))).text == "b 2"
    answers = iter(["no", "yes"])
    assert (await answer(job("small/best_of_n(n=2,verifier=checker)", "yes"))).text == "yes"


async def test_the_final_answer_and_a_verdict_are_kept_with_every_outcome() -> None:
    checks = {"checker": lambda _, text: float(len(text) > 3), "other": lambda *_: 0.25}
    upstream = InMemory(lambda _, __: reply("so the answer is 42"))
    one = dict([next(iter(checks.items()))])
    found = await make_answerer(upstream, PRICES, verifiers=one)(job())
    assert (found.answer, found.verdict) == ("42", 1.0)
    assert (await make_answerer(upstream, PRICES, verifiers=checks)(job())).verdict is None
    named = make_answerer(upstream, PRICES, verifiers=checks, verdict_by="other")
    assert (await named(job())).verdict == 0.25
    with pytest.raises(InputError, match="no verifier is called 'nobody'"):
        make_answerer(upstream, PRICES, verifiers=checks, verdict_by="nobody")


async def test_long_answers_are_cut_so_that_votes_come_out_the_same() -> None:
    longest, longer = "x" * LONGEST_ANSWER, "x" * (LONGEST_ANSWER + 1)
    assert recorded_answer(longest) == longest
    assert len(recorded_answer(longer)) == LONGEST_ANSWER
    assert recorded_answer(longer) == recorded_answer(longer)
    assert recorded_answer(longer + "y") != recorded_answer(longer + "z")


async def test_kinds_of_tokens_are_added_up_and_unknown_once_a_call_is_silent() -> None:
    def counted(number: int, call: ChatCall) -> Completion:
        return Completion(("a",), 10, 20, ("stop",), 0.0, 7, 3 if number < 2 else None)

    answer = make_answerer(InMemory(counted), PRICES, answers_per_call=1)
    two = await answer(job("small/self_consistency(k=2,max_tokens=8)"))
    assert (two.tokens_reasoning, two.tokens_cached) == (14, 6)
    silent = await answer(job("small/self_consistency(k=2,max_tokens=8)"))
    assert (silent.tokens_reasoning, silent.tokens_cached) == (14, None)
