"""A running gateway, asked over HTTP how its budgets stand."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp
import msgspec

from app.cli.ledger.standings import Standing
from profiles.errors import InputError, UpstreamError
from runtime.ledger import Unit
from runtime.ledger.outlook import projected
from runtime.ledger.windows import Span

OPERATOR_KEY = "INFERBUDGET_OPERATOR_KEY"
_PAGE = "/ledger"
_FORMAT = "2"
_TIMEOUT_S = 30.0
_SHUT = (401, 403)


class _State(msgspec.Struct, frozen=True):
    """`runtime.ledger.ScopeState` as the page has it."""

    unit: Unit
    window: str
    epoch_start_s: int
    epoch_end_s: int | None
    limit: int | None
    spent: int
    held: int
    remaining: int | None
    requests: int
    refusals: int


class _Page(msgspec.Struct, frozen=True):
    format_version: str
    scopes: dict[str, _State]
    open_holds: int
    alarms: int
    overrun_nano_usd: int


@dataclass(frozen=True, slots=True)
class Answered:
    """What a gateway says.

    Attributes:
        standings: Its accounts.
        refusals: Holds that each of them refused.
        open_holds: Requests that hold money now.
        alarms: Calls that used more than they were allowed.
        overrun_nano_usd: Charged without a hold.
        now_s: When it was asked, by the clock of this machine.
    """

    standings: tuple[Standing, ...]
    refusals: dict[str, int]
    open_holds: int
    alarms: int
    overrun_nano_usd: int
    now_s: float

    def in_words(self, accounts: Iterable[str]) -> str:
        """What becomes of requests under these accounts."""
        refused = sum(self.refusals[name] for name in accounts)
        return (
            f"{self.open_holds} requests hold money now; {refused} holds were refused; "
            f"{self.alarms} calls used more than they were allowed"
        )


async def ask(url: str, where: str = "--url") -> Answered:
    """How the budgets of the gateway at this address stand.

    Args:
        url: The address.
        where: Who named it, for the error.

    Raises:
        InputError: It is no address, or the operator's key does not open the page.
        UpstreamError: The gateway does not answer, or answers something else.
    """
    address = _address(url, where)
    status, body = await _get(address, _headers())
    if status in _SHUT:
        raise InputError(
            "the gateway does not let the operator in",
            where=address,
            got=f"status {status}",
            next_step=f"set {OPERATOR_KEY} to the key that the gateway was started with",
        )
    if status != 200:
        raise UpstreamError(f"{address} answered with status {status}", status=status)
    return _answered(address, body, time.time())


async def _get(address: str, headers: dict[str, str]) -> tuple[int, bytes]:
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=headers) as client,
            # Whoever a redirect leads to would get the key.
            client.get(address, allow_redirects=False) as reply,
        ):
            return reply.status, await reply.read()
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        said = str(error) or f"no answer within {_TIMEOUT_S:g} s"
        raise UpstreamError(f"the gateway at {address} does not answer: {said}") from error


def _answered(address: str, body: bytes, now_s: float) -> Answered:
    try:
        page = msgspec.json.decode(body, type=_Page)
    except ValueError as error:  # msgspec's errors are ValueErrors
        raise UpstreamError(f"{address} is no ledger of a gateway: {error}") from error
    if page.format_version.partition(".")[0] != _FORMAT:
        raise UpstreamError(
            f"{address} has format_version {page.format_version}; this inferbudget reads "
            f"{_FORMAT}.*"
        )
    return Answered(
        standings=tuple(_standing(name, state, now_s) for name, state in page.scopes.items()),
        refusals={name: state.refusals for name, state in page.scopes.items()},
        open_holds=page.open_holds,
        alarms=page.alarms,
        overrun_nano_usd=page.overrun_nano_usd,
        now_s=now_s,
    )


def _standing(name: str, state: _State, now_s: float) -> Standing:
    span = Span(state.epoch_start_s, state.epoch_end_s)
    return Standing(
        account=name,
        unit=state.unit,
        epoch=state.epoch_start_s,
        ends_s=state.epoch_end_s,
        window_s=None,
        limit=state.limit,
        carried=None,
        spent=state.spent,
        held=state.held,
        remaining=state.remaining,
        requests=state.requests,
        is_current=True,
        leases=None,
        projection=projected(state.limit, state.spent, span, now_s),
    )


def _address(url: str, where: str) -> str:
    base = url.strip().rstrip("/")
    try:
        parts = urlsplit(base)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    else:
        usable = usable and not (parts.query or parts.fragment or "@" in base)
    if not usable or not base.isprintable() or " " in base:
        raise InputError(
            "this is not the address of a gateway",
            where=where,
            expected="http:// or https:// and a host, without a key in it",
            next_step="write it like http://localhost:8080",
        )
    return base if base.endswith(_PAGE) else f"{base}{_PAGE}"


def _headers() -> dict[str, str]:
    key = os.environ.get(OPERATOR_KEY, "").strip()
    if not key.isprintable():
        raise InputError("no HTTP header can carry this key", where=OPERATOR_KEY)
    return {"authorization": f"Bearer {key}"} if key else {}
