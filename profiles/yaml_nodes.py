"""YAML text as nodes with places, of the part of YAML that every reader takes alike.

Refused: tags, anchors, aliases, directives, a second document, keys that stand twice, tabs, marks
that make a file look other than it reads, and more bytes, values or nesting than a file for people
has. What a bare word or number means is for `profiles.yaml_scalars`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import yaml

from profiles.errors import InputError
from profiles.visible import quoted
from profiles.yaml_characters import refuse_characters

MOST_VALUES = 500_000
DEEPEST = 32


@dataclass(slots=True, eq=False)
class Scalar:
    """A word, number or text.

    Attributes:
        text: What is written, quotes and escapes undone.
        bare: Whether it stands without quotes, so that a reader guesses its type.
        line: From 1; 0 of what was set over a file (`profiles.yaml_settings`).
        column: From 1.
    """

    text: str
    bare: bool
    line: int
    column: int


@dataclass(slots=True, eq=False)
class List:
    """A list of values."""

    line: int
    column: int
    items: list[Node] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Mapping:
    """Keys and values, by the keys' texts in the file's order; `keys` has their places."""

    line: int
    column: int
    keys: dict[str, Scalar] = field(default_factory=dict)
    values: dict[str, Node] = field(default_factory=dict)


Node: TypeAlias = Scalar | List | Mapping


def place(node: Node | None, name: str, keys: Sequence[str | int] = ()) -> str:
    """``file:line:column: key.path`` of a node; without a line where it was set over the file."""
    line, column = (node.line, node.column) if node else (1, 1)
    if not line:
        return f"{name}: {path_of(keys)}, as it was set"
    return f"{name}:{line}:{column}: {path_of(keys)}"


def path_of(keys: Sequence[str | int]) -> str:
    """``key.path`` on one line; keys are quoted as messages quote names."""
    return ".".join(quoted(str(key)) for key in keys) or "the file"


def nodes(text: str, name: str) -> Node | None:
    """The one document of a text; None where there is none.

    Raises:
        InputError: It is not YAML, or uses what readers disagree about. Names the place.
    """
    refuse_characters(text, name)
    parser = yaml.CSafeLoader(text)
    composer = _Composer(name, iter(parser.get_event, None))
    try:
        return composer.document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise InputError(
            error.problem or "this is not YAML",
            where=composer.where(mark.line + 1, mark.column + 1) if mark else place(None, name),
            expected="YAML",
            next_step="look at quotes, brackets and indentation here and in the line before",
        ) from error
    except (yaml.YAMLError, ValueError) as error:
        raise InputError("this is not YAML", where=place(None, name), got=str(error)) from error
    finally:
        parser.dispose()


class _Composer:
    """Builds nodes from the parser's events without recursion over what the file nests."""

    def __init__(self, name: str, events: Iterator[Any]) -> None:
        self.name = name
        self.events = events
        self.open: list[List | Mapping] = []
        self.keys: list[Scalar | None] = []
        self.values = 0

    def document(self) -> Node | None:
        """The root, once the whole stream is read."""
        root: Node | None = None
        documents = 0
        for event in self.events:
            kind = type(event)
            if kind is yaml.ScalarEvent:
                if event.anchor is not None or event.tag is not None:
                    self._plain(event)
                at = event.start_mark
                node: Node = Scalar(event.value, not event.style, at.line + 1, at.column + 1)
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                self._plain(event)
                made = Mapping if kind is yaml.MappingStartEvent else List
                node = made(event.start_mark.line + 1, event.start_mark.column + 1)
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                self.open.pop()
                self.keys.pop()
                continue
            elif kind is yaml.DocumentStartEvent:
                documents += 1
                self._document_start(event, documents)
                continue
            elif kind is yaml.AliasEvent:
                raise self._refusal(
                    "aliases are not supported", event, "write the value out where it is used"
                )
            else:
                continue
            self._add(node, event)
            root = root or node
            if not isinstance(node, Scalar):
                self.open.append(node)
                self.keys.append(None)
                if len(self.open) > DEEPEST:
                    raise self._refusal(
                        f"nested more than {DEEPEST} deep", event, "no key needs that"
                    )
        return root

    def _add(self, node: Node, event: Any) -> None:
        self.values += 1
        if self.values > MOST_VALUES:
            raise self._refusal(
                f"more than {MOST_VALUES:,} values", event, "is this the file that you mean?"
            )
        if not self.open:
            return
        parent = self.open[-1]
        if isinstance(parent, List):
            parent.items.append(node)
            return
        key = self.keys[-1]
        if key is not None:
            parent.values[key.text] = node
            self.keys[-1] = None
            return
        if not isinstance(node, Scalar):
            raise self._refusal(
                "a key is not a text", event, "write one word or one text in quotes as the key"
            )
        if node.text in parent.keys:
            raise InputError(
                f"the key {node.text!r} stands twice",
                where=place(node, self.name, [*self._path(), node.text]),
                got=f"the same key in line {parent.keys[node.text].line}",
                next_step="keep one of them",
            )
        parent.keys[node.text] = node
        self.keys[-1] = node

    def _document_start(self, event: Any, documents: int) -> None:
        if documents > 1:
            raise self._refusal("a second document in one file", event, "use a file for each")
        if event.version or event.tags:
            raise self._refusal("directives are not supported", event, "remove the line with '%'")

    def _plain(self, event: Any) -> None:
        if event.anchor is not None:
            raise self._refusal(
                f"anchors are not supported: &{event.anchor}",
                event,
                "write the value out where it is used",
            )
        if event.tag is not None:
            raise self._refusal(
                f"tags are not supported: {event.tag}", event, "remove the word with '!'"
            )

    def _refusal(self, what: str, event: Any, next_step: str) -> InputError:
        at = event.start_mark
        return InputError(what, where=self.where(at.line + 1, at.column + 1), next_step=next_step)

    def where(self, line: int, column: int) -> str:
        """``file:line:column: key.path`` of what comes next."""
        path = self._path()
        if self.keys and (key := self.keys[-1]) is not None:
            path.append(key.text)
        return f"{self.name}:{line}:{column}: {path_of(path)}"

    def _path(self) -> list[str]:
        """Keys that lead to the innermost open node."""
        path = []
        for parent in self.open[:-1]:
            if isinstance(parent, List):
                path.append(str(len(parent.items) - 1))
            else:
                path.append(next(reversed(parent.values)))
        return path
