"""Money as integers: one nano-dollar is 1e-9 USD. Floats describe, integers are counted."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, Decimal

from pydantic import BaseModel, ConfigDict, Field

from profiles.errors import UnknownValueError

NANO_PER_USD = 1_000_000_000


def to_nano_usd(usd: float | Decimal | str) -> int:
    """Dollars as whole nano-dollars, rounded up so that no cost is understated.

    The shortest decimal text of a float is taken, so 0.1 is one tenth and not a little more.
    """
    return int((Decimal(str(usd)) * NANO_PER_USD).to_integral_value(ROUND_CEILING))


def to_usd(nano_usd: int) -> float:
    """Nano-dollars as dollars, for people and for files."""
    return nano_usd / NANO_PER_USD


class TokenPrice(BaseModel):
    """USD per million tokens of one model, by token class."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    input: float = Field(ge=0, description="USD per million prompt tokens.")
    output: float = Field(ge=0, description="USD per million completion tokens.")

    def cost_nano_usd(self, tokens_in: int, tokens_out: int) -> int:
        """What these tokens cost, rounded up to a whole nano-dollar per request."""
        pico = tokens_in * _pico_per_token(self.input) + tokens_out * _pico_per_token(self.output)
        return -(-pico // 1000)


def _pico_per_token(usd_per_million: float) -> int:
    return int((Decimal(str(usd_per_million)) * 1_000_000).to_integral_value(ROUND_CEILING))


class PriceCard(BaseModel):
    """Prices of models. A model that is not on the card has no known price."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: dict[str, TokenPrice] = Field(default_factory=dict)

    def price(self, model: str) -> TokenPrice:
        """The price of a model.

        Raises:
            UnknownValueError: The card does not name the model. Unknown is never free.
        """
        try:
            return self.models[model]
        except KeyError:
            raise UnknownValueError(
                "no price is known for this model",
                where=f"prices.models.{model}",
                expected=f"one of {', '.join(sorted(self.models)) or 'none so far'}",
                next_step="add its USD per million input and output tokens to the price card",
            ) from None


def finite(value: float | None) -> float | None:
    """The value, or None where it is absent or not a number."""
    return value if value is not None and math.isfinite(value) else None
