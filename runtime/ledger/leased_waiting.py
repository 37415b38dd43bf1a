"""Requests that wait for room in what is leased, and whether there can be any for them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from runtime.ledger.holds import Hold
from runtime.ledger.ledger import Asked


@dataclass(slots=True)
class Waiting:
    """A request that waits for room.

    Attributes:
        asks: Its demand, on the accounts of the moment when it was looked at last.
        until_s: How long it waits for what others may give back; monotonic.
        done: Gets its hold.
        asked: Whether the store was asked for it.
    """

    asks: Asked
    until_s: float
    done: asyncio.Future[Hold]
    asked: bool = False


@dataclass(slots=True)
class Need:
    """What waiting requests need of an account: the smallest, and all of them together."""

    of_one: int
    of_all: int = 0


def is_short(asked: Asked) -> bool:
    """Whether an account has too little room."""
    for account, amount in asked.lines:
        room = account.room()
        if room is not None and amount > room:
            return True
    return False


def never_fits(asked: Asked) -> bool:
    """Whether a whole window is too little, so that nobody needs to give anything back for it."""
    scopes = ((account.book.scope, amount) for account, amount in asked.lines)
    return any(
        scope.limit is not None and amount > scope.limit + scope.carry_over
        for scope, amount in scopes
    )


def may_come(asked: Asked, free: dict[tuple[str, int], int]) -> bool:
    """Whether others hold enough that they may give back, for every account that is short.

    Args:
        asked: What waits.
        free: By account what neither is spent nor held here, as far as it was reckoned before.
    """
    for account, amount in asked.lines:
        room = account.room()
        if room is None or amount <= room:
            continue
        key = account.book.scope.name, account.span.start_s
        if key not in free:
            standing = account.standing()
            free[key] = (standing.limit or 0) - standing.spent - account.held
        if amount > free[key]:
            return False
    return True
