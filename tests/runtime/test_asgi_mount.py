"""A whole gateway below a prefix of another application, and before a real server."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvicorn
from asgi_server import (
    ASKED,
    CHAT,
    Application,
    ChatApplication,
    Receive,
    Send,
    asked,
    http_scope,
    requested,
    write,
)
from asgi_server import lifespan as lived
from event_streams import piece, usage
from fake_upstream import FakeUpstream, served
from small_policies import BY_TEXT_AND_LABEL, budget, is_right, policy, written

from profiles.errors import InputError
from runtime import BudgetMiddleware, open_gateway
from runtime.gateway import Gateway
from runtime.settings import GatewaySettings
from runtime.upstreams import UpstreamSettings

pytestmark = pytest.mark.asyncio
VERIFIERS = {"checker": is_right}


def gateway(folder: Path, url: str, **options: Any) -> Gateway:
    path = written(policy(budgets=(budget(1.0),)), folder)
    return open_gateway(path, url, verifiers=VERIFIERS, **options)


def mounted(app: Application, prefix: str) -> Application:
    """As routers of applications mount others (ASGI: `root_path`)."""

    async def outer(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        before = scope.get("root_path", "")
        assert scope["path"].startswith(before + prefix)
        await app({**scope, "root_path": before + prefix}, receive, send)

    return outer


async def test_a_gateway_answers_below_the_prefix_that_it_is_mounted_at(tmp_path: Path) -> None:
    async with served(FakeUpstream()) as fake:
        inner = gateway(tmp_path, fake.url)
        site = mounted(mounted(inner, "/llm"), "/api")
        async with inner:
            found = await asked(site, f"/api/llm{CHAT}")
            assert (found.status, found.json["choices"][0]["message"]["content"]) == (200, "four")
            for page in ("/health", "/ready", "/metrics", "/ledger", "/v1/models"):
                assert (await requested(site, http_scope(f"/api/llm{page}", "GET"))).status == 200
            assert (
                await requested(site, http_scope("/api/llm/api/llm/health", "GET"))
            ).status == 404
            # a server that has cut the prefix off already (Starlette before 0.33)
            cut = http_scope("/health", "GET", root_path="/api/llm")
            assert (await requested(inner, cut)).status == 200
            assert (
                await requested(inner, http_scope("/llms/health", "GET", root_path="/llm"))
            ).status == 404
        assert inner.service.ledger.state("global").spent == fake.bill_nano_usd > 0
        assert (await asked(inner)).status == 503


async def test_a_gateway_that_nobody_opened_refuses_and_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(FakeUpstream()) as fake:
        inner = gateway(tmp_path, fake.url)
        assert (await asked(inner)).status == 503
        assert "enter it in the lifespan" in caplog.text
        assert (await requested(inner, http_scope("/ready", "GET"))).json == {"status": "closed"}
        assert (await requested(inner, http_scope("/health", "GET"))).status == 200
        async with lived(inner):  # its own lifespan is as good
            assert (await asked(inner)).status == 200
        assert len(fake.calls) == 1
        with pytest.raises(InputError, match="closed"):
            await inner.__aenter__()


@pytest.mark.parametrize("question", ["two and two", "two and " * 2_000], ids=["short", "long"])
async def test_a_middleware_that_says_the_body_again_is_no_client_that_leaves(
    question: str, tmp_path: Path
) -> None:
    """Many read a body to look at it, and then say the whole of it whenever they are asked."""
    asked = {"messages": [{"role": "user", "content": question}], "metadata": {"class": "law"}}
    body = json.dumps(asked).encode()
    said: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(event: dict[str, Any]) -> None:
        said.append(event)

    async def slowly(*_: Any) -> bool:
        await asyncio.sleep(0.02)
        return False

    path = written(policy(sorting=BY_TEXT_AND_LABEL), tmp_path)
    async with BudgetMiddleware(ChatApplication(answer=slowly), path, verifiers=VERIFIERS) as outer:
        await outer(http_scope(), receive, send)
    assert [event.get("status") for event in said] == [200, None]


async def test_a_stream_ends_quietly_under_a_server_that_cannot_send_any_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = ChatApplication(answer=spoken_in_pieces)
    body = json.dumps({**ASKED, "stream": True}).encode()
    said: list[dict[str, Any]] = []
    parts = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if parts:
            return parts.pop()
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    async def send(event: dict[str, Any]) -> None:
        if len(said) == 2:
            raise ConnectionResetError
        said.append(event)

    path = written(policy(budgets=(budget(1.0),)), tmp_path)
    async with BudgetMiddleware(app, path, verifiers=VERIFIERS) as outer:
        await outer(http_scope(), receive, send)
        ledger = outer.gateway.service.ledger
        while ledger.snapshot().open_holds:
            await asyncio.sleep(0)
        assert ledger.state("global").spent == 10 * 100 + 4 * 400
    assert not caplog.records


async def spoken_in_pieces(_: Any, __: Receive, send: Send) -> bool:
    await write(send, piece("fo"), piece("ur"), piece(finish="stop"), usage(10, 4))
    return True


async def test_a_websocket_is_closed_and_not_left_open(tmp_path: Path) -> None:
    said: list[dict[str, Any]] = []

    async def send(event: dict[str, Any]) -> None:
        said.append(event)

    inner = gateway(tmp_path, "http://127.0.0.1:1/v1")
    await inner({"type": "websocket", "path": "/"}, send, send)  # type: ignore[arg-type]
    assert said == [{"type": "websocket.close"}]


async def test_keys_and_settings_are_those_of_a_served_gateway(tmp_path: Path) -> None:
    settings = tmp_path / "gateway.yaml"
    async with served(FakeUpstream()) as fake:
        settings.write_text(
            f'format_version: "1.0"\nupstreams:\n  - {{name: one, url: "{fake.url}", '
            f'api_key_env: KEY}}\nledger: {{store: "sqlite:///{tmp_path / "ledger.db"}"}}\n'
        )
        path = written(policy(budgets=(budget(1.0),)), tmp_path)
        inner = open_gateway(
            str(path),
            settings=str(settings),
            verifiers=VERIFIERS,
            api_key="theirs",
            operator_key="ours",
            environ={"KEY": "secret"},
        )
        async with inner:
            assert (await asked(inner)).status == 401
            headers = [(b"authorization", b"Bearer theirs")]
            assert (await asked(inner, scope={"headers": headers})).status == 200
            page = http_scope("/ledger", "GET", headers=[(b"authorization", b"Bearer ours")])
            scopes = (await requested(inner, page)).json["scopes"]
            assert scopes["global"]["spent"] == fake.bill_nano_usd
        with pytest.raises(InputError, match="not clear where calls go"):
            open_gateway(path, fake.url, settings=settings, environ={"KEY": "secret"})
    with pytest.raises(InputError, match="not clear where calls go"):
        open_gateway(path)
    with pytest.raises(InputError, match="variable KEY"):
        open_gateway(path, settings=settings, environ={})
    one = GatewaySettings(
        format_version="1.0", upstreams=(UpstreamSettings(name="u", url="http://localhost:1"),)
    )
    assert open_gateway(path, settings=one, verifiers=VERIFIERS).service.policy.workload == "sums"


@asynccontextmanager
async def under_uvicorn(app: Application) -> AsyncIterator[aiohttp.ClientSession]:
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on"))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        task = asyncio.create_task(server._serve([listener]))
        while not server.started:
            await asyncio.sleep(0.005)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with aiohttp.ClientSession(url) as session:
            yield session
        server.should_exit = True
        await task


async def test_under_a_real_server_a_stream_is_followed_and_a_departure_passed_on(
    tmp_path: Path,
) -> None:
    goes_on, told = asyncio.Event(), asyncio.Event()

    async def answer(_: Any, receive: Receive, send: Send) -> bool:
        await write(send, piece("fo"), end=False)
        if goes_on.is_set():
            assert (await receive())["type"] == "http.disconnect"
            told.set()
            return True
        await goes_on.wait()
        for each in (piece("ur"), piece(finish="stop"), usage(10, 4)):
            await send({"type": "http.response.body", "body": each, "more_body": True})
        await send({"type": "http.response.body"})
        return True

    app = ChatApplication(answer=answer)
    path = written(policy(budgets=(budget(1.0),)), tmp_path)
    outer = BudgetMiddleware(app, path, verifiers=VERIFIERS, drain_s=0.0)
    async with under_uvicorn(outer) as session:
        async with session.get("/anything/else") as other:
            assert await other.text() == "mine"
        body = json.dumps({**ASKED, "stream": True})
        async with session.post(CHAT, data=body) as found:
            first = await found.content.readuntil(b'"fo"')
            goes_on.set()
            rest = await found.content.read()
        assert b'"ur"' in first + rest
        ledger = outer.gateway.service.ledger
        assert ledger.state("global").spent == 10 * 100 + 4 * 400
        async with session.post(CHAT, data=body) as found:
            await found.content.readuntil(b'"fo"')
            found.close()
        await told.wait()
    assert app.lifespan == ["lifespan.startup", "lifespan.shutdown"]
    assert ledger.snapshot().open_holds == 0
