"""The page of all budgets says how each of them stands, and nobody waits while it is written."""

from __future__ import annotations

import asyncio
import json

import msgspec
import pytest

from planner.spec import Window
from runtime.gateway.ledger_page import ledger_parts
from runtime.ledger import Ledger, Scope, Unit
from runtime.turns import in_turns


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
