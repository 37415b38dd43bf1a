"""A gateway in front of an application that answers chat completions itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from asgi_server import (
    CHAT,
    Application,
    ChatApplication,
    Receive,
    Response,
    Send,
    asked,
    http_scope,
    lifespan,
    requested,
    respond,
    write,
)
from event_streams import DONE, piece, spoken, usage
from fake_upstream import PRICES
from small_policies import CHEAP, DEAR, budget, is_right, policy, written

from planner.spec import Window
from policies.policy import Policy
from profiles.errors import InputError, UpstreamError
from runtime import BudgetMiddleware, Executor
from runtime.in_process import InProcess
from runtime.settings import GatewaySettings, LedgerSettings
from runtime.upstream import ChatCall, Message, UpstreamLostError, certainly_not_sent
from runtime.upstreams import UpstreamSettings

pytestmark = pytest.mark.asyncio
TOKENS_BOUND = 128 + 32 + len("two and two")
BOUND = PRICES.price("small").cost_nano_usd(TOKENS_BOUND, 20)


@asynccontextmanager
async def budgeted(
    app: Application, folder: Path, found: Policy | None = None, **options: Any
) -> AsyncIterator[BudgetMiddleware]:
    path = written(found or policy(budgets=(budget(1.0),)), folder)
    async with BudgetMiddleware(app, path, verifiers={"checker": is_right}, **options) as outer:
        yield outer


def spent(outer: BudgetMiddleware) -> int:
    state = outer.gateway.service.ledger.state("global")
    assert state.held == 0
    return state.spent


async def settled(outer: BudgetMiddleware) -> int:
    """Once nothing is held any more."""
    while outer.gateway.service.ledger.snapshot().open_holds:
        await asyncio.sleep(0)
    return spent(outer)


async def test_a_chat_reaches_the_application_as_the_policy_says_and_is_charged_its_bill(
    tmp_path: Path,
) -> None:
    app = ChatApplication()
    async with budgeted(app, tmp_path) as outer:
        found = await asked(outer, model="large", max_tokens=900)
        assert spent(outer) == app.bill_nano_usd > 0
    (call,) = app.calls
    assert (call["model"], call["max_tokens"]) == ("small", 20)
    assert call["messages"] == [{"role": "user", "content": "two and two"}]
    assert (found.status, found.json["choices"][0]["message"]["content"]) == (200, "four")
    assert found.headers["x-inferbudget-strategy"] == CHEAP
    assert found.headers["x-inferbudget-cost-usd"] == f"{app.bill_nano_usd / 1e9:.9f}"


async def test_clients_may_name_the_policys_models_and_no_others(tmp_path: Path) -> None:
    app = ChatApplication()
    async with budgeted(app, tmp_path) as outer:
        for model in ("small", "large", "inferbudget", "sums"):
            assert (await asked(outer, model=model)).json["model"] == model
        assert (await asked(outer, model="huge")).status == 404
    assert {call["model"] for call in app.calls} == {"small"}


async def test_a_reply_that_does_not_say_what_it_used_is_charged_at_its_bound(
    tmp_path: Path,
) -> None:
    async with budgeted(ChatApplication(usage=False), tmp_path) as outer:
        assert (await asked(outer)).status == 200
        assert spent(outer) == BOUND


async def test_money_that_is_gone_refuses_before_the_application_hears_of_it(
    tmp_path: Path,
) -> None:
    app = ChatApplication()
    for window, status in ((Window.TOTAL, 402), (Window.DAY, 429)):
        rules = policy(budgets=(budget(2.6e-5, window),))
        async with budgeted(app, tmp_path, rules) as outer:
            assert (await asked(outer)).status == 200
            found = await asked(outer)
        assert found.status == status
        assert found.json["error"]["code"] == "budget_exhausted"
        assert ("retry-after" in found.headers) == (status == 429)
    assert len(app.calls) == 2


async def test_every_call_of_a_strategy_is_a_request_to_the_application(tmp_path: Path) -> None:
    app = ChatApplication(reply="right")
    rules = policy(rungs=((DEAR, 0.1),), budgets=(budget(1.0),))
    settings = GatewaySettings(format_version="1.0")
    async with budgeted(app, tmp_path, rules, settings=settings) as outer:
        found = await asked(outer)
        assert spent(outer) == app.bill_nano_usd
    assert found.headers["x-inferbudget-strategy"] == DEAR
    assert [(call["model"], call["n"]) for call in app.calls] == [("large", 4)]


async def test_all_apis_that_ask_for_an_answer_are_budgeted(tmp_path: Path) -> None:
    app = ChatApplication()
    async with budgeted(app, tmp_path) as outer:
        body = json.dumps({"input": "two and two", "metadata": {"class": "hard"}}).encode()
        found = await requested(outer, http_scope("/v1/responses"), body)
        assert (found.status, found.json["object"]) == (200, "response")
        body = json.dumps({"prompt": "two", "metadata": {"class": "hard"}}).encode()
        assert (await requested(outer, http_scope("/v1/completions"), body)).status == 200
        assert spent(outer) == app.bill_nano_usd
    assert [scope["path"] for scope in app.scopes] == [CHAT, CHAT]


@pytest.mark.parametrize("prefix", ["/api", "/a/b", "/"])
async def test_a_prefix_that_the_application_alone_knows_leads_not_past_the_budget(
    tmp_path: Path, prefix: str
) -> None:
    """FastAPI's `root_path` is in no scope that middleware outside sees."""
    app = ChatApplication()
    async with budgeted(app, tmp_path) as outer:
        assert (await asked(outer, f"{prefix}{CHAT}")).status == 200
        assert spent(outer) == app.bill_nano_usd > 0
    (scope,) = app.scopes
    assert (scope["path"], scope["root_path"]) == (f"{prefix}{CHAT}", "")


