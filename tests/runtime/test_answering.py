from __future__ import annotations

import pytest
from fake_upstream import PRICES, FakeUpstream, InMemory, reply, served

from profiles.errors import BudgetRefusedError, InputError, UnknownValueError, UpstreamError
from profiles.money import PriceCard
from runtime.answering import answerer, make_answerer
from runtime.ledger import Ledger, Scope
from runtime.upstream import ChatCall, Completion

pytestmark = pytest.mark.asyncio
SINGLE = "small/single(max_tokens=8)"


def right(_: int, call: ChatCall) -> Completion:
    return reply(*["right"] * call.n)


async def test_a_measured_cost_is_the_upstreams_bill() -> None:
    async with served(FakeUpstream()) as fake, answerer(fake.url, prices=PRICES) as answer:
        found = await answer(SINGLE, "two and two", 7)
    assert found.cost_nano_usd == fake.bill_nano_usd
    assert (found.text, found.tokens_in, found.tokens_out, found.calls) == ("four", 19, 4, 1)
    assert found.latency_s > 0
    assert fake.calls[0]["seed"] == 7


async def test_without_a_price_or_usage_the_cost_is_unknown() -> None:
    unpriced = await make_answerer(InMemory(right), PriceCard())(SINGLE, "x", 1)
    assert (unpriced.cost_nano_usd, unpriced.tokens_out) == (None, 5)
    silent = InMemory(lambda _, __: reply("x", tokens_in=None))
    unknown = await make_answerer(silent, PRICES)(SINGLE, "x", 1)
    assert (unknown.cost_nano_usd, unknown.tokens_in, unknown.tokens_out) == (None, None, None)


async def test_a_ledger_that_pays_wants_prices_and_stops_when_it_is_empty() -> None:
    ledger = Ledger([Scope("measuring", 40_000)])
    with pytest.raises(UnknownValueError, match="no price"):
        await make_answerer(InMemory(right), PriceCard(), ledger=ledger)(SINGLE, "x", 1)
    answer = make_answerer(InMemory(right), PRICES, ledger=ledger)
    found = [await answer(SINGLE, "x", seed) for seed in range(3)]
    spent = sum(one.cost_nano_usd for one in found)
    with pytest.raises(BudgetRefusedError):
        await answer("large/self_consistency(k=8,max_tokens=8)", "x", 1)
    assert 0 < ledger.state("measuring").spent_nano_usd == spent <= 40_000


async def test_what_cannot_be_measured_is_an_error_and_leaves_nothing_held() -> None:
    def broken(_: int, __: ChatCall) -> Completion:
        raise UpstreamError("broken", sent=False)

    ledger = Ledger([Scope("measuring", 10**9)])
    answer = make_answerer(InMemory(broken), PRICES, ledger=ledger)
    for text, error in (
        ("small/nothing", InputError),
        ("small/single", UnknownValueError),
        (SINGLE, UpstreamError),
    ):
        with pytest.raises(error):
            await answer(text, "x", 1)
    state = ledger.state("measuring")
    assert (state.spent_nano_usd, state.held_nano_usd) == (0, 0)


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
    assert (await answer("small/self_consistency(k=3)", "x", 1)).text == "b 2"
    answers = iter(["no", "yes"])
    assert (await answer("small/best_of_n(n=2,verifier=checker)", "yes", 1)).text == "yes"
