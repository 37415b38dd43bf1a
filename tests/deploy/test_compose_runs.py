"""deploy/compose at work, without containers: gateways die and stop, a policy changes."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from compose_stack import OPERATOR, PASSWORD, ROOT, Stack, mounted
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError

from demo.tasks import problems
from policies.file import CompiledPolicy, read_graph, read_policy, write_policy
from policies.policy import Policy
from runtime.ledger.store import AccountRecord, open_store

pytestmark = pytest.mark.slow

AT_ONCE = 4
DAY = "global|nano_usd|day"
GATEWAYS = ("gateway-1", "gateway-2")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("compose")) as found:
        yield found


async def rounds() -> AsyncIterator[None]:
    """Look again and again; what does not come about within a minute never will."""
    for _ in range(600):
        yield
        await asyncio.sleep(0.1)
    pytest.fail("it did not come about")


async def statuses(
    stack: Stack, count: int, seed: int, *at: tuple[int, Callable[[], Any]]
) -> list[int]:
    """Send chats through the balancer; what is in `at` is done after so many were answered.

    A connection that broke is 0.
    """
    found: list[int] = []
    todo = iter(problems(seed, count))
    events = dict(at)
    begun: list[asyncio.Task[Any]] = []

    async def some(client: aiohttp.ClientSession) -> None:
        for problem in todo:
            body = {"messages": [{"role": "user", "content": problem.prompt}]}
            try:
                async with client.post("/v1/chat/completions", json=body) as reply:
                    await reply.read()
                found.append(reply.status)
            except aiohttp.ServerDisconnectedError:
                found.append(0)
            if len(found) in events:
                begun.append(asyncio.create_task(asyncio.to_thread(events[len(found)])))

    headers = {"authorization": f"Bearer {stack.secret}"}
    async with aiohttp.ClientSession(stack.url, headers=headers) as client:
        await asyncio.gather(*(some(client) for _ in range(AT_ONCE)))
    await asyncio.gather(*begun)
    return found


def billed(stack: Stack) -> int:
    """What the model server wants for all its calls, in nano-dollars."""
    return int(json.loads(stack.page("models", "/bill"))["total_nano_usd"])


async def in_store(stack: Stack) -> AccountRecord:
    """The day's budget of everybody."""
    store = open_store(stack.store_url)
    try:
        (found,) = [record for record in await store.accounts() if record.account == DAY]
    finally:
        await store.close()
    return found


def other_policy(folder: Path) -> tuple[Policy, dict[str, bytes]]:
    """The demo's with another limit, as files."""
    path = ROOT / "demo/policy/policy.yaml"
    found = read_policy(path)
    budgets = tuple(each.model_copy(update={"limit_usd": 0.2}) for each in found.budgets)
    changed = found.model_copy(update={"budgets": budgets}).sealed()
    write_policy(CompiledPolicy(changed, read_graph(found, path)), folder / "policy.yaml")
    names = ("policy.yaml", "policy.onnx")
    return changed, {name: (folder / name).read_bytes() for name in names}


@pytest.mark.asyncio
async def test_what_the_gateways_have_charged_is_what_the_model_server_has_billed(
    stack: Stack,
) -> None:
    assert await statuses(stack, 40, 1) == [200] * 40
    for name in GATEWAYS:
        assert "inferbudget_store_up 1.0" in stack.page(name, "/metrics")
    own = [stack.scope(name, DAY)["spent_ever"] for name in GATEWAYS]
    assert sum(own) == billed(stack)
    assert all(own), "one gateway got no request"


@pytest.mark.asyncio
async def test_a_swapped_configmap_is_in_force_and_no_request_is_lost(
    stack: Stack, tmp_path: Path
) -> None:
    changed, files = other_policy(tmp_path)
    before = {name: stack.digest(name) for name in GATEWAYS}
    assert changed.digest not in before.values()

    def swap() -> None:
        for name in GATEWAYS:
            mounted(stack.folder / name / "policy", files)

    assert await statuses(stack, 80, 2, (10, swap)) == [200] * 80
    for name in GATEWAYS:
        async for _ in rounds():
            if stack.digest(name) == changed.digest:
                break
        assert 'inferbudget_reloads_total{outcome="refused"}' not in stack.page(name, "/metrics")


@pytest.mark.asyncio
async def test_a_policy_that_cannot_be_used_changes_nothing_and_is_counted(stack: Stack) -> None:
    volume = stack.folder / "gateway-1/policy"
    good = {name: (volume / name).read_bytes() for name in ("policy.yaml", "policy.onnx")}
    in_force = stack.digest("gateway-1")
    mounted(volume, {**good, "policy.yaml": good["policy.yaml"] + b"# a word more\n"})
    async for _ in rounds():
        if 'inferbudget_reloads_total{outcome="refused"} 1.0' in stack.page(
            "gateway-1", "/metrics"
        ):
            break
    assert await statuses(stack, 8, 3) == [200] * 8
    mounted(volume, good)
    async for _ in rounds():
        if 'inferbudget_reloads_total{outcome="replaced"} 2.0' in stack.page(
            "gateway-1", "/metrics"
        ):
            break
    assert stack.digest("gateway-1") == in_force


