"""A gateway with everything around it, as policy, tenants and gateway.yaml say; and made anew."""

from __future__ import annotations

import asyncio
import logging
import os
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Self

from policies.policy import Policy
from policies.signing import signature_path
from policies.verify import read_enforceable
from profiles.errors import InferbudgetError, InputError
from profiles.money import PriceCard, TokenPrice
from runtime.audit import AuditLog, Charge
from runtime.caller import Chat
from runtime.decision import DecisionSession
from runtime.embedding import TIMEOUT_S, Embedder, open_encoder
from runtime.embeddings import EmbeddingService
from runtime.gateway import Gateway
from runtime.ledger import Hold, Ledger, Scope
from runtime.ledger.leased import LeasedLedger
from runtime.ledger.store import open_store
from runtime.operation_metrics import BudgetCollector, SinkCollector, UpstreamCollector
from runtime.recording.recorder import Recorder
from runtime.service import Service, scopes
from runtime.settings import GatewaySettings, expanded
from runtime.shadow import Shadow
from runtime.strategies import Tools
from runtime.tenants.against_policy import refuse_unknown
from runtime.tenants.reading import read_tenants
from runtime.tenants.tenants import Tenants
from runtime.tenants.users import UserAccounts
from runtime.trace_export import open_tracing
from runtime.tracing import TracedChat
from runtime.upstreams import Upstreams, models_of

if TYPE_CHECKING:
    from policies.keys import PublicKey

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sources:
    """What a gateway is made of.

    Attributes:
        policy: The policy; its graph lies beside it.
        settings: Of gateway.yaml.
        trusted: Keys of which one must have signed the policy; None asks for no signature.
        encoder: Folder of the encoder that the policy names.
        encoder_timeout_s: Seconds until a prompt that the encoder has not read gets the last class.
        require_gpu: Refuse to start where the encoder would not run on a GPU; without an encoder,
            where the decision graph would not.
        tools: Verifiers and extractor that the strategies name.
        drain_s: Seconds that running calls get when a client leaves or the gateway stops.
        environ: Where keys are.
    """

    policy: Path
    settings: GatewaySettings
    tools: Tools
    trusted: Sequence[PublicKey] | None = None
    encoder: Path | None = None
    encoder_timeout_s: float = TIMEOUT_S
    require_gpu: bool = False
    drain_s: float = 30.0
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))


@dataclass(frozen=True, slots=True)
class _Read:
    """The files as they are now."""

    policy: Policy
    decider: DecisionSession
    embedder: Embedder | None
    tenants: Tenants | None

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """All accounts but those of users."""
        return scopes(self.policy) + (self.tenants.scopes() if self.tenants else ())


