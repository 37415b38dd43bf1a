from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.errors import InputError
from runtime.envelope import Envelope
from runtime.tenants import RequestLimitError, RequestLimits
from runtime.tenants.file import Limits
from runtime.tenants.request_limits import smallest

NAMES = [field.name for field in fields(RequestLimits)]
limits = st.builds(RequestLimits, **{name: st.none() | st.integers(1, 9) for name in NAMES})
values = st.recursive(
    st.none() | st.integers() | st.text(max_size=8) | st.just('[{"\\') | st.just('\\\\"[['),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=12,
)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


def test_the_file_has_the_limits_that_requests_are_held_against() -> None:
    assert list(Limits.model_fields) == NAMES


@given(st.lists(limits, max_size=4))
def test_of_every_limit_the_smallest_that_anybody_set_counts(found: list[RequestLimits]) -> None:
    least = smallest(found)
    for name in NAMES:
        given_ = [value for each in found if (value := getattr(each, name)) is not None]
        assert getattr(least, name) == min(given_, default=None)


@given(values, st.sampled_from([0, 1]), st.sampled_from([None, 1]))
def test_a_body_is_refused_exactly_where_it_is_nested_deeper_than_allowed(
    value: Any, plain: int, indent: int | None
) -> None:
    body = json.dumps(value, ensure_ascii=bool(plain), indent=indent).encode()
    deep = depth(value)
    RequestLimits(depth=max(deep, 1)).refuse_depth(body)
    RequestLimits().refuse_depth(body)
    if deep > 1:
        with pytest.raises(RequestLimitError) as refused:
            RequestLimits(depth=deep - 1).refuse_depth(body)
        assert refused.value.limit == "depth"


@given(st.binary(max_size=60) | st.text('"\\[]{}a', max_size=60).map(str.encode), st.integers(1, 4))
def test_no_bytes_of_a_body_do_anything_but_pass_or_be_refused(body: bytes, most: int) -> None:
    with suppress(RequestLimitError):
        RequestLimits(depth=most).refuse_depth(body)


@pytest.mark.parametrize("end", [b"", b"\\", b'\\"', b'"', b"\\\\"])
def test_brackets_within_a_text_count_for_nothing_even_where_it_never_ends(end: bytes) -> None:
    RequestLimits(depth=1).refuse_depth(b'["' + b"[" * 9 + end)
    RequestLimits(depth=1).refuse_depth(b'["' + b'\\"' * 500_000 + b"[" + end)


@pytest.mark.parametrize(
    "body",
    [
        b'"' + b'\\"' * 500_000 + b"[" * 9,
        b'["' * 500_000,
        b'"\\' * 500_000 + b"[" * 9,
        b"]" * 500_000 + b"[" * 9,
        b'{"a":' * 200_000,
    ],
    ids=["text without end", "lists and texts", "odd escapes", "closed only", "deep"],
)
def test_a_hostile_body_is_read_once(body: bytes) -> None:
    """Were a bracket ever looked at again, these would take hours."""
    with suppress(RequestLimitError):
        RequestLimits(depth=8).refuse_depth(body)


def test_every_limit_is_named_where_it_is_broken_and_kept_at_its_very_value() -> None:
    found = RequestLimits(body_bytes=10, messages=3, tools=2, prompt_tokens=7)
    found.refuse_size(10)
    found.refuse_parts(messages=3, tools=2)
    found.refuse_prompt(7)
    for limit, broken in {
        "body_bytes": lambda: found.refuse_size(11),
        "messages": lambda: found.refuse_parts(messages=4, tools=2),
        "tools": lambda: found.refuse_parts(messages=3, tools=3),
        "prompt_tokens": lambda: found.refuse_prompt(8),
    }.items():
        with pytest.raises(RequestLimitError, match=f"^{limit}: this request is larger") as refused:
            broken()
        assert refused.value.limit == limit
        assert isinstance(refused.value, InputError)


def test_without_limits_nothing_is_refused() -> None:
    free = RequestLimits()
    free.refuse_size(10**12)
    free.refuse_depth(b"[" * 10_000)
    free.refuse_parts(messages=10**9, tools=10**9)
    free.refuse_prompt(10**12)
    assert free.allowed_tokens(None) is None
    assert free.allowed_tokens(5) == 5
    assert free.within(Envelope(calls=3)) == Envelope(calls=3)


def test_a_wish_for_longer_answers_is_lowered_and_none_is_the_limit() -> None:
    found = RequestLimits(max_tokens=100)
    assert [found.allowed_tokens(asked) for asked in (None, 1, 100, 101)] == [100, 1, 100, 100]


@given(limits, limits)
def test_an_envelope_is_never_widened(limit: RequestLimits, other: RequestLimits) -> None:
    names = ("calls", "tokens", "usd", "wall_s")
    envelope = Envelope(**{name: getattr(other, name) for name in names})
    within = limit.within(envelope)
    for name in names:
        ours = [getattr(each, name) for each in (limit, envelope)]
        assert getattr(within, name) == min((v for v in ours if v is not None), default=None)
