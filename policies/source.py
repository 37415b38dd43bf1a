"""A YAML file's text with the line of every key, so that findings can point at it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import yaml


@dataclass(frozen=True, slots=True)
class Source:
    """The text of a YAML file.

    Attributes:
        name: The file's name in messages.
        text: Its content.
        root: Its parsed nodes, None for an empty text.
    """

    name: str
    text: str
    root: yaml.Node | None

    @classmethod
    def of(cls, name: str, text: str) -> Source:
        """Parse a text that is known to be YAML."""
        return cls(name, text, yaml.compose(text, Loader=yaml.CSafeLoader))

    def where(self, *keys: str | int) -> str:
        """``file:line: key.path`` of the deepest key that the file has."""
        return f"{self.name}:{_line(self.root, keys)}: {'.'.join(map(str, keys)) or 'the file'}"


def _line(node: yaml.Node | None, keys: Sequence[str | int]) -> int:
    line = node.start_mark.line if node else 0
    for key in keys:
        if isinstance(node, yaml.MappingNode):
            pair = next((pair for pair in node.value if pair[0].value == str(key)), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line, pair[1]
        elif isinstance(node, yaml.SequenceNode) and int(key) < len(node.value):
            node = node.value[int(key)]
            line = node.start_mark.line
        else:
            break
    return line + 1
