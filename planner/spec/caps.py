"""Hard caps on every single request, as opposed to limits on means and percentiles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from planner.spec.parts import Count, Part, Positive, without
from profiles.money import MOST_USD
from profiles.request_bound import MOST_TOKENS, count_of
from profiles.strategy import Strategy, Value


class Caps(Part):
    """What no request may exceed. The runtime enforces it; plans use what was measured within."""

    tokens: Annotated[Count, Field(le=MOST_TOKENS)] | None = Field(
        default=None, description="Completion tokens of one answer of one call."
    )
    by_prompt_length: bool = Field(
        default=False,
        description="Cap completion tokens by the length of the prompt too, at a line that about "
        "1 % of the measured ones exceed.",
    )
    calls: Count | None = Field(default=None, description="Calls to models of one request.")
    wall_s: Positive | None = Field(
        default=None, description="Seconds that one request may be answered for."
    )
    usd: Annotated[Positive, Field(le=MOST_USD)] | None = Field(
        default=None, description="Dollars of one request."
    )

    @model_validator(mode="after")
    def _caps_something(self) -> Caps:
        if not self.given() and not self.by_prompt_length:
            raise ValueError(
                "caps names no cap: give tokens, calls, wall_s or usd, or leave it out"
            )
        return self

    @model_serializer(mode="wrap")
    def _only_what_is_given(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        return without(written, written)

    def given(self) -> dict[str, int | float]:
        """The caps that are numbers, by name."""
        values = {name: getattr(self, name) for name in ("tokens", "calls", "wall_s", "usd")}
        return {name: value for name, value in values.items() if value is not None}


def own_token_cap(strategy: Strategy) -> int | None:
    """Most completion tokens of one answer by a strategy's own text.

    Of combinations the largest of their stages'; None where a part that calls a model has none.

    Raises:
        InputError: A `max_tokens` that is not a positive whole number.
    """
    caps = token_caps(strategy)
    known = [cap for cap in caps if cap is not None]
    return max(known) if known and len(known) == len(caps) else None


def token_caps(strategy: Strategy) -> list[int | None]:
    """The `max_tokens` of every part that calls a model or caps one, None where it has none.

    Raises:
        InputError: One that is not a positive whole number.
    """
    return [count_of(part, "max_tokens") for part in _calling(strategy)]


def _calling(strategy: Strategy) -> Iterator[Strategy]:
    """The parts that call a model or cap one: the strategy itself, or else its stages."""
    nested = [part for _, value in strategy.params for part in _strategies(value)]
    if strategy.model or strategy.param("max_tokens") is not None or not nested:
        yield strategy
    else:
        for part in nested:
            yield from _calling(part)


def _strategies(value: Value) -> Iterator[Strategy]:
    if isinstance(value, Strategy):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _strategies(item)
