"""A reload that is refused changes nothing, the limits of other budgets included."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_policies import budget, policy, written

from planner.spec import Window
from profiles.errors import BudgetRefusedError, InputError
from runtime.checkers import Extractor, Verifier, final_answer
from runtime.deployment import Deployment, Sources
from runtime.settings import GatewaySettings
from runtime.strategies import Tools
from runtime.upstreams.settings import UpstreamSettings

TENANTS = """format_version: "1.0"
budgets:
  - {{limit_usd: {usd}, window: hour}}
  - {{limit_usd: 9, window: day, timezone: {zone}}}
organisations: {{a: {{keys: {{k: {{hash: "sha256:{hash}"}}}}}}}}
"""


def tenants(path: Path, usd: float, zone: str) -> None:
    path.write_text(TENANTS.format(usd=usd, zone=zone, hash="0" * 64))


@pytest.mark.asyncio
async def test_a_refused_reload_leaves_every_limit_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "tenants.yaml"
    tenants(path, 1, "UTC")
    settings = GatewaySettings(
        format_version="1.0",
        tenants=path,
        upstreams=(UpstreamSettings(name="u", url="http://127.0.0.1:1/v1"),),
    )
    tools = Tools({"checker": Verifier("checker", lambda *_: 1.0)}, Extractor(final_answer))
    found = Deployment(Sources(written(policy(budgets=(budget(1.0),)), tmp_path), settings, tools))
    tenants(path, 1000, "Europe/Berlin")
    with pytest.raises(InputError, match="over which window"):
        await found.reload()
    limits = {state.name: state.limit for state in found.gateway.service.ledger.snapshot().scopes}
    assert limits["global|nano_usd|hour"] == 10**9


@pytest.mark.asyncio
async def test_a_budget_keeps_what_it_spent_when_another_one_joins_it(tmp_path: Path) -> None:
    """Its name says its window, whatever stands beside it: another name would begin anew."""
    day, month = budget(1.0, Window.DAY), budget(9.0, Window.MONTH)
    settings = GatewaySettings(
        format_version="1.0", upstreams=(UpstreamSettings(name="u", url="http://127.0.0.1:1/v1"),)
    )
    tools = Tools({"checker": Verifier("checker", lambda *_: 1.0)}, Extractor(final_answer))
    found = Deployment(Sources(written(policy(budgets=(day,)), tmp_path), settings, tools))
    ledger = found.gateway.service.ledger
    call = ledger.hold("before", 10**9)
    call.call(10**9).settle(10**9)
    call.close()
    written(policy(budgets=(day, month)), tmp_path)
    await found.reload()
    with pytest.raises(BudgetRefusedError, match="global/day"):
        ledger.hold("after", 1, found.gateway.service._scopes)
