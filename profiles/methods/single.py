"""One answer from one model."""

from __future__ import annotations

from collections.abc import Iterator

from profiles.methods.drawing import drawn
from profiles.methods.method import Calls, Method, Room, Sampled, always


def worst_case(params: Sampled, room: Room) -> Iterator[Calls]:
    """One call."""
    return drawn(room, 1, own_cap=params.max_tokens)


METHOD = Method("single", Sampled, worst_case, passes_through=always)
