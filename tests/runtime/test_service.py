from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_upstream import PRICES, FakeUpstream, InMemory, reply, served
from pydantic import ValidationError
from small_policies import CHEAP, DEAR, budget, policy, service

from planner.spec import Window
from policies.policy import Budget, Policy
from profiles.errors import BudgetRefusedError, InputError, UnknownValueError, UpstreamError
from profiles.money import PriceCard
from runtime.service import Ask, Served, Service
from runtime.strategies import Request, build
from runtime.upstream import ChatCall, Completion, Message, Upstream

pytestmark = pytest.mark.asyncio
BOTH = ((DEAR, 0.001), (CHEAP, 0.0001))


def ask(text: str = "question", label: str | None = "easy", **fields: int) -> Ask:
    return Ask((Message("user", text),), text, label, **fields)


def right(_: int, call: ChatCall) -> Completion:
    return reply(*["right"] * call.n)


class Unhurried(InMemory):
    """Answers once it may."""

    def __init__(self, script: Callable[[int, ChatCall], Completion]) -> None:
        super().__init__(script)
        self.may_answer = asyncio.Event()

    async def chat(self, call: ChatCall) -> Completion:
        await self.may_answer.wait()
        return await super().chat(call)


def bound_usd(of: Service, text: str) -> float:
    entry = next(entry for entry in of.policy.strategies if entry.text == text)
    request = Request((Message("user", "question"),), "question", 1)
    bound = build(text, of.tools).bound_nano_usd(
        request.prompt_tokens_bound, entry.max_tokens, PRICES
    )
    return bound / 1e9


async def test_a_request_is_sorted_held_answered_and_charged(tmp_path: Path) -> None:
    upstream = InMemory(right)
    found = service(policy(rungs=BOTH, budgets=(budget(1.0),)), tmp_path, upstream)
    answer = await (await found.start(ask(max_tokens=7))).task
    assert (answer.class_name, answer.strategy, answer.rung) == ("easy", DEAR, 0)
    assert answer.outcome.text == "right"
    assert not answer.downgraded
    assert [call.max_tokens for call in upstream.calls] == [7]
    state = found.ledger.state("global")
    assert state.spent == upstream.bill_nano_usd == answer.outcome.cost_nano_usd
    assert state.held == 0


async def test_a_client_can_only_lower_the_policys_cap(tmp_path: Path) -> None:
    upstream = InMemory(right)
    found = service(policy(), tmp_path, upstream)
    await (await found.start(ask(max_tokens=1000))).task
    assert upstream.calls[0].max_tokens == 20


async def test_a_missing_or_unknown_label_is_refused(tmp_path: Path) -> None:
    found = service(policy(), tmp_path, InMemory(right))
    for label, message in ((None, "none came"), ("odd", "not a class")):
        with pytest.raises(InputError, match=message):
            await found.start(ask(label=label))
    assert found.ledger.snapshot().open_holds == 0


async def test_what_does_not_fit_falls_back_to_the_next_cheaper_strategy(tmp_path: Path) -> None:
    probe = service(policy(rungs=BOTH), tmp_path, InMemory(right))
    limit = (bound_usd(probe, CHEAP) + bound_usd(probe, DEAR)) / 2
    # The forecast is one request, so that the pace itself stays on the dear rung.
    found = service(
        policy(rungs=((DEAR, 1e-9), (CHEAP, 1e-10)), budgets=(budget(limit, requests=1),)),
        tmp_path,
        InMemory(right),
    )
    answer = await (await found.start(ask())).task
    assert (answer.strategy, answer.downgraded, answer.rung) == (CHEAP, True, 0)


async def test_the_last_refusal_says_when_the_money_is_back(tmp_path: Path) -> None:
    clock = 60.0 * 1000 + 20
    found = service(
        policy(budgets=(budget(1e-9, Window.MINUTE),)),
        tmp_path,
        InMemory(right),
        clock=lambda: clock,
    )
    with pytest.raises(BudgetRefusedError) as refusal:
        await found.start(ask())
    assert refusal.value.retry_after_s is None  # one request is larger than the whole window
    probe = bound_usd(found, CHEAP)
    upstream = Unhurried(right)
    found = service(
        policy(budgets=(budget(probe * 1.5, Window.MINUTE),)),
        tmp_path,
        upstream,
        clock=lambda: clock,
    )
    running = await found.start(ask())
    with pytest.raises(BudgetRefusedError) as refusal:
        await found.start(ask())
    assert refusal.value.retry_after_s == 1.0
    upstream.may_answer.set()
    await running.task


