"""The gateway within another ASGI application: below a prefix, or in front of its own API."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from profiles.errors import InputError
from runtime import openai
from runtime.checkers import ExtractorFunction, Verifier, VerifierFunction
from runtime.client import Receive, Send
from runtime.deployment import Deployment
from runtime.embedding import TIMEOUT_S
from runtime.gateway import EMBEDDINGS, Gateway
from runtime.in_process import ARRIVED, Application, InProcess
from runtime.settings import GatewaySettings, read_settings
from runtime.sources import Sources, tools_for, with_upstream

if TYPE_CHECKING:
    from policies.keys import PublicKey

Settings = str | Path | GatewaySettings | None
_STARTUP, _SHUTDOWN = "lifespan.startup", "lifespan.shutdown"
_STARTED, _NOT_STARTED = "lifespan.startup.complete", "lifespan.startup.failed"


def open_gateway(
    policy: str | Path,
    upstream: str | None = None,
    *,
    settings: Settings = None,
    api_key: str | None = None,
    operator_key: str | None = None,
    verifiers: Mapping[str, Verifier | VerifierFunction] | None = None,
    extract: ExtractorFunction | None = None,
    timeout_s: float = 120.0,
    drain_s: float = 30.0,
    encoder: str | Path | None = None,
    encoder_timeout_s: float = TIMEOUT_S,
    trusted: Sequence[PublicKey] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Gateway:
    """A gateway as an ASGI application, with everything that `inferbudget serve` puts around it.

    Mount it wherever you like, and enter it in your application's lifespan; until then it refuses
    every request. Its policy and tenants are read again when their files change.

    Args:
        policy: The policy's file; its graph lies beside it.
        upstream: Address of the one OpenAI-compatible server; None where the settings list several.
        settings: gateway.yaml, or what was read of it.
        api_key: Bearer token that clients must send; None to let everybody in whom your application
            lets in.
        operator_key: Bearer token for ``/metrics``, ``/ledger`` and ``/dry-run``; None opens them
            where clients need no key, and shuts them where they do.
        verifiers: Functions (prompt, answer) -> 0..1 by the names that strategies use.
        extract: Finds the final answer in a text; marked answers or the last line where absent.
        timeout_s: Seconds until a call to the one upstream is given up and charged at its bound.
        drain_s: Seconds that running calls get when a client leaves or the gateway is closed.
        encoder: Folder of the encoder that the policy names.
        encoder_timeout_s: Seconds until a prompt that the encoder has not read gets the last class.
        trusted: Keys of which one must have signed the policy; None asks for no signature.
        environ: Where the upstreams' keys are; the environment where absent.

    Raises:
        RefusedPolicyError: The policy was touched, or is not signed by a trusted key.
        InputError: Something of it cannot be used.
        UnknownValueError: A model without a price or rate, a strategy without a cap on its tokens,
            or a budget without a limit.
    """
    where = os.environ if environ is None else environ
    found = with_upstream(_read(settings), upstream, timeout_s=timeout_s, environ=where)
    sources = Sources(
        Path(policy),
        found,
        tools_for(found, verifiers, extract),
        trusted=trusted,
        encoder=None if encoder is None else Path(encoder),
        encoder_timeout_s=encoder_timeout_s,
        drain_s=drain_s,
        environ=dict(where),
    )
    return Deployment(sources, api_key=api_key, operator_key=operator_key).gateway


class BudgetMiddleware:
    """ASGI middleware: a gateway in front of an application that answers chat completions itself.

    A ``POST`` to ``/v1/chat/completions``, ``/v1/completions`` or ``/v1/responses`` (and to
    ``/v1/embeddings`` where the settings list models for them) is decided, held and answered by a
    gateway whose upstream is the application: every call of a strategy is a request to its
    ``/v1/chat/completions``, with the strategy's model and caps, the client's headers, and settled
    by the usage in its reply. Everything else, websockets among it, passes untouched.

    A server's lifespan opens it after the application and closes it before; an application without
    a lifespan hinders nobody. Where no lifespan comes through, use ``async with``.

    Args:
        app: Any ASGI application.
        policy: The policy's file; its graph lies beside it.
        settings: gateway.yaml, or what was read of it; without upstreams.
        api_key: Bearer token that clients must send; None to let everybody in.
        verifiers: Functions (prompt, answer) -> 0..1 by the names that strategies use.
        extract: Finds the final answer in a text; marked answers or the last line where absent.
        timeout_s: Seconds until a call is given up and charged at its bound.
        drain_s: Seconds that a call in flight may go on when its client leaves, so that what it
            used becomes known; then the application is told, and it is charged at its bound.
        encoder: Folder of the encoder that the policy names.
        encoder_timeout_s: Seconds until a prompt that the encoder has not read gets the last class.
        trusted: Keys of which one must have signed the policy; None asks for no signature.

    Attributes:
        gateway: Decides, holds and settles; may be mounted for its ``/metrics`` and ``/ledger``.

    Raises:
        RefusedPolicyError: The policy was touched, or is not signed by a trusted key.
        InputError: Something of it cannot be used.
        UnknownValueError: A model without a price or rate, a strategy without a cap on its tokens,
            or a budget without a limit.
    """

    def __init__(
        self,
        app: Application,
        policy: str | Path,
        *,
        settings: Settings = None,
        api_key: str | None = None,
        verifiers: Mapping[str, Verifier | VerifierFunction] | None = None,
        extract: ExtractorFunction | None = None,
        timeout_s: float = 120.0,
        drain_s: float = 30.0,
        encoder: str | Path | None = None,
        encoder_timeout_s: float = TIMEOUT_S,
        trusted: Sequence[PublicKey] | None = None,
    ) -> None:
        found = _read(settings) or GatewaySettings(format_version="1.0")
        if found.upstreams is not None:
            raise InputError(
                "calls go to the application behind this middleware, and to no upstream",
                where="upstreams",
                next_step="leave them out, or mount a gateway",
            )
        self._app = app
        self._paths = frozenset({*openai.APIS, *([EMBEDDINGS] if found.embeddings else [])})
        sources = Sources(
            Path(policy),
            found,
            tools_for(found, verifiers, extract),
            servers=InProcess(app, timeout_s=timeout_s),
            trusted=trusted,
            encoder=None if encoder is None else Path(encoder),
            encoder_timeout_s=encoder_timeout_s,
            drain_s=drain_s,
            takes_models=True,
        )
        self.gateway = Deployment(sources, api_key=api_key).gateway

    async def __aenter__(self) -> Self:
        """Open the gateway, where no lifespan does.

        Raises:
            StoreError: The store of the budgets cannot be reached.
        """
        await self.gateway.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.gateway.__aexit__()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        if scope["type"] == "lifespan":
            await _Lifespan(self.gateway, receive, send).run(self._app, scope)
            return
        prefix = self._prefix(scope)
        if prefix is None:
            await self._app(scope, receive, send)
            return
        arrived = ARRIVED.set((scope, prefix))
        try:
            await self.gateway({**scope, "root_path": prefix}, receive, send)
        finally:
            ARRIVED.reset(arrived)

    def _prefix(self, scope: dict[str, Any]) -> str | None:
        """What stands before an API's path, None where nothing of an API is asked.

        Whatever it is: a prefix that the application alone knows (FastAPI's `root_path`) would
        else lead past the budget.
        """
        if scope["type"] != "http" or scope["method"] != "POST":
            return None
        path = str(scope["path"])
        ends = (path.removesuffix(api) for api in self._paths if path.endswith(api))
        return next(ends, None)


class _Lifespan:
    """An application's lifespan with a gateway's within: opened after it, closed before it.

    Of what the application does not do, or not to the end, the gateway does its own part: servers
    go on with an application that fails at the mere word (ASGI, lifespan), and so do we.
    """

    def __init__(self, gateway: Gateway, receive: Receive, send: Send) -> None:
        self._gateway = gateway
        self._receive = receive
        self._send = send
        self._heard: list[dict[str, Any]] = []
        self._said: set[str] = set()
        self._failed: Exception | None = None

    async def run(self, application: Application, scope: dict[str, Any]) -> None:
        """From the startup to the shutdown."""
        try:
            await application(scope, self._hear, self._say)
        except Exception:
            if self._failed is None and self._said:
                raise
        if self._failed is not None:
            if _NOT_STARTED not in self._said:
                message = type(self._failed).__name__
                await self._send({"type": _NOT_STARTED, "message": message})
            raise self._failed
        if _STARTED in self._said:
            self._heard = [event for event in self._heard if event["type"] != _STARTUP]
        if _SHUTDOWN in (event["type"] for event in self._heard) or _NOT_STARTED in self._said:
            return
        await self._gateway(scope, self._hear_again, self._send)

    async def _hear(self) -> dict[str, Any]:
        event = await self._receive()
        self._heard.append(event)
        if event["type"] == _SHUTDOWN:
            await self._gateway.__aexit__()
        return event

    async def _hear_again(self) -> dict[str, Any]:
        return self._heard.pop(0) if self._heard else await self._receive()

    async def _say(self, event: dict[str, Any]) -> None:
        if not event["type"].startswith("lifespan."):
            raise RuntimeError("this application knows no lifespan")
        if event["type"] == _STARTED:
            try:
                await self._gateway.__aenter__()
            except Exception as error:
                self._failed = error
                raise
        self._said.add(event["type"])
        await self._send(event)


def _read(settings: Settings) -> GatewaySettings | None:
    return read_settings(Path(settings)) if isinstance(settings, str | Path) else settings