async def test_a_call_is_a_request_like_the_clients_own(tmp_path: Path) -> None:
    """Whatever stood in front of this middleware has put there what the application needs."""
    app = ChatApplication()
    headers = [
        (b"authorization", b"Bearer theirs"),
        (b"accept-encoding", b"gzip"),
        (b"content-encoding", b"gzip"),  # of a body that was unpacked on its way here
        (b"content-length", b"7"),
        (b"content-type", b"application/json"),
    ]
    about = {"headers": headers, "state": {"who": 7}, "user": "ann", "extensions": {"x": {}}}
    async with budgeted(app, tmp_path) as outer:
        await asked(outer, f"/api{CHAT}", scope={**about, "root_path": "/api"})
    (scope,) = app.scopes
    found = dict(scope["headers"])
    assert (scope["method"], scope["path"], scope["root_path"]) == ("POST", f"/api{CHAT}", "/api")
    assert (found[b"authorization"], found[b"content-type"]) == (
        b"Bearer theirs",
        b"application/json",
    )
    assert int(found[b"content-length"]) > 7
    assert b"accept-encoding" not in found
    assert b"content-encoding" not in found
    assert len(scope["headers"]) == len(found)
    assert (scope["state"], scope["user"], scope["client"]) == (
        {"who": 7},
        "ann",
        ("10.0.0.1", 5000),
    )
    assert scope["state"] is not about["state"]
    assert scope["extensions"] == {}


async def test_everything_else_passes_as_it_came(tmp_path: Path) -> None:
    seen: list[tuple[Any, ...]] = []

    async def app(*connection: Any) -> None:
        seen.append(connection)

    async def nobody(*_: Any) -> Any:
        raise AssertionError("nobody but the application may read or write here")

    async with budgeted(app, tmp_path) as outer:
        connections = [
            (http_scope("/v1/models"), nobody, nobody),
            (http_scope("/metrics", "GET"), nobody, nobody),
            (http_scope(CHAT, "OPTIONS"), nobody, nobody),
            (http_scope(CHAT + "/"), nobody, nobody),
            (http_scope("/v1/embeddings"), nobody, nobody),
            ({"type": "websocket", "path": CHAT}, nobody, nobody),
            ({"type": "something new"}, nobody, nobody),
        ]
        for each in connections:
            await outer(*each)
    assert all(a is b for came, passed in zip(connections, seen, strict=True)
               for a, b in zip(came, passed, strict=True))  # fmt: skip


async def test_a_stream_is_heard_as_the_application_writes_it(tmp_path: Path) -> None:
    heard = asyncio.Event()

    async def answer(call: dict[str, Any], _: Receive, send: Send) -> bool:
        assert call["stream"] is True
        assert call["stream_options"] == {"include_usage": True}
        first, *rest = [piece("fo"), piece("ur"), piece(finish="stop"), usage(10, 4), DONE]
        await write(send, first, end=False)
        await heard.wait()
        for each in rest:
            await send({"type": "http.response.body", "body": each, "more_body": True})
        await send({"type": "http.response.body"})
        return True

    into = Response()
    async with budgeted(ChatApplication(answer=answer), tmp_path) as outer:
        asking = asyncio.create_task(asked(outer, stream=True, into=into))
        await into.has(b'"fo"')
        heard.set()
        await asking
        assert spent(outer) == PRICES.price("small").cost_nano_usd(10, 4)
    assert b'"ur"' in into.body
    assert into.body.endswith(DONE)