async def test_the_ladder_steps_down_as_money_runs_short(tmp_path: Path) -> None:
    def costly(_: int, call: ChatCall) -> Completion:
        return reply(*["wrong"] * call.n, tokens_in=20, tokens_out=call.n * call.max_tokens)

    rungs = ((DEAR, 0.000102), (CHEAP, 0.00001))
    found = service(
        policy(rungs=rungs, budgets=(budget(0.0008, requests=10),)), tmp_path, InMemory(costly)
    )
    answers = [await (await found.start(ask())).task for _ in range(10)]
    assert {answer.rung for answer in answers} == {0, 1}  # as often as the money allows
    assert found.ledger.state("global").spent <= 800_000
    found = service(
        policy(rungs=rungs, budgets=(budget(0.002, requests=10),)), tmp_path, InMemory(costly)
    )
    answers = [await (await found.start(ask())).task for _ in range(10)]
    assert {answer.rung for answer in answers} == {0}
    assert (await (await found.start(ask())).task).rung == 1  # beyond the forecast


async def test_a_policy_without_prices_or_caps_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(UnknownValueError, match="no price is known"):
        service(policy(prices=PriceCard()), tmp_path, InMemory(right))
    with pytest.raises(UnknownValueError, match="nothing caps"):
        service(policy(max_tokens=None), tmp_path, InMemory(right))


async def test_a_budget_that_is_only_a_mean_is_not_served(tmp_path: Path) -> None:
    mean = Budget(usd_per_request=0.01)
    with pytest.raises(UnknownValueError, match="give `traffic`"):
        service(policy(budgets=(mean,)), tmp_path, InMemory(right))


async def test_two_budgets_of_one_scope_differ_in_their_window(tmp_path: Path) -> None:
    budgets = (budget(1.0, Window.DAY), budget(2.0, Window.MONTH))
    found = service(policy(budgets=budgets), tmp_path, InMemory(right))
    names = [state.name for state in found.ledger.snapshot().scopes]
    assert names == ["global/day", "global/month"]
    twice = [one.model_dump() for one in (budget(1.0), budget(2.0))]
    with pytest.raises(ValidationError, match="share the scope global and the window total"):
        Policy.model_validate({**policy().model_dump(), "budgets": twice})


async def test_two_hundred_at_once_never_overspend_a_budget_for_ten(tmp_path: Path) -> None:
    probe = service(policy(), tmp_path, InMemory(right))
    limit = bound_usd(probe, CHEAP) * 10.5
    slow = FakeUpstream(reply="x" * 50, delay_s=0.05)
    async with served(slow) as fake, Upstream(fake.url) as upstream:
        found = service(policy(budgets=(budget(limit),)), tmp_path, upstream)

        async def one() -> Served | None:
            try:
                return await (await found.start(ask())).task
            except BudgetRefusedError:
                return None

        answers = await asyncio.gather(*(one() for _ in range(200)))
    admitted = [answer for answer in answers if answer]
    state = found.ledger.state("global")
    assert len(admitted) == 10
    assert fake.finished == len(fake.calls) == 10
    assert fake.bill_nano_usd == state.spent <= limit * 1e9
    assert state.held == 0
    assert state.refusals == 190 * len(found.policy.strategies)  # every strategy was tried


async def test_an_upstream_that_ignores_its_cap_is_charged_the_truth_with_an_alarm(
    tmp_path: Path,
) -> None:
    def greedy(_: int, __: ChatCall) -> Completion:
        return reply("right", tokens_in=20, tokens_out=100_000)

    upstream = InMemory(greedy)
    found = service(policy(budgets=(budget(0.001),)), tmp_path, upstream)
    await (await found.start(ask())).task
    snapshot = found.ledger.snapshot()
    assert snapshot.scopes[0].spent == upstream.bill_nano_usd > 1_000_000
    assert snapshot.alarms == 1
    with pytest.raises(BudgetRefusedError):
        await found.start(ask())


