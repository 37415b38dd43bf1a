"""A gateway with everything around it, as policy, tenants and gateway.yaml say; and its reload."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Iterable
from contextlib import AsyncExitStack, suppress
from importlib.metadata import version
from typing import Self

from policies.policy import Policy
from policies.verify import read_enforceable
from profiles.errors import InferbudgetError, InputError
from profiles.money import PriceCard, TokenPrice
from runtime.audit import AuditLog, Charge
from runtime.caller import Chat
from runtime.decision import DecisionSession
from runtime.embeddings import EmbeddingService
from runtime.files import Files, fingerprint, read_files
from runtime.former_budgets import FormerBudgets
from runtime.gateway import Gateway
from runtime.ledger import Hold, Ledger, Scope
from runtime.ledger.leased import LeasedLedger
from runtime.ledger.store import open_store
from runtime.operation_metrics import SinkCollector, StoreCollector, UpstreamCollector
from runtime.pacing import Pacer
from runtime.policy_budgets import scopes
from runtime.recording.recorder import Recorder
from runtime.service import Service
from runtime.settings import expanded
from runtime.shadow import Shadow
from runtime.sources import ModelServers, Sources
from runtime.tenants.users import UserAccounts
from runtime.trace_export import open_tracing
from runtime.tracing import TracedChat
from runtime.upstreams import Upstreams, models_of

_log = logging.getLogger(__name__)


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
        self._seen = fingerprint(sources)  # before they are read, so that no change is missed
        self._files = files = read_files(sources)
        self._needed = set(models_of(files.policy))
        self._audit = AuditLog(settings.audit, self.replica) if settings.audit else None
        self._ledger = self._new_ledger(files.scopes)
        self._ledger.require_countable(files.scopes_of_users)
        self._former_budgets = FormerBudgets(self._ledger)
        self._users = UserAccounts(self._ledger)
        self._servers: ModelServers = sources.servers or Upstreams(
            settings.upstreams or (),
            self._models(files.policy),
            retries=settings.retries,
            environ=sources.environ,
        )
        self._tracing = (
            open_tracing(settings.tracing, version=version("inferbudget"), replica=self.replica)
            if settings.tracing
            else None
        )
        self._chat: Chat = self._servers
        if self._tracing:
            self._chat = TracedChat(self._servers, self._tracing)
        self._recorder = Recorder(settings.recorder) if settings.recorder else None
        self.gateway = Gateway(
            self._service(files),
            api_key=api_key,
            operator_key=operator_key,
            tenants=files.tenants,
            embedder=files.embedder,
            embeddings=self._embeddings(files),
            shadow=self._shadow(),
            recorder=self._recorder,
            tracing=self._tracing,
            replica=self.replica,
            drain_s=sources.drain_s,
            takes_models=sources.takes_models,
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
        found = {"provider": self._files.decider.provider}
        if self._files.embedder:
            found["encoder_provider"] = self._files.embedder.provider
        return found

    async def __aenter__(self) -> Self:
        """Reach the store, begin to probe and to watch the files.

        Raises:
            StoreError: The store cannot be reached.
        """
        try:
            if isinstance(self._ledger, LeasedLedger):
                await self._open.enter_async_context(self._ledger)
            await self._open.enter_async_context(self._servers)
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
        before = self._files
        files = await asyncio.to_thread(read_files, self._sources, before)
        is_same = files.policy.digest == before.policy.digest
        service = self._service(files, self.gateway.service.pacer if is_same else None)
        embeddings = self._embeddings(files)
        self._servers.require(self._models(files.policy))
        try:
            self._ledger.require_countable(files.scopes_of_users)
            self._ledger.redefine(files.scopes)
        except InputError:
            self._servers.require(self._models(before.policy))
            raise
        self.gateway.replace(service, files.tenants, files.embedder, embeddings)
        if self.gateway.service is not service:  # it stops, and requests go on that name the former
            return
        self._former_budgets.replaced(self._files.scopes, files.scopes)
        self._files = files
        self._needed = set(models_of(files.policy))

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

    def _service(self, files: Files, pacer: Pacer | None = None) -> Service:
        tenants = files.tenants
        tools = self._sources.tools
        return Service(
            files.policy,
            files.decider,
            self._chat,
            tools,
            ledger=self._ledger,
            users=self._users,
            counts_tokens=tenants is not None and tenants.counts_tokens,
            gpu_seconds=tenants.gpu_seconds if tenants else None,
            pacer=pacer,
        )

    def _models(self, policy: Policy) -> tuple[str, ...]:
        return *models_of(policy), *self._sources.settings.embeddings

    def _embeddings(self, files: Files) -> EmbeddingService | None:
        listed = self._sources.settings.embeddings
        if not listed:
            return None
        rates = files.tenants.gpu_seconds if files.tenants else None
        for name in listed:
            if rates is not None:
                rates.price(name)  # a model without a rate is found here and not on live traffic
        prices = {name: TokenPrice(input=price.input, output=0) for name, price in listed.items()}
        return EmbeddingService(
            self._servers,
            PriceCard(models=prices),
            self._ledger,
            scopes=tuple(scope.name for scope in scopes(files.policy)),
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
        missing = self._servers.unready()
        return missing if self._needed <= set(missing) else ()

    def _collect(self) -> None:
        ledger, metrics = self._ledger, self.gateway.metrics
        metrics.collect(UpstreamCollector(self._servers.snapshot))
        metrics.collect(SinkCollector(self._recorder, self._audit))
        if isinstance(ledger, LeasedLedger):
            metrics.collect(StoreCollector(lambda: ledger.lost is None))

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
            if not self.gateway.answers_former:
                self._former_budgets.forget()
            self._users.forget_idle()
            seen = fingerprint(self._sources)
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