async def test_a_stream_without_usage_is_charged_at_its_bound(tmp_path: Path) -> None:
    async def answer(_: Any, __: Receive, send: Send) -> bool:
        await write(send, piece("four"), piece(finish="stop"), DONE)
        return True

    async with budgeted(ChatApplication(answer=answer), tmp_path) as outer:
        assert b"four" in (await asked(outer, stream=True)).body
        assert spent(outer) == BOUND


@pytest.mark.parametrize(
    ("status", "told", "charged"),
    [
        (400, 400, 0),
        (422, 400, 0),
        (401, 502, 0),
        (429, 429, 0),
        (500, 502, BOUND),
        (302, 502, BOUND),
    ],
)
async def test_an_error_is_charged_nothing_where_it_says_that_no_work_was_done(
    status: int, told: int, charged: int, tmp_path: Path
) -> None:
    async def answer(_: Any, __: Receive, send: Send) -> bool:
        await respond(send, status, b'{"error": {"message": "no"}}', retry_after="3")
        return True

    app = ChatApplication(answer=answer)
    async with budgeted(app, tmp_path) as outer:
        for _ in range(8):
            assert (await asked(outer)).status == told
        assert spent(outer) == 8 * charged
        app.answer = None
        assert (await asked(outer)).status == 200  # what one client brings about shuts nobody out


async def test_an_application_that_fails_is_charged_at_its_bound_and_heard_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def raises(*_: Any) -> bool:
        raise ZeroDivisionError("a defect")

    async def ends_early(_: Any, __: Receive, send: Send) -> bool:
        await write(send, piece("fo"), end=False)
        return True

    async def says_nothing(*_: Any) -> bool:
        return True

    for number, answer in enumerate((raises, ends_early, says_nothing)):
        async with budgeted(ChatApplication(answer=answer), tmp_path) as outer:
            assert (await asked(outer)).status == 502
            assert spent(outer) == BOUND, number
    errors = [record for record in caplog.records if record.name == "runtime.in_process"]
    assert [record.exc_info and record.exc_info[0] for record in errors] == [ZeroDivisionError]


async def test_what_an_application_does_after_its_reply_keeps_nobody_waiting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    goes_on, done = asyncio.Event(), asyncio.Event()

    async def answer(_: Any, receive: Receive, send: Send) -> bool:
        await write(send, *spoken("four"))
        assert (await receive())["type"] == "http.disconnect"
        await goes_on.wait()
        done.set()
        raise ZeroDivisionError("a defect of a task in the background")

    async with budgeted(ChatApplication(answer=answer), tmp_path) as outer:
        assert (await asked(outer, stream=True)).status == 200
        assert spent(outer) == PRICES.price("small").cost_nano_usd(10, 4)
        goes_on.set()
    assert done.is_set()  # it is waited for at the end
    assert "the application failed in a call" in caplog.text


async def test_what_never_ends_after_a_reply_is_cancelled_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("runtime.in_process._LEAVING_S", 0.01)
    cancelled = asyncio.Event()

    async def answer(_: Any, __: Receive, send: Send) -> bool:
        await write(send, *spoken("four"))
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return True

    call = ChatCall("small", (Message("user", "why"),), 20, on_text=lambda _: None)
    async with InProcess(ChatApplication(answer=answer)) as server:
        assert (await server.chat(call)).texts == ("four",)
        assert not cancelled.is_set()
    assert cancelled.is_set()


async def test_what_heeds_no_cancellation_keeps_nobody_from_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a function in a thread; a budget's leases go back only after this."""
    monkeypatch.setattr("runtime.in_process._LEAVING_S", 0.01)
    goes_on = asyncio.Event()

    async def answer(_: Any, __: Receive, send: Send) -> bool:
        await write(send, *spoken("four"))
        while not goes_on.is_set():
            with suppress(asyncio.CancelledError):
                await goes_on.wait()
        return True

    call = ChatCall("small", (Message("user", "why"),), 20, on_text=lambda _: None)
    try:
        async with asyncio.timeout(20), InProcess(ChatApplication(answer=answer)) as server:
            assert (await server.chat(call)).texts == ("four",)
    finally:
        goes_on.set()


