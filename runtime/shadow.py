"""A second policy that decides every request too, and changes nothing.

It has budgets of its own in memory, from which it spends what it expects of its decisions: so it
paces itself and refuses as it would in force, and nobody is called for it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from dataclasses import dataclass
from typing import Literal

from msgspec.structs import replace

from policies.policy import Policy
from profiles.errors import BudgetRefusedError, InferbudgetError, InputError
from profiles.money import to_nano_usd
from runtime.chat import ChatCall, Completion
from runtime.decision import DecisionSession
from runtime.offers import admit_first
from runtime.service import Ask, Service
from runtime.strategies import Tools

MOST_WAITING = 1_000
"""Decisions that may be under way; a further request has none."""
_log = logging.getLogger(__name__)

Outcome = Literal["answered", "downgraded", "refused", "invalid"]


@dataclass(frozen=True, slots=True)
class ShadowDecision:
    """What the other policy would have done.

    Attributes:
        outcome: What would have become of the request.
        class_name: By the other policy; None where it cannot sort the request.
        strategy: That would have answered; None where none would.
        expected_nano_usd: Mean measured nano-dollars of it in the class; its bound where nobody
            measured them.
    """

    outcome: Outcome
    class_name: str | None = None
    strategy: str | None = None
    expected_nano_usd: int = 0


class Shadow:
    """Decides by another policy.

    Args:
        policy: The other policy.
        decider: Its decision graph.
        tools: Verifiers and extractor that its strategies name.

    Attributes:
        policy: The other policy.
        passed_over: Requests that came while too many decisions were under way.

    Raises:
        InputError: It reads prompts with an encoder, or could not be served.
    """

    def __init__(self, policy: Policy, decider: DecisionSession, tools: Tools) -> None:
        if policy.classes.encoder is not None:
            raise InputError(
                "a policy with an encoder cannot be a shadow",
                where="shadow",
                next_step="try it in a gateway of its own",
            )
        self.policy = policy
        self.passed_over = 0
        self._service = Service(policy, decider, _Nobody(), tools)
        self._numbers = itertools.count()
        self._entries = {entry.text: entry for entry in policy.strategies}
        self._deciding: set[asyncio.Task[ShadowDecision]] = set()

    def watch(self, ask: Ask) -> asyncio.Task[ShadowDecision] | None:
        """Begin to decide, beside the request; None where too many are under way."""
        if len(self._deciding) >= MOST_WAITING:
            self.passed_over += 1
            return None
        task = asyncio.get_running_loop().create_task(self._decide(ask))
        self._deciding.add(task)
        task.add_done_callback(self._deciding.discard)
        return task

    async def _decide(self, ask: Ask) -> ShadowDecision:
        alone = replace(ask, identity=None, on_text=None)
        try:
            decision = await self._service.decide(alone)
        except InputError:
            return ShadowDecision("invalid")
        class_name, drawn = decision.class_name, decision.strategy
        request, scopes = self._service.prepared(alone, class_name)
        offers = self._service.offers(alone, class_name, drawn, request.prompt_tokens_bound)
        name = f"shadow-{next(self._numbers)}"
        try:
            offer, hold = await admit_first(self._service.ledger, name, offers, scopes)
        except BudgetRefusedError:
            return ShadowDecision("refused", class_name)
        except InferbudgetError:
            return ShadowDecision("invalid", class_name)
        usd = self._entries[offer.strategy].cost_usd(class_name)
        expected = offer.bound_nano_usd if usd is None else to_nano_usd(usd)
        hold.call(offer.bound_nano_usd).settle(min(expected, offer.bound_nano_usd))
        hold.close()
        ending: Outcome = "answered" if offer.strategy == drawn else "downgraded"
        return ShadowDecision(ending, class_name, offer.strategy, expected)


class _Nobody:
    """Where a shadow's calls would go."""

    async def chat(self, call: ChatCall) -> Completion:
        """Never called: a shadow only decides."""
        raise AssertionError(f"a shadow calls nobody, not even {call.model}")
