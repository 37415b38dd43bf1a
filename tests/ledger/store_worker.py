"""One process that leases and spends until it is killed. ``python store_worker.py URL NAME BILL``.

It writes every unit to its bill before it is spent, as a provider would see it, and takes what it
knows of itself from nowhere but its memory.
"""

from __future__ import annotations

import asyncio
import resource
import sys
from pathlib import Path

from runtime.ledger.store import Exchange, StoreError, StoreLostError, Truth, open_store

LIMIT = 20_000
TTL_S = 0.5


async def spend(url: str, name: str, bill: Path) -> None:
    store, number, leased, spent = open_store(url), 0, 0, 0
    with bill.open("a", buffering=1) as book:
        while True:
            number += 1
            told = Truth("org", 0, None, None, LIMIT, 0, leased, spent, 0, short=7, wish=50)
            try:
                reply = await store.exchange(Exchange(name, number, TTL_S, (told,)))
            except StoreLostError:
                await asyncio.sleep(0.02)
                continue
            except StoreError as error:
                print(type(error).__name__, flush=True)
                return
            leased = reply.given[0].leased
            if leased == spent:
                await asyncio.sleep(0.02)
            while spent < leased:
                amount = min(5, leased - spent)
                book.write(f"{amount}\n")
                spent += amount


async def fill(url: str, bytes_at_most: int) -> None:
    """Exchange until the disk is full, and say what came then."""
    store, number = open_store(url), 0
    await store.now()
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_at_most, bytes_at_most))
    granted = 0
    while True:
        number += 1
        told = Truth(f"org{number}", 0, None, None, 10, 0, 0, 0, 0, short=10)
        try:
            granted += (await store.exchange(Exchange("r", number, 1e6, (told,)))).given[0].leased
        except StoreError as error:
            print(type(error).__name__, granted, flush=True)
            return


if __name__ == "__main__":
    if sys.argv[1] == "fill":
        asyncio.run(fill(sys.argv[2], int(sys.argv[3])))
    else:
        asyncio.run(spend(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
