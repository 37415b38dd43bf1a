"""Long work on the event loop, in turns with all others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from runtime.ledger import Ledger, ScopeState, Snapshot

_AT_ONCE = 500


async def in_turns(parts: Iterable[bytes]) -> bytes:
    """The parts as one; others have their turn after each of them."""
    found = []
    for part in parts:
        found.append(part)
        await asyncio.sleep(0)
    return b"".join(found)


async def snapshot_in_turns(ledger: Ledger, *, passing: bool = False) -> Snapshot:
    """How all scopes stand; others have their turn after each 500, which take half a millisecond.

    So where there are more, it is not of one moment; each scope's numbers are.

    Args:
        ledger: Where they are.
        passing: The passing ones, too.
    """
    found: list[ScopeState] = []
    for state in ledger.states(passing=passing):
        found.append(state)
        if len(found) % _AT_ONCE == 0:
            await asyncio.sleep(0)
    return ledger.snapshot_of(found)
