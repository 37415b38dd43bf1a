"""Findings as other tools show them beside a file's lines: SARIF 2.1.0 and GitHub's commands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from policies.findings import Finding, Place
from policies.rules import RULES
from profiles.visible import escaped_lines

_SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
STDIN = "-"


def sarif(by_file: Mapping[str, Sequence[Finding]], version: str) -> dict[str, Any]:
    """A SARIF 2.1.0 log of one run, with every rule that was checked.

    Lines and columns count from 1, columns in code points. A finding in standard input has no
    place.

    Args:
        by_file: Findings by the name of the file that was checked.
        version: Of inferbudget.
    """
    codes = sorted({*RULES, *(one.code for found in by_file.values() for one in found)})
    index = {code: place for place, code in enumerate(codes)}
    return {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "inferbudget",
                        "version": version,
                        "rules": [_rule(code) for code in codes],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [
                    _result(finding, file, index[finding.code])
                    for file, findings in by_file.items()
                    for finding in findings
                ],
            }
        ],
    }


def github(by_file: Mapping[str, Iterable[Finding]]) -> str:
    """A workflow command for each finding: GitHub shows it at its line of a pull request."""
    return "\n".join(
        _command(finding, file) for file, findings in by_file.items() for finding in findings
    )


def _rule(code: str) -> dict[str, Any]:
    text = RULES.get(code, code)
    return {
        "id": code,
        "shortDescription": {"text": text},
        "help": {"text": f"{text} See docs/how-to/check-a-policy.md."},
    }


def _result(finding: Finding, file: str, index: int) -> dict[str, Any]:
    place = finding.place(file)
    result: dict[str, Any] = {
        "ruleId": finding.code,
        "ruleIndex": index,
        "level": finding.severity.value,
        "message": {"text": _message(finding)},
    }
    if place.file != STDIN:
        result["locations"] = [{"physicalLocation": _location(place)}]
    return result


def _location(place: Place) -> dict[str, Any]:
    path = PurePath(place.file)
    uri = path.as_uri() if path.is_absolute() else quote(path.as_posix())
    location: dict[str, Any] = {"artifactLocation": {"uri": uri}}
    if place.line is not None:
        column = {} if place.column is None else {"startColumn": place.column}
        location["region"] = {"startLine": place.line, **column}
    return location


def _command(finding: Finding, file: str) -> str:
    place = finding.place(file)
    properties = {
        "file": None if place.file == STDIN else place.file,
        "line": place.line,
        "col": place.column,
        "title": f"inferbudget {finding.code}",
    }
    given = [f"{key}={_property(str(value))}" for key, value in properties.items() if value]
    return f"::{finding.severity} {','.join(given)}::{_data(_message(finding))}"


def _message(finding: Finding) -> str:
    return escaped_lines(f"{finding.message}\nnext: {finding.next_step}")


def _data(text: str) -> str:
    """As GitHub's runner reads a command's message."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(escaped_lines(text)).replace(":", "%3A").replace(",", "%2C")
