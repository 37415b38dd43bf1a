from __future__ import annotations

import asyncio
import json
import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from aiohttp import web
from fake_upstream import FakeUpstream, served
from msgspec.structs import replace

from profiles.errors import InputError, UpstreamError
from runtime.upstream import (
    ChatCall,
    Message,
    Upstream,
    UpstreamLostError,
    UpstreamRejectedError,
    UpstreamTimeoutError,
)

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


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 415, 422, 429])
async def test_a_rejection_cost_nothing_unless_a_bill_came_with_it(status: int) -> None:
    behaviour = raw(b'{"error": {}}', status)
    async with served(FakeUpstream(behaviour=behaviour)) as fake, Upstream(fake.url) as upstream:
        with pytest.raises(UpstreamRejectedError) as rejected:
            await upstream.chat(CALL)
        assert (rejected.value.status, rejected.value.retry_after_s) == (status, None)
        fake.behaviour = raw(b'{"usage": {"prompt_tokens": 1}}', status)
        with pytest.raises(UpstreamError) as billed:
            await upstream.chat(CALL)
        assert not isinstance(billed.value, UpstreamRejectedError)
    assert len(fake.calls) == 2


def in_an_hour() -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=3600.5), usegmt=True)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("7", {7}),
        ("soon", {None}),
        ("9" * 30, {None}),
        ("Wed, 21 Oct 2015 07:28:00 GMT", {0}),
        ("Wed, 21 Oct 2015 07:28:00", {0}),
        ("Wed, 21 Oct 9999 07:28:00 GMT", {99_999}),
        ("in an hour", set(range(3500, 3602))),
    ],
)
async def test_a_busy_upstream_says_when_it_wants_to_be_asked_again(
    header: str, expected: set[int | None]
) -> None:
    sent = in_an_hour() if header == "in an hour" else header

    async def busy(_: web.Request, __: dict[str, Any]) -> web.Response:
        return web.Response(status=429, headers={"retry-after": sent})

    async with served(FakeUpstream(behaviour=busy)) as fake, Upstream(fake.url) as upstream:
        with pytest.raises(UpstreamRejectedError) as error:
            await upstream.chat(CALL)
    assert error.value.retry_after_s in expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8000/v1",
        "ftp://host/v1",
        "http://",
        "http:///v1",
        "http://[::1",
        "http://host:99999",
        "http://host:port",
        "http://me:secret@host",
        "http://host/v1?key=secret",
        "http://ho st/v1",
        "http://host/v1\r\nx: y",
        "http://host..name",
    ],
)
async def test_what_is_no_address_is_refused_at_the_start(url: str) -> None:
    with pytest.raises(InputError, match="not the address of a model server") as error:
        Upstream(url)
    assert "secret" not in str(error.value)


async def test_a_key_is_stripped_and_must_fit_a_header() -> None:
    for key in ("a\nb", "\x00", "schl\u00fcssel"):
        with pytest.raises(InputError, match="no HTTP header carries"):
            Upstream("http://host", key)
    sent: list[str | None] = []

    async def note(request: web.Request, _: dict[str, Any]) -> None:
        sent.append(request.headers.get("authorization"))

    async with served(FakeUpstream(behaviour=note)) as fake:
        for given in (" key\n", " ", None):
            async with Upstream(fake.url, given) as upstream:
                await upstream.chat(CALL)
    assert sent == ["Bearer key", None, None]


async def test_an_address_that_only_the_client_library_refuses_was_never_sent() -> None:
    async with Upstream("http://host") as upstream:
        upstream._endpoint = "http://"
        with pytest.raises(UpstreamError) as error:
            await upstream.chat(CALL)
    assert not error.value.sent


async def test_cookies_of_the_upstream_never_reach_another_call() -> None:
    seen: list[bool] = []

    async def bake(request: web.Request, _: dict[str, Any]) -> web.Response:
        seen.append("cookie" in request.headers)
        choice = {"message": {"content": "x"}}
        found = web.json_response({"choices": [choice]})
        found.set_cookie("session", "one client's")
        return found

    async with served(FakeUpstream(behaviour=bake)) as fake:
        # A jar keeps no cookies of bare IP addresses.
        url = fake.url.replace("127.0.0.1", "localhost")
        async with Upstream(url) as upstream:
            await upstream.chat(CALL)
            await upstream.chat(CALL)
    assert seen == [False, False]


@pytest.mark.parametrize("status", [301, 402, 408, 500, 503])
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