@pytest.mark.parametrize("sent", [True, False])
async def test_a_failed_call_is_charged_unless_nothing_was_sent(
    *, sent: bool, tmp_path: Path
) -> None:
    def broken(_: int, __: ChatCall) -> Completion:
        raise UpstreamError("broken", sent=sent)

    found = service(policy(budgets=(budget(1.0),)), tmp_path, InMemory(broken))
    with pytest.raises(UpstreamError):
        await (await found.start(ask())).task
    state = found.ledger.state("global")
    assert state.spent == (round(bound_usd(found, CHEAP) * 1e9) if sent else 0)
    assert state.held == 0


async def test_an_abandoned_request_waits_for_its_call_and_starts_no_other(tmp_path: Path) -> None:
    slow = FakeUpstream(reply="wrong", delay_s=0.1)
    async with served(slow) as fake, Upstream(fake.url) as upstream:
        rounds = "large/best_of_n(batch=1,n=4,verifier=checker)"
        found = service(policy(rungs=((rounds, 0.1),)), tmp_path, upstream)
        run = await found.start(ask())
        await asyncio.sleep(0.03)
        run.abandon(5.0)
        await asyncio.wait([run.task])
    assert len(fake.calls) == 1
    assert found.ledger.state("global").spent == fake.bill_nano_usd > 0


async def test_a_call_that_outlasts_its_drain_is_charged_at_its_bound(tmp_path: Path) -> None:
    async with served(FakeUpstream(delay_s=0.5)) as fake, Upstream(fake.url) as upstream:
        found = service(policy(), tmp_path, upstream)
        run = await found.start(ask())
        await asyncio.sleep(0.03)
        run.abandon(0.01)
        await asyncio.wait([run.task])
        state = found.ledger.state("global")
        assert state.spent == round(bound_usd(found, CHEAP) * 1e9)
        assert state.held == 0


async def test_an_abandoned_request_is_forgotten_when_it_has_ended(tmp_path: Path) -> None:
    found = service(policy(), tmp_path, InMemory(right))
    run = await found.start(ask())
    run.abandon(3600.0)
    await asyncio.wait([run.task])
    await asyncio.sleep(0)
    kept = weakref.ref(run.task)
    del run
    gc.collect()
    assert kept() is None


async def test_a_request_cancelled_before_its_first_step_holds_nothing(tmp_path: Path) -> None:
    found = service(policy(), tmp_path, InMemory(right))
    run = await found.start(ask())
    run.task.cancel()
    await asyncio.wait([run.task])
    state = found.ledger.state("global")
    assert (state.spent, state.held) == (0, 0)


async def test_draining_lets_running_requests_end(tmp_path: Path) -> None:
    async with served(FakeUpstream(delay_s=0.1)) as fake, Upstream(fake.url) as upstream:
        found = service(policy(), tmp_path, upstream)
        runs = [await found.start(ask()) for _ in range(3)]
        await found.drain(5.0)
        assert all(run.task.done() and not run.task.cancelled() for run in runs)
        slow = await found.start(ask())
        await found.drain(0.01)
        assert slow.task.cancelled()
    assert found.ledger.snapshot().open_holds == 0
    assert fake.bill_nano_usd <= found.ledger.state("global").spent


async def test_the_ledger_equals_the_upstreams_bill_to_the_nano_dollar(tmp_path: Path) -> None:
    strategies = (
        "odd/single",
        "odd/self_consistency(k=3)",
        "cascade(accept=checker,stages=[odd/single,large/best_of_n(batch=2,n=5,verifier=checker)])",
    )
    async with served(FakeUpstream(reply="some answer")) as fake, Upstream(fake.url) as upstream:
        spent = 0
        for text in strategies:
            found = service(policy(rungs=((text, 0.1),)), tmp_path, upstream)
            asks = [ask("why " * number) for number in range(1, 15)]
            runs = [await found.start(one) for one in asks]
            await asyncio.gather(*(run.task for run in runs))
            spent += found.ledger.state("global").spent
    assert spent == fake.bill_nano_usd > 0
