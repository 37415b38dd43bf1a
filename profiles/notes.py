"""What an import did that a person should know: counted, with the first examples."""

from __future__ import annotations

from dataclasses import dataclass, field

_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Note:
    """One kind of remark.

    Attributes:
        text: What happened, e.g. ``score outside 0..1: row set aside``.
        count: How often.
        examples: Where, and what was found there.
    """

    text: str
    count: int
    examples: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.count} x {self.text} (e.g. {'; '.join(self.examples)})"


@dataclass(slots=True)
class Notes:
    """Collects remarks by kind, in order of first appearance."""

    _found: dict[str, tuple[int, list[str]]] = field(default_factory=dict)

    def add(self, text: str, example: str, count: int = 1) -> None:
        """Count one more of a kind; only the first examples are kept."""
        seen, examples = self._found.get(text, (0, []))
        if len(examples) < _EXAMPLES:
            examples.append(example)
        self._found[text] = (seen + count, examples)

    def all(self) -> tuple[Note, ...]:
        """Every kind so far."""
        return tuple(
            Note(text, count, tuple(examples)) for text, (count, examples) in self._found.items()
        )
