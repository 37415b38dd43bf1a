"""A reload changes what the files changed, and a refused one nothing, other budgets included."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from small_encoders import encoder_folder
from small_policies import budget, by_vectors, policy, written

from planner.spec import Window
from policies.policy import Policy
from profiles.difficulty.reading.encoder import Encoder
from profiles.errors import BudgetRefusedError, InferbudgetError, InputError
from runtime.checkers import Extractor, Verifier, final_answer
from runtime.deployment import Deployment
from runtime.settings import GatewaySettings, LedgerSettings
from runtime.sources import Sources
from runtime.strategies import Tools
from runtime.upstreams.settings import UpstreamSettings

TENANTS = """format_version: "1.0"
budgets:
  - {{limit_usd: {usd}, window: hour}}
  - {{limit_usd: 9, window: day, timezone: {zone}}}
organisations: {{a: {{keys: {{k: {{hash: "sha256:{hash}"}}}}}}}}
"""


TOOLS = Tools({"checker": Verifier("checker", lambda *_: 1.0)}, Extractor(final_answer))


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
    found = Deployment(Sources(written(policy(budgets=(budget(1.0),)), tmp_path), settings, TOOLS))
    tenants(path, 1000, "Europe/Berlin")
    with pytest.raises(InputError, match="over which window"):
        await found.reload()
    limits = {state.name: state.limit for state in found.gateway.service.ledger.snapshot().scopes}
    assert limits["global|nano_usd|hour"] == 10**9


USERS = """format_version: "1.0"
organisations:
  a:
    each_user: {{budgets: [{{limit_usd: {usd}, window: day}}]}}
    keys: {{k: {{hash: "sha256:{hash}", may_set: [user]}}}}
