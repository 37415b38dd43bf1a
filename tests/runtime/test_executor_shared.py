"""Executors that share their budgets with each other and with gateways, and that know tenants."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from asgi_server import ChatApplication, asked
from fake_upstream import InMemory, reply
from small_policies import CHEAP, DEAR, budget, is_right, policy, written
from small_tenants import OTHER, STRANGER

from profiles.errors import BudgetRefusedError, InferbudgetError, InputError
from runtime import BudgetMiddleware, Executor
from runtime.ledger.store import StoreError
from runtime.settings import GatewaySettings, LedgerSettings
from runtime.tenants import Tenants, read_tenants
from runtime.tenants.request_limits import RequestLimitError
from runtime.tenants.virtual_keys import KeyRefusedError
from runtime.upstream import ChatCall, Completion

pytestmark = pytest.mark.asyncio
LIMIT_NANO_USD = 200_000


def dear_reply(_: int, call: ChatCall) -> Completion:
    return reply("right", tokens_in=100, tokens_out=20)


def executor(folder: Path, upstream: Any, **options: Any) -> Executor:
    rules = policy(budgets=(budget(LIMIT_NANO_USD / 1e9),))
    path = written(rules, folder)
    return Executor(path, upstream, verifiers={"checker": is_right}, **options)


async def until_refused(each: Executor) -> int:
    answers = 0
    while True:
        try:
            await each.answer("two and two", label="hard")
        except BudgetRefusedError:
            return answers
        answers += 1


async def test_executors_with_one_store_spend_one_budget(tmp_path: Path) -> None:
    upstream = InMemory(dear_reply)
    store = f"sqlite:///{tmp_path / 'ledger.db'}"
    first, second = (executor(tmp_path, upstream, store=store) for _ in range(2))
    async with first, second:
        for each in (first, second):
            await each.answer("two and two", label="hard")
        await asyncio.gather(until_refused(first), until_refused(second))
    assert LIMIT_NANO_USD // 2 < upstream.bill_nano_usd <= LIMIT_NANO_USD
    async with executor(tmp_path, upstream, store=store) as third:
        assert await until_refused(third) == 0  # it outlives them
        assert third.ledger.state("global").spent == upstream.bill_nano_usd


class Hanging(InMemory):
    """Takes calls and never answers."""

    def __init__(self) -> None:
        super().__init__(dear_reply)
        self.begun = asyncio.Event()

    async def chat(self, call: ChatCall) -> Completion:
        self.begun.set()
        await asyncio.Event().wait()
        return await super().chat(call)


async def test_an_end_that_is_cancelled_gives_back_what_was_leased_all_the_same(
    tmp_path: Path,
) -> None:
    upstream, store = Hanging(), f"sqlite:///{tmp_path / 'ledger.db'}"
    at = executor(tmp_path, upstream, store=store, drain_s=60.0)
    await at.__aenter__()
    asking = asyncio.create_task(at.answer("two and two", label="easy"))
    await upstream.begun.wait()
    ending = asyncio.create_task(at.__aexit__(None, None, None))
    await asyncio.sleep(0.05)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert at.ledger.snapshot().open_holds == 0
    asking.cancel()
    async with executor(tmp_path, InMemory(dear_reply), store=store) as other:
        assert await until_refused(other) > 0
        assert other.ledger.state("global").spent <= LIMIT_NANO_USD


async def test_an_executor_and_a_gateway_spend_one_budget(tmp_path: Path) -> None:
    app, store = ChatApplication(reply="x" * 20), f"sqlite:///{tmp_path / 'ledger.db'}"
    settings = GatewaySettings(format_version="1.0", ledger=LedgerSettings(store=store))
    mine = executor(tmp_path, InMemory(dear_reply), store=store)
    path = tmp_path / "policy.yaml"
    async with BudgetMiddleware(
        app, path, settings=settings, verifiers={"checker": is_right}
    ) as outer:
        while (await asked(outer)).status == 200:
            pass
        assert LIMIT_NANO_USD // 2 < app.bill_nano_usd <= LIMIT_NANO_USD
        async with mine:
            assert await until_refused(mine) == 0


async def test_a_store_that_cannot_be_reached_is_an_error_and_no_budget_of_its_own(
    tmp_path: Path,
) -> None:
    (tmp_path / "ledger.db").mkdir()
    at = executor(tmp_path, "http://127.0.0.1:1", store=f"sqlite:///{tmp_path / 'ledger.db'}")
    with pytest.raises((StoreError, InputError)):
        await at.__aenter__()
    with pytest.raises(InferbudgetError, match="not open"):
        await at.answer("question", label="easy")
    with pytest.raises(InputError, match="no such ledger store"):
        executor(tmp_path, "http://127.0.0.1:1", store="mysql://localhost")


async def test_an_executor_with_a_store_opens_once(tmp_path: Path) -> None:
    at = executor(tmp_path, InMemory(dear_reply), store=f"sqlite:///{tmp_path / 'ledger.db'}")
    async with at:
        await at.answer("question", label="easy")
    with pytest.raises(InputError, match="opens once"):
        await at.__aenter__()


TENANTS = f"""format_version: "1.0"
organisations:
  other:
    limits: {{max_tokens: 7, messages: 2}}
    each_user: {{budgets: [{{limit_requests: 2, window: day}}]}}
    keys:
      only: {{hash: "{OTHER.hash}", may_set: [user], labels: [hard]}}
