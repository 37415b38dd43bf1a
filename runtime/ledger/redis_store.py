"""The shared store in Redis or Valkey, for many hosts: one script call for each exchange.

What a restart of the server can lose depends on its persistence: ``appendonly yes`` with
``appendfsync everysec`` up to the last two seconds in a power cut, a snapshot more, a failover to
another server what had not reached it. So after a restart nothing is granted until every living
gateway had the time to tell what it holds. A server that never loses a write that it acknowledged
(``appendonly yes``, ``appendfsync always``, no failover) needs no such pause: ``?durable=yes``. A
server that forgot everything is known by its generation, and is not used.

All keys have the hash tag ``{namespace}``. A user of the server needs no more rights than
``~{namespace}:* +@read +@write +@scripting +@connection -@dangerous +time +info``; which commands
of these, docs/how-to/production.md lists. The server must not evict keys: ``maxmemory-policy
noeviction``, or one that evicts only keys with an expiry.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import secrets
from collections import defaultdict
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass, field
from hashlib import sha1
from importlib.resources import files
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as BrokenConnectionError

from profiles.errors import InputError
from runtime.ledger.exchange import check, check_correction, no_such_epoch, too_much
from runtime.ledger.overlapping import as_shown, latest_of
from runtime.ledger.store import (
    AccountRecord,
    Exchange,
    Given,
    LeaseRecord,
    LogEntry,
    LogKind,
    Reply,
    StaleExchangeError,
    StoreForgotError,
    StoreLostError,
    Truth,
    address_parts,
)

LARGEST = 2**53 - 1
"""Redis' Lua counts in doubles."""
TIMEOUT_S = 2.0
"""For so long any step waits for the server."""
SCRIPT = files("runtime.ledger").joinpath("redis_exchange.lua").read_text("utf-8")
_DATABASE = re.compile(r"/?|/[0-9]+")
_NAMESPACE = re.compile(r"[A-Za-z0-9_.:/-]{1,100}")
_GIVEN = 7  # parts of one grant in the script's reply
_REFUSALS = ("STALE", "FORGOT", "FOREIGN", "FORMAT", "RIGHTS")
# What a server may say for a while that is set up well.
_PASSING = (OutOfMemoryError, ReadOnlyError, TryAgainError, ClusterDownError, MasterDownError)
_PASSING_WORDS = ("MISCONF", "BUSY")
_T = TypeVar("_T")
_TLS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


@dataclass(frozen=True, slots=True)
class RedisOptions:
    """Where the server is, and how it is used.

    Attributes:
        url: As redis-py reads it, with the password where it has one.
        namespace: Names this ledger among others on the server.
        timeout_s: For so long any step waits.
        durable: A restart of the server loses nothing.
    """

    url: str = field(repr=False)
    namespace: str = "inferbudget"
    timeout_s: float = TIMEOUT_S
    durable: bool = False

    @property
    def shown(self) -> str:
        """The address without user, password and options."""
        parts = urlsplit(self.url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))

    def is_quoted_in(self, text: str) -> bool:
        """Whether a text has the password."""
        password = urlsplit(self.url).password or ""
        return password != "" and (password in text or unquote(password) in text)


def redis_options(url: str) -> RedisOptions:
    """Read an address with the options ``namespace``, ``timeout_s`` and ``durable``.

    Raises:
        InputError: An option is unknown or has no such value, or it is no such address.
    """
    parts = address_parts(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    namespace = options.pop("namespace", "inferbudget")
    timeout = options.pop("timeout_s", str(TIMEOUT_S))
    durable = options.pop("durable", "no")
    is_socket = parts.scheme == "unix"
    theirs = {"db", *(_TLS if parts.scheme == "rediss" else ())}
    wrong = {
        "namespace": not _NAMESPACE.fullmatch(namespace),
        "timeout_s": not 0 < _number(timeout) < math.inf,
        "durable": durable not in ("yes", "no"),
        "db": not options.get("db", "0").isdecimal(),
        "the path": not (is_socket or _DATABASE.fullmatch(parts.path)),
        "a host beside a socket": is_socket and parts.netloc.rpartition("@")[2] != "",
        **dict.fromkeys(options.keys() - theirs, True),
    }
    if any(wrong.values()):
        raise InputError(
            "this address of a ledger store cannot be used",
            expected="redis://host:6379/0 with ?namespace=letters, timeout_s=seconds, "
            "durable=yes or no; rediss:// also with " + ", ".join(_TLS),
            got=", ".join(sorted(name for name in wrong if wrong[name])),
        )
    bare = urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(options), ""))
    return RedisOptions(bare, namespace, timeout_s=_number(timeout), durable=durable == "yes")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


