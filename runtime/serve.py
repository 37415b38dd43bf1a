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
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.config import LOGGING_CONFIG

from profiles.errors import InputError
from runtime.checkers import ExtractorFunction, Verifier, VerifierFunction
from runtime.client import STALLED_S
from runtime.deployment import Deployment
from runtime.embedding import TIMEOUT_S
from runtime.gateway.connection import IDLE_S, Connection
from runtime.logs import LogWriter
from runtime.operation_metrics import ConnectionCollector, SinkCollector
from runtime.settings import GatewaySettings
from runtime.sources import UPSTREAM_API_KEY, Sources, tools_for, with_upstream

if TYPE_CHECKING:
    from policies.keys import PublicKey

API_KEY = "INFERBUDGET_API_KEY"
OPERATOR_KEY = "INFERBUDGET_OPERATOR_KEY"
# After the drain only replies that are ready, and uploads that never ended, keep connections open.
_CLOSE_S = 2
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
    linger_s: float = 0.0,
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
        linger_s: Seconds after SIGTERM that new requests are served as before, while ``/ready``
            says 503: load balancers send them until they have seen that. A second signal ends them.
        drain_s: Seconds that running calls get when a client leaves, or after that.
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
    settings = with_upstream(settings, upstream, timeout_s=timeout_s)
    deployment = Deployment(
        Sources(
            policy_path,
            settings,
            tools_for(settings, verifiers, extract),
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
        # uvicorn's lines are written as ours are
        log_config=None if settings.logs == "json" else LOGGING_CONFIG,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=_CLOSE_S,
        timeout_keep_alive=IDLE_S,
        http=Connection,
        ws="none",
        proxy_headers=False,  # nobody here asks where a request came from
    )
    logs = _log_writer(settings)
    metrics = deployment.gateway.metrics
    metrics.collect(ConnectionCollector(Connection.refused))
    if logs is not None:
        metrics.collect(SinkCollector(log_lines_lost=lambda: logs.lost))
    with listener, _clean_stop(), logs or nullcontext():
        _Server(config, deployment, ready, linger_s).run(sockets=[listener])


def _log_writer(settings: GatewaySettings) -> LogWriter | None:
    """For JSON lines, where they are asked for."""
    if settings.logs == "text":
        return None
    secrets = (os.environ.get(name) for name in (API_KEY, OPERATOR_KEY, UPSTREAM_API_KEY))
    return LogWriter(secrets=[secret for secret in secrets if secret])


class _Server(uvicorn.Server):
    """Says on stdout when it is ready; lingers and drains before it closes."""

    def __init__(
        self,
        config: uvicorn.Config,
        deployment: Deployment,
        ready: Mapping[str, str],
        linger_s: float,
    ) -> None:
        super().__init__(config)
        self._deployment = deployment
        self._line = json.dumps(ready)
        self._linger_s = linger_s
        self._lingering: asyncio.Future[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit:  # uvicorn's, which knows no more than that it failed; older ones return
            if self._deployment.gateway.failed is None:
                raise
        if self._deployment.gateway.failed is not None:
            raise self._deployment.gateway.failed from None
        if hasattr(signal, "SIGHUP") and threading.current_thread() is threading.main_thread():
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGHUP, self._deployment.reload_soon)
        if self.started:
            _spare_the_collector()
            print(self._line, flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop while connections are still served, so that every client gets a proper reply."""
        if self._linger_s:
            await self._linger()
        await self._deployment.gateway.stop()
        await super().shutdown(sockets)

    async def _linger(self) -> None:
        """Serve on until balancers have seen that this gateway is not ready."""
        self._deployment.gateway.leave()
        # Who keeps a connection would send the next request here, however well others know better.
        self.server_state.default_headers += [(b"connection", b"close")]
        self._lingering = asyncio.get_running_loop().create_future()
        await asyncio.wait((self._lingering,), timeout=self._linger_s)
        self._lingering = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop at a signal; a second one ends the lingering."""
        if self._lingering is None:
            super().handle_exit(sig, frame)
        else:
            self._lingering.get_loop().call_soon_threadsafe(self._lingering.cancel)


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
