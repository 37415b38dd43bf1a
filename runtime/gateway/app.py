"""The OpenAI-compatible gateway: a raw ASGI application around a `Service`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import TYPE_CHECKING, Any, Self, TypeVar

import msgspec

from profiles.errors import InputError
from runtime import openai
from runtime.client import Client, DisconnectedError, Receive, Reply, Send, departure_of
from runtime.embedding import Embedder
from runtime.embeddings import EmbeddingService
from runtime.gateway.access import Access
from runtime.gateway.flow import Flow, Inquiry
from runtime.gateway.headers import Headers
from runtime.gateway.ledger_page import ledger_parts
from runtime.gateway.refused import RefusedError, not_allowed
from runtime.gateway.witness import Arrival, Witness
from runtime.metrics import CONTENT_TYPE, Metrics
from runtime.operation_metrics import KeyCollector
from runtime.recording.recorder import Recorder
from runtime.refusals import failure_reply
from runtime.service import Service
from runtime.shadow import Shadow
from runtime.tenants.identity import Identity
from runtime.tenants.tenants import Tenants
from runtime.turns import in_turns, snapshot_in_turns

if TYPE_CHECKING:
    from runtime.tracing import Tracing

_encoder = msgspec.json.Encoder()
_MODELS = "/v1/models"
EMBEDDINGS = "/v1/embeddings"
_DRY_RUN = "/dry-run"
_Admitted = TypeVar("_Admitted")
_log = logging.getLogger(__name__)


class Gateway:
    """ASGI application, served by itself or within another one.

    Served by itself its server's lifespan opens and closes it. An application that mounts it does
    so within its own: ``async with gateway``. Its paths begin below the prefix of the mount.

    Args:
        service: Answers the requests.
        api_key: Bearer token that clients must send, None to let everybody in. Only ``/health`` and
            ``/ready`` never ask for it.
        operator_key: Bearer token for ``/metrics`` and ``/ledger``, which no client's key opens.
            None shuts these pages where clients need a key, and opens them where not.
        tenants: Clients' virtual keys and what they may do, in place of the one key.
        embeddings: Answers requests for embeddings; None refuses them.
        embedder: Reads the prompts, for a policy that names an encoder, and for no other.
        shadow: Decides every request too; None where no other policy is tried.
        recorder: Keeps every request; None keeps nothing.
        tracing: Makes spans; None makes none.
        replica: Name of this process in what is recorded.
        drain_s: Seconds that calls in flight may take to end when a client leaves or the gateway
            stops; what may have been sent by then is charged at its bound.
        takes_models: Clients may name a model of the policy too; the policy chooses all the same.
        unready: What is missing so that requests can be answered; nothing where it is all there.
        around: Is entered before the first request and left after the last one.

    Attributes:
        metrics: What Prometheus reads.
        embedder: Reads prompts of new requests; None where the policy names no encoder.
        failed: Why the gateway could not start, None where it could.

    Raises:
        InputError: A key is empty, which nobody can mean, or both keys are the same; an embedder is
            missing or one too many.
    """

    def __init__(
        self,
        service: Service,
        *,
        api_key: str | None = None,
        operator_key: str | None = None,
        tenants: Tenants | None = None,
        embedder: Embedder | None = None,
        embeddings: EmbeddingService | None = None,
        shadow: Shadow | None = None,
        recorder: Recorder | None = None,
        tracing: Tracing | None = None,
        replica: str = "",
        drain_s: float = 30.0,
        takes_models: bool = False,
        unready: Callable[[], Sequence[str]] = tuple,
        around: AbstractAsyncContextManager[object] | None = None,
    ) -> None:
        policy = service.policy
        self._access = Access(api_key, operator_key, tenants)
        self._around = around
        self._unready = unready
        self.failed: Exception | None = None
        self._opened = around is None
        self._leaving = False
        self._stopping = False
        self.metrics = Metrics(
            service.ledger,
            service.tools,
            digest=policy.digest,
            provider=service.decider.provider,
            embedder=(lambda: self.embedder) if embedder else None,
        )
        if tenants is not None:
            self.metrics.collect(KeyCollector(self._access.refused))
        self.embedder = embedder
        self._drain_s = drain_s
        self._takes_models = takes_models
        self._shadow = shadow
        self._recorder = recorder
        self._tracing = tracing
        self._replica = replica
        self._flow = self._flow_of(service, embedder, embeddings)
        self._former: list[Flow] = []
        self._open_pages = {
            "/health": lambda: Reply(200, b'{"status":"ok"}'),
            "/ready": self._ready,
        }
        self._operators_pages: dict[str, Callable[[], Awaitable[Reply]]] = {
            "/ledger": self._ledger,
            "/metrics": self._metrics,
        }

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, Client(receive, send, departure_of(scope)))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})

    async def __aenter__(self) -> Self:
        """Enter what is around it, and answer from now on.

        Raises:
            InputError: It was closed before.
            StoreError: The store of the budgets cannot be reached.
        """
        if self._stopping:
            raise InputError("this gateway was closed", next_step="make another one")
        if self._around is not None:
            await self._around.__aenter__()
        self._opened = True
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let running requests end, as of `stop`, and leave what is around it."""
        try:
            await self.stop()
        finally:  # who cancels this has no more patience, and wants its leases back all the same
            if self._around is not None:
                await self._around.__aexit__(None, None, None)

    @property
    def service(self) -> Service:
        """Answers new requests."""
        return self._flow.service

    @property
    def answers_former(self) -> bool:
        """Whether requests go on that came before the last `replace`."""
        return any(flow.is_busy for flow in self._former)

    def leave(self) -> None:
        """Say that this gateway is not ready any more, and answer requests as before."""
        self._leaving = True

    async def stop(self) -> None:
        """Begin no request any more; let running ones end, and give up those that take too long.

        Requests keep being answered: the given up and the new ones by an error.
        """
        self._stopping = True
        await asyncio.gather(*(flow.stop() for flow in (*self._former, self._flow)))

    def replace(
        self,
        service: Service,
        tenants: Tenants | None,
        embedder: Embedder | None = None,
        embeddings: EmbeddingService | None = None,
    ) -> None:
        """Answer by another policy and for other tenants from now on.

        Requests that have begun end under what they began with. One that stops stays as it is.

        Raises:
            InputError: An embedder is missing or one too many.
        """
        if self._stopping:
            return
        flow = self._flow_of(service, embedder, embeddings)
        self._former = [former for former in (*self._former, self._flow) if former.is_busy]
        self._flow = flow
        self.embedder = embedder
        self._access.tenants = tenants
        self.metrics.policy(service.policy.digest, service.decider.provider)

    def _flow_of(
        self,
        service: Service,
        embedder: Embedder | None,
        embeddings: EmbeddingService | None,
    ) -> Flow:
        witness = Witness(self.metrics, service.policy, self._replica, self._recorder, self._shadow)
        return Flow(
            service,
            witness,
            embedder,
            embeddings,
            drain_s=self._drain_s,
            takes_models=self._takes_models,
        )

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while (await receive())["type"] == "lifespan.startup":
            try:
                await self.__aenter__()
            except Exception as error:
                self.failed = error
                await send({"type": "lifespan.startup.failed", "message": type(error).__name__})
                return
            await send({"type": "lifespan.startup.complete"})
        await self.__aexit__()
        await send({"type": "lifespan.shutdown.complete"})

    async def _http(self, scope: dict[str, Any], client: Client) -> None:
        try:
            reply = await self._route(path_in(scope), scope["method"], scope["headers"], client)
        except DisconnectedError:
            return
        except RefusedError as error:
            reply = error.reply
        except Exception as error:
            reply = failure_reply(error)
        if reply is not None:
            with suppress(DisconnectedError):
                await client.reply(reply)

    async def _route(
        self, path: str, method: str, headers: Headers, client: Client
    ) -> Reply | None:
        """The reply, None where it is sent already."""
        if path in self._open_pages:
            _require(path, method, "GET")
            return self._open_pages[path]()
        if path in self._operators_pages:
            self._admitted(self._access.operator, headers)
            _require(path, method, "GET")
            return await self._operators_pages[path]()
        if not self._opened:
            _log.error("nobody opened this gateway: enter it in the lifespan of its application")
            raise RefusedError(503, "the gateway is not open", outcome="stopping")
        if path == _DRY_RUN:
            self._admitted(self._access.operator, headers)
            _require(path, method, "POST")
            return await self._flow.dry_run(headers, client)
        identity = self._admitted(self._access.client, headers)
        api = openai.APIS.get(path)
        if api is not None:
            _require(path, method, "POST")
            return await self._answer(api, path, headers, client, identity)
        if path == EMBEDDINGS:
            _require(path, method, "POST")
            return await self._flow.embed(headers, client, identity)
        if path == _MODELS or path.startswith(_MODELS + "/"):
            _require(path, method, "GET")
            return self._models(path.removeprefix(_MODELS).lstrip("/"))
        raise RefusedError(404, "no such page", "not_found")

    def _admitted(self, admit: Callable[[Headers], _Admitted], headers: Headers) -> _Admitted:
        try:
            return admit(headers)
        except RefusedError as error:
            self.metrics.request("", "", error.outcome)
            raise
        except InputError:  # its tags
            self.metrics.request("", "", "invalid")
            raise

    async def _answer(
        self,
        api: openai.Api[Any],
        path: str,
        headers: Headers,
        client: Client,
        identity: Identity | None,
    ) -> Reply | None:
        span = self._tracing.request("POST", path, headers) if self._tracing else None
        inquiry = Inquiry(headers, client, identity, Arrival.now(span))
        return await self._flow.answer(api, inquiry)

    def _models(self, name: str) -> Reply:
        models = self._flow.models
        if not name:
            return Reply(200, openai.models_body(models))
        if name not in models:
            raise RefusedError(404, "no such model", "model_not_found")
        return Reply(200, openai.model_body(name))

    def _ready(self) -> Reply:
        stopping = self._leaving or self._stopping
        if stopping or not self._opened:
            return Reply(503, b'{"status":"%b"}' % (b"stopping" if stopping else b"closed"))
        missing = self._unready()
        if missing:
            return Reply(503, _encoder.encode({"status": "unready", "missing": missing}))
        return Reply(200, b'{"status":"ready"}')

    async def _metrics(self) -> Reply:
        return Reply(200, await self.metrics.page(), ((b"content-type", CONTENT_TYPE.encode()),))

    async def _ledger(self) -> Reply:
        snapshot = await snapshot_in_turns(self._flow.service.ledger, passing=True)
        return Reply(200, await in_turns(ledger_parts(snapshot)))


def path_in(scope: Mapping[str, Any]) -> str:
    """The path of a request below the prefix that the application is mounted at."""
    path, prefix = str(scope["path"]), scope.get("root_path", "")
    return path.removeprefix(prefix) if prefix and path.startswith(f"{prefix}/") else path


def _require(path: str, method: str, wanted: str) -> None:
    if method != wanted and not (wanted == "GET" and method == "HEAD"):
        raise not_allowed(path, wanted)
