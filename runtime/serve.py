"""Serve a policy: the gateway as a process."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from profiles.errors import InputError
from profiles.methods.counting import ANSWERS_PER_CALL
from runtime.checkers import (
    Extractor,
    ExtractorFunction,
    Verifier,
    VerifierFunction,
    as_verifiers,
    final_answer,
)
from runtime.client import DEPARTURE, STALLED_S
from runtime.deployment import Deployment, Sources
from runtime.embedding import TIMEOUT_S
from runtime.logs import LogWriter
from runtime.settings import GatewaySettings
from runtime.strategies import Tools
from runtime.upstream_address import chat_endpoint, checked_timeout_s
from runtime.upstreams.settings import UpstreamSettings

if TYPE_CHECKING:
    from policies.keys import PublicKey

API_KEY = "INFERBUDGET_API_KEY"
OPERATOR_KEY = "INFERBUDGET_OPERATOR_KEY"
UPSTREAM_API_KEY = "INFERBUDGET_UPSTREAM_API_KEY"
_MAX_HEAD_BYTES = 64 * 1024
# After the drain only replies that are ready, and uploads that never ended, keep connections open.
_CLOSE_S = 2
# Longer than clients and load balancers keep idle connections (mostly 5 to 60 s): where the server
# closes first, a request on its way finds a closed door, and its client cannot know whether it ran.
_IDLE_S = 75
# Requests leave few cycles behind; Python's own number, 700, looks for them every few requests.
_YOUNG_OBJECTS = 10_000


def serve(
    policy_path: Path,
    *,
    upstream: str | None = None,
    settings: GatewaySettings | None = None,
    host: str = "127.0.0.1",
    port: int = 8080,
    verifiers: Mapping[str, Verifier | VerifierFunction] | None = None,
    extract: ExtractorFunction | None = None,
    timeout_s: float = 120.0,
    drain_s: float = 30.0,
    encoder: Path | None = None,
    encoder_timeout_s: float = TIMEOUT_S,
    require_gpu: bool = False,
    trusted: Sequence[PublicKey] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then let running requests end.

    One JSON line on stdout says when the gateway is ready, and where. Three API keys come from the
    environment: ``INFERBUDGET_API_KEY`` is what clients must send where there are no tenants,
    ``INFERBUDGET_OPERATOR_KEY`` opens ``/metrics``, ``/ledger`` and ``/dry-run``,
    ``INFERBUDGET_UPSTREAM_API_KEY`` is what the one upstream gets. SIGHUP reads policy and tenants
    again.

    Args:
        policy_path: The policy; its graph lies beside it.
        upstream: Base URL of the one OpenAI-compatible server, e.g. ``http://localhost:8000/v1``;
            None where the settings list upstreams.
        settings: Of gateway.yaml.
        host: Address to listen on.
        port: Port to listen on, 0 for any free one.
        verifiers: Functions (prompt, answer) -> 0..1 by the names that strategies use.
        extract: Finds the final answer in a text; marked answers or the last line where absent.
        timeout_s: Seconds until a call to the one upstream is given up and charged at its bound.
        drain_s: Seconds that running calls get when a client leaves or the gateway stops.
        encoder: Folder of the encoder that the policy names.
        encoder_timeout_s: Seconds until a prompt that the encoder has not read gets the last class.
        require_gpu: Refuse to start where the encoder would not run on a GPU; without an encoder,
            where the decision graph would not.
        trusted: Keys of which one must have signed the policy; None asks for no signature.

    Raises:
        RefusedPolicyError: The policy was touched, or is not signed by a trusted key.
        InputError: Encoder, strategy, verifier, upstream, key, settings or tenants cannot be used,
            or the address is taken.
        UnknownValueError: A model without a price, a strategy without a cap on its tokens, or a
            budget without a limit.
        StoreError: The store of the budgets cannot be reached.
    """
    settings = _with_upstreams(settings, upstream, timeout_s)
    several = all(each.several_answers for each in settings.upstreams or ())
    tools = Tools(
        as_verifiers(verifiers or {}),
        Extractor(extract or final_answer),
        ANSWERS_PER_CALL if several else 1,
    )
    deployment = Deployment(
        Sources(
            policy_path,
            settings,
            tools,
            trusted=trusted,
            encoder=encoder,
            encoder_timeout_s=encoder_timeout_s,
            require_gpu=require_gpu,
            drain_s=drain_s,
        ),
        api_key=os.environ.get(API_KEY),
        operator_key=os.environ.get(OPERATOR_KEY),
    )
    listener = _listen(host, port)
    ready = {
        "url": _url(listener),
        "policy": deployment.gateway.service.policy.digest,
        **deployment.providers,
    }
    config = uvicorn.Config(
        deployment.gateway,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=_CLOSE_S,
        timeout_keep_alive=_IDLE_S,
        http=_Protocol,
        ws="none",
        proxy_headers=False,  # nobody here asks where a request came from
    )
    with listener, _clean_stop(), _logging(settings):
        _Server(config, deployment, ready).run(sockets=[listener])


