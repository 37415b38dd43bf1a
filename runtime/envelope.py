"""The envelope of one request: calls, tokens, dollars and seconds that it may not exceed."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import msgspec

from profiles.errors import InputError
from runtime.ledger import limit_nano_usd


@dataclass(frozen=True, slots=True)
class Envelope:
    """What one request may use in all; None for no limit.

    A call that could leave it is not sent. Then, or when the time is over, the best answer so far
    is the answer.

    Attributes:
        calls: Calls that it may begin, those that fail included.
        tokens: Tokens in and out over all calls, hidden reasoning, cached ones, verifiers and
            discarded answers included. A call counts at its bound until its usage is known.
        usd: Dollars over all calls; likewise.
        wall_s: Seconds until it is answered.

    Raises:
        InputError: A limit that is not a positive number.
    """

    calls: int | None = None
    tokens: int | None = None
    usd: float | None = None
    wall_s: float | None = None

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self)):
            limit = getattr(self, name)
            if limit is not None and not (math.isfinite(limit) and limit > 0):
                raise InputError(
                    "this limit of an envelope is not a positive number",
                    where=name,
                    expected="a positive number, or None for no limit",
                    got=str(limit),
                )


class CallBound(msgspec.Struct, frozen=True):
    """The most that one call can use.

    Attributes:
        tokens: In and out.
        nano_usd: At the model's price.
    """

    tokens: int
    nano_usd: int


class Room:
    """What is left of an envelope while a request's calls take from it.

    Args:
        envelope: The limits.
    """

    def __init__(self, envelope: Envelope) -> None:
        self._calls = math.inf if envelope.calls is None else envelope.calls
        self._tokens = math.inf if envelope.tokens is None else envelope.tokens
        self._nano_usd = math.inf if envelope.usd is None else limit_nano_usd(envelope.usd)

    def refusal(self, bound: CallBound) -> str | None:
        """Why a call may not be sent, None where it may."""
        if self._calls < 1:
            return "one request may not make so many calls"
        if bound.tokens > self._tokens:
            return f"one request may not use so many tokens: {bound.tokens} more"
        if bound.nano_usd > self._nano_usd:
            return "one request may not cost so much"
        return None

    def take(self, bound: CallBound) -> None:
        """A call begins."""
        self._calls -= 1
        self._tokens -= bound.tokens
        self._nano_usd -= bound.nano_usd

    def settle(self, bound: CallBound, tokens: int, nano_usd: int) -> None:
        """A call has ended and used this; more than its bound where its upstream broke its cap."""
        self._tokens += bound.tokens - tokens
        self._nano_usd += bound.nano_usd - nano_usd
