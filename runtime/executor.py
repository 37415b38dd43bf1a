"""The library: a policy that answers prompts in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from policies.file import CompiledPolicy
from profiles.errors import InputError
from profiles.methods.counting import ANSWERS_PER_CALL
from runtime.caller import AbandonedError, Chat
from runtime.chat import Prompt, chat_of, question_of, refuse_half_characters
from runtime.checkers import ExtractorFunction, Verifier, VerifierFunction
from runtime.deciding import OpenPolicy
from runtime.embedding import Embedder
from runtime.ledger import Ledger
from runtime.ledger.leased import LeasedLedger
from runtime.ledger.store import open_store
from runtime.policy_budgets import scopes
from runtime.prepared import OnText, tools_of
from runtime.service import Ask, Run, Served, Service, on_behalf
from runtime.tenants import Tenants, read_tenants
from runtime.tenants.against_policy import refuse_unknown
from runtime.upstream import Upstream


class Executor:
    """A policy that answers in this process: decided, held, settled and charged as by the gateway.

    Use it as ``async with Executor(...) as executor``, in one event loop.

    Args:
        policy: The policy's file, whose graph lies beside it, what the compiler made, or an open
            policy; one with an encoder is this executor's alone.
        upstream: Address of an OpenAI-compatible server, or whatever answers chat calls; only the
            connections to an address are closed at the end.
        store: Address of a shared store, as of a gateway's `ledger.store`; other executors and
            gateways at that address spend the same budgets. None: this executor's own, in memory.
        tenants: The file of keys, budgets and limits, or what was read of it.
        api_key: What the server at the upstream's address gets.
        timeout_s: Seconds until a call to it is given up and charged at its bound.
        verifiers: Functions (prompt, answer) -> 0..1 by the names that strategies use.
        extract: Finds the final answer in a text; marked answers or the last line where absent.
        answers_per_call: Most answers one call may ask for; 1 where the upstream does not know `n`.
        encoder: Folder of the encoder that the policy names; an open policy has its own.
        drain_s: Seconds that calls in flight may take to end when a caller leaves, or at the end;
            what may have been sent by then is charged at its bound.

    Raises:
        RefusedPolicyError: The policy's file was touched.
        InputError: Policy, encoder, strategy, verifier, tenants or an address cannot be used.
        UnknownValueError: A model without a price, a strategy without a cap on its tokens, or a
            budget without a limit.
    """

    def __init__(
        self,
        policy: str | Path | CompiledPolicy | OpenPolicy,
        upstream: str | Chat,
        *,
        store: str | None = None,
        tenants: str | Path | Tenants | None = None,
        api_key: str | None = None,
        timeout_s: float = 120.0,
        verifiers: Mapping[str, Verifier | VerifierFunction] | None = None,
        extract: ExtractorFunction | None = None,
        answers_per_call: int = ANSWERS_PER_CALL,
        encoder: Path | None = None,
        drain_s: float = 30.0,
    ) -> None:
        opened = policy if isinstance(policy, OpenPolicy) else OpenPolicy(policy, encoder=encoder)
        self._embedder = Embedder(opened.encoder) if opened.encoder else None
        self._own: Upstream | None = None
        if isinstance(upstream, str):
            upstream = self._own = Upstream(upstream, api_key, timeout_s=timeout_s)
        if isinstance(tenants, str | Path):
            tenants = read_tenants(Path(tenants))
        if tenants is not None:
            refuse_unknown(tenants, opened.policy)
        self._tenants = tenants
        found = scopes(opened.policy) + (tenants.scopes() if tenants else ())
        self._service = Service(
            opened.policy,
            opened.decider,
            upstream,
            tools_of(verifiers, extract, answers_per_call),
            ledger=Ledger(found) if store is None else LeasedLedger(found, open_store(store)),
            counts_tokens=tenants is not None and tenants.counts_tokens,
            gpu_seconds=tenants.gpu_seconds if tenants else None,
        )
        self._drain_s = drain_s
        self._open = False
        self._closed = False
        self._parts = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Reach the store, where there is one.

        Raises:
            StoreError: It cannot be reached.
            InputError: It cannot be used, or the executor gave its leases back already.
        """
        shared = self.ledger if isinstance(self.ledger, LeasedLedger) else None
        if shared and self._closed:
            raise InputError(
                "an executor with a shared store opens once, and this one was closed",
                next_step="make another one",
            )
        async with AsyncExitStack() as parts:
            if self._own is not None:
                await parts.enter_async_context(self._own)
            if shared:
                await parts.enter_async_context(shared)
            self._parts = parts.pop_all()
        self._open = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open, self._closed = False, True
        try:
            await self._service.drain(self._drain_s)
        finally:  # who cancels this has no more patience, and wants its leases back all the same
            await self._parts.aclose()

    @property
    def ledger(self) -> Ledger:
        """The money: spent, held and left; of a shared store, as it was told last."""
        return self._service.ledger

    async def answer(
        self,
        prompt: Prompt,
        *,
        label: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        stop: tuple[str, ...] = (),
        on_text: OnText | None = None,
        key: str | None = None,
        user: str | None = None,
        tags: Sequence[str] = (),
    ) -> Served:
        """Answer one prompt as the policy says. Whoever is cancelled while he waits has left.

        Args:
            prompt: A question, or a chat.
            label: The class or label, for policies that sort by one.
            max_tokens: Lowers the policy's cap.
            temperature: Counts where the strategy sets none.
            top_p: Likewise.
            seed: Drawn at random where absent.
            stop: Texts that end an answer.
            on_text: Is given the answer's text piece by piece where the strategy can; must not
                raise.
            key: The virtual key of who asks, where there are tenants.
            user: Of the key, whom the answer is for.
            tags: Beside the key's own.

        Raises:
            InputError: The label is missing or unknown, the prompt is no chat, `max_tokens` is
                below 1, or the key may not ask for this.
            KeyRefusedError: There are tenants, and no key of theirs.
            BudgetRefusedError: No strategy fits the money left, or the cap on one request.
            StoreError: The shared store does not answer, and what is leased does not suffice.
            UpstreamError: No call gave an answer; what was sent is charged.
            TimeCapError: No answer within the policy's cap on time.
            AbandonedError: The executor is not open; or it was closed, and its time to end was
                over.
        """
        if not self._open:
            raise AbandonedError("the executor is not open: use it within its `async with`")
        messages = chat_of(prompt)
        refuse_half_characters(*stop)
        ask = Ask(
            messages,
            question_of(messages),
            label,
            max_tokens,
            temperature,
            top_p,
            seed,
            stop,
            on_text,
        )
        run = await self._begin(self._on_behalf(ask, key, user, tags))
        try:
            return await asyncio.shield(run.task)
        except asyncio.CancelledError as error:
            if run.task.cancelled():  # and not whoever waits here
                raise AbandonedError("the executor was closed before the answer") from error
            raise
        finally:
            if not run.task.done():
                run.abandon(self._drain_s)

    def _on_behalf(self, ask: Ask, key: str | None, user: str | None, tags: Sequence[str]) -> Ask:
        if self._tenants is not None:
            bearer = None if key is None else b"Bearer " + key.encode(errors="replace")
            return on_behalf(ask, self._tenants.identify(bearer, tags=tags), user)
        if key or user or tags:
            raise InputError(
                "keys, users and tags are those of tenants, and this executor has none",
                next_step="pass `tenants` to it, or leave them out",
            )
        return ask

    async def _begin(self, ask: Ask) -> Run:
        vector = await self._embedder.embed(ask.prompt_text) if self._embedder else None
        run = await self._service.start(ask, vector)
        if not self._open:
            # closed while the prompt was read: before its first step, it costs nothing
            run.task.cancel()
        return run