def _with_upstreams(
    settings: GatewaySettings | None, upstream: str | None, timeout_s: float
) -> GatewaySettings:
    """The settings, with the one upstream that was named."""
    found = GatewaySettings(format_version="1.0") if settings is None else settings
    if (upstream is None) == (found.upstreams is None):
        raise InputError(
            "it is not clear where calls go",
            where="upstreams",
            expected="an upstream, or upstreams in the settings",
            got="neither" if upstream is None else "both",
        )
    if upstream is None:
        return found
    key = UPSTREAM_API_KEY if os.environ.get(UPSTREAM_API_KEY) else None
    chat_endpoint(upstream)  # its error names no file
    one = UpstreamSettings(
        name="upstream", url=upstream, api_key_env=key, timeout_s=checked_timeout_s(timeout_s)
    )
    return found.model_copy(update={"upstreams": (one,)})


def _logging(settings: GatewaySettings) -> AbstractContextManager[object]:
    """As JSON lines, where that is asked for."""
    if settings.logs == "text":
        return nullcontext()
    secrets = (os.environ.get(name) for name in (API_KEY, OPERATOR_KEY, UPSTREAM_API_KEY))
    return LogWriter(secrets=[secret for secret in secrets if secret])


class _Protocol(HttpToolsProtocol):
    """Closes connections whose headers never end, which nobody has authenticated yet.

    Counts the bytes since the parser last got somewhere, so trailers are bounded as well. Tells the
    gateway when a client leaves.
    """

    _unread = 0
    _watched: tuple[asyncio.Future[None], ...] = ()

    def departure(self) -> asyncio.Future[None]:
        """Done when the connection is lost."""
        found: asyncio.Future[None] = self.loop.create_future()
        if self.transport.is_closing():
            found.set_result(None)
        still = (one for one in self._watched if not one.done())  # several where requests queue up
        self._watched = (*still, found)
        return found

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        for one in self._watched:
            if not one.done():
                one.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._unread += len(data)
        super().data_received(data)
        if self._unread > _MAX_HEAD_BYTES:
            self.transport.close()

    def on_headers_complete(self) -> None:
        self._unread = 0
        self.scope["extensions"] = {DEPARTURE: {"watch": self.departure}}
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unread = 0
        super().on_message_complete()


class _Server(uvicorn.Server):
    """Says on stdout when it is ready, and drains before it closes."""

    def __init__(
        self, config: uvicorn.Config, deployment: Deployment, ready: Mapping[str, str]
    ) -> None:
        super().__init__(config)
        self._deployment = deployment
        self._line = json.dumps(ready)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit:  # uvicorn's, which knows no more than that it failed
            failed = self._deployment.gateway.failed
            if failed is None:
                raise
            raise failed from None
        if hasattr(signal, "SIGHUP") and threading.current_thread() is threading.main_thread():
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGHUP, self._deployment.reload_soon)
        if self.started:
            _spare_the_collector()
            print(self._line, flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop while connections are still served, so that every client gets a proper reply."""
        await self._deployment.gateway.stop()
        await super().shutdown(sockets)


def _spare_the_collector() -> None:
    """What is here now stays to the end, so cycles are looked for among requests only.

    A collection that walks all modules stops the event loop for tens of milliseconds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)


@contextmanager
def _clean_stop() -> Iterator[None]:
    """Let a stop by signal end like any other: uvicorn raises the signal again when it is done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in before:
        signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Connections inherit it. Else one whose client takes nothing lives, with its unsent bytes, for
    # as long as that client likes: a closed connection is flushed before it ends.
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * STALLED_S))
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise InputError(
            "cannot listen on this address", where=f"{host}:{port}", got=str(error)
        ) from error
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
