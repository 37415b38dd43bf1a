"""What an answer came to, as bodies and events say it."""

from __future__ import annotations

import msgspec

from profiles.money import NANO_PER_USD
from runtime.service import Served


class Usage(msgspec.Struct):
    """Tokens billed over all calls of an answer."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Said(msgspec.Struct):
    """Ours, beside OpenAI's fields: what headers say of whole answers."""

    outcome: str
    cost_usd: str


def usage_of(served: Served) -> Usage | None:
    """Tokens billed over all calls; None where a call's usage is unknown."""
    outcome = served.outcome
    if not outcome.usage_known:
        return None
    return Usage(outcome.tokens_in, outcome.tokens_out, outcome.tokens_in + outcome.tokens_out)


def said_of(served: Served) -> Said:
    """How it ended, and its cost."""
    return Said(served.ending, cost_text(served))


def cost_text(served: Served) -> str:
    """Dollars that were charged, to the nano-dollar."""
    return nano_usd_text(served.outcome.cost_nano_usd)


def nano_usd_text(nano_usd: int) -> str:
    """Dollars to the nano-dollar."""
    dollars, nano = divmod(nano_usd, NANO_PER_USD)
    return f"{dollars}.{nano:09d}"
