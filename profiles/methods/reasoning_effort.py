"""One answer of a model that is told how hard to think before it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from profiles.methods.drawing import drawn
from profiles.methods.method import Calls, Method, Room, Sampled, always


class ReasoningEffortParams(Sampled):
    """Parameters of `reasoning_effort`."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] = Field(
        description="How hard to think. A model knows some of the words and rejects the others."
    )


def worst_case(params: ReasoningEffortParams, room: Room) -> Iterator[Calls]:
    """One call; its cap holds thought and answer."""
    return drawn(room, 1, own_cap=params.max_tokens)


METHOD = Method("reasoning_effort", ReasoningEffortParams, worst_case, passes_through=always)
