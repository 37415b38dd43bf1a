"""Requests that the gateway itself turns down."""

from __future__ import annotations

from http import HTTPStatus
from typing import Literal

from profiles.errors import BudgetRefusedError, InferbudgetError, InputError, UpstreamError
from runtime.client import JSON, Header, Reply
from runtime.openai import error_body
from runtime.recording.record import Ending
from runtime.refusals import failure_reply

STOPPING = "the gateway is stopping"
GIVEN_UP = "the gateway stopped before the answer was there; what it may have cost is charged"
TURNED_DOWN = "a model server turned down a later call of this request; what came before is charged"


class RefusedError(InferbudgetError):
    """A request that ends in an error reply.

    Args:
        status: HTTP status.
        message: For the client.
        code: For programs.
        outcome: What metrics count it under.
        headers: Of the reply.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        outcome: Ending | Literal["unauthorised"] = "invalid",
        headers: tuple[Header, ...] = (),
    ) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.reply = Reply(status, error_body(status, message, code), (JSON, *headers))


def stopping() -> RefusedError:
    """Nothing is begun any more."""
    return RefusedError(503, STOPPING, outcome="stopping")


def not_allowed(path: str, method: str) -> RefusedError:
    """The page answers another method."""
    allowed = "GET, HEAD" if method == "GET" else method
    shown = path.encode(errors="replace").decode()  # half characters have no place in JSON
    return RefusedError(405, f"{shown} answers {method}", headers=((b"allow", allowed.encode()),))


def given_up(*, charged: bool) -> RefusedError:
    """The gateway stops, and its drain is over.

    Proxies ask again at 503: it says that nothing was charged.
    """
    return RefusedError(502, GIVEN_UP, outcome="stopping") if charged else stopping()


def after_charge(error: Exception) -> Exception:
    """How a request ends that an error ended after it was charged: not with 503, as above."""
    if (
        isinstance(error, UpstreamError)
        and failure_reply(error).status == HTTPStatus.SERVICE_UNAVAILABLE
    ):
        return RefusedError(502, TURNED_DOWN)
    return error


def reply_to(error: Exception) -> Reply:
    """What a client is told of an error."""
    return error.reply if isinstance(error, RefusedError) else failure_reply(error)


def outcome_of(error: Exception) -> Ending:
    """What metrics count a request under that was never begun."""
    if isinstance(error, RefusedError):
        return "invalid" if error.outcome == "unauthorised" else error.outcome
    if isinstance(error, BudgetRefusedError):
        return "refused"
    return "invalid" if isinstance(error, InputError) else "failed"
