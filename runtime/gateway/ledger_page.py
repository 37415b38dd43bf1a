"""How every budget stands, as JSON; there can be tens of thousands of them."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from runtime.ledger import Snapshot

_AT_ONCE = 500
_encoder = msgspec.json.Encoder()


def ledger_parts(snapshot: Snapshot) -> Iterator[bytes]:
    """The page in parts that take half a millisecond each at most.

    Args:
        snapshot: How they stand.
    """
    yield b'{"format_version":"2.0","scopes":{'
    states = snapshot.scopes
    for first in range(0, len(states), _AT_ONCE):
        found = map(msgspec.to_builtins, states[first : first + _AT_ONCE])
        by_name = _encoder.encode({fields.pop("name"): fields for fields in found})
        yield (b"," if first else b"") + by_name[1:-1]
    sums = {
        "open_holds": snapshot.open_holds,
        "alarms": snapshot.alarms,
        "overrun_nano_usd": snapshot.overrun_nano_usd,
    }
    yield b"}," + _encoder.encode(sums)[1:]
