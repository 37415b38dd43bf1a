"""Embeddings on the wire: passed through to the model server, after a bound of what they cost."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from profiles.errors import InputError
from runtime.openai.reading import Positive, UserName, decoded

# Marks at the beginning and the end of a text, and an instruction that some servers put before it.
_MARKS_PER_INPUT = 64
MOST_INPUTS = 2048

MOST_TOKEN = 2**31 - 1

Token = Annotated[int, msgspec.Meta(ge=0, le=MOST_TOKEN)]
Tokens: TypeAlias = list[Token]


class EmbeddingRequest(msgspec.Struct, omit_defaults=True):
    """The body of an embedding request; unknown fields are left out of what is sent on."""

    input: str | Annotated[list[str | Token | Tokens], msgspec.Meta(min_length=1)]
    model: str
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Positive | None = None
    user: UserName | None = None


_decoder = msgspec.json.Decoder(EmbeddingRequest)
_encoder = msgspec.json.Encoder()


def read_embedding(body: bytes) -> EmbeddingRequest:
    """Read a request body.

    Raises:
        InputError: Not JSON, a wrong type or range, an empty text, too many texts, or texts and
            tokens mixed.
    """
    asked = decoded(_decoder, body, "an embedding request")
    inputs = _inputs(asked)
    if len(inputs) > MOST_INPUTS:
        raise InputError(
            "these are too many inputs for one request",
            where="input",
            expected=f"at most {MOST_INPUTS:,}",
            got=f"{len(inputs):,}",
        )
    if not all(inputs):
        raise InputError("an empty input has no embedding", where="input")
    return asked


def embedding_body(asked: EmbeddingRequest, model: str) -> bytes:
    """What is sent on: no more than was bounded.

    Args:
        asked: The request.
        model: As the upstream calls it.
    """
    return _encoder.encode(msgspec.structs.replace(asked, model=model))


def embedding_tokens_bound(asked: EmbeddingRequest) -> int:
    """No byte-level tokenizer makes more tokens of the inputs than this."""
    inputs = _inputs(asked)
    said = sum(len(one.encode()) if isinstance(one, str) else len(one) for one in inputs)
    return said + _MARKS_PER_INPUT * len(inputs)


def _inputs(asked: EmbeddingRequest) -> list[str] | list[Tokens]:
    """The inputs, each to become one vector.

    Raises:
        InputError: Texts and tokens are mixed.
    """
    given = [asked.input] if isinstance(asked.input, str) else asked.input
    texts = [one for one in given if isinstance(one, str)]
    lists = [one for one in given if isinstance(one, list)]
    tokens = [one for one in given if isinstance(one, int)]
    if len(texts) == len(given):
        return texts
    if len(lists) == len(given):
        return lists
    if len(tokens) == len(given):
        return [tokens]
    raise InputError("texts and tokens are mixed", where="input", expected="one kind")
