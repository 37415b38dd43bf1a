"""A ledger that is looked at again and again: how it stands, and how it came there."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from app.cli.ledger.standings import Standing, by_tree
from app.opened import LEDGER

if TYPE_CHECKING:
    from app.cli.ledger.live import Answered

REST: Final = 20
"""A ledger is left alone for so many times as long as it took to read: a server stops for it."""
_MOST_POINTS = 200_000
_LEAST_POINTS = 20
_PER_ACCOUNT = 400
_GATEWAYS = ("http://", "https://")


@dataclass(frozen=True, slots=True)
class Reading:
    """How a ledger stood at one moment.

    Attributes:
        shown: Its address, without a password.
        now_s: Its clock, Unix seconds; of a gateway the clock of this machine.
        standings: Its accounts, as a tree.
        gateway: What a gateway says beside; None from a store.
    """

    shown: str
    now_s: float
    standings: tuple[Standing, ...]
    gateway: Answered | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """One window of an account at one moment; amounts are in its unit.

    Attributes:
        at_s: Unix seconds.
        remaining: Limit and inheritance less what is spent and held.
        held: Reserved.
    """

    at_s: float
    remaining: int
    held: int


@dataclass
class Watch:
    """One ledger, for everybody who looks at it.

    Attributes:
        address: Its address.
    """

    address: str
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _last: Reading | None = None
    _due_s: float = 0.0
    _points: dict[tuple[str, int], list[Point]] = field(default_factory=dict)

    def look(self, *, at_once: bool = False) -> Reading:
        """How it stands, as `inferbudget ledger show` says it.

        Args:
            at_once: Read it, however short ago it was read last.

        Raises:
            InferbudgetError: As the command says it.
        """
        with self._lock:
            if self._last is None or at_once or time.monotonic() >= self._due_s:
                begun_s = time.monotonic()
                self._last = read(self.address)
                took_s = time.monotonic() - begun_s
                self._due_s = time.monotonic() + REST * took_s
                self._points = _longer(self._points, self._last)
            return self._last

    def points(self, one: Standing, until_s: float) -> tuple[Point, ...]:
        """What was read of this window until a moment, the oldest first; empty without a limit."""
        found = self._points.get((one.account, one.epoch), ())
        return tuple(point for point in found if point.at_s <= until_s)


def read(address: str) -> Reading:
    """How the ledger at this address stands now.

    Raises:
        InferbudgetError: As `inferbudget ledger show` says it.
    """
    if address.lower().startswith(_GATEWAYS):
        from app.cli.ledger.live import ask

        found = asyncio.run(ask(address, where=LEDGER))
        return Reading(address, found.now_s, _as_tree(found.standings), found)
    from app.cli.ledger.address import address_at
    from app.cli.ledger.show import look

    # Anew each time: a store that is gone must not be made.
    seen = asyncio.run(look(address_at(address, where=LEDGER)))
    return Reading(seen.address.shown, seen.now_s, seen.standings)


def _as_tree(found: Iterable[Standing]) -> tuple[Standing, ...]:
    return tuple(sorted(found, key=by_tree))


def _longer(
    before: dict[tuple[str, int], list[Point]], reading: Reading
) -> dict[tuple[str, int], list[Point]]:
    """One more point for every window that is still there; those in between get fewer and fewer."""
    most = min(_PER_ACCOUNT, _MOST_POINTS // max(len(reading.standings), 1))
    found = {}
    for one in reading.standings:
        if one.remaining is None:
            continue
        key = one.account, one.epoch
        points = [*before.get(key, ()), Point(reading.now_s, one.remaining, one.held)]
        if len(points) > max(most, _LEAST_POINTS):
            del points[1:-1:2]
        found[key] = points
    return found
