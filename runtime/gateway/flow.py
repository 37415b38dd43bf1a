"""One request over HTTP: read, begun, followed to its end, and given up where its client leaves."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import msgspec
from msgspec.structs import replace

from profiles.errors import InputError, UpstreamError
from runtime import openai
from runtime.client import EVENTS, JSON, Client, DisconnectedError, Pieces, Receive, Reply, first_of
from runtime.decision import Vector
from runtime.dry_run import dry_run
from runtime.embedding import Embedder
from runtime.embeddings import Embedded, EmbeddingService
from runtime.gateway.headers import (
    Headers,
    header,
    label,
    run_headers,
    served_headers,
)
from runtime.gateway.refused import (
    RefusedError,
    after_charge,
    given_up,
    outcome_of,
    reply_to,
    stopping,
)
from runtime.gateway.witness import Arrival, Witness
from runtime.recording.record import Ending
from runtime.service import Ask, Run, Served, Service, on_behalf
from runtime.tenants.identity import Identity
from runtime.tenants.request_limits import RequestLimits
from runtime.upstreams import models_of

MODEL = "inferbudget"
_encoder = msgspec.json.Encoder()
_log = logging.getLogger(__name__)


class Inquiry(msgspec.Struct, frozen=True):
    """One HTTP request whose sender may come in.

    Attributes:
        headers: Of the request.
        client: Who asks.
        identity: His key's; None where clients are not told apart.
        arrival: When it came.
    """

    headers: Headers
    client: Client
    identity: Identity | None
    arrival: Arrival


class Flow:
    """Answers requests by one policy.

    Args:
        service: Answers them.
        witness: Sees them end.
        embedder: Reads the prompts, for a policy that names an encoder, and for no other.
        embeddings: Answers requests for embeddings; None refuses them.
        drain_s: Seconds that calls in flight may take to end when a client leaves.
        takes_models: Clients may name a model of the policy too.

    Attributes:
        service: Answers the requests.
        models: Names of models that clients may ask for.

    Raises:
        InputError: An embedder is missing or one too many.
    """

    def __init__(
        self,
        service: Service,
        witness: Witness,
        embedder: Embedder | None,
        embeddings: EmbeddingService | None,
        *,
        drain_s: float,
        takes_models: bool = False,
    ) -> None:
        _refuse_misplaced(embedder, service)
        self.service = service
        named = models_of(service.policy) if takes_models else ()
        self._own_models = tuple(dict.fromkeys((MODEL, service.policy.workload, *named)))
        self.models = (*self._own_models, *(embeddings.models if embeddings else ()))
        self._embeddings = embeddings
        self._witness = witness
        self._metrics = witness.metrics
        self._embedder = embedder
        self._drain_s = drain_s
        self._stopping = False
        self._being_read: set[asyncio.Future[Run]] = set()
        self._embedding: set[asyncio.Future[Embedded]] = set()
        self._arriving = 0  # requests whose body has not come yet
        self._dry_runs = 0
        self._reads_label = "label" in service.policy.classes.inputs

    async def stop(self) -> None:
        """Begin nothing any more; let running requests end, and give up those that take too long.

        Requests keep being answered: the given up and the new ones by an error.
        """
        self._stopping = True
        end = time.monotonic() + self._drain_s
        unfinished = self._being_read | self._embedding
        if unfinished:
            _, late = await asyncio.wait(unfinished, timeout=self._drain_s)
            for each in late:
                each.cancel()
            if late:
                await asyncio.wait(late)
        await self.service.drain(max(end - time.monotonic(), 0.0))

    @property
    def is_busy(self) -> bool:
        """Whether a request that came to it goes on."""
        own = self._arriving or self._dry_runs or self._being_read or self._embedding
        return bool(own) or self.service.is_busy

    async def dry_run(self, headers: Headers, client: Client) -> Reply:
        """What would become of a chat that is asked for, as JSON; nobody is called."""
        self._dry_runs += 1
        try:
            return await self._dry_run(headers, client)
        finally:
            self._dry_runs -= 1

    async def _dry_run(self, headers: Headers, client: Client) -> Reply:
        api = openai.APIS["/v1/chat/completions"]
        asked = api.read(await read_body(headers, client.receive, None))
        ask = self._ask(api, asked, headers, None)
        vector = await self._embedder.embed(ask.prompt_text) if self._embedder else None
        found = await dry_run(self.service, ask, vector)
        return Reply(200, _encoder.encode({"format_version": "1.0", **asdict(found)}))

    async def embed(self, headers: Headers, client: Client, identity: Identity | None) -> Reply:
        """The embeddings that a body asks for, untouched."""
        if self._stopping:
            raise stopping()
        outcome: Ending = "answered"
        try:
            asked = openai.read_embedding(await self._body(headers, client, identity))
            if self._stopping:
                raise stopping()
            if self._embeddings is None or asked.model not in self._embeddings.models:
                raise RefusedError(404, "no such model for embeddings", "model_not_found")
            behalf = identity.of_user(asked.user) if identity and asked.user else identity
            found = await self._embedded(self._embeddings.answer(asked, behalf))
        except DisconnectedError:
            outcome = "disconnected"
            raise
        except Exception as error:
            outcome = outcome_of(error)
            raise
        finally:
            self._metrics.request("", "embeddings", outcome)
        return Reply(
            200,
            found.content,
            (
                JSON,
                (b"x-inferbudget-request-id", found.request_id.encode()),
                (b"x-inferbudget-cost-usd", openai.nano_usd_text(found.cost_nano_usd).encode()),
            ),
        )

    async def answer(self, api: openai.Api[Any], inquiry: Inquiry) -> Reply | None:
        """The reply, None where it is sent already.

        Args:
            api: Whose words the body has.
            inquiry: The HTTP request.
        """
        client, arrival = inquiry.client, inquiry.arrival
        ask = None
        try:
            body = await self._body(inquiry.headers, client, inquiry.identity)
            asked = api.read(body)
            pieces = Pieces() if asked.stream else None
            on_text = pieces.put if pieces else None
            ask = self._ask(api, asked, inquiry.headers, inquiry.identity, on_text)
            run = await self._run(ask, client)
        except DisconnectedError:
            self._witness.not_begun(arrival, "disconnected", None, ask)
            raise
        except Exception as error:
            self._witness.not_begun(arrival, outcome_of(error), error, ask)
            raise
        self._witness.begun(arrival, run, ask)
        model = asked.model or MODEL
        if pieces:
            return await self._stream(run, client, pieces, api.events(asked, run.request_id, model))
        served = await self._finish(run, client)
        return Reply(200, api.body(asked, served, model), (JSON, *served_headers(served)))

    async def _body(self, headers: Headers, client: Client, identity: Identity | None) -> bytes:
        self._arriving += 1
        try:
            return await read_body(headers, client.receive, identity)
        finally:
            self._arriving -= 1

    async def _embedded(self, answer: Coroutine[Any, Any, Embedded]) -> Embedded:
        """The answer, unless the stopping gateway gives it up."""
        task = asyncio.ensure_future(answer)
        self._embedding.add(task)
        task.add_done_callback(self._embedding.discard)
        try:
            await asyncio.wait((task,))
        finally:
            task.cancel()
        if task.cancelled():
            raise given_up(charged=True)  # or not, if it had no money yet: nobody is told that
        return task.result()

    def _ask(
        self,
        api: openai.Api[Any],
        asked: openai.Asked,
        headers: Headers,
        identity: Identity | None,
        on_text: Callable[[str], None] | None = None,
    ) -> Ask:
        if self._stopping:
            raise stopping()
        if asked.model is not None and asked.model not in self._own_models:
            raise RefusedError(
                404,
                f"the model {asked.model[:80]!r} does not exist; this gateway serves "
                f"{' and '.join(map(repr, self._own_models))} and chooses the model itself",
                "model_not_found",
            )
        form = api.form(asked)
        ask = api.ask(asked, label(headers) if self._reads_label else None)
        whole = replace(ask, form=form, on_text=on_text)
        return on_behalf(whole, identity, openai.user_of(asked))

    async def _stream(
        self, run: Run, client: Client, pieces: Pieces, events: openai.Events
    ) -> Reply | None:
        """The answer's text as it comes; all at once where none came before the end."""

        async def follow(gone: asyncio.Future[Any]) -> None:
            for ending in (run.task, gone):
                ending.add_done_callback(lambda _: pieces.news.set())
            while not (run.task.done() or gone.done()):
                text = pieces.take()
                if text:
                    first = b"" if client.begun else events.opening()
                    await client.events(run_headers(run), first + events.text(text))
                else:
                    await pieces.news.wait()
                    pieces.news.clear()

        try:
            served = await self._finish(run, client, follow)
            rest = pieces.rest_of(served.outcome.text)
            if rest is None:
                _log.error("request %s: %s began another answer", run.request_id, run.strategy)
                raise RefusedError(500, "the answer is another one than was begun")
        except DisconnectedError:
            raise
        except Exception as error:
            if not client.begun:
                raise
            await client.end(events.failure(reply_to(error).body))
            return None
        first = b"" if client.begun else events.opening()  # they are numbered as they are made
        last = first + events.text(rest) + events.closing(served)
        if not client.begun:
            return Reply(200, last, (*EVENTS, *served_headers(served)))
        await client.end(last)
        return None

    async def _run(self, ask: Ask, client: Client) -> Run:
        """Begin to answer, unless the client leaves while its prompt is read: no money is held."""
        if self._embedder is None and not self.service.is_long(ask):
            return await self._start(ask, None)
        begun = asyncio.ensure_future(self._read_and_start(ask))
        gone = client.gone()
        self._being_read.add(begun)
        try:
            await asyncio.wait((begun, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._being_read.discard(begun)
            gone.cancel()
            left = begun.cancel()
        if left:
            raise DisconnectedError
        if begun.cancelled():
            raise stopping()
        return begun.result()

    async def _read_and_start(self, ask: Ask) -> Run:
        vector = None
        if self._embedder is not None:
            with self._metrics.reading.time():
                vector = await self._embedder.embed(ask.prompt_text)
        return await self._start(ask, vector)

    async def _start(self, ask: Ask, vector: Vector | None) -> Run:
        start = time.perf_counter()
        try:
            return await self.service.start(ask, vector)
        finally:
            self._metrics.decision.observe(time.perf_counter() - start)

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
        gone = client.gone()
        try:
            if follow is None:
                await first_of(run.task, gone)
            else:
                with suppress(DisconnectedError):
                    await follow(gone)
        finally:
            gone.cancel()
            if not run.task.done():
                run.abandon(self._drain_s)
                self._witness.left(run)
        if not run.task.done():
            raise DisconnectedError
        charged = run.charged_nano_usd > 0
        if run.task.cancelled():
            raise given_up(charged=charged)
        error = run.task.exception()
        if error is not None:
            _log_failure(run, error)
            raise after_charge(error) if charged and isinstance(error, Exception) else error
        return run.task.result()


def _refuse_misplaced(embedder: Embedder | None, service: Service) -> None:
    if (embedder is None) != (service.policy.classes.encoder is None):
        raise InputError(
            "an embedder reads the prompts of a policy with an encoder, and of no other",
            where="classes.encoder",
            expected="an embedder" if embedder is None else "none",
            next_step="open the encoder with runtime.embedding.open_encoder",
        )


async def read_body(headers: Headers, receive: Receive, identity: Identity | None) -> bytes:
    """The body, refused as soon as it is too long.

    Raises:
        RefusedError: Longer than any body may be.
        RequestLimitError: Larger or deeper than the key may send.
        DisconnectedError: The client left.
    """
    limits = identity.limits if identity else None
    declared = header(headers, b"content-length")
    if declared is not None and declared.isdigit():
        # more digits than any body has bytes may be more than Python reads as a number
        _refuse_size(int(declared.lstrip(b"0")[:18] or b"0"), limits)
    body = bytearray()
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise DisconnectedError
        body += event.get("body", b"")
        _refuse_size(len(body), limits)
        if not event.get("more_body"):
            break
    content = bytes(body)
    if limits is not None:
        limits.refuse_depth(content)
    return content


def _refuse_size(size: int, limits: RequestLimits | None) -> None:
    if size > openai.MAX_BODY_BYTES:
        raise RefusedError(413, f"the body is longer than {openai.MAX_BODY_BYTES} bytes")
    if limits is not None:
        limits.refuse_size(size)


def _log_failure(run: Run, error: BaseException) -> None:
    """Without the error's words: they can hold prompts, and line breaks that forge entries."""
    status = error.status if isinstance(error, UpstreamError) else None
    _log.warning(
        "request %s failed: %s, status %s", run.request_id, type(error).__name__, status or "none"
    )
