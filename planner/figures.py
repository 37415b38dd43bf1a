"""Figures of allocations and limits, as plans and policies state them.

Apart from the plan, so that a policy is read without it.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from profiles.money import MOST_USD
from profiles.request_bound import MOST_TOKENS

MOST_S = 1e9
"""Seconds of a request, thirty years: more is a slip of the pen."""
MOST_VALUE = 1e15
"""Of any limit or promise, in its own unit: more is a slip of the pen."""
ClassSource = Literal["text", "label", "text+label"]
"""Prompt text, a label that the caller sends, or both."""
Score = Annotated[float, Field(ge=0, le=1)]
Dollars = Annotated[float, Field(ge=0, le=MOST_USD)]
Seconds = Annotated[float, Field(ge=0, le=MOST_S)]
_Value = Annotated[float, Field(ge=0, le=MOST_VALUE)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


class Figures(_Part):
    """Accuracy, cost and tail of an allocation; None where it cannot be known."""

    accuracy: Score = Field(description="Mean score, 0..1.")
    cost_usd_per_request: Dollars | None = Field(description="Mean dollars per request.")
    latency_p95_s: Seconds | None = Field(
        description="Smallest grid limit that at most 5 % of requests exceed, in seconds."
    )


class TokenLine(_Part):
    """Completion tokens that an answer may take by the length of its prompt."""

    base: Annotated[float, Field(ge=-MOST_TOKENS, le=MOST_TOKENS)] = Field(
        description="Tokens for an empty prompt; negative where it starts late."
    )
    per_prompt_token: Annotated[float, Field(ge=0, le=MOST_TOKENS)] = Field(
        description="Further tokens per token of the prompt."
    )

    def at(self, prompt_tokens: int) -> int:
        """The cap for a prompt of so many tokens, at least 1."""
        return max(1, math.ceil(self.base + self.per_prompt_token * prompt_tokens))


class LimitFigures(_Part):
    """How an allocation stands to one limit of the spec."""

    asked: _Value = Field(description="The limit's value, in the unit that its name says.")
    allowed: _Value = Field(
        description="What is held to: the value; of a latency limit, the share of requests that "
        "may be slower."
    )
    promised: _Value = Field(
        description="What holds with the spec's confidence: at least for a floor, else at most."
    )
    kept: bool = Field(description="Whether that keeps it; lower rungs give up accuracy.")
