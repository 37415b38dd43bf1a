"""A neighbour's YAML: texts that no reader takes for another, comments that end nowhere early."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from policies.decimals import plain
from profiles.visible import escaped

_STRING = "tag:yaml.org,2002:str"


def yaml_text(comments: Iterable[str], content: Mapping[str, Any]) -> str:
    """A file: comments at its head, one a line, then the content in its own order."""
    head = "".join(f"# {escaped(line)}\n" for line in comments)
    body = yaml.dump(content, Dumper=_Dumper, sort_keys=False, width=10**9, allow_unicode=True)
    return f"{head}{body}"


class _Dumper(yaml.SafeDumper):
    """Plain decimals; every text in quotes that some YAML reader could take for another thing."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - the dumper's face
        """Write everything out: readers disagree about aliases."""
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - the same
        """Lists stand deeper than their key."""
        super().increase_indent(flow, indentless=False)


def _text(dumper: yaml.SafeDumper, data: str) -> yaml.Node:
    letters = data.replace("-", "").replace("_", "").replace("/", "").replace(".", "")
    is_word = len(data) > 1 and data[0].isalpha() and letters.isascii() and letters.isalnum()
    resolved = dumper.resolve(yaml.ScalarNode, data, (True, False))  # type: ignore[no-untyped-call]
    return dumper.represent_scalar(
        _STRING, data, style=None if is_word and resolved == _STRING else '"'
    )


def _number(dumper: yaml.SafeDumper, data: float) -> yaml.Node:
    text = plain(data)
    kind = "float" if "." in text else "int"
    return dumper.represent_scalar(f"tag:yaml.org,2002:{kind}", text)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(float, _number)
