"""A YAML file's text with the place of every key, so that findings can point at it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from profiles.yaml_input import parsed
from profiles.yaml_nodes import List, Mapping, Node, place


@dataclass(frozen=True, slots=True)
class Source:
    """The text of a YAML file.

    Attributes:
        name: The file's name in messages.
        text: Its content.
        root: Its parsed nodes.
        data: The same as JSON has it.
    """

    name: str
    text: str
    root: Mapping
    data: dict[str, Any]

    @classmethod
    def of(cls, name: str, text: str) -> Source:
        """Parse a text.

        Raises:
            InputError: It is not YAML that all readers take alike, or no mapping.
        """
        return cls(name, text, *parsed(text, name))

    def where(self, *keys: str | int) -> str:
        """``file:line:column: key.path``, at the deepest key that the file has."""
        node: Node = self.root
        at = node
        for key in keys:
            if isinstance(node, Mapping) and str(key) in node.values:
                at, node = node.keys[str(key)], node.values[str(key)]
            elif isinstance(node, List) and isinstance(key, int) and key < len(node.items):
                at = node = node.items[key]
            else:
                break
        return place(at, self.name, keys)
