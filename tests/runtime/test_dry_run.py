"""What would become of a request, without its becoming."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from running_gateway import BODY, running
from small_policies import CHEAP, DEAR, budget, policy

pytestmark = pytest.mark.asyncio


async def asked(at: Any, **headers: str) -> tuple[int, Any]:
    body = json.dumps(BODY).encode()
    async with at.client.post("/dry-run", data=body, headers=headers) as found:
        return found.status, await found.json()


async def test_it_says_what_would_answer_and_holds_nothing(tmp_path: Path) -> None:
    found = policy(rungs=((CHEAP, 0.1),), costs={CHEAP: 0.001}, budgets=(budget(1.0),))
    async with running(tmp_path, found) as at:
        status, said = await asked(at)
        assert status == 200
        assert (said["class_name"], said["rung"], said["policy"]) == ("hard", 0, found.digest)
        (draw,) = said["draws"]
        assert (draw["strategy"], draw["share"]) == (CHEAP, 1.0)
        first = draw["offers"][0]
        assert (first["strategy"], first["fits"], first["refused_by"]) == (CHEAP, True, None)
        assert first["bound_usd"] > 0
        assert not at.fake.calls
        state = at.service.ledger.state("global")
        assert (state.spent, state.held, state.requests, state.refusals) == (0, 0, 0, 0)


async def test_it_names_the_budget_that_has_no_room(tmp_path: Path) -> None:
    found = policy(rungs=((DEAR, 0.1),), budgets=(budget(1e-9),))
    async with running(tmp_path, found) as at:
        _, said = await asked(at)
        offers = said["draws"][0]["offers"]
        assert offers
        assert not any(offer["fits"] for offer in offers)
        assert "the budget 'global' has no room" in offers[0]["refused_by"]


async def test_it_is_the_operators(tmp_path: Path) -> None:
    async with running(tmp_path, api_key="s3cret", operator_key="mine") as at:
        assert (await asked(at))[0] == 401
        assert (await asked(at, authorization="Bearer s3cret"))[0] == 401
        assert (await asked(at, authorization="Bearer mine"))[0] == 200
        async with at.client.get("/dry-run", headers={"authorization": "Bearer mine"}) as found:
            assert (found.status, found.headers["allow"]) == (405, "POST")