@pytest.mark.parametrize(
    ("details", "reasoning", "cached"),
    [
        ('"completion_tokens_details": {"reasoning_tokens": 3}', 3, None),
        ('"prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 9}', None, 0),
        ('"completion_tokens_details": {"reasoning_tokens": 9}', None, None),
        ('"prompt_tokens_details": {"cached_tokens": -1}', None, None),
        ('"prompt_tokens_details": {"cached_tokens": "2"}', None, None),
        ('"completion_tokens_details": null, "prompt_tokens_details": 7', None, None),
        ('"prompt_tokens_details": {"cached_tokens": null}', None, None),
    ],
)
async def test_kinds_of_tokens_are_read_where_they_are_possible(
    details: str, reasoning: int | None, cached: int | None
) -> None:
    usage = f'{{"prompt_tokens": 5, "completion_tokens": 4, {details}}}'
    body = b'{"choices": [{"message": {"content": "x"}}], "usage": %b}' % usage.encode()
    async with served(FakeUpstream(behaviour=raw(body))) as fake, Upstream(fake.url) as upstream:
        found = await upstream.chat(CALL)
    assert (found.tokens_in, found.tokens_out) == (5, 4)
    assert (found.tokens_reasoning, found.tokens_cached) == (reasoning, cached)


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
        with pytest.raises(UpstreamLostError, match="broke") as error:
            await upstream.chat(CALL)
    assert error.value.sent
    assert len(fake.calls) == 1


async def test_usage_beyond_any_bill_is_unknown() -> None:
    for tokens_in, tokens_out in ((10, 10**30), (1 << 41, 4), (10, 2**63), (-10, 4)):
        usage = {"prompt_tokens": tokens_in, "completion_tokens": tokens_out}
        choice = {"message": {"role": "assistant", "content": "four"}}
        behaviour = raw(json.dumps({"choices": [choice], "usage": usage}).encode())
        async with served(FakeUpstream(behaviour=behaviour)) as fake, Upstream(fake.url) as at:
            found = await at.chat(CALL)
        assert (found.texts, found.tokens_in, found.tokens_out) == (("four",), None, None)


async def test_a_server_may_call_models_and_the_cap_by_other_names() -> None:
    async with (
        served(FakeUpstream(reply="four")) as fake,
        Upstream(fake.url, names={"large": "gpt-5"}, cap_field="max_completion_tokens") as upstream,
    ):
        fake.behaviour = raw(b'{"choices": [{"message": {"content": "x"}}]}')
        await upstream.chat(replace(CALL, model="large"))
        await upstream.chat(CALL)
    large, small = fake.calls
    assert (large["model"], large["max_completion_tokens"]) == ("gpt-5", 16)
    assert (small["model"], "max_tokens" in small) == ("small", False)


async def test_headers_of_ones_own_travel_with_every_call() -> None:
    sent: list[dict[str, str]] = []

    async def note(request: web.Request, _: dict[str, Any]) -> None:
        sent.append(dict(request.headers))

    headers = {"api-key": " 123456 ", "X-Team": "search"}
    async with (
        served(FakeUpstream(behaviour=note)) as fake,
        Upstream(fake.url, headers=headers) as upstream,
    ):
        await upstream.chat(CALL)
    assert (sent[0]["api-key"], sent[0]["X-Team"]) == ("123456", "search")
    assert "Authorization" not in sent[0]


@pytest.mark.parametrize(
    "headers",
    [{"a b": "x"}, {"": "x"}, {"x": "a\r\nb: c"}, {"x": ""}, {"Host": "x"}, {"x": "\xe4"}],
)
async def test_a_header_that_cannot_be_sent_is_refused_without_its_value(
    headers: dict[str, str],
) -> None:
    with pytest.raises(InputError, match="header") as error:
        Upstream("http://host", headers={name: f"{value}" for name, value in headers.items()})
    assert "b: c" not in str(error.value)


@pytest.mark.parametrize("cut", [0, 5])
async def test_an_error_never_quotes_a_key(cut: int) -> None:
    key = "sk-0123456789abcdef"
    secrets: list[dict[str, Any]] = [{"api_key": key}, {"headers": {"api-key": key}}]
    for secret in secrets:
        words = "x" * (280 - 20 * bool(cut)) + f'"incorrect key {key}'
        body = b'{"error": ' + words.encode()
        async with (
            served(FakeUpstream(behaviour=raw(body, 401))) as fake,
            Upstream(fake.url, **secret) as upstream,
        ):
            with pytest.raises(UpstreamRejectedError) as error:
                await upstream.chat(CALL)
            assert key[:6] not in str(error.value)
            assert key not in repr(upstream)
            fake.behaviour = raw(b'data: {"error": "incorrect key %b"}\n\n' % key.encode())
            with pytest.raises(UpstreamError, match=r"incorrect key \*\*\*") as streamed:
                await upstream.chat(replace(CALL, on_text=print))
            assert key[:6] not in str(streamed.value)


