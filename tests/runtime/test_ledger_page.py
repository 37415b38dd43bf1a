"""The page of all budgets says how each of them stands, and nobody waits while it is written."""

from __future__ import annotations

import asyncio
import json

import msgspec
import pytest

from planner.spec import Window
from runtime.gateway.ledger_page import ledger_parts
from runtime.ledger import Ledger, Scope, Unit
from runtime.turns import in_turns, snapshot_in_turns


def page(ledger: Ledger) -> bytes:
    return b"".join(ledger_parts(ledger.snapshot(passing=True)))


@pytest.mark.parametrize("count", [0, 1, 500, 501, 2_000])
def test_every_budget_stands_on_the_page_under_its_name(count: int) -> None:
    scopes = [Scope(f's"{n}\u00e9', n or None, Window.HOUR, Unit.TOKENS) for n in range(count)]
    ledger = Ledger(scopes, lambda: 7_205.0)
    ledger.hold("open", 0, [scope.name for scope in scopes[:1]], tokens=5)
    found = json.loads(page(ledger))
    states = {state.name: msgspec.to_builtins(state) for state in ledger.snapshot().scopes}
    assert list(found) == ["format_version", "scopes", "open_holds", "alarms", "overrun_nano_usd"]
    assert found["format_version"] == "2.0"
    assert found["open_holds"] == 1
    assert {name: {"name": name, **fields} for name, fields in found["scopes"].items()} == states
    assert list(found["scopes"]) == list(states)


def test_users_and_what_no_hold_covered_are_on_the_page() -> None:
    ledger = Ledger([Scope("all", 10**9)], lambda: 0.0)
    ledger.add(Scope("user:jane", 10))
    hold = ledger.hold("r", 10, ["all"])
    hold.call(10).settle(1_500_000_000)
    hold.close()
    found = json.loads(page(ledger))
    assert list(found["scopes"]) == ["all", "user:jane"]
    assert (found["alarms"], found["overrun_nano_usd"]) == (1, 1_499_999_990)


@pytest.mark.asyncio
async def test_others_get_their_turn_while_many_budgets_are_written() -> None:
    ledger = Ledger([Scope(f"s{n}", 10**9, Window.HOUR) for n in range(5_000)], lambda: 0.0)
    turns = 0

    async def another() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(another())
    found = await in_turns(ledger_parts(ledger.snapshot()))
    task.cancel()
    assert turns > 8
    assert found == page(ledger)


@pytest.mark.asyncio
async def test_budgets_may_come_and_go_while_many_are_looked_at() -> None:
    ledger = Ledger([Scope(f"s{n}", 10**9) for n in range(2_000)], lambda: 0.0)
    ledger.add(Scope("user:ann", 10))
    looking = asyncio.create_task(snapshot_in_turns(ledger, passing=True))
    await asyncio.sleep(0)
    assert not looking.done()
    ledger.remove("s1999")
    ledger.remove("user:ann")
    ledger.add(Scope("user:joe", 10))
    ledger.hold("r", 7, ["s0", "s1998"])
    found = await looking
    assert [state.name for state in found.scopes] == [f"s{n}" for n in range(1_999)]
    assert [found.scopes[0].held, found.scopes[-1].held, found.open_holds] == [0, 7, 1]
    names = {state.name for state in (await snapshot_in_turns(ledger)).scopes}
    assert "user:joe" not in names


@pytest.mark.asyncio
async def test_of_few_budgets_all_is_said_of_one_moment() -> None:
    ledger = Ledger([Scope("all", 10**9)], lambda: 0.0)
    with pytest.raises(StopIteration):  # it never waits
        snapshot_in_turns(ledger).send(None)