async def test_an_application_is_told_when_its_client_has_left(tmp_path: Path) -> None:
    begun, told = asyncio.Event(), asyncio.Event()

    async def answer(_: Any, receive: Receive, send: Send) -> bool:
        begun.set()
        assert (await receive())["type"] == "http.disconnect"
        told.set()
        with pytest.raises(OSError, match="nobody reads"):
            await write(send, piece("four"))
        return True

    into = Response()
    async with budgeted(ChatApplication(answer=answer), tmp_path, drain_s=0.0) as outer:
        asking = asyncio.create_task(asked(outer, into=into))
        await begun.wait()
        into.left.set()
        await asking
        await told.wait()
        assert await settled(outer) == BOUND
    assert into.events == []


async def test_an_application_may_end_its_answer_when_its_client_has_left(tmp_path: Path) -> None:
    """Within `drain_s` what it used becomes known, and only that is charged."""
    begun, goes_on = asyncio.Event(), asyncio.Event()

    async def answer(*_: Any) -> bool:
        begun.set()
        await goes_on.wait()
        return False

    into, app = Response(), ChatApplication(answer=answer)
    async with budgeted(app, tmp_path) as outer:
        asking = asyncio.create_task(asked(outer, into=into))
        await begun.wait()
        into.left.set()
        await asking
        goes_on.set()
        assert await settled(outer) == app.bill_nano_usd > 0


async def test_an_application_that_does_not_heed_that_its_client_left_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.in_process._LEAVING_S", 0.01)
    cancelled = asyncio.Event()

    async def answer(*_: Any) -> bool:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return True

    async with budgeted(ChatApplication(answer=answer), tmp_path, timeout_s=0.01) as outer:
        assert (await asked(outer)).status == 504
        assert spent(outer) == BOUND
        await cancelled.wait()


CALL = ChatCall("small", (Message("user", "why"),), 20)


async def test_an_application_is_an_upstream_of_an_executor_too(tmp_path: Path) -> None:
    app = ChatApplication()
    path = written(policy(budgets=(budget(1.0),)), tmp_path)
    async with InProcess(app) as server:
        async with Executor(path, server, verifiers={"checker": is_right}) as executor:
            found = await executor.answer("two and two", label="hard")
        assert executor.ledger.state("global").spent == app.bill_nano_usd > 0
    assert found.outcome.text == "four"
    assert app.scopes[0]["path"] == CHAT


async def test_a_cancelled_call_may_have_cost_something() -> None:
    begun = asyncio.Event()

    async def answer(*_: Any) -> bool:
        begun.set()
        await asyncio.Event().wait()
        return True

    server = InProcess(ChatApplication(answer=answer))
    task = asyncio.create_task(server.chat(CALL))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as error:
        await task
    assert not certainly_not_sent(error.value)


async def test_an_endless_reply_is_given_up_and_never_kept() -> None:
    sent = 0

    async def answer(_: Any, __: Receive, send: Send) -> bool:
        nonlocal sent
        await write(send, end=False)
        megabyte = b" " * 2**20
        while True:
            sent += 1
            await send({"type": "http.response.body", "body": megabyte, "more_body": True})

    async with InProcess(ChatApplication(answer=answer)) as server:
        with pytest.raises(UpstreamError, match="longer than"):
            await server.chat(CALL)
    assert sent <= 35


async def test_rewards_and_embeddings_have_their_own_pages(tmp_path: Path) -> None:
    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        body = json.loads((await receive())["body"])
        if scope["path"] == "/classify":
            assert body["use_activation"] is False
            content = {"data": [{"probs": [3.25]}], "usage": {"prompt_tokens": 41}}
        else:
            assert (scope["path"], body["model"]) == ("/v1/embeddings", "embedder")
            content = {"data": [{}], "usage": {"prompt_tokens": 5}}
        await respond(send, 200, json.dumps(content).encode())

    async with InProcess(app) as server:
        found = await server.chat(ChatCall("judge", (Message("user", "why"),), 0, reward=True))
        assert (found.texts, found.tokens_in) == (("3.25",), 41)
        assert (await server.embeddings("embedder", b'{"input": "a", "model": "x"}')).tokens_in == 5

    async def gone(*_: Any) -> None:
        return

    with pytest.raises(UpstreamLostError, match="ended before"):
        await InProcess(gone).chat(CALL)


