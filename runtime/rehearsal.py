"""What a policy would do with a request, for every number that could be drawn; nothing is sent.

Pace, decision, the order of substitutes, their bounds and the ledger that grants or refuses are
those of `runtime.service`; where a gateway would not start, bounds and reserve of `runtime.replay`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from policies.decide import Tables
from policies.draws import Asked, Drawn
from policies.fallbacks import fallbacks
from policies.policy import Policy
from policies.verify import read_enforceable
from profiles.errors import BudgetRefusedError, InputError, UnknownValueError
from profiles.money import to_usd
from runtime import openai, pacing
from runtime.caller import CapRefusedError
from runtime.checkers import Verifier
from runtime.decision import UNIFORM_BITS, Decision, DecisionSession, Vector, text_and_label
from runtime.embedding import embed_all, open_encoder
from runtime.money_left import EVERY_WINDOW_BEGINS_S, MoneyLeft, money_left
from runtime.offers import Offer, Offers, hold_first
from runtime.policy_budgets import scopes
from runtime.prompt_bound import prompt_tokens_bound
from runtime.replay import MeasuredBounds
from runtime.strategies import Tools
from runtime.upstream import Message

_DRAWS = 2**UNIFORM_BITS
Value = TypeVar("Value")


class Rehearsal:
    """Asks a policy without an upstream.

    Args:
        policy: The policy.
        decider: Its decision graph.
        read: The vector of a prompt, for a policy with an encoder; None where it was not read.

    Attributes:
        policy: The policy.
        measured_because: Why no gateway would start, so that bounds are the dearest measured
            requests; None where they are those of a gateway, by prices and caps.
    """

    def __init__(
        self,
        policy: Policy,
        decider: DecisionSession,
        read: Callable[[str], Vector | None] | None = None,
    ) -> None:
        self.policy = policy
        self.measured_because: str | None = None
        self._decider = decider
        self._read = read
        self._costs = pacing.rung_costs_nano_usd(policy)
        self._edges = np.ceil(Tables.of(policy).cumulative * float(_DRAWS)).astype(int)
        self._measured = MeasuredBounds(policy.strategies)
        self._priced: Offers | None = None
        self._reserve = 0
        try:
            scopes(policy)
            self._priced = Offers(policy, Tools(_AnyVerifier()))
        except InputError as error:
            self.measured_because = f"{error.where}: {error.what}" if error.where else error.what
            self._reserve = self._measured.reserve(policy)

    def __call__(self, asked: Asked) -> tuple[Drawn, ...]:
        """All draws of a request, in their order; their shares sum to 1.

        Raises:
            InputError: This policy cannot be asked that: no text to sort by, no such rung or
                budget, or nothing says what the result depends on.
        """
        self._require_sendable(asked)
        money = money_left(self.policy, asked)
        vector = self._read(asked.prompt) if self._read and asked.prompt is not None else None
        found: list[Drawn] = []
        for rung, rung_share in self._rungs(asked, money):
            try:
                decisions = list(self._decisions(asked, rung, vector))
            except InputError:  # vectors are the encoder's own, so it can only be the label
                return (Drawn(1.0, None, None, refused="label"),)
            for decision, share in decisions:
                found.append(self._answer(asked, decision, money, rung_share * share))
        return tuple(found)

    def _require_sendable(self, asked: Asked) -> None:
        if asked.prompt is not None:
            size = openai.least_body_bytes(asked.prompt)
            if size > openai.MAX_BODY_BYTES:
                raise InputError(
                    f"no gateway takes this prompt: the request has {size:,} bytes",
                    expected=f"at most {openai.MAX_BODY_BYTES:,} bytes",
                )
            return
        if "text" in self.policy.classes.inputs:
            raise InputError("no prompt is given", expected="the text that this policy sorts by")
        if asked.money and self._priced:
            raise InputError(
                "no prompt is given",
                expected="the text beside the money: what is held for a request grows with it",
            )

    def _rungs(self, asked: Asked, money: MoneyLeft) -> Iterator[tuple[int, float]]:
        """Steps that may decide, with their shares of draws."""
        if asked.rung is None:
            yield from _runs(partial(self._paced, money))
            return
        last = len(self.policy.rungs) - 1
        if asked.rung > last:
            raise InputError(
                f"the policy has no rung {asked.rung}", expected=f"a rung from 0 to {last}"
            )
        yield asked.rung, 1.0

    def _paced(self, money: MoneyLeft, uniform: float) -> int:
        return pacing.rung_of_all(
            self._costs,
            money.forecasts,
            money.ledger().state,
            now_s=EVERY_WINDOW_BEGINS_S,
            uniform=uniform,
            reserve_nano_usd=self._reserve,
        )

    def _decisions(
        self, asked: Asked, rung: int, vector: Vector | None
    ) -> Iterator[tuple[Decision, float]]:
        """Decisions of the graph with their shares of draws."""
        text, label = text_and_label(self.policy, asked.prompt or "", asked.label)

        @cache
        def decide(uniform: float) -> Decision:
            return self._decider.decide(text, rung, uniform, label, vector)

        if asked.uniform is not None:
            yield decide(asked.uniform), 1.0
            return
        first = decide(0.0)
        yield from _runs(decide, self._edges[first.rung, first.class_index])

    def _answer(self, asked: Asked, decision: Decision, money: MoneyLeft, share: float) -> Drawn:
        """What the ledger grants of what may answer."""
        drawn = partial(Drawn, share, decision.rung, decision.class_name)
        try:
            offer, _ = hold_first(money.ledger(), "rehearsal", self._offers(asked, decision))
        except CapRefusedError:
            return drawn(refused="cap")
        except BudgetRefusedError:
            return drawn(refused="money")
        except UnknownValueError:
            if money.limited:
                raise
            return drawn(decision.strategy)
        depends = self._priced and asked.prompt is None
        return drawn(offer.strategy, None if depends else to_usd(offer.bound_nano_usd))

    def _offers(self, asked: Asked, decision: Decision) -> Iterator[Offer]:
        """In order; each from a gateway's prices and caps, or else from what was measured."""
        if self._priced:
            tokens = prompt_tokens_bound((Message("user", asked.prompt or ""),))
            yield from self._priced.of(decision.class_name, decision.strategy, tokens)
            return
        for text in fallbacks(self.policy.strategies, decision.class_name, decision.strategy):
            bound = self._measured.of(text, decision.class_name)
            if bound is None:
                raise UnknownValueError(
                    "nothing bounds what this request costs",
                    expected="prices and caps, or a measured cost",
                )
            yield Offer(text, None, bound)