"""


def tenants(folder: Path) -> Path:
    path = folder / "tenants.yaml"
    path.write_text(TENANTS)
    return path


async def test_whoever_asks_pays_from_his_accounts_within_his_limits(tmp_path: Path) -> None:
    upstream = InMemory(lambda *_: reply("right"))
    async with executor(tmp_path, upstream, tenants=str(tenants(tmp_path))) as at:
        for _ in range(2):
            await at.answer("two", label="hard", key=OTHER.secret, user="ann", max_tokens=15)
        with pytest.raises(BudgetRefusedError):
            await at.answer("two", label="hard", key=OTHER.secret, user="ann")
        await at.answer("two", label="hard", key=OTHER.secret, user="bob")
        with pytest.raises(InputError, match="label"):
            await at.answer("two", label="easy", key=OTHER.secret, user="carl")
        with pytest.raises(RequestLimitError):
            await at.answer([{"role": "user", "content": "a"}] * 3, label="hard", key=OTHER.secret)
        with pytest.raises(InputError, match="tags"):
            await at.answer("two", label="hard", key=OTHER.secret, tags=("batch",))
        for key in (None, STRANGER.secret, "caf\udce9"):
            with pytest.raises(KeyRefusedError):
                await at.answer("two", label="hard", key=key)
    assert [call.max_tokens for call in upstream.calls] == [7, 7, 7]


async def test_keys_mean_something_only_where_there_are_tenants(tmp_path: Path) -> None:
    async with executor(tmp_path, InMemory(dear_reply)) as at:
        for about in ({"key": OTHER.secret}, {"user": "ann"}, {"tags": ("batch",)}):
            with pytest.raises(InputError, match="this executor has none"):
                await at.answer("two", label="hard", **about)


async def test_tenants_and_a_policy_must_speak_of_the_same_labels(tmp_path: Path) -> None:
    path = tenants(tmp_path)
    path.write_text(TENANTS.replace("[hard]", "[odd]"))
    found: Tenants = read_tenants(path)
    with pytest.raises(InputError, match="no label 'odd'"):
        executor(tmp_path, InMemory(dear_reply), tenants=found)


async def test_substitutes_answer_where_the_drawn_strategy_does_not_fit_the_shared_money(
    tmp_path: Path,
) -> None:
    rules = policy(rungs=((DEAR, 0.001),), budgets=(budget(LIMIT_NANO_USD / 2e9),))
    store = f"sqlite:///{tmp_path / 'ledger.db'}"
    async with Executor(
        written(rules, tmp_path), InMemory(dear_reply), store=store, verifiers={"checker": is_right}
    ) as at:
        found = await at.answer("two and two", label="hard")
    assert (found.strategy, found.ending) == (CHEAP, "downgraded")
