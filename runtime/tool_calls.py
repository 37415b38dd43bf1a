"""Calls of tools that an answer asks for, as upstreams write them: whole, or piece by piece."""

from __future__ import annotations

from typing import Any

import msgspec

from profiles.errors import UpstreamError

# Texts that come in pieces, of a function's call and of a custom tool's; any other comes whole.
_IN_PIECES = ("arguments", "input")
_NONE = frozenset({b"null", b"[]"})

_decoder = msgspec.json.Decoder(list[dict[str, Any]] | None)


def tool_calls(raw: msgspec.Raw) -> tuple[dict[str, Any], ...] | None:
    """The calls that a message asks for; None where it asks for none.

    Raises:
        UpstreamError: They are not of that shape: an answer without them would be another one.
    """
    if bytes(raw) in _NONE:
        return None
    try:
        found = _decoder.decode(raw)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise UpstreamError(f"the upstream's reply holds what is no tool call: {error}") from error
    return tuple(found) if found else None


class StreamedToolCalls:
    """The calls of one answer that come as pieces, each with the index of the call it belongs to.

    A piece without an index is a call of its own, or goes on with the last one where it has no id.
    """

    def __init__(self) -> None:
        self._calls: dict[int, dict[str, Any]] = {}

    def add(self, raw: msgspec.Raw) -> None:
        """The pieces of a message's delta.

        Raises:
            UpstreamError: They are not of that shape.
        """
        for piece in tool_calls(raw) or ():
            index = piece.pop("index", None)
            if not isinstance(index, int):
                last = max(self._calls, default=-1)
                index = last + 1 if piece.get("id") or last < 0 else last
            _join(self._calls.setdefault(index, {}), piece)

    def whole(self) -> tuple[dict[str, Any], ...] | None:
        """All of them in the order of their indices; None where there is none."""
        return tuple(self._calls[index] for index in sorted(self._calls)) or None


def _join(call: dict[str, Any], piece: dict[str, Any]) -> None:
    for name, value in piece.items():
        known = call.get(name)
        if isinstance(value, dict) and isinstance(known, dict):
            _go_on(known, value)
        elif value is not None or name not in call:
            call[name] = value


def _go_on(function: dict[str, Any], piece: dict[str, Any]) -> None:
    for name, value in piece.items():
        known = function.get(name)
        if name in _IN_PIECES and isinstance(value, str) and isinstance(known, str):
            function[name] = known + value
        elif value is not None or name not in function:
            function[name] = value
