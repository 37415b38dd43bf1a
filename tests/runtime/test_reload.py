"""A reload changes what the files changed, and a refused one nothing, other budgets included."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from small_encoders import encoder_folder
from small_policies import CHEAP, budget, by_vectors, policy, written
from small_tenants import bearer, fixed_key

from planner.spec import Window
from policies.policy import Policy
from profiles.difficulty.reading.encoder import Encoder
from profiles.errors import BudgetRefusedError, InferbudgetError, InputError
from runtime.checkers import Extractor, Verifier, final_answer
from runtime.deployment import Deployment
from runtime.settings import GatewaySettings, LedgerSettings
from runtime.sources import Sources
from runtime.strategies import Tools
from runtime.upstreams import models_of
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


def with_tenants(
    folder: Path, text: str, *, operator_key: str | None = None, **about: Any
) -> Deployment:
    path = folder / "tenants.yaml"
    path.write_text(text)
    settings = GatewaySettings(
        format_version="1.0",
        tenants=path,
        upstreams=(UpstreamSettings(name="u", url="http://127.0.0.1:1/v1"),),
        **about,
    )
    sources = Sources(written(policy(budgets=(budget(1.0),)), folder), settings, TOOLS)
    return Deployment(sources, operator_key=operator_key)


def teams(*names: str) -> str:
    keys = [
        f'      {name}: {{hash: "sha256:{number:064}", budgets: [{{limit_usd: 1, window: total}}]}}'
        for number, name in enumerate(names)
    ]
    return "\n".join(['format_version: "1.0"', "organisations:", "  a:", "    keys:", *keys]) + "\n"


def budgets_of(found: Deployment) -> set[str]:
    states = found.gateway.service.ledger.snapshot(passing=True).scopes
    return {state.name.removeprefix("org:a/key:").partition("|")[0] for state in states}


@pytest.mark.asyncio
async def test_budgets_that_no_file_names_any_more_are_forgotten_once_they_count_nothing(
    tmp_path: Path,
) -> None:
    found = with_tenants(tmp_path, teams("idle", "at-work", "spent", "back", "stays"))
    ledger = found.gateway.service.ledger
    at_work, spent = (f"org:a/key:{name}|nano_usd|total" for name in ("at-work", "spent"))
    hold = ledger.hold("at work", 10, [at_work])
    paid = ledger.hold("spent", 10, [spent])
    paid.call(10).settle(10)
    paid.close()
    path = tmp_path / "tenants.yaml"
    path.write_text(teams("stays"))
    await found.reload()
    path.write_text(teams("stays", "back"))
    await found.reload()
    assert budgets_of(found) >= {"idle", "at-work", "spent", "back", "stays"}
    found._former_budgets.forget()
    assert budgets_of(found) == {"global", "at-work", "spent", "back", "stays"}
    assert "key:idle" not in found.gateway.metrics.text().decode()
    hold.close()
    found._former_budgets.forget()
    assert budgets_of(found) == {"global", "spent", "back", "stays"}
    path.write_text(teams("stays", "spent", "idle"))
    await found.reload()
    assert ledger.state(spent).spent == 10
    assert budgets_of(found) >= {"global", "spent", "idle", "stays"}


@pytest.mark.asyncio
async def test_a_budget_stays_while_requests_go_on_that_may_hold_on_it(tmp_path: Path) -> None:
    found = with_tenants(tmp_path, teams("leaves", "stays"), reload_s=0.01)
    heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    sent: list[dict[str, Any]] = []

    async def send(event: dict[str, Any]) -> None:
        sent.append(event)

    key = fixed_key("leaves")
    path = tmp_path / "tenants.yaml"
    path.write_text(teams("leaves", "stays").replace(f"sha256:{0:064}", key.hash))
    await found.reload()
    body = b'{"messages":[{"role":"user","content":"x"}],"metadata":{"class":"hard"}}'
    heard.put_nowait({"type": "http.request", "body": body[:9], "more_body": True})
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/chat/completions",
        "headers": [(b"authorization", bearer(key))],
    }
    async with found.gateway, asyncio.timeout(20):
        request = asyncio.create_task(found.gateway(scope, heard.get, send))
        await asyncio.sleep(0)
        path.write_text(teams("stays"))
        await found.reload()
        await asyncio.sleep(0.05)
        assert len(found._former_budgets) == 1
        assert "leaves" in budgets_of(found)
        heard.put_nowait({"type": "http.request", "body": body[9:], "more_body": False})
        await request
        assert sent[0]["status"] == 502  # its upstream is not there, its budget was
        while found._former_budgets:
            await asyncio.sleep(0.01)
        assert "leaves" not in budgets_of(found)


@pytest.mark.asyncio
async def test_reloads_at_one_time_forget_each_budget_once(tmp_path: Path) -> None:
    found = with_tenants(tmp_path, teams("leaves", "stays"))
    (tmp_path / "tenants.yaml").write_text(teams("stays"))
    await asyncio.gather(found.reload(), found.reload())
    assert len(found._former_budgets) == 1
    found._former_budgets.forget()
    assert "leaves" not in budgets_of(found)


@pytest.mark.asyncio
async def test_a_policys_budget_stays_while_a_dry_run_goes_on_that_may_look_at_it(
    tmp_path: Path,
) -> None:
    found = with_tenants(tmp_path, teams("stays"), operator_key="operator", reload_s=0.01)
    heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    sent: list[dict[str, Any]] = []

    async def send(event: dict[str, Any]) -> None:
        sent.append(event)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/dry-run",
        "headers": [(b"authorization", b"Bearer operator")],
    }
    body = b'{"messages":[{"role":"user","content":"x"}],"metadata":{"class":"hard"}}'
    async with found.gateway, asyncio.timeout(20):
        asked = asyncio.create_task(found.gateway(scope, heard.get, send))
        await asyncio.sleep(0)
        written(policy(budgets=(budget(1.0, window=Window.DAY),)), tmp_path)
        await found.reload()
        await asyncio.sleep(0.05)
        assert budgets_of(found) >= {"global", "global/day"}
        heard.put_nowait({"type": "http.request", "body": body, "more_body": False})
        await asked
        assert sent[0]["status"] == 200
        while found._former_budgets:
            await asyncio.sleep(0.01)
        assert "global" not in budgets_of(found)


@pytest.mark.asyncio
async def test_a_gateway_that_stops_goes_on_with_the_budgets_that_it_had(tmp_path: Path) -> None:
    found = with_tenants(tmp_path, teams("leaves", "stays"))
    async with found.gateway:
        await found.gateway.stop()
        (tmp_path / "tenants.yaml").write_text(teams("stays"))
        await found.reload()
        found._former_budgets.forget()
        assert "leaves" in budgets_of(found)


@pytest.mark.asyncio
async def test_forgotten_budgets_are_looked_for_while_the_files_stay_as_they_are(
    tmp_path: Path,
) -> None:
    store = LedgerSettings(store=f"sqlite:///{tmp_path / 'ledger.db'}")
    found = with_tenants(tmp_path, teams("leaves", "stays"), reload_s=0.01, ledger=store)
    async with found.gateway, asyncio.timeout(20):
        ledger = found.gateway.service.ledger
        hold = await ledger.admit("r", 10, ["org:a/key:leaves|nano_usd|total"])
        (tmp_path / "tenants.yaml").write_text(teams("stays"))
        while not found._former_budgets:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert "leaves" in budgets_of(found)
        hold.close()
        while found._former_budgets:
            await asyncio.sleep(0.01)
        assert "leaves" not in budgets_of(found)


@pytest.mark.asyncio
async def test_users_of_a_key_that_is_gone_are_forgotten_while_the_files_stay_as_they_are(
    tmp_path: Path,
) -> None:
    each_user = "    each_user: {budgets: [{limit_usd: 1, window: total}]}\n"
    text = teams("leaves", "stays").replace("    keys:", each_user + "    keys:")
    text = text.replace("{hash", "{may_set: [user], hash", 1)
    key = fixed_key("leaves")
    found = with_tenants(tmp_path, text.replace(f"sha256:{0:064}", key.hash), reload_s=0.01)
    tenants = found._files.tenants
    assert tenants is not None
    jane = tenants.identify(bearer(key), "jane")
    async with found.gateway, asyncio.timeout(20):
        with found._users.opened(jane):
            (tmp_path / "tenants.yaml").write_text(teams("stays"))
            await asyncio.sleep(0.1)
            assert any("user:jane" in name for name in budgets_of(found))
        while found._users:
            await asyncio.sleep(0.01)
        assert not any("user:jane" in name for name in budgets_of(found))


@pytest.mark.asyncio
async def test_readiness_asks_for_the_models_of_the_policy_in_force_and_parses_none_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = with_tenants(tmp_path, teams("k"))
    parsed = 0

    def counted(each: Policy) -> tuple[str, ...]:
        nonlocal parsed
        parsed += 1
        return models_of(each)

    monkeypatch.setattr("runtime.deployment.models_of", counted)
    servers: Any = found._servers
    for missing, unready in ((("small",), ()), (("large", "small"), ("large", "small"))):
        monkeypatch.setattr(servers, "unready", lambda missing=missing: missing)
        assert found._unready() == unready
    assert not parsed
    written(policy(costs={CHEAP: 0.1}, budgets=(budget(1.0),)), tmp_path)
    await found.reload()
    monkeypatch.setattr(servers, "unready", lambda: ("small",))
    assert found._unready() == ("small",)
