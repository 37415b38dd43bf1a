"""One answer of a model whose thought before it is limited by the server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from profiles.errors import InputError
from profiles.methods.drawing import drawn
from profiles.methods.method import Calls, Method, Room, Sampled, always
from profiles.strategy import Strategy, Value

LEAST_ANTHROPIC = 1024
"""Tokens of the shortest thought that can be asked of Claude."""


class ThinkingBudgetParams(Sampled):
    """Parameters of `thinking_budget`."""

    dialect: Literal["anthropic", "qwen", "vllm"] = Field(
        description="Whose field carries the budget."
    )
    tokens: int = Field(
        ge=0, le=1_000_000, description="Most tokens of the thought; 0 turns thinking off."
    )

    @field_validator("tokens")
    @classmethod
    def _possible(cls, tokens: int, info: ValidationInfo) -> int:
        given = info.data
        cap = given.get("max_tokens")
        if tokens and cap is not None and tokens >= cap:
            raise ValueError(f"expected fewer than max_tokens, {cap}, which also holds the answer")
        if tokens and given.get("dialect") == "anthropic":
            if tokens < LEAST_ANTHROPIC:
                raise ValueError(f"anthropic expects 0, or {LEAST_ANTHROPIC} or more")
            if given.get("temperature") is not None or given.get("top_p") is not None:
                raise ValueError("anthropic expects no temperature or top_p beside a thought")
        return tokens


def thinking_cap(params: ThinkingBudgetParams, room: Room) -> int:
    """Cap on the completion tokens of the call, thought and answer together.

    Raises:
        UnknownValueError: Nobody gives one.
        InputError: The thought alone could use it up.
    """
    cap = room.cap(params.max_tokens)
    if params.tokens >= cap and params.tokens:
        raise InputError(
            "the thinking budget leaves no token for the answer",
            where=f"strategy {room.strategy}",
            expected=f"max_tokens of more than {params.tokens}",
            got=str(cap),
            next_step="raise max_tokens, or choose a smaller budget",
        )
    return cap


def worst_case(params: ThinkingBudgetParams, room: Room) -> Iterator[Calls]:
    """One call; its cap holds thought and answer."""
    return drawn(room, 1, own_cap=thinking_cap(params, room))


METHOD = Method(
    "thinking_budget",
    ThinkingBudgetParams,
    worst_case,
    answer_tokens=thinking_cap,
    passes_through=always,
)


def thought_in(value: Value) -> int:
    """Most tokens that any part of a strategy thinks for, beside its answer.

    A cap that is not above them leaves that part no room, however short its thoughts were so far.
    """
    if isinstance(value, tuple):
        return max(map(thought_in, value), default=0)
    if not isinstance(value, Strategy):
        return 0
    own = value.param("tokens") if value.method == METHOD.name else 0
    parts = tuple(part for _, part in value.params)
    return max(own if isinstance(own, int) else 0, thought_in(parts))