async def test_one_try_is_one_try() -> None:
    connections = 0

    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.transport.abort()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    for tries in (1, 2):
        connections = 0
        async with Upstream(url, tries=tries) as upstream:
            with pytest.raises(UpstreamError) as error:
                await upstream.chat(CALL)
        assert not error.value.sent
        assert connections == tries
    server.close()


VECTORS = b'{"object":"list","data":[{"embedding":[0.10,2e-3]}],"usage":{"prompt_tokens":5}}'


async def embedded(
    body: bytes, reply: bytes, status: int = 200, names: dict[str, str] | None = None
) -> tuple[Any, list[bytes]]:
    bodies: list[bytes] = []

    async def answer(request: web.Request) -> web.Response:
        bodies.append(await request.read())
        return web.Response(body=reply, status=status, content_type="application/json")

    app = web.Application()
    app.router.add_post("/v1/embeddings", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        async with Upstream(url, names=names) as upstream:
            return await upstream.embeddings("small", body), bodies
    finally:
        await runner.cleanup()


async def test_embeddings_are_passed_through_byte_for_byte() -> None:
    asked = b'{"input": ["a",1.50, {"b" : 12345678901234567890123}], "model": "small", "x":null}'
    found, bodies = await embedded(asked, VECTORS, names={"small": 'e"5'})
    assert (found.content, found.tokens_in) == (VECTORS, 5)
    assert found.latency_s > 0
    assert b'["a",1.50, {"b" : 12345678901234567890123}]' in bodies[0]
    assert json.loads(bodies[0]) == {**json.loads(asked), "model": 'e"5'}
    _, bodies = await embedded(b'{"input": "a"}', VECTORS)
    assert json.loads(bodies[0]) == {"input": "a", "model": "small"}


@pytest.mark.parametrize("usage", ["null", "{}", '{"prompt_tokens": 0}', '{"prompt_tokens": "5"}'])
async def test_embeddings_without_a_possible_bill_are_unbilled_as_far_as_known(usage: str) -> None:
    found, _ = await embedded(b"{}", b'{"data": [], "usage": %b}' % usage.encode())
    assert found.tokens_in is None


@pytest.mark.parametrize("reply", [b"", b"<html>", b"{}", b'{"data": 7}', b"[" * 10_000])
async def test_a_reply_without_embeddings_may_have_cost_something(reply: bytes) -> None:
    with pytest.raises(UpstreamError, match="no embeddings") as error:
        await embedded(b"{}", reply)
    assert error.value.sent


async def test_embeddings_are_turned_down_like_chats() -> None:
    with pytest.raises(UpstreamRejectedError):
        await embedded(b"{}", b"{}", status=429)
    with pytest.raises(UpstreamError) as error:
        await embedded(b"{}", b"{}", status=500)
    assert error.value.sent


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b'{"a":' * 100_000])
async def test_what_is_no_request_for_embeddings_is_never_sent(body: bytes) -> None:
    with pytest.raises(InputError, match="not an embeddings request"):
        await Upstream("http://host").embeddings("small", body)


@pytest.mark.parametrize(
    ("status", "lives"),
    [(200, True), (204, True), (429, True), (302, False), (404, False), (503, False)],
)
async def test_a_page_that_answers_is_a_sign_of_life(status: int, *, lives: bool) -> None:
    async def page(request: web.Request) -> web.Response:
        assert request.headers["authorization"] == "Bearer key"
        return web.Response(status=status, headers={"location": "/health"})

    app = web.Application()
    app.router.add_get("/health", page)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/some/path/v1"
    async with Upstream(url, "key") as upstream:
        if lives:
            await upstream.probe("/health", 5.0)
        else:
            with pytest.raises(UpstreamError, match=f"status {status}"):
                await upstream.probe("/health", 5.0)
        await runner.cleanup()
        with pytest.raises(UpstreamError, match="does not answer"):
            await upstream.probe("/health", 5.0)
