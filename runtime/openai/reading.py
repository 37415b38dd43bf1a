"""What the readers of all bodies share: JSON in; a request, or an `InputError` in words, out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from operator import attrgetter
from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec

from profiles.errors import InputError

MAX_BODY_BYTES = 1024 * 1024

MAX_NESTING = 32
"""Levels of a schema; templates indent each, so depth costs more tokens than bytes."""

MAX_SCHEMA_BYTES = 256 * 1024
"""Of all tools of a request together, and of the schema that its reply must keep."""

_MAX_INT64 = 2**63 - 1
_MAX_STOPS = 4

Positive: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=10_000_000)]
Temperature: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=2)]
TopP: TypeAlias = Annotated[float, msgspec.Meta(gt=0, le=1)]
Seed: TypeAlias = Annotated[int, msgspec.Meta(ge=-_MAX_INT64 - 1, le=_MAX_INT64)]
Stop: TypeAlias = str | Annotated[list[str], msgspec.Meta(max_length=_MAX_STOPS)]
UserName: TypeAlias = Annotated[str, msgspec.Meta(max_length=256)]

AtRest: TypeAlias = Mapping[str, tuple[Any, ...]]
"""By field that is not supported, the values beside null that ask for nothing."""

NOTHING: tuple[Any, ...] = (False, 0, "none", [], {})
R = TypeVar("R")


class StreamOptions(msgspec.Struct):
    """How a stream is wanted."""

    include_usage: bool | None = None


SAMPLING_AT_REST: AtRest = {
    "frequency_penalty": NOTHING,
    "logit_bias": NOTHING,
    "min_p": NOTHING,
    "presence_penalty": NOTHING,
    "repetition_penalty": (*NOTHING, 1),
    "top_k": (*NOTHING, -1),
}


class SampledRequest(msgspec.Struct, kw_only=True):
    """What chats and completions ask alike."""

    model: str | None = None
    max_tokens: Positive | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    seed: Seed | None = None
    stop: Stop | None = None
    n: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    metadata: dict[str, Any] | None = None
    user: UserName | None = None
    safety_identifier: UserName | None = None
    frequency_penalty: Any = None
    logit_bias: Any = None
    min_p: Any = None
    presence_penalty: Any = None
    repetition_penalty: Any = None
    top_k: Any = None


def decoded(decoder: msgspec.json.Decoder[R], body: bytes, what: str) -> R:
    """A body of this shape.

    Args:
        decoder: Of the shape.
        body: JSON.
        what: In words, with its article.

    Raises:
        InputError: Not JSON, or a wrong type or range.
    """
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"the body is not {what}: {error}") from error


def refuser(at_rest: AtRest) -> Callable[[Any], None]:
    """A function that refuses requests which ask for what is not supported.

    Asked for and not honoured would be a wrong answer, so it is refused unless left at rest.
    """
    names = tuple(at_rest)
    return partial(_refuse, names, attrgetter(*names), (None,) * len(names), at_rest)


def _refuse(
    names: tuple[str, ...],
    values_of: Callable[[Any], tuple[Any, ...]],
    unsaid: tuple[None, ...],
    at_rest: AtRest,
    request: Any,
) -> None:
    values = values_of(request)
    if values == unsaid:
        return
    for name, value in zip(names, values, strict=True):
        if value is not None and not _rests(value, at_rest[name]):
            raise InputError(f"{name} is not supported", next_step=f"leave {name} out")


def _rests(value: Any, values: tuple[Any, ...]) -> bool:
    """Whether it is one of them; in JSON ``true`` is not 1, as it is in Python."""
    return any(value == one and isinstance(value, bool) is isinstance(one, bool) for one in values)


def refuse_several(n: int | None) -> None:
    """Refuse a wish for several answers.

    Raises:
        InputError: More than one, or none.
    """
    if n not in (None, 1):
        raise InputError(
            "n other than 1 is not supported: the policy decides how many samples are drawn",
            got=str(n),
            next_step="leave n out",
        )


def stops_of(stop: str | list[str] | None) -> tuple[str, ...]:
    """Texts that end an answer, without empty ones."""
    if stop is None:
        return ()
    stops = [stop] if isinstance(stop, str) else stop
    return tuple(text for text in stops if text)


def label_of(metadata: Mapping[str, Any] | None, label: str | None) -> str | None:
    """The class or label: that of the header, an empty one too, or else ``metadata.class``."""
    if label is not None or metadata is None:
        return label
    meta = metadata.get("class")
    return meta if isinstance(meta, str) else None


def refuse_unwieldy(value: Any, where: str) -> None:
    """Refuse JSON that would make far more of a prompt than it looks.

    Args:
        value: Tools, or a schema.
        where: The field.

    Raises:
        InputError: It is too long or too deep.
    """
    if _deeper_than(value, MAX_NESTING):
        raise InputError(
            "this is nested too deeply", where=where, expected=f"at most {MAX_NESTING} levels"
        )
    size = len(msgspec.json.encode(value))
    if size > MAX_SCHEMA_BYTES:
        raise InputError(
            "this is too long",
            where=where,
            expected=f"at most {MAX_SCHEMA_BYTES:,} bytes",
            got=f"{size:,}",
        )


def _deeper_than(value: Any, levels: int) -> bool:
    """Level by level: nothing here can run out of stack."""
    level = [value]
    for _ in range(levels):
        below: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                below += one.values()
            elif isinstance(one, list | tuple):
                below += one
        if not below:
            return False
        level = below
    return any(isinstance(one, dict | list) for one in level)
