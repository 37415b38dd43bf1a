"""What a client is told of an error, and what it is not told."""

from __future__ import annotations

import logging
import math

from profiles.errors import BudgetRefusedError, InputError, UpstreamError
from runtime import openai
from runtime.caller import CapRefusedError
from runtime.client import JSON, Reply
from runtime.ledger.store import StoreError
from runtime.strategies import TimeCapError
from runtime.tenants.request_limits import RequestLimitError
from runtime.upstream import UpstreamRejectedError, UpstreamTimeoutError
from runtime.upstreams import NoUpstreamError

# Rejections that the client's own request brought about; the others are the operator's to mend.
_CLIENTS_FAULT = (400, 413, 422)
_TOO_MANY = 429
_UNAVAILABLE = 503
_log = logging.getLogger(__name__)


def error_reply(status: int, message: str, code: str | None = None) -> Reply:
    """An error in OpenAI's shape."""
    return Reply(status, openai.error_body(status, message, code))


def failure_reply(error: Exception) -> Reply:
    """What a client is told of an error."""
    reply = _refused(error) or _upstream_failed(error)
    if reply is None:
        _log.error("a request failed inside the gateway", exc_info=error)
        return error_reply(500, "internal error")
    return reply


def _refused(error: Exception) -> Reply | None:
    """Nothing was sent."""
    if isinstance(error, BudgetRefusedError):
        return _budget_refused(error)
    if isinstance(error, RequestLimitError) and error.limit == "body_bytes":
        return error_reply(413, str(error))
    if isinstance(error, InputError):
        return error_reply(400, str(error))
    if isinstance(error, StoreError):
        _log.error("refused: %s", error)
        return error_reply(503, "the budgets cannot be reached now", "budget_unavailable")
    return None


def _upstream_failed(error: Exception) -> Reply | None:
    if isinstance(error, UpstreamTimeoutError | TimeCapError):
        return error_reply(504, str(error))
    if isinstance(error, UpstreamRejectedError):
        return _upstream_rejected(error)
    if isinstance(error, NoUpstreamError):
        return _try_again("no model server can be asked now", None, error.retry_after_s, 503)
    if isinstance(error, UpstreamError):
        return error_reply(502, _without_detail(error))
    return None


def _budget_refused(error: BudgetRefusedError) -> Reply:
    """429 where the money comes back, 402 where it never does. The sums are the operator's."""
    _log.info("refused: %s", error)
    if isinstance(error, CapRefusedError):
        message = "this request needs more than one request may: shorten it or lower max_tokens"
        return error_reply(402, message, "request_cap")
    if error.retry_after_s is None:
        return error_reply(402, "the budget cannot pay for this request", "budget_exhausted")
    message = "the budget has no room for this request now"
    return _try_again(message, "budget_exhausted", error.retry_after_s)


def _upstream_rejected(error: UpstreamRejectedError) -> Reply:
    if error.status in {_TOO_MANY, _UNAVAILABLE}:
        return _try_again("the model server is busy", None, error.retry_after_s, error.status)
    if error.status in _CLIENTS_FAULT:
        return error_reply(400, f"the model server rejected this request (HTTP {error.status})")
    return error_reply(502, _without_detail(error))


def _try_again(
    message: str, code: str | None, after_s: float | None, status: int = _TOO_MANY
) -> Reply:
    seconds = str(max(math.ceil(after_s or 0.0), 1)).encode()
    headers = (JSON, (b"retry-after", seconds))
    return Reply(status, openai.error_body(status, message, code), headers)


def _without_detail(error: UpstreamError) -> str:
    """What upstreams write into their errors is for our log, not for our clients."""
    if error.status is not None:
        return f"the upstream answered with status {error.status}"
    return "cannot connect to the upstream" if not error.sent else "the upstream failed"
