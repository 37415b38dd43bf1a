"""What a failed call says: about the server, and about whether asking again could cost money."""

from __future__ import annotations

from enum import StrEnum

from profiles.errors import UpstreamError
from runtime.upstream import UpstreamLostError, UpstreamRejectedError, UpstreamTimeoutError

_BUSY = 429
_UNAVAILABLE = 503
_NO_SUCH_MODEL = 404
_FORBIDDEN = 403
# The key or the address is wrong, whoever asks: another upstream may have a better one.
_REFUSED = frozenset({401, 403, 404, 405})


class FailureKind(StrEnum):
    """How a call failed.

    `connect`: it never had a connection. `timeout`: no complete reply in time. `lost`: the
    connection broke. `status`: an error of the server. `unusable`: a reply that is none. `busy`:
    429, or 503 with a time to come back. `unavailable`: 503 before any work. `refused`: the key or
    the model is not known there. `rejected`: the request is at fault. `cancelled`: nobody waited.
    """

    CONNECT = "connect"
    TIMEOUT = "timeout"
    LOST = "lost"
    STATUS = "status"
    UNUSABLE = "unusable"
    BUSY = "busy"
    UNAVAILABLE = "unavailable"
    REFUSED = "refused"
    REJECTED = "rejected"
    CANCELLED = "cancelled"


class NoUpstreamError(UpstreamError):
    """No upstream could be asked; nothing was sent.

    Args:
        message: Why.
        retry_after_s: Seconds until one may be asked again, None where nobody knows.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message, sent=False)


def kind_of(error: UpstreamError) -> FailureKind:
    """What happened to a call."""
    if isinstance(error, UpstreamRejectedError):
        return _kind_of_rejection(error)
    if not error.sent:
        return FailureKind.CONNECT
    if isinstance(error, UpstreamTimeoutError):
        return FailureKind.TIMEOUT
    if isinstance(error, UpstreamLostError):
        return FailureKind.LOST
    return FailureKind.UNUSABLE if error.status is None else FailureKind.STATUS


def _kind_of_rejection(error: UpstreamRejectedError) -> FailureKind:
    if error.status == _BUSY:
        return FailureKind.BUSY
    if error.status == _UNAVAILABLE:
        waits = error.retry_after_s is not None
        return FailureKind.BUSY if waits else FailureKind.UNAVAILABLE
    return FailureKind.REFUSED if error.status in _REFUSED else FailureKind.REJECTED


def says_broken(error: UpstreamError, kind: FailureKind) -> bool:
    """Whether a failure is the server's, whatever was asked.

    A busy server is not broken, one that lacks a model may have others, and 403 is also how some
    providers moderate: clients must not be able to switch a server off.
    """
    if kind is FailureKind.REFUSED:
        return error.status not in (_FORBIDDEN, _NO_SUCH_MODEL)
    return kind not in (FailureKind.BUSY, FailureKind.REJECTED)


def lacks_model(error: UpstreamError) -> bool:
    """Whether the server said that it does not know the model."""
    return isinstance(error, UpstreamRejectedError) and error.status == _NO_SUCH_MODEL


def may_ask_again(error: UpstreamError) -> bool:
    """Whether another try costs no further money, and may end otherwise.

    Only a call that certainly did not leave, or was turned down before any work for a reason that
    is not in the request. Whatever may have been sent may have been paid for.
    """
    if isinstance(error, UpstreamRejectedError):
        return kind_of(error) is not FailureKind.REJECTED
    return not error.sent
