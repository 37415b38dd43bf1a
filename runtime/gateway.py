"""The OpenAI-compatible gateway: a raw ASGI application around a `Service`."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any
from urllib.parse import quote

import msgspec

from policies.policy import Policy
from profiles.errors import BudgetRefusedError, InferbudgetError, InputError, UpstreamError
from runtime import openai
from runtime.client import (
    EVENTS,
    JSON,
    Client,
    DisconnectedError,
    Header,
    Pieces,
    Receive,
    Reply,
    Send,
)
from runtime.decision import Vector
from runtime.embedding import Embedder
from runtime.metrics import CONTENT_TYPE, Metrics
from runtime.refusals import error_reply, failure_reply
from runtime.service import Ask, Run, Served, Service
from runtime.upstream import UpstreamRejectedError

Headers = list[Header]

MODEL = "inferbudget"
_OPEN = ("/health", "/ready")
# They name every class, tenants included, and the sums of the budget.
_OPERATORS = ("/ledger", "/metrics")
_STOPPING = "the gateway is stopping"
_LABEL = b"x-inferbudget-class"  # asked for in requests; in replies the class
_encoder = msgspec.json.Encoder()
_log = logging.getLogger(__name__)


class _RefusedError(InferbudgetError):
    """A request that ends in an error reply. The outcome is what metrics count it under."""

    def __init__(
        self, status: int, message: str, code: str | None = None, outcome: str = "invalid"
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.outcome = outcome


class Gateway:
    """ASGI application.

    Args:
        service: Answers the requests.
        api_key: Bearer token that clients must send, None to let everybody in. Only ``/health`` and
            ``/ready`` never ask for it.
        operator_key: Bearer token for ``/metrics`` and ``/ledger``, which the client key never
            opens. None shuts these pages where there is a client key, and opens them where not.
        embedder: Reads the prompts, for a policy that names an encoder, and for no other.
        drain_s: Seconds that calls in flight may take to end when a client leaves or the gateway
            stops; what may have been sent by then is charged at its bound.
        close: Awaited when the gateway stops.

    Raises:
        InputError: A key is empty, which nobody can mean, or both keys are the same; or an embedder
            is missing or one too many.
    """

    def __init__(
        self,
        service: Service,
        *,
        api_key: str | None = None,
        operator_key: str | None = None,
        embedder: Embedder | None = None,
        drain_s: float = 30.0,
        close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        _refuse_useless_keys(api_key, operator_key)
        _refuse_misplaced(embedder, service.policy)
        policy = service.policy
        self._service = service
        self._key = _bearer(api_key)
        self._operator_key = _bearer(operator_key)
        self._drain_s = drain_s
        self._close = close
        self._stopping = False
        self._embedder = embedder
        self._being_read: set[asyncio.Future[Run]] = set()
        self._reads_label = "label" in policy.classes.inputs
        self._models = tuple(dict.fromkeys((MODEL, policy.workload)))
        self.metrics = Metrics(
            service.ledger,
            service.tools,
            digest=policy.digest,
            provider=service.decider.provider,
            embedder=embedder,
        )
        self._pages: Mapping[str, Callable[[], Reply]] = {
            "/health": lambda: Reply(200, b'{"status":"ok"}'),
            "/ready": self._ready,
            "/v1/models": lambda: Reply(200, openai.models_body(self._models)),
            "/ledger": lambda: Reply(200, self._ledger()),
            "/metrics": lambda: Reply(
                200, self.metrics.text(), ((b"content-type", CONTENT_TYPE.encode()),)
            ),
        }

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, Client(receive, send))

    async def stop(self) -> None:
        """Begin no request any more; let running ones end, and give up those that take too long.

        Requests keep being answered: the given up and the new ones by an error.
        """
        self._stopping = True
        end = time.monotonic() + self._drain_s
        if self._being_read:
            _, unread = await asyncio.wait(self._being_read, timeout=self._drain_s)
            for reading in unread:
                reading.cancel()
        await self._service.drain(max(end - time.monotonic(), 0.0))

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            event = (await receive())["type"]
            if event == "lifespan.shutdown":
                await self.stop()
                if self._close is not None:
                    await self._close()
            await send({"type": f"{event}.complete"})
            if event == "lifespan.shutdown":
                return

    async def _http(self, scope: dict[str, Any], client: Client) -> None:
        try:
            reply = await self._route(scope, client)
        except DisconnectedError:
            return
        except _RefusedError as error:
            self.metrics.request("", "", error.outcome)
            reply = error_reply(error.status, str(error), error.code)
        except Exception as error:
            reply = failure_reply(error)
        if reply is not None:
            with suppress(DisconnectedError):
                await client.reply(reply)

    async def _route(self, scope: dict[str, Any], client: Client) -> Reply | None:
        """The reply, None where it is sent already."""
        path, method = scope["path"], scope["method"]
        if path in _OPERATORS:
            self._authenticate_operator(scope["headers"])
        elif path not in _OPEN:
            _authenticate(scope["headers"], self._key)
        if path == "/v1/chat/completions":
            if method != "POST":
                raise _RefusedError(405, f"{path} answers POST")
            return await self._chat(scope["headers"], client)
        page = self._pages.get(path)
        if page is None:
            raise _RefusedError(404, "no such page", "not_found")
        if method not in ("GET", "HEAD"):
            raise _RefusedError(405, f"{path} answers GET")
        return page()

    def _authenticate_operator(self, headers: Headers) -> None:
        if self._key is not None and self._operator_key is None:
            raise _RefusedError(
                403,
                "this page is the operator's, who has set no key for it",
                "operator_only",
                "unauthorised",
            )
        _authenticate(headers, self._operator_key)

    async def _chat(self, headers: Headers, client: Client) -> Reply | None:
        body = await _body(headers, client.receive)
        try:
            chat, ask = self._ask(body, headers)
            pieces = Pieces() if chat.stream else None
            asked = replace(ask, on_text=pieces.put) if pieces else ask
            run = await self._run(asked, client.receive)
        except (DisconnectedError, _RefusedError):
            raise  # counted elsewhere
        except Exception as error:
            self.metrics.request("", "", _outcome(error))
            raise
        model = chat.model or MODEL
        if pieces:
            options = chat.stream_options
            usage = bool(options and options.include_usage)
            return await self._stream(
                run, client, pieces, openai.Chunks(run.request_id, model, usage)
            )
        served = await self._finish(run, client)
        return Reply(200, openai.completion_body(served, model), (JSON, *_served_headers(served)))

    async def _stream(
        self, run: Run, client: Client, pieces: Pieces, chunks: openai.Chunks
    ) -> Reply | None:
        """The answer's text as it comes; all at once where none came before the end."""

        async def follow(gone: asyncio.Future[Any]) -> None:
            for ending in (run.task, gone):
                ending.add_done_callback(lambda _: pieces.news.set())
            while not (run.task.done() or gone.done()):
                text = pieces.take()
                if text:
                    first = b"" if client.begun else chunks.opening()
                    await client.events(_run_headers(run), first + chunks.text(text))
                else:
                    await pieces.news.wait()
                    pieces.news.clear()

        served = await self._finish(run, client, follow)
        rest = pieces.rest_of(served.outcome.text)
        if rest is None:
            _log.error("request %s: %s began another answer", run.request_id, run.strategy)
            return error_reply(500, "the answer is another one than was begun")
        last = chunks.text(rest) + chunks.closing(served)
        if not client.begun:
            return Reply(200, chunks.opening() + last, (*EVENTS, *_served_headers(served)))
        await client.end(last)
        return None

    def _ask(self, body: bytes, headers: Headers) -> tuple[openai.ChatRequest, Ask]:
        if self._stopping:
            raise _RefusedError(503, _STOPPING, outcome="stopping")
        chat = openai.read_chat(body)
        if chat.model is not None and chat.model not in self._models:
            raise _RefusedError(
                404,
                f"the model {chat.model[:80]!r} does not exist; this gateway serves "
                f"{' and '.join(map(repr, self._models))} and chooses the model itself",
                "model_not_found",
            )
        return chat, openai.ask_of(chat, _label(headers) if self._reads_label else None)

    async def _run(self, ask: Ask, receive: Receive) -> Run:
        """Begin to answer, unless the client leaves while its prompt is read: no money is held."""
        if self._embedder is None and not self._service.is_long(ask):
            return await self._start(ask, None)
        begun = asyncio.ensure_future(self._read_and_start(ask))
        gone = asyncio.ensure_future(receive())
        self._being_read.add(begun)
        try:
            await asyncio.wait((begun, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._being_read.discard(begun)
            gone.cancel()
            left = begun.cancel()
        if left:
            self.metrics.request("", "", "disconnected")
            raise DisconnectedError
        if begun.cancelled():
            raise _RefusedError(503, _STOPPING, outcome="stopping")
        return begun.result()

    async def _read_and_start(self, ask: Ask) -> Run:
        vector = None
        if self._embedder is not None:
            with self.metrics.reading.time():
                vector = await self._embedder.embed(ask.prompt_text)
        return await self._start(ask, vector)

    async def _start(self, ask: Ask, vector: Vector | None) -> Run:
        start = time.perf_counter()
        try:
            return await self._service.start(ask, vector)
        finally:
            self.metrics.decision.observe(time.perf_counter() - start)

    async def _finish(
        self,
        run: Run,
        client: Client,
        follow: Callable[[asyncio.Future[Any]], Awaitable[None]] | None = None,
    ) -> Served:
        """The answer, unless the client leaves first: then the run goes on without it.

        Args:
            run: What is answered.
            client: Who waits.
            follow: What is done until the run ends or the future that it is given, at which the
                client has left; None to wait.
        """
        gone = asyncio.ensure_future(client.receive())
        try:
            if follow is None:
                await asyncio.wait((run.task, gone), return_when=asyncio.FIRST_COMPLETED)
            else:
                with suppress(DisconnectedError):
                    await follow(gone)
        finally:
            gone.cancel()
            if not run.task.done():
                run.abandon(self._drain_s)
                self.metrics.request(run.class_name, run.strategy, "disconnected")
        if not run.task.done():
            raise DisconnectedError
        if run.task.cancelled():
            raise _RefusedError(503, _STOPPING, outcome="stopping")
        error = run.task.exception()
        if error is not None:
            _log_failure(run, error)
            rejected = isinstance(error, UpstreamRejectedError)
            self.metrics.request(run.class_name, run.strategy, "rejected" if rejected else "failed")
            raise error
        served = run.task.result()
        self.metrics.request(run.class_name, run.strategy, served.ending)
        return served

    def _ready(self) -> Reply:
        if self._stopping:
            return Reply(503, b'{"status":"stopping"}')
        return Reply(200, b'{"status":"ready"}')

    def _ledger(self) -> bytes:
        snapshot = asdict(self._service.ledger.snapshot())
        snapshot["scopes"] = {state.pop("name"): state for state in snapshot["scopes"]}
        content: bytes = _encoder.encode({"format_version": "1.0", **snapshot})
        return content


def _outcome(error: Exception) -> str:
    """What metrics count a request under that was never begun."""
    if isinstance(error, BudgetRefusedError):
        return "refused"
    return "invalid" if isinstance(error, InputError) else "failed"


def _refuse_useless_keys(api_key: str | None, operator_key: str | None) -> None:
    keys = {
        "INFERBUDGET_API_KEY": ("clients", api_key),
        "INFERBUDGET_OPERATOR_KEY": ("the operator", operator_key),
    }
    for where, (whose, key) in keys.items():
        if key is not None and not key.strip():
            raise InputError(
                f"the API key for {whose} is empty, which would let everybody in",
                where=where,
                next_step="set it to a key, or unset it to serve without one",
            )
    if api_key is not None and api_key == operator_key:
        raise InputError(
            "the operator's key is the clients' key: they could read /metrics and /ledger",
            where="INFERBUDGET_OPERATOR_KEY",
            next_step="give the operator another key, or unset it to shut both pages",
        )


def _refuse_misplaced(embedder: Embedder | None, policy: Policy) -> None:
    if (embedder is None) != (policy.classes.encoder is None):
        raise InputError(
            "an embedder reads the prompts of a policy with an encoder, and of no other",
            where="classes.encoder",
            expected="an embedder" if embedder is None else "none",
            next_step="open the encoder with runtime.embedding.open_encoder",
        )


def _bearer(key: str | None) -> bytes | None:
    return None if key is None else f"Bearer {key}".encode()


def _authenticate(headers: Headers, expected: bytes | None) -> None:
    if expected is None:
        return
    sent = _header(headers, b"authorization") or b""
    if not hmac.compare_digest(sent, expected):
        raise _RefusedError(
            401, "the API key is missing or wrong", "invalid_api_key", "unauthorised"
        )


async def _body(headers: Headers, receive: Receive) -> bytes:
    declared = _header(headers, b"content-length")
    if declared is not None and declared.isdigit() and int(declared) > openai.MAX_BODY_BYTES:
        raise _too_long()
    body = bytearray()
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise DisconnectedError
        body += event.get("body", b"")
        if len(body) > openai.MAX_BODY_BYTES:
            raise _too_long()
        if not event.get("more_body"):
            return bytes(body)


def _too_long() -> _RefusedError:
    return _RefusedError(413, f"the body is longer than {openai.MAX_BODY_BYTES} bytes")


def _header(headers: Headers, name: bytes) -> bytes | None:
    return next((value for key, value in headers if key == name), None)


def _label(headers: Headers) -> str | None:
    """The label in the header, None where there is no such header.

    An empty one is a label like any other: an edge that blanks the header decides, not the body.

    Raises:
        InputError: Several headers contradict each other.
    """
    # blanks around a value are none of it (RFC 9110, 5.5); httptools leaves those behind it
    sent = {value.strip(b" \t") for key, value in headers if key == _LABEL}
    if len(sent) > 1:
        raise InputError(
            "the headers x-inferbudget-class contradict each other", next_step="send one of them"
        )
    return sent.pop().decode("utf-8", "replace") if sent else None


def _run_headers(run: Run | Served) -> tuple[Header, ...]:
    """What is known before the answer is."""
    return (
        (_LABEL, _header_text(run.class_name)),
        (b"x-inferbudget-strategy", _header_text(run.strategy)),
        (b"x-inferbudget-rung", str(run.rung).encode()),
        (b"x-inferbudget-request-id", run.request_id.encode()),
    )


def _served_headers(served: Served) -> tuple[Header, ...]:
    return (
        *_run_headers(served),
        (b"x-inferbudget-outcome", served.ending.encode()),
        (b"x-inferbudget-cost-usd", openai.cost_text(served).encode()),
    )


def _header_text(text: str) -> bytes:
    """Names that are not plain ASCII travel percent-encoded."""
    plain = text.isascii() and text.isprintable()
    return (text if plain else quote(text)).encode()


def _log_failure(run: Run, error: BaseException) -> None:
    """Without the error's words: they can hold prompts, and line breaks that forge entries."""
    status = error.status if isinstance(error, UpstreamError) else None
    _log.warning(
        "request %s failed: %s, status %s", run.request_id, type(error).__name__, status or "none"
    )