@pytest.mark.asyncio
async def test_a_key_that_is_switched_off_opens_nothing_more_without_a_restart(
    stack: Stack,
) -> None:
    volumes = [stack.folder / name / "gateway" for name in GATEWAYS]
    files = {file: (volumes[0] / file).read_bytes() for file in ("gateway.yaml", "tenants.yaml")}
    others = {file: (volumes[1] / file).read_bytes() for file in ("gateway.yaml", "tenants.yaml")}
    off = files["tenants.yaml"].replace(b"demo: {", b"demo: {enabled: false, ")
    for volume, found in zip(volumes, (files, others), strict=True):
        mounted(volume, {**found, "tenants.yaml": off})
    async for _ in rounds():
        if await statuses(stack, 8, 7) == [401] * 8:
            break
    for volume, found in zip(volumes, (files, others), strict=True):
        mounted(volume, found)
    async for _ in rounds():
        if await statuses(stack, 8, 8) == [200] * 8:
            break


@pytest.mark.asyncio
async def test_the_gateways_user_cannot_empty_the_store(stack: Stack) -> None:
    port, word = stack.ports["store"], PASSWORD
    with Redis(port=port, username="inferbudget", password=word) as store:
        for command in ("FLUSHALL", "FLUSHDB", "KEYS *", "SHUTDOWN", "SET other 1"):
            with pytest.raises(NoPermissionError):
                store.execute_command(*command.split())
    with Redis(port=port) as store, pytest.raises(AuthenticationError):
        store.ping()


@pytest.mark.asyncio
async def test_sigterm_lets_requests_end_and_the_balancer_goes_on_with_the_other(
    stack: Stack,
) -> None:
    stopped = stack.running["gateway-2"]
    terminated = (20, lambda: stopped.send_signal(signal.SIGTERM))
    assert await statuses(stack, 120, 4, terminated) == [200] * 120
    assert stopped.wait(60) == 0
    stack.start_gateway("gateway-2")


@pytest.mark.asyncio
async def test_of_a_killed_gateway_only_what_was_on_its_way_is_lost(stack: Stack) -> None:
    killed = stack.running["gateway-1"]
    found = await statuses(stack, 120, 5, (20, killed.kill))
    killed.wait()
    lost = [status for status in found if status != 200]
    assert len(lost) <= 2 * AT_ONCE  # its door stands open a moment longer than it works
    assert set(lost) <= {0, 502}
    account = await in_store(stack)
    assert account.limit is not None
    assert billed(stack) <= account.spent + account.held <= account.limit
    stack.start_gateway("gateway-1")


@pytest.mark.asyncio
async def test_clients_reach_no_page_of_the_operator(stack: Stack) -> None:
    async with aiohttp.ClientSession(stack.url) as client:
        for path in ("/metrics", "/ledger", "/dry-run", "/ready"):
            headers = {"authorization": f"Bearer {OPERATOR}"}
            async with client.get(path, headers=headers) as reply:
                assert reply.status == 404
        async with client.get("/health") as reply:
            assert reply.status == 200


@pytest.mark.asyncio
async def test_a_lost_store_is_said_and_no_limit_is_passed(tmp_path: Path) -> None:
    with Stack(tmp_path, limit_usd="0.002") as stack:
        found = await statuses(stack, 120, 9, (10, stack.running["store"].kill))
        assert set(found) <= {200, 429, 503}
        assert 503 in found
        assert billed(stack) <= 2_000_000
        for name in GATEWAYS:
            async for _ in rounds():
                if "inferbudget_store_up 0.0" in stack.page(name, "/metrics"):
                    break


@pytest.mark.asyncio
async def test_a_store_that_comes_back_goes_on_and_an_emptied_one_is_not_used(
    tmp_path: Path,
) -> None:
    with Stack(tmp_path) as stack:
        assert await statuses(stack, 20, 10) == [200] * 20
        stack.kill("store")
        stack.start_store()
        async for _ in rounds():
            if await statuses(stack, 4, 11) == [200] * 4:
                break
        async for _ in rounds():
            if (await in_store(stack)).spent == billed(stack):
                break

        stack.kill("store")
        shutil.rmtree(tmp_path / "data")
        stack.start_store()
        async for _ in rounds():
            if set(await statuses(stack, 40, 12)) == {503}:
                break
        for name in GATEWAYS:
            stack.running[name].send_signal(signal.SIGTERM)
            assert stack.running[name].wait(60) == 0
            stack.start_gateway(name)
        async for _ in rounds():
            if await statuses(stack, 4, 13) == [200] * 4:
                break
