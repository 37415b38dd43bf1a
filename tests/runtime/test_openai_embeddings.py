"""Embeddings: what may be passed through, and the most that it can cost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai_answers import raw

from profiles.errors import InputError
from runtime.openai import (
    embedding_body,
    embedding_tokens_bound,
    model_body,
    models_body,
    read_embedding,
)

TEXTS = st.text(min_size=1, max_size=20).filter(str.isprintable)
INPUTS = st.one_of(
    TEXTS,
    st.lists(TEXTS, min_size=1, max_size=5),
    st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=20),
    st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=5), min_size=1, max_size=5),
)


@given(INPUTS)
def test_a_byte_level_tokenizer_makes_no_more_tokens_than_the_bound(given_input: Any) -> None:
    asked = read_embedding(raw(model="small", input=given_input))
    inputs = [given_input] if isinstance(given_input, str) else given_input
    if isinstance(inputs[0], int):
        inputs = [inputs]
    tokens = sum(len(one.encode() if isinstance(one, str) else one) + 2 for one in inputs)
    assert tokens <= embedding_tokens_bound(asked)


def test_only_what_was_bounded_is_sent_on_with_the_upstreams_name_of_the_model() -> None:
    fields = {"input": ["é", "b"], "encoding_format": "base64", "dimensions": 8, "user": "jane"}
    asked = read_embedding(raw(model="small", messages=[{"role": "user"}] * 9, **fields))
    assert json.loads(embedding_body(asked, "acme/small-1")) == {"model": "acme/small-1", **fields}


def test_of_a_name_that_stands_twice_the_one_that_was_bounded_is_sent() -> None:
    asked = read_embedding(b'{"model": "small", "input": "a", "input": "bb"}')
    shorter = read_embedding(raw(model="small", input="a"))
    assert embedding_tokens_bound(asked) == embedding_tokens_bound(shorter) + 1
    assert json.loads(embedding_body(asked, "m"))["input"] == "bb"


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"input": ""}, "empty input"),
    ({"input": ["a", ""]}, "empty input"),
    ({"input": []}, "$.input"),
    ({"input": [[]]}, "empty input"),
    ({"input": ["a", 1]}, "mixed"),
    ({"input": [[1], 1]}, "mixed"),
    ({"input": [-1]}, "$.input"),
    ({"input": [1.5]}, "$.input"),
    ({"input": ["a"] * 2049}, "too many inputs"),
    ({"input": {"text": "a"}}, "$.input"),
    ({"model": None}, "$.model"),
    ({"encoding_format": "hex"}, "$.encoding_format"),
    ({"dimensions": 0}, "$.dimensions"),
]


@pytest.mark.parametrize(("fields", "message"), REFUSED)
def test_what_cannot_be_embedded_is_refused_in_words(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as refused:
        read_embedding(raw(**{"model": "small", "input": "a", **fields}))
    assert message in str(refused.value)


def test_models_are_listed_and_told_one_by_one() -> None:
    one = {"id": "m", "object": "model", "created": 0, "owned_by": "inferbudget"}
    assert json.loads(model_body("m")) == one
    assert json.loads(models_body(("m", "n"))) == {
        "object": "list",
        "data": [one, {**one, "id": "n"}],
    }