def open_rehearsal(policy_path: Path, encoder: Path | None = None) -> Rehearsal:
    """A rehearsal of a policy file, read as a gateway reads it; its graph lies beside it.

    Raises:
        RefusedPolicyError: The policy was touched since it was compiled.
        InputError: The policy, its graph or the encoder cannot be used.
    """
    policy = read_enforceable(policy_path)
    decider = DecisionSession(policy, policy.graph_path(policy_path))
    opened = open_encoder(policy, encoder, threads=0)
    if opened is None:
        return Rehearsal(policy, decider)
    return Rehearsal(policy, decider, lambda text: embed_all(opened, [text])[0])


def _runs(of: Callable[[float], Value], edges: Iterable[int] = ()) -> Iterator[tuple[Value, float]]:
    """Values over every number that a gateway can draw, with their shares of them.

    `of` never returns to a value that it has left: rungs and strategies stand in one order.

    Args:
        of: The value of a draw.
        edges: First draws, of `_DRAWS`, where another value is expected, ascending; both sides of
            each are asked, and what is found elsewhere is searched for.
    """

    def at(draw: int) -> Value:
        return of(draw / _DRAWS)

    low = 0
    for edge in (*edges, _DRAWS):
        while low < edge and at(low) != at(edge - 1):
            high = bisect_left(range(edge), True, lo=low + 1, key=partial(_differs, at, at(low)))
            yield at(low), (high - low) / _DRAWS
            low = high
        if low < edge < _DRAWS and at(edge) != at(low):
            yield at(low), (edge - low) / _DRAWS
            low = edge
    yield at(low), (_DRAWS - low) / _DRAWS


def _differs(at: Callable[[int], Value], value: Value, draw: int) -> bool:
    return at(draw) != value


class _AnyVerifier(dict[str, Verifier]):
    """Whatever name a strategy uses: no bound depends on what a verifier would say."""

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> Verifier:
        return Verifier(name, lambda _prompt, _answer: 0.0)
