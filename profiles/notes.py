"""What an import did that a person should know: counted, with the first examples."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

_EXAMPLES = 3
_SUSPECTS = 200  # what is suspicious is named in full


class Kind(StrEnum):
    """What a remark is about; reports are ordered by it."""

    REPAIRED = "repaired"
    UNKNOWN = "made unknown"
    SET_ASIDE = "set aside"
    SUSPICIOUS = "suspicious"
    REMARK = "remark"


@dataclass(frozen=True, slots=True)
class Note:
    """One kind of remark.

    Attributes:
        text: What happened, e.g. ``score outside 0..1``; the kind says what became of it.
        count: How often.
        examples: Where, and what was found there.
        kind: What it is about.
    """

    text: str
    count: int
    examples: tuple[str, ...]
    kind: Kind = Kind.REMARK

    def __str__(self) -> str:
        return f"{self.count} x {self.text} (e.g. {'; '.join(self.examples[:_EXAMPLES])})"


@dataclass(slots=True)
class Notes:
    """Collects remarks by kind and text, in order of first appearance."""

    _found: dict[tuple[str, Kind], tuple[int, list[str]]] = field(default_factory=dict)

    def add(self, text: str, example: str, count: int = 1, *, kind: Kind = Kind.REMARK) -> None:
        """Count one more of a text; only first examples are kept, suspects in full."""
        seen, examples = self._found.get((text, kind), (0, []))
        if len(examples) < (_SUSPECTS if kind is Kind.SUSPICIOUS else _EXAMPLES):
            examples.append(example)
        self._found[text, kind] = (seen + count, examples)

    def all(self) -> tuple[Note, ...]:
        """Every remark so far."""
        return tuple(
            Note(text, count, tuple(examples), kind)
            for (text, kind), (count, examples) in self._found.items()
        )
