"""A second try at the same request where the first is late."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from profiles.methods.method import Method, Params, Part, Room, Worst
from profiles.methods.parts import part_answer, part_calls
from profiles.methods.passing import passes_through


class HedgedParams(Params):
    """Parameters of `hedged`."""

    primary: Part = Field(description="Strategy that every request starts with.")
    secondary: Part = Field(
        default=None, description="That starts where the first is late; None: the same again."
    )
    after_s: float = Field(
        gt=0, le=3600, description="Seconds without an answer after which the second starts."
    )

    @property
    def parts(self) -> tuple[Part, Part]:
        """Both strategies, in their order."""
        return self.primary, self.primary if self.secondary is None else self.secondary


def worst_case(params: HedgedParams, room: Room) -> Iterator[Worst]:
    """Both: what is cancelled can be charged in full."""
    for part in params.parts:
        yield from part_calls(part, params, room)


def answer_tokens(params: HedgedParams, room: Room) -> int:
    """Those of the longer one."""
    return max(part_answer(part, params, room) for part in params.parts)


def _both_pass_through(params: HedgedParams) -> bool:
    return all(map(passes_through, params.parts))


METHOD = Method(
    "hedged",
    HedgedParams,
    worst_case,
    source="Dean & Barroso 2013, doi:10.1145/2408776.2408794",
    combines=True,
    answer_tokens=answer_tokens,
    passes_through=_both_pass_through,
)
