"""Money as integers: one nano-dollar is 1e-9 USD. Floats describe, integers are counted."""

from __future__ import annotations

import datetime as dt
import math
from decimal import ROUND_CEILING, Decimal
from functools import cache
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
)

from profiles.errors import UnknownValueError

NANO_PER_USD = 1_000_000_000
MOST_USD = 1e9
"""Of anything that has a price; more is a slip of the pen, and 64 bits hold it in nano-dollars."""


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

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)

    input: float = Field(ge=0, le=MOST_USD, description="USD per million prompt tokens.")
    output: float = Field(ge=0, le=MOST_USD, description="USD per million completion tokens.")
    cached: float | None = Field(
        default=None,
        ge=0,
        le=MOST_USD,
        description="USD per million prompt tokens served from a cache; as input where absent. "
        "Profiles are priced by it, the runtime charges such tokens as input.",
    )
    reasoning: float | None = Field(
        default=None,
        ge=0,
        le=MOST_USD,
        description="USD per million hidden reasoning tokens; as output where absent.",
    )

    def cost_nano_usd(self, tokens_in: int, tokens_out: int) -> int:
        """What these tokens cost at most, rounded up to a whole nano-dollar per request.

        Which of them were cached or reasoning is not known here, so each is charged at the dearer
        price of its side: a cheap cached price is ignored, and nothing is understated.
        """
        dearest_in = max(self.input, self.cached or 0)
        dearest_out = max(self.output, self.reasoning or 0)
        pico = tokens_in * _pico_per_token(dearest_in) + tokens_out * _pico_per_token(dearest_out)
        return -(-pico // 1000)

    @model_serializer(mode="wrap")
    def _only_what_is_known(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Plans and policies are digested: a field that is not used must not change their bytes."""
        return _without_none(plain(self))


@cache
def _pico_per_token(usd_per_million: float) -> int:
    return int((Decimal(str(usd_per_million)) * 1_000_000).to_integral_value(ROUND_CEILING))


class Pool(BaseModel):
    """Rented or owned GPUs of one kind."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)

    usd_per_gpu_hour: float = Field(ge=0, description="USD per hour of one GPU.")
    models: dict[str, int] = Field(
        default_factory=dict, description="Models that run here, with the GPUs of one replica."
    )

    @field_validator("models")
    @classmethod
    def _whole_gpus(cls, models: dict[str, int]) -> dict[str, int]:
        if any(gpus < 1 for gpus in models.values()):
            raise ValueError("a replica takes at least one GPU")
        return models


class Energy(BaseModel):
    """What a kilowatt-hour costs and emits."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)

    usd_per_kwh: float | None = Field(default=None, ge=0, description="USD per kWh.")
    carbon_g_per_kwh: float | None = Field(
        default=None, ge=0, description="Grams of CO2 equivalent per kWh."
    )


_UsdPerUnit = Annotated[float, Field(ge=0, le=MOST_USD, allow_inf_nan=False)]


class PriceCard(BaseModel):
    """Prices of models, GPUs, energy and compute. What is not on the card has no known price."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    as_of: dt.date | None = Field(default=None, description="Day from which these hold.")
    source: str | None = Field(
        default=None, min_length=1, description="Where they were read: a page, a contract."
    )
    models: dict[str, TokenPrice] = Field(default_factory=dict)
    pools: dict[str, Pool] = Field(default_factory=dict, description="GPU pools by name.")
    energy: Energy | None = None
    compute: dict[Annotated[str, Field(min_length=1)], _UsdPerUnit] = Field(
        default_factory=dict,
        description="USD per unit of general compute, by the unit's name, e.g. denoising steps.",
    )

    @property
    def prices_requests(self) -> bool:
        """Whether it prices what requests use, energy aside."""
        return bool(self.models or self.pools or self.compute)

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

    @model_serializer(mode="wrap")
    def _only_what_is_known(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A card of token prices alone is written as ever: its digest stands in plans."""
        newer = ("pools", "compute")
        return {k: v for k, v in _without_none(plain(self)).items() if v or k not in newer}


def _without_none(content: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if value is not None}


def finite(value: float | None) -> float | None:
    """The value, or None where it is absent or not a number."""
    return value if value is not None and math.isfinite(value) else None