"""


@pytest.mark.asyncio
async def test_users_whose_budgets_the_store_cannot_count_are_refused_before_they_come(
    tmp_path: Path,
) -> None:
    path = tmp_path / "tenants.yaml"
    path.write_text(USERS.format(usd=1, hash="0" * 64))
    settings = GatewaySettings(
        format_version="1.0",
        tenants=path,
        ledger=LedgerSettings(store="redis://127.0.0.1:1/0"),
        upstreams=(UpstreamSettings(name="u", url="http://127.0.0.1:1/v1"),),
    )
    sources = Sources(written(policy(budgets=(budget(1.0),)), tmp_path), settings, TOOLS)
    found = Deployment(sources)
    path.write_text(USERS.format(usd=10**8, hash="0" * 64))
    with pytest.raises(InputError, match=r"org:a/user:.*cannot count"):
        await found.reload()
    with pytest.raises(InputError, match=r"org:a/user:.*cannot count"):
        Deployment(sources)


@pytest.mark.asyncio
async def test_a_budget_keeps_what_it_spent_when_another_one_joins_it(tmp_path: Path) -> None:
    """Its name says its window, whatever stands beside it: another name would begin anew."""
    day, month = budget(1.0, Window.DAY), budget(9.0, Window.MONTH)
    settings = GatewaySettings(
        format_version="1.0", upstreams=(UpstreamSettings(name="u", url="http://127.0.0.1:1/v1"),)
    )
    found = Deployment(Sources(written(policy(budgets=(day,)), tmp_path), settings, TOOLS))
    ledger = found.gateway.service.ledger
    call = ledger.hold("before", 10**9)
    call.call(10**9).settle(10**9)
    call.close()
    written(policy(budgets=(day, month)), tmp_path)
    await found.reload()
    with pytest.raises(BudgetRefusedError, match="global/day"):
        ledger.hold("after", 1, found.gateway.service._scopes)


@pytest.mark.asyncio
async def test_a_budget_of_another_window_is_another_one_from_the_reload_on(tmp_path: Path) -> None:
    settings = GatewaySettings(
        format_version="1.0", upstreams=(UpstreamSettings(name="u", url="http://127.0.0.1:1/v1"),)
    )
    day, month = (policy(budgets=(budget(1.0, each),)) for each in (Window.DAY, Window.MONTH))
    found = Deployment(Sources(written(day, tmp_path), settings, TOOLS))
    ledger = found.gateway.service.ledger
    ledger.hold("before", 10**9)
    written(month, tmp_path)
    await found.reload()
    assert ledger.hold("after", 10**9, found.gateway.service._scopes)


def by_encoder(folder: Path, *, usd: float = 1.0) -> Policy:
    return policy(budgets=(budget(usd),), sorting=by_vectors(Encoder.open(folder)))


def deployed(found: Policy, folder: Path, encoder: Path) -> Deployment:
    path = folder / "tenants.yaml"
    tenants(path, 1, "UTC")
    settings = GatewaySettings(
        format_version="1.0",
        tenants=path,
        upstreams=(UpstreamSettings(name="u", url="http://127.0.0.1:1/v1"),),
    )
    return Deployment(Sources(written(found, folder), settings, TOOLS, encoder=encoder))


@pytest.mark.asyncio
async def test_a_change_of_tenants_opens_neither_graph_nor_encoder_again(tmp_path: Path) -> None:
    encoder = encoder_folder(tmp_path / "encoder")
    found = deployed(by_encoder(encoder), tmp_path, encoder)
    decider, embedder = found.gateway.service.decider, found.gateway.embedder
    pacer = found.gateway.service.pacer  # what it has learnt of costs and lateness goes on
    tenants(tmp_path / "tenants.yaml", 2, "UTC")
    await found.reload()
    assert found.gateway.service.decider is decider
    assert found.gateway.service.pacer is pacer
    assert found.gateway.embedder is embedder
    limits = {state.name: state.limit for state in found.gateway.service.ledger.snapshot().scopes}
    assert limits["global|nano_usd|hour"] == 2 * 10**9


@pytest.mark.asyncio
async def test_another_policy_opens_its_graph_and_keeps_the_same_encoder(tmp_path: Path) -> None:
    encoder = encoder_folder(tmp_path / "encoder")
    found = deployed(by_encoder(encoder), tmp_path, encoder)
    decider, embedder = found.gateway.service.decider, found.gateway.embedder
    written(by_encoder(encoder, usd=2.0), tmp_path)
    await found.reload()
    assert found.gateway.service.decider is not decider
    assert found.gateway.embedder is embedder


@pytest.mark.asyncio
async def test_metrics_show_the_encoder_in_use_and_go_on_counting(tmp_path: Path) -> None:
    encoder = encoder_folder(tmp_path / "encoder")
    found = deployed(by_encoder(encoder), tmp_path, encoder)
    first = found.gateway.embedder
    assert first is not None
    first.unread["late"] += 3
    encoder_folder(encoder, unknown=None)
    written(by_encoder(encoder), tmp_path)
    await found.reload()
    second = found.gateway.embedder
    assert second is not None
    assert second is not first
    second.unread["late"] += 1
    second.provider = "OtherExecutionProvider"
    text = found.gateway.metrics.text().decode()
    assert 'inferbudget_unread_prompts_total{reason="late"} 4.0' in text
    assert 'inferbudget_encoder_provider_info{provider="OtherExecutionProvider"} 1.0' in text
    assert 'encoder_provider_info{provider="CPU' not in text


@pytest.mark.asyncio
async def test_a_graph_that_was_touched_is_refused_although_the_policy_is_the_same(
    tmp_path: Path,
) -> None:
    encoder = encoder_folder(tmp_path / "encoder")
    found = deployed(by_encoder(encoder), tmp_path, encoder)
    graph = tmp_path / "policy.onnx"
    graph.write_bytes(graph.read_bytes() + b"\0")
    with pytest.raises(InferbudgetError, match="decision graph"):
        await found.reload()


@pytest.mark.asyncio
async def test_requests_are_answered_while_a_reload_reads(tmp_path: Path) -> None:
    """The file is a pipe, so that it is read for as long as the test likes."""
    encoder = encoder_folder(tmp_path / "encoder")
    found = deployed(by_encoder(encoder), tmp_path, encoder)
    path = tmp_path / "tenants.yaml"
    path.unlink()
    os.mkfifo(path)
    reload = asyncio.create_task(found.reload())
    sent: list[dict[str, Any]] = []

    async def send(event: dict[str, Any]) -> None:
        sent.append(event)

    async def receive() -> dict[str, Any]:
        return {}

    for _ in range(10):
        scope = {"type": "http", "method": "GET", "path": "/health", "headers": []}
        await found.gateway(scope, receive, send)
    assert [event["status"] for event in sent if "status" in event] == [200] * 10
    assert not reload.done()
    await asyncio.to_thread(tenants, path, 7, "UTC")
    await reload
    limits = {state.name: state.limit for state in found.gateway.service.ledger.snapshot().scopes}
    assert limits["global|nano_usd|hour"] == 7 * 10**9
