"""The most that one request can cost by prices, known before its first call.

The one reckoning of gateway, planner, compiler and check: prompts are counted by their bytes, every
answer at its longest, and every call that a strategy could make.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from profiles.errors import InputError, UnknownValueError
from profiles.money import PriceCard
from profiles.strategy import Strategy

# A token of a byte-level vocabulary covers at least one byte; templates add marks per message and
# sometimes a system text of their own.
_TEMPLATE_TOKENS_PER_MESSAGE = 32
_TEMPLATE_TOKENS_PER_REQUEST = 128

ANSWERS_PER_CALL = 128
"""Most answers that one call asks for, where nobody says otherwise."""

STEP_BY_STEP = (
    "Think step by step. Then give the final answer on a last line that starts with 'Answer:'."
)
"""What `chain_of_thought` puts in front, as a message of its own."""

MOST_TOKENS = 2**40
"""Of a call, and answers of a request: more is a slip of the pen."""
_SAMPLED = {"single": None, "chain_of_thought": None, "self_consistency": "k", "best_of_n": "n"}
"""Methods on one model, with the parameter that counts their answers."""


@dataclass(frozen=True, slots=True)
class RequestBound:
    """The most that a request like the measured ones can cost under one strategy.

    Attributes:
        usd: Dollars; None where nothing bounds them.
        prompt_tokens: Of the longest prompt, as `chat_tokens` counts.
        max_tokens: Longest answer of a call that the strategy leaves open.
        unknown: Why nothing bounds the dollars.
    """

    usd: float | None
    prompt_tokens: int
    max_tokens: int | None
    unknown: str | None = None


def chat_tokens(message_bytes: Iterable[int]) -> int:
    """No byte-level tokenizer makes more of a chat whose messages have so many bytes of UTF-8."""
    return _TEMPLATE_TOKENS_PER_REQUEST + sum(map(message_tokens, message_bytes))


def message_tokens(count: int) -> int:
    """No byte-level tokenizer makes more of one message of so many bytes, template included."""
    return _TEMPLATE_TOKENS_PER_MESSAGE + count


EMPTY_PROMPT = chat_tokens([0])
"""Tokens that the shortest chat counts as, one message without a word."""


def bound_nano_usd(
    strategy: Strategy,
    prompt_tokens: int,
    max_tokens: int | None,
    prices: PriceCard,
    answers_per_call: int = ANSWERS_PER_CALL,
) -> int:
    """The most that one request can cost.

    Args:
        strategy: Its text says which calls can happen.
        prompt_tokens: From `chat_tokens`.
        max_tokens: Cap of policy and client on every answer, None where neither gives one.
        prices: Every model's price.
        answers_per_call: Most answers of one call.

    Raises:
        UnknownValueError: A method that nobody can run, a model without a price, or no cap on
            completion tokens.
        InputError: A parameter that is no positive whole number.
    """
    cap = lowest(count_of(strategy, "max_tokens"), max_tokens)
    if strategy.method == "cascade":
        return sum(
            bound_nano_usd(stage, prompt_tokens, cap, prices, answers_per_call)
            for stage in _stages(strategy)
        )
    answers, batch = _answers(strategy)
    price = prices.price(strategy.model or "")
    if cap is None:
        raise no_token_cap(strategy)
    if strategy.method == "chain_of_thought":
        prompt_tokens += message_tokens(len(STEP_BY_STEP.encode()))
    return sum(
        rounds * calls * price.cost_nano_usd(prompt_tokens, count * cap)
        for drawn, rounds in _sizes(answers, batch)
        for count, calls in _sizes(drawn, answers_per_call)
    )


def count_of(strategy: Strategy, name: str) -> int | None:
    """A parameter that counts something, None where it is not set.

    Raises:
        InputError: One that is not a positive whole number.
    """
    value = strategy.param(name)
    if value is not None and not (isinstance(value, int) and 0 < value <= MOST_TOKENS):
        raise InputError(
            f"{name} is not a positive whole number",
            where=f"strategy {strategy}",
            expected=f"1 to {MOST_TOKENS}",
            got=str(value),
            next_step="measure the strategy under a corrected text",
        )
    return value


def split(answers: int, most: int) -> Iterator[int]:
    """Answers as the sizes of the calls that draw them."""
    while answers > 0:
        yield min(answers, most)
        answers -= most


def no_token_cap(strategy: Strategy) -> UnknownValueError:
    """Neither the strategy nor anybody who asks it limits its answers."""
    return UnknownValueError(
        "nothing caps the completion tokens, so the cost has no bound",
        where=f"strategy {strategy}",
        expected="max_tokens in the strategy, the policy or the request",
    )


def lowest(*caps: int | None) -> int | None:
    """The least of those that there are."""
    return min((cap for cap in caps if cap is not None), default=None)


def _sizes(answers: int, most: int) -> Iterator[tuple[int, int]]:
    """What `split` gives, as sizes with how often each comes: texts of others may ask for many."""
    if answers >= most:
        yield most, answers // most
    if answers % most:
        yield answers % most, 1


def _answers(strategy: Strategy) -> tuple[int, int]:
    """Answers that could be drawn, and how many of them in one round."""
    if strategy.method not in _SAMPLED:
        raise UnknownValueError(
            f"no gateway knows the method {strategy.method!r}, so nothing bounds its cost",
            where=f"strategy {strategy}",
            expected=f"one of {', '.join(sorted((*_SAMPLED, 'cascade')))}",
        )
    counted = _SAMPLED[strategy.method]
    if counted is None:
        return 1, 1
    answers = count_of(strategy, counted)
    if answers is None:
        raise InputError("this parameter is missing", where=f"strategy {strategy}: {counted}")
    return answers, count_of(strategy, "batch") or answers


def _stages(strategy: Strategy) -> Iterator[Strategy]:
    stages = strategy.param("stages")
    found = stages if isinstance(stages, tuple) else ()
    if not found:
        raise InputError("a cascade without stages", where=f"strategy {strategy}: stages")
    for stage in found:
        if not isinstance(stage, Strategy):
            raise InputError(
                "a stage is not a strategy", where=f"strategy {strategy}: stages", got=str(stage)
            )
        yield stage
