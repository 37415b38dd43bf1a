"""Errors in OpenAI's shape, the same for all of its APIs."""

from __future__ import annotations

import msgspec

_KINDS = {
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    429: "rate_limit_error",
}


class ApiError(msgspec.Struct):
    """What is wrong.

    Attributes:
        message: In words.
        type: Kind of error.
        param: The field that is wrong, where it is one.
        code: For programs.
    """

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorReply(msgspec.Struct):
    """Body of every reply that is an error."""

    error: ApiError


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(ErrorReply)


def error_body(
    status: int, message: str, code: str | None = None, param: str | None = None
) -> bytes:
    """The body of an error."""
    kind = _KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
    return _encoder.encode(ErrorReply(ApiError(message, kind, param, code)))


def error_in(body: bytes) -> ApiError:
    """What `error_body` wrote."""
    return _decoder.decode(body).error
