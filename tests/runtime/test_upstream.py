from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from aiohttp import web
from fake_upstream import FakeUpstream, served

from profiles.errors import UpstreamError
from runtime.upstream import ChatCall, Message, Upstream, UpstreamTimeoutError

pytestmark = pytest.mark.asyncio
CALL = ChatCall("small", (Message("user", "two and two"),), max_tokens=16)


def raw(body: bytes, status: int = 200) -> Any:
    async def behaviour(_: web.Request, __: dict[str, Any]) -> web.Response:
        return web.Response(body=body, status=status, content_type="application/json")

    return behaviour


async def test_a_reply_brings_texts_usage_and_latency() -> None:
    async with served(FakeUpstream(delay_s=0.02)) as fake, Upstream(fake.url, "secret") as upstream:
        found = await upstream.chat(CALL)
    assert found.texts == ("four",)
    assert (found.tokens_in, found.tokens_out) == (8 + 11, 4)
    assert found.finish_reasons == ("stop",)
    assert found.latency_s >= 0.02


async def test_only_what_is_set_is_sent() -> None:
    call = ChatCall("small", CALL.messages, 16, n=3, temperature=0.0, seed=7, stop=("x",))
    async with served(FakeUpstream()) as fake, Upstream(fake.url) as upstream:
        await upstream.chat(CALL)
        await upstream.chat(call)
    messages = [{"role": "user", "content": "two and two"}]
    plain = {"model": "small", "messages": messages, "max_tokens": 16}
    assert fake.calls == [plain, {**plain, "n": 3, "temperature": 0.0, "seed": 7, "stop": ["x"]}]


async def test_an_address_without_a_path_gets_the_usual_one() -> None:
    async with (
        served(FakeUpstream()) as fake,
        Upstream(fake.url.removesuffix("/v1")) as upstream,
    ):
        assert (await upstream.chat(CALL)).texts == ("four",)


async def test_a_refused_connection_is_proof_that_nothing_was_sent() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        async with Upstream(f"http://127.0.0.1:{free.getsockname()[1]}") as upstream:
            with pytest.raises(UpstreamError, match="cannot connect") as error:
                await upstream.chat(CALL)
    assert not error.value.sent


@pytest.mark.parametrize("status", [301, 400, 429, 500, 503])
async def test_an_error_status_may_have_cost_something(status: int) -> None:
    behaviour = raw(b'{"error": {"message": "no such model"}}', status)
    async with served(FakeUpstream(behaviour=behaviour)) as fake, Upstream(fake.url) as upstream:
        with pytest.raises(UpstreamError, match="no such model") as error:
            await upstream.chat(CALL)
    assert (error.value.sent, error.value.status) == (True, status)
    assert len(fake.calls) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"choices": []}',
        b'{"choices": [{}]}',
        b"\xff",
        b"[" * 10_000,
    ],
)
async def test_rubbish_is_an_error_that_may_have_cost_something(body: bytes) -> None:
    async with served(FakeUpstream(behaviour=raw(body))) as fake, Upstream(fake.url) as upstream:
        with pytest.raises(UpstreamError) as error:
            await upstream.chat(CALL)
    assert error.value.sent


@pytest.mark.parametrize(
    "usage",
    [
        "null",
        "7",
        "{}",
        '{"prompt_tokens": 0, "completion_tokens": 3}',
        '{"prompt_tokens": 5, "completion_tokens": -1}',
        '{"prompt_tokens": "5", "completion_tokens": 1}',
        '{"prompt_tokens": 1.5, "completion_tokens": 1}',
    ],
)
async def test_impossible_usage_is_unknown_usage(usage: str) -> None:
    body = b'{"choices": [{"message": {"content": "x"}}], "usage": %b}' % usage.encode()
    async with served(FakeUpstream(behaviour=raw(body))) as fake, Upstream(fake.url) as upstream:
        found = await upstream.chat(CALL)
    assert (found.texts, found.tokens_in, found.tokens_out) == (("x",), None, None)


async def test_a_slow_upstream_is_given_up_with_its_cost_unknown() -> None:
    async with (
        served(FakeUpstream(delay_s=0.5)) as fake,
        Upstream(fake.url, timeout_s=0.05) as upstream,
    ):
        with pytest.raises(UpstreamTimeoutError, match=r"within 0\.05 s") as error:
            await upstream.chat(CALL)
    assert error.value.sent


async def test_a_connection_that_breaks_leaves_the_cost_unknown() -> None:
    async def drop(request: web.Request, _: dict[str, Any]) -> None:
        assert request.transport is not None
        request.transport.abort()
        await asyncio.sleep(0)

    async with served(FakeUpstream(behaviour=drop)) as fake, Upstream(fake.url) as upstream:
        with pytest.raises(UpstreamError, match="broke") as error:
            await upstream.chat(CALL)
    assert error.value.sent
    assert len(fake.calls) == 1