class RedisStore:
    """`Store` on a server. It lives in one event loop.

    Args:
        options: Where and how.
    """

    largest = LARGEST

    def __init__(self, options: RedisOptions) -> None:
        self._options = options
        self._redis = Redis.from_url(
            options.url,
            decode_responses=True,
            # Every step has a time limit of ours: that of the library for each sending (`wait_for`,
            # before Python 3.12) swallows cancellations.
            socket_timeout=None,
            socket_connect_timeout=options.timeout_s,
            # A second try of the library would look like a late duplicate of the first.
            retry=Retry(NoBackoff(), 0),
            client_name="inferbudget",
        )
        self._key = f"{{{options.namespace}}}:ledger"
        self._digest = sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()
        self._generation = ""
        self._closed = False

    async def now(self) -> float:
        """As `Store.now`."""
        return _seconds(await self._call("now"))

    async def exchange(self, exchange: Exchange) -> Reply:
        """As `Store.exchange`."""
        check(exchange, LARGEST)
        reply = await self._call("exchange", *_arguments(exchange))
        if reply[5:7] != [exchange.replica, str(exchange.number)]:
            await self._redis.connection_pool.disconnect()
            raise StoreLostError(f"{self._options.shown} answered another exchange")
        return Reply(
            now_s=_seconds(reply),
            generation=reply[3],
            given=tuple(_given(exchange.truths, reply[8:])),
            run=reply[4],
            waits_s=float(reply[7]),
        )

    async def accounts(self, *, latest: bool = False) -> tuple[AccountRecord, ...]:
        """As `Store.accounts`. The server does nothing else meanwhile."""
        reply = await self._call("accounts", "latest" if latest else "all")
        leases = defaultdict(list)
        for account, epoch, replica, *amounts in sorted(reply[6]):
            leases[account, epoch].append(LeaseRecord(replica, *map(int, amounts)))
        found = (_record(epoch[:-1], tuple(leases[epoch[0], epoch[1]])) for epoch in reply[5])
        orders = {(epoch[0], int(epoch[1])): int(epoch[-1]) for epoch in reply[5]}
        ordered = sorted(found, key=lambda record: (record.account, record.epoch))
        shown = as_shown(ordered, orders)
        return tuple(latest_of(shown) if latest else shown)

    async def adjust(self, account: str, epoch: int, amount: int, reason: str) -> None:
        """As `Store.adjust`."""
        check_correction(account, amount, reason, LARGEST)
        reply = await self._call("adjust", account, str(epoch), str(amount), reason)
        if reply[0] == "UNKNOWN":
            raise no_such_epoch(account, epoch)
        if reply[0] == "TOO MUCH":
            raise too_much(account, int(reply[1]), amount)

    async def log(self) -> tuple[LogEntry, ...]:
        """As `Store.log`."""
        await self._call("now")
        key = self._key.removesuffix("ledger") + "log"
        found = await self._guarded(self._redis.lrange(key, 0, -1))
        return tuple(_entry(json.loads(text)) for text in found)

    async def close(self) -> None:
        """As `Store.close`."""
        self._closed = True
        await self._redis.aclose()

    async def _call(self, verb: str, *arguments: str) -> list[Any]:
        """Run the script, and see that it is the ledger that it was."""
        if self._closed:
            raise StoreLostError(f"the ledger store {self._options.shown} is closed")
        if not self._generation:
            await self._guarded(self._require_settings())
        durable = "1" if self._options.durable else "0"
        known = self._generation
        fresh = secrets.token_hex(8)
        reply = await self._guarded(self._sent(verb, known, fresh, durable, *arguments))
        if reply[0] not in _REFUSALS:
            if reply[0] == "OK" and len(reply) > 3:
                self._generation = reply[3]
            return reply
        raise self._refusal(reply)

    async def _sent(self, verb: str, *arguments: str) -> list[Any]:
        """Send, and again where the connection broke: it may have been idle for long."""
        try:
            return await self._run(verb, *arguments)
        except BrokenConnectionError:
            if verb == "adjust":  # would count twice
                raise
            reply = await self._run(verb, *arguments)
            if reply[0] == "STALE":  # by its own first sending
                raise
            return reply

    async def _run(self, *arguments: str) -> list[Any]:
        try:
            found = await self._redis.evalsha(self._digest, 1, self._key, *arguments)
        except NoScriptError:
            found = await self._redis.eval(SCRIPT, 1, self._key, *arguments)
        return list(found)

    async def _guarded(self, step: Awaitable[_T]) -> _T:
        try:
            async with asyncio.timeout(self._options.timeout_s):
                return await step
        except (RedisError, OSError) as error:
            raise self._error(error) from (
                None if self._options.is_quoted_in(str(error)) else error
            )

    def _error(self, error: RedisError | OSError) -> Exception:
        """In words, without the password: a server quotes what it does not understand."""
        shown = self._options.shown
        said = str(error) or f"no answer within {self._options.timeout_s:g} s"
        if self._options.is_quoted_in(said):
            said = f"{type(error).__name__}, in words that quote the password"
        mends = isinstance(error, AuthenticationError) or (
            isinstance(error, ResponseError)
            and not isinstance(error, _PASSING)
            and not said.startswith(_PASSING_WORDS)
        )
        if mends and not self._generation:
            return self._no_right(said)
        return StoreLostError(f"the ledger store {shown} failed: {said}")

    def _no_right(self, said: str) -> InputError:
        return InputError(
            "the ledger store refuses",
            where=self._options.shown,
            got=said,
            next_step="give the address the user and password of one with the rights that 'Shared "
            "budgets' of docs/how-to/production.md lists; of a cluster, name a server that is no "
            "part of it",
        )

    def _refusal(self, reply: list[str]) -> Exception:
        shown, namespace = self._options.shown, self._options.namespace
        if reply[0] == "STALE":
            return StaleExchangeError(f"the replica has already sent its exchange {reply[1]}")
        if reply[0] == "FORGOT":
            return StoreForgotError(
                f"the ledger store {shown} forgot the namespace {namespace!r}: it was emptied, or "
                "restarted without what it had"
            )
        if reply[0] == "RIGHTS":
            return self._no_right(f"no right to run {reply[1]} in a script")
        foreign = reply[0] == "FOREIGN"
        what = "these are keys of another program" if foreign else "this has another format"
        if self._generation:
            return StoreLostError(f"the ledger store {shown}: {what}")
        return InputError(
            what,
            where=f"{shown}: namespace {namespace!r}",
            expected="a ledger of format 2, or no keys",
            got=f"key {self._key}" if foreign else f"format {reply[1]}",
            next_step="choose another ?namespace=",
        )

    async def _require_settings(self) -> None:
        """Refuse a server that would drop keys, or that is called durable and is not."""
        memory = await self._redis.info("memory")
        policy = str(memory.get("maxmemory_policy", "noeviction"))
        if int(memory.get("maxmemory", 0)) and policy.startswith("allkeys"):
            raise self._wrong("maxmemory-policy noeviction: no charge may be evicted", policy)
        if self._options.durable:
            try:
                found = await self._redis.config_get("append*")
            except NoPermissionError:  # then it is the operator's word
                return
            if (found.get("appendonly"), found.get("appendfsync")) != ("yes", "always"):
                got = (
                    f"appendonly {found.get('appendonly')}, appendfsync {found.get('appendfsync')}"
                )
                raise self._wrong("appendonly yes and appendfsync always for ?durable=yes", got)

    def _wrong(self, expected: str, got: str) -> InputError:
        where = self._options.shown
        return InputError(
            "the server's settings could lose money", where=where, expected=expected, got=got
        )


