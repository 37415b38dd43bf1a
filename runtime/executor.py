"""The library: a policy that answers prompts in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from policies.file import CompiledPolicy
from policies.verify import read_enforceable
from profiles.methods.counting import ANSWERS_PER_CALL
from runtime.caller import AbandonedError, Chat
from runtime.chat import Prompt, chat_of, question_of, refuse_half_characters
from runtime.checkers import ExtractorFunction, Verifier, VerifierFunction
from runtime.decision import DecisionSession
from runtime.embedding import Embedder, open_encoder
from runtime.ledger import Ledger
from runtime.prepared import OnText, tools_of
from runtime.service import Ask, Run, Served, Service
from runtime.upstream import Upstream


class Executor:
    """A policy that answers in this process: decided, held, settled and charged as by the gateway.

    Use it as ``async with Executor(...) as executor``, in one event loop.

    Args:
        policy: The policy's file, whose graph lies beside it, or what the compiler made.
        upstream: Address of an OpenAI-compatible server, or whatever answers chat calls; only the
            connections to an address are closed at the end.
        api_key: What the server at that address gets.
        timeout_s: Seconds until a call to it is given up and charged at its bound.
        verifiers: Functions (prompt, answer) -> 0..1 by the names that strategies use.
        extract: Finds the final answer in a text; marked answers or the last line where absent.
        answers_per_call: Most answers one call may ask for; 1 where the upstream does not know `n`.
        encoder: Folder of the encoder that the policy names.
        drain_s: Seconds that calls in flight may take to end when a caller leaves, or at the end;
            what may have been sent by then is charged at its bound.

    Raises:
        RefusedPolicyError: The policy's file was touched.
        InputError: Policy, encoder, strategy, verifier or address cannot be used.
        UnknownValueError: A model without a price, a strategy without a cap on its tokens, or a
            budget without a limit.
    """

    def __init__(
        self,
        policy: str | Path | CompiledPolicy,
        upstream: str | Chat,
        *,
        api_key: str | None = None,
        timeout_s: float = 120.0,
        verifiers: Mapping[str, Verifier | VerifierFunction] | None = None,
        extract: ExtractorFunction | None = None,
        answers_per_call: int = ANSWERS_PER_CALL,
        encoder: Path | None = None,
        drain_s: float = 30.0,
    ) -> None:
        if isinstance(policy, CompiledPolicy):
            rules = policy.policy
            decider = DecisionSession(rules, policy.graph)
        else:
            path = Path(policy)
            rules = read_enforceable(path)
            decider = DecisionSession(rules, rules.graph_path(path))
        opened = open_encoder(rules, encoder)
        self._embedder = Embedder(opened) if opened else None
        self._own: Upstream | None = None
        if isinstance(upstream, str):
            upstream = self._own = Upstream(upstream, api_key, timeout_s=timeout_s)
        self._drain_s = drain_s
        self._open = False
        tools = tools_of(verifiers, extract, answers_per_call)
        self._service = Service(rules, decider, upstream, tools)

    async def __aenter__(self) -> Self:
        self._open = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open = False
        await self._service.drain(self._drain_s)
        if self._own is not None:
            await self._own.close()

    @property
    def ledger(self) -> Ledger:
        """The money: spent, held and left."""
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

        Raises:
            InputError: The label is missing or unknown, the prompt is no chat, or `max_tokens` is
                below 1.
            BudgetRefusedError: No strategy fits the money left, or the cap on one request.
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
        run = await self._begin(ask)
        try:
            return await asyncio.shield(run.task)
        except asyncio.CancelledError as error:
            if run.task.cancelled():  # and not whoever waits here
                raise AbandonedError("the executor was closed before the answer") from error
            raise
        finally:
            if not run.task.done():
                run.abandon(self._drain_s)

    async def _begin(self, ask: Ask) -> Run:
        vector = await self._embedder.embed(ask.prompt_text) if self._embedder else None
        run = await self._service.start(ask, vector)
        if not self._open:
            # closed while the prompt was read: before its first step, it costs nothing
            run.task.cancel()
        return run