class Deployment:
    """A gateway, what it is made of, and what surrounds it.

    Args:
        sources: What it is made of.
        api_key: Bearer token that clients must send, where there are no tenants.
        operator_key: Bearer token of the operator.

    Attributes:
        gateway: The ASGI application.
        replica: Name of this process, never used by another one.

    Raises:
        RefusedPolicyError: The policy was touched, or is not signed by a trusted key.
        InputError: Something of it cannot be used.
        UnknownValueError: A model without a price or rate, a strategy without a cap on its tokens,
            or a budget without a limit.
    """

    def __init__(
        self, sources: Sources, *, api_key: str | None = None, operator_key: str | None = None
    ) -> None:
        self.replica = uuid.uuid4().hex
        self._sources = sources
        settings = sources.settings
        self._seen = self._fingerprint()  # before they are read, so that no change is missed
        read = self._read()
        self._audit = AuditLog(settings.audit, self.replica) if settings.audit else None
        self._ledger = self._new_ledger(read.scopes)
        self._users = UserAccounts(self._ledger)
        self._upstreams = Upstreams(
            settings.upstreams or (),
            self._models(read.policy),
            retries=settings.retries,
            environ=sources.environ,
        )
        self._tracing = (
            open_tracing(settings.tracing, version=version("inferbudget"), replica=self.replica)
            if settings.tracing
            else None
        )
        self._chat: Chat = self._upstreams
        if self._tracing:
            self._chat = TracedChat(self._upstreams, self._tracing)
        self._recorder = Recorder(settings.recorder) if settings.recorder else None
        self._embedder = read.embedder
        self.gateway = Gateway(
            self._service(read),
            api_key=api_key,
            operator_key=operator_key,
            tenants=read.tenants,
            embedder=read.embedder,
            embeddings=self._embeddings(read),
            shadow=self._shadow(),
            recorder=self._recorder,
            tracing=self._tracing,
            replica=self.replica,
            drain_s=sources.drain_s,
            unready=self._unready,
            around=self,
        )
        self._collect()
        self._changed = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None
        self._open = AsyncExitStack()

    @property
    def providers(self) -> dict[str, str]:
        """The execution providers that really run graph and encoder."""
        service = self.gateway.service
        found = {"provider": service.decider.provider}
        if self._embedder:
            found["encoder_provider"] = self._embedder.provider
        return found

    async def __aenter__(self) -> Self:
        """Reach the store, begin to probe and to watch the files.

        Raises:
            StoreError: The store cannot be reached.
        """
        try:
            if isinstance(self._ledger, LeasedLedger):
                await self._open.enter_async_context(self._ledger)
            await self._open.enter_async_context(self._upstreams)
        except BaseException:
            await self._close()
            raise
        self._watch = asyncio.create_task(self._reloading())
        return self

    async def __aexit__(self, *_: object) -> None:
        """After the gateway has stopped: settle with the store and bring records to the disk."""
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
        await self._close()

    async def _close(self) -> None:
        try:
            await self._open.aclose()
        finally:
            for sink in (self._recorder, self._audit, self._tracing):
                if sink is not None:
                    await asyncio.to_thread(sink.close)

    def reload_soon(self) -> None:
        """Look at the files now; safe in a signal handler of the event loop."""
        self._seen = ()
        self._changed.set()

    async def reload(self) -> None:
        """Answer by the files as they are now; what is wrong with them replaces nothing.

        Raises:
            InferbudgetError: They cannot be used. The gateway goes on as it was.
        """
        read = await asyncio.to_thread(self._read)
        service, embeddings = self._service(read), self._embeddings(read)
        before = self._models(self.gateway.service.policy)
        self._upstreams.require(self._models(read.policy))
        try:
            self._ledger.redefine(read.scopes)
        except InputError:
            self._upstreams.require(before)
            raise
        self.gateway.replace(service, read.tenants, read.embedder, embeddings)

    def _read(self) -> _Read:
        sources, settings = self._sources, self._sources.settings
        policy = read_enforceable(sources.policy, trusted=sources.trusted)
        opened = open_encoder(policy, sources.encoder, require_gpu=sources.require_gpu)
        decider = DecisionSession(
            policy,
            policy.graph_path(sources.policy),
            require_gpu=sources.require_gpu and opened is None,
        )
        embedder = Embedder(opened, timeout_s=sources.encoder_timeout_s) if opened else None
        tenants = read_tenants(settings.tenants) if settings.tenants else None
        if tenants is not None:
            refuse_unknown(tenants, policy)
        return _Read(policy, decider, embedder, tenants)

    def _new_ledger(self, found: Iterable[Scope]) -> Ledger:
        settings = self._sources.settings.ledger
        settled = self._audited if self._audit else None
        if settings is None:
            return Ledger(found, settled=settled)
        return LeasedLedger(
            found,
            open_store(expanded(settings.store, self._sources.environ)),
            exchange_s=settings.exchange_s,
            ttl_s=settings.ttl_s,
            patience_s=settings.patience_s,
            replica=self.replica,
            settled=settled,
        )

    def _service(self, read: _Read) -> Service:
        tenants = read.tenants
        tools = self._sources.tools
        return Service(
            read.policy,
            read.decider,
            self._chat,
            tools,
            ledger=self._ledger,
            users=self._users,
            counts_tokens=tenants is not None and tenants.counts_tokens,
            gpu_seconds=tenants.gpu_seconds if tenants else None,
        )

    def _models(self, policy: Policy) -> tuple[str, ...]:
        return *models_of(policy), *self._sources.settings.embeddings

    def _embeddings(self, read: _Read) -> EmbeddingService | None:
        listed = self._sources.settings.embeddings
        if not listed:
            return None
        rates = read.tenants.gpu_seconds if read.tenants else None
        for name in listed:
            if rates is not None:
                rates.price(name)  # a model without a rate is found here and not on live traffic
        prices = {name: TokenPrice(input=price.input, output=0) for name, price in listed.items()}
        return EmbeddingService(
            self._upstreams,
            PriceCard(models=prices),
            self._ledger,
            scopes=tuple(scope.name for scope in scopes(read.policy)),
            users=self._users,
            gpu_seconds=rates,
        )

    def _shadow(self) -> Shadow | None:
        path = self._sources.settings.shadow
        if path is None:
            return None
        policy = read_enforceable(path)
        decider = DecisionSession(policy, policy.graph_path(path))
        return Shadow(policy, decider, self._sources.tools)

    def _unready(self) -> tuple[str, ...]:
        ledger = self._ledger
        lost = isinstance(ledger, LeasedLedger) and ledger.lost is not None
        if lost:
            return ("the store of the budgets",)
        # While one model can be asked, this gateway serves some requests as well as any other does.
        missing = self._upstreams.unready()
        return missing if set(models_of(self.gateway.service.policy)) <= set(missing) else ()

    def _collect(self) -> None:
        ledger = self._ledger
        answers = (lambda: ledger.lost is None) if isinstance(ledger, LeasedLedger) else None
        for collector in (
            BudgetCollector(ledger, answers),
            UpstreamCollector(self._upstreams.snapshot),
            SinkCollector(self._recorder, self._audit),
        ):
            self.gateway.metrics.collect(collector)

    def _audited(self, hold: Hold) -> None:
        if self._audit is not None:
            charges = tuple(
                Charge(account.book.scope.name, account.span.start_s, held, charged)
                for account, held, charged in hold.charges()
            )
            self._audit.put(hold.request_id, time.time(), charges)

    async def _reloading(self) -> None:
        every_s = self._sources.settings.reload_s
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(every_s):
                    await self._changed.wait()
            self._changed.clear()
            seen = self._fingerprint()
            if seen == self._seen:
                continue
            self._seen = seen
            try:
                await self.reload()
            except InferbudgetError as error:
                self.gateway.metrics.reloaded("refused")
                _log.error("the gateway goes on as it was: %s", error)
            except Exception:
                # Whatever a file brings about, the next one may be right.
                self.gateway.metrics.reloaded("refused")
                _log.exception("the gateway goes on as it was")
            else:
                self.gateway.metrics.reloaded("replaced")
                _log.warning("policy %s is in force", self.gateway.service.policy.digest)

    def _fingerprint(self) -> tuple[tuple[int, int, int] | None, ...]:
        """What tells a changed file from an unchanged one, without reading it."""
        path = self._sources.policy
        # The files of a policy come one by one, and only the policy says what its graph is called.
        graphs = sorted(path.parent.glob("*.onnx"))
        paths = (path, signature_path(path), self._sources.settings.tenants, *graphs)
        return tuple(_stat(found) for found in paths if found is not None)


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