def _seconds(reply: list[str]) -> float:
    return int(reply[1]) + int(reply[2]) / 1e6


def _arguments(exchange: Exchange) -> Iterator[str]:
    closing = "1" if exchange.closing else "0"
    yield from (exchange.replica, str(exchange.number), repr(exchange.ttl_s), closing)
    for truth in exchange.truths:
        spans = truth.epoch, truth.ends_s, truth.window_s, truth.limit, truth.carry_over
        amounts = truth.leased, truth.spent, truth.requests, truth.short, truth.wish
        yield truth.account
        for number in (*spans, *amounts):
            yield "" if number is None else str(number)
        yield "1" if truth.lapses else "0"


def _given(truths: tuple[Truth, ...], parts: list[str]) -> Iterator[Given]:
    for index, truth in enumerate(truths):
        part = parts[index * _GIVEN : (index + 1) * _GIVEN]
        leased, remaining, spent, held, requests, carried, pressed = part
        yield Given(
            account=truth.account,
            epoch=truth.epoch,
            leased=int(leased),
            remaining=int(remaining) if remaining else None,
            spent=int(spent),
            held=int(held),
            requests=int(requests),
            carried=int(carried),
            pressed=pressed == "1",
        )


def _record(epoch: list[str], leases: tuple[LeaseRecord, ...]) -> AccountRecord:
    account, number, ends_s, window_s, limit, *sums = epoch
    carried, spent, held, requests = map(int, sums)
    return AccountRecord(
        account=account,
        epoch=int(number),
        ends_s=int(ends_s) if ends_s else None,
        window_s=int(window_s) if window_s else None,
        limit=int(limit) if limit else None,
        carried=carried,
        spent=spent,
        held=held,
        requests=requests,
        leases=leases,
    )


def _entry(parts: list[str]) -> LogEntry:
    at_s, kind, account, epoch, amount, replica, reason = parts
    return LogEntry(
        float(at_s), LogKind(kind), account, int(epoch), int(amount), replica or None, reason
    )
