"""What one request can cost at most, reckoned by hand."""

from __future__ import annotations

import pytest

from profiles.errors import InputError, UnknownValueError
from profiles.money import PriceCard, TokenPrice
from profiles.request_bound import EMPTY_PROMPT, STEP_BY_STEP, bound_nano_usd, chat_tokens
from profiles.strategy import parse

PRICES = PriceCard(
    models={"a": TokenPrice(input=1, output=10), "b": TokenPrice(input=2, cached=3, output=20)}
)
"""USD per million tokens: millionths of a dollar per token."""


@pytest.mark.parametrize(
    ("text", "cap", "millionths"),
    [
        ("a/single", 50, 200 + 50 * 10),
        ("a/single(max_tokens=30)", 50, 200 + 30 * 10),
        ("b/single", 50, 200 * 3 + 50 * 20),
        ("a/chain_of_thought", 50, 200 + 32 + len(STEP_BY_STEP) + 50 * 10),
        ("a/self_consistency(k=8)", 50, 200 + 8 * 50 * 10),
        ("a/self_consistency(k=200)", 50, 2 * 200 + 200 * 50 * 10),
        ("a/best_of_n(n=8,verifier=v)", 50, 200 + 8 * 50 * 10),
        ("a/best_of_n(batch=3,n=8,verifier=v)", 50, 3 * 200 + 8 * 50 * 10),
        ("cascade(accept=v,stages=[a/single,b/single])", 50, 200 + 500 + 600 + 1000),
        (
            "cascade(accept=v,max_tokens=40,stages=[a/single(max_tokens=9),b/single])",
            50,
            200 + 90 + 600 + 800,
        ),
    ],
)
def test_every_call_that_could_happen_counts_with_its_longest_answers(
    text: str, cap: int, millionths: int
) -> None:
    assert bound_nano_usd(parse(text), 200, cap, PRICES) == millionths * 1000


def test_an_upstream_of_one_answer_a_call_is_sent_the_prompt_each_time() -> None:
    assert bound_nano_usd(parse("a/self_consistency(k=8)"), 200, 50, PRICES, 1) == 5_600_000


def test_a_text_that_asks_for_very_many_answers_is_reckoned_at_once() -> None:
    most = 2**40
    bound = bound_nano_usd(parse(f"a/best_of_n(batch=3,n={most},verifier=v)"), 200, 1, PRICES)
    assert bound == 1000 * (200 * -(-most // 3) + most * 10)
    with pytest.raises(InputError, match="n is not a positive whole number; expected 1 to"):
        bound_nano_usd(parse(f"a/best_of_n(n={most + 1},verifier=v)"), 200, 1, PRICES)


def test_a_chat_counts_its_bytes_and_room_for_templates() -> None:
    assert chat_tokens([600]) == 760
    assert chat_tokens([100, 500]) == 792
    assert chat_tokens([0]) == EMPTY_PROMPT == 160


@pytest.mark.parametrize(
    ("text", "cap", "error", "said"),
    [
        ("a/single", None, UnknownValueError, "nothing caps the completion tokens"),
        ("c/single", 50, UnknownValueError, "no price is known"),
        ("a/debate(rounds=2)", 50, UnknownValueError, "no gateway knows the method 'debate'"),
        ("council(members=[a/single])", 50, UnknownValueError, "no gateway knows"),
        ("a/self_consistency", 50, InputError, "this parameter is missing"),
        ("a/self_consistency(k=many)", 50, InputError, "k is not a positive whole number"),
        ("a/best_of_n(n=0,verifier=v)", 50, InputError, "n is not a positive whole number"),
        ("a/single(max_tokens=1.5)", 50, InputError, "max_tokens is not a positive whole"),
        ("cascade(accept=v)", 50, InputError, "a cascade without stages"),
        ("cascade(accept=v,stages=[a,b])", 50, InputError, "a stage is not a strategy"),
    ],
)
def test_what_nothing_bounds_is_an_error_and_never_free(
    text: str, cap: int | None, error: type[InputError], said: str
) -> None:
    with pytest.raises(error, match=said):
        bound_nano_usd(parse(text), 200, cap, PRICES)