async def test_the_gateway_opens_after_its_application_and_closes_before_it(tmp_path: Path) -> None:
    app, order = ChatApplication(), []
    path = written(policy(budgets=(budget(1.0),)), tmp_path)
    settings = GatewaySettings(
        format_version="1.0", ledger=LedgerSettings(store=f"sqlite:///{tmp_path / 'ledger.db'}")
    )
    outer = BudgetMiddleware(app, path, settings=settings, verifiers={"checker": is_right})

    async def watched(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await outer(scope, receive, send)

    refused = await asked(outer)
    assert refused.status == 503
    async with lifespan(watched) as said:
        assert [event["type"] for event in said] == ["lifespan.startup.complete"]
        assert (await asked(outer)).status == 200
        order = list(app.lifespan)
    assert order == ["lifespan.startup"]
    assert app.lifespan == ["lifespan.startup", "lifespan.shutdown"]
    assert [event["type"] for event in said][1:] == ["lifespan.shutdown.complete"]
    assert (await asked(outer)).status == 503
    assert len(app.calls) == 1
    with pytest.raises(InputError, match="closed"):
        await outer.__aenter__()


async def live_raises(scope: Any, receive: Receive, send: Send) -> None:
    raise AssertionError("http alone")


async def live_returns(scope: Any, receive: Receive, send: Send) -> None:
    return


async def live_hears_and_raises(scope: Any, receive: Receive, send: Send) -> None:
    await receive()
    raise KeyError("path")


async def live_answers_something_else(scope: Any, receive: Receive, send: Send) -> None:
    await receive()
    await respond(send, 200, b"hello")


async def live_leaves_early(scope: Any, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})


@pytest.mark.parametrize(
    "live",
    [
        live_raises,
        live_returns,
        live_hears_and_raises,
        live_answers_something_else,
        live_leaves_early,
    ],
)
async def test_an_application_without_a_lifespan_hinders_nobody(
    live: Application, tmp_path: Path
) -> None:
    chats = ChatApplication()

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await (live if scope["type"] == "lifespan" else chats)(scope, receive, send)

    path = written(policy(budgets=(budget(1.0),)), tmp_path)
    outer = BudgetMiddleware(app, path, verifiers={"checker": is_right})
    async with lifespan(outer) as said:
        assert (await asked(outer)).status == 200
    assert [event["type"] for event in said] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]
    assert (await asked(outer)).status == 503


async def test_an_application_that_cannot_start_says_so_itself(tmp_path: Path) -> None:
    async def app(_: Any, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    path = written(policy(budgets=(budget(1.0),)), tmp_path)
    outer = BudgetMiddleware(app, path, verifiers={"checker": is_right})
    async with lifespan(outer) as said:
        assert said == [{"type": "lifespan.startup.failed", "message": "no database"}]
        assert (await asked(outer)).status == 503


async def test_a_lifespan_that_breaks_later_leaves_the_gateway_open_like_the_server(
    tmp_path: Path,
) -> None:
    chats, broken = ChatApplication(), asyncio.Event()

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await chats(scope, receive, send)
            return
        await receive()
        await send({"type": "lifespan.startup.complete"})
        broken.set()
        raise KeyError("a task in the background")

    path = written(policy(budgets=(budget(1.0),)), tmp_path)
    outer = BudgetMiddleware(app, path, verifiers={"checker": is_right})
    async with lifespan(outer) as said:
        await broken.wait()
        assert (await asked(outer)).status == 200
    assert [event["type"] for event in said] == ["lifespan.startup.complete"]


async def test_the_gateway_itself_may_be_mounted_for_its_pages(tmp_path: Path) -> None:
    async with budgeted(ChatApplication(), tmp_path) as outer:
        for page in ("/ready", "/metrics", "/ledger"):
            assert (await requested(outer.gateway, http_scope(page, "GET"))).status == 200


@pytest.mark.parametrize("how", ["swallows", "raises", "says so and raises"])
async def test_a_gateway_that_cannot_open_is_a_start_that_failed(tmp_path: Path, how: str) -> None:
    async def app(_: Any, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await send({"type": "lifespan.startup.complete"})
        except Exception:
            if "says so" in how:
                await send({"type": "lifespan.startup.failed", "message": "as Starlette does"})
            if "raises" in how:
                raise

    (tmp_path / "ledger.db").mkdir()
    settings = GatewaySettings(
        format_version="1.0", ledger=LedgerSettings(store=f"sqlite:///{tmp_path / 'ledger.db'}")
    )
    path = written(policy(budgets=(budget(1.0),)), tmp_path)
    outer = BudgetMiddleware(app, path, settings=settings, verifiers={"checker": is_right})
    async with lifespan(outer) as said:
        assert [event["type"] for event in said] == ["lifespan.startup.failed"]


async def test_upstreams_and_a_middleware_exclude_each_other(tmp_path: Path) -> None:
    settings = GatewaySettings(
        format_version="1.0", upstreams=(UpstreamSettings(name="u", url="http://localhost:1"),)
    )
    with pytest.raises(InputError, match="to no upstream"):
        BudgetMiddleware(ChatApplication(), tmp_path / "policy.yaml", settings=settings)
