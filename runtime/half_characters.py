"""Characters that JSON cuts in two: half of a surrogate pair in one event, half in the next.

Servers that send a text token by token do so where a token ends inside a character and their JSON
is ASCII. Neither half is a character, so no reader of JSON takes either event as it is.
"""

from __future__ import annotations

import re

# Every escape is matched, so that the second sign of an escaped backslash begins none.
_ESCAPE = re.compile(rb"\\(?:u([dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL)
_LOW = 0xDC00
_UNKNOWN = rb"\ufffd"


class HalfCharacters:
    """Mends the events of one stream, those only that a reader of JSON has turned down.

    A first half at the end of a text waits for an event with a text that begins with a second one.
    Any other half is no character: it becomes U+FFFD. A half that waits for ever is left out.
    """

    def __init__(self) -> None:
        self._waiting = b""

    def mended(self, event: bytes) -> bytes:
        """The same JSON with whole characters only."""
        found: list[bytes] = []
        taken = 0
        for start, end, is_first in _lone_halves(event):
            found += (event[taken:start], self._instead(event, start, end, is_first=is_first))
            taken = end
        return b"".join((*found, event[taken:]))

    def _instead(self, event: bytes, start: int, end: int, *, is_first: bool) -> bytes:
        """What stands for a half that has no other in its event."""
        half = event[start:end]
        if is_first:
            if event[end : end + 1] != b'"':
                return _UNKNOWN
            self._waiting = half
            return b""
        before, self._waiting = self._waiting, b""
        return before + half if before and event[start - 1 : start] == b'"' else _UNKNOWN


def _lone_halves(event: bytes) -> list[tuple[int, int, bool]]:
    """Start, end, and whether it is a first one, of each half whose other does not follow it."""
    found: list[tuple[int, int, bool]] = []
    first: tuple[int, int, bool] | None = None
    for match in _ESCAPE.finditer(event):
        start, end, digits = match.start(), match.end(), match[1]
        is_second = digits is not None and int(digits, 16) >= _LOW
        if is_second and first is not None and first[1] == start:
            first = None
            continue
        if first is not None:
            found.append(first)
            first = None
        if is_second:
            found.append((start, end, False))
        elif digits is not None:
            first = start, end, True
    return found if first is None else [*found, first]
