"""Embeddings, passed through: what a client asks and an upstream answers, and the bill in it."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from profiles.errors import InputError, UpstreamError
from runtime.chat import MOST_TOKENS

_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Embeddings:
    """A reply.

    Attributes:
        content: All of it, byte for byte.
        tokens_in: Prompt tokens billed, None when the upstream did not say, or said what cannot be.
        latency_s: Seconds from request to complete reply.
    """

    content: bytes
    tokens_in: int | None
    latency_s: float


class _Reply(msgspec.Struct):
    data: list[msgspec.Raw]
    usage: msgspec.Raw = msgspec.Raw(b"null")


class _Usage(msgspec.Struct):
    prompt_tokens: int


_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_reply_decoder = msgspec.json.Decoder(_Reply)
_usage_decoder = msgspec.json.Decoder(_Usage)
_encoder = msgspec.json.Encoder()


def embeddings_body(body: bytes, model: str) -> bytes:
    """A client's body with the upstream's name of the model; all else byte for byte.

    Raises:
        InputError: It is no JSON object.
    """
    try:
        fields = _fields_decoder.decode(body)
    except _UNREADABLE as error:
        raise InputError(f"the body is not an embeddings request: {error}") from error
    fields["model"] = msgspec.Raw(_encoder.encode(model))
    return _encoder.encode(fields)


def embeddings(content: bytes, latency_s: float) -> Embeddings:
    """A whole reply.

    Raises:
        UpstreamError: It holds no list of embeddings.
    """
    try:
        reply = _reply_decoder.decode(content)
    except _UNREADABLE as error:
        raise UpstreamError(f"the upstream's reply holds no embeddings: {error}") from error
    return Embeddings(content, _tokens_in(reply.usage), latency_s)


def _tokens_in(raw: msgspec.Raw) -> int | None:
    """Billed tokens; unknown where they are absent or impossible."""
    try:
        tokens = _usage_decoder.decode(raw).prompt_tokens
    except _UNREADABLE:
        return None
    return tokens if 0 < tokens <= MOST_TOKENS else None
