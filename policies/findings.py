"""What checks find, and how it is shown."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum

from profiles.visible import escaped, escaped_lines


class Severity(StrEnum):
    """How much a finding matters: an error fails a check, a warning informs."""

    ERROR = "error"
    WARNING = "warning"


_AT = re.compile(r"(?P<file>.*?):(?P<line>[1-9]\d*)(?::(?P<column>[1-9]\d*))?(?:: |\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a finding is, for machines.

    Attributes:
        file: The file as the command was given it, or one beside it.
        line: From 1, None where the whole file is meant.
        column: From 1, None where the whole line is meant.
    """

    file: str
    line: int | None = None
    column: int | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check found.

    Attributes:
        severity: Whether it fails the check.
        code: A stable word for it, e.g. ``graph-hash``.
        where: ``file:line:column: key``.
        message: What is wrong, with what was expected and found; of several lines only where it
            shows lines of a file.
        next_step: What to do about it.
    """

    severity: Severity
    code: str
    where: str
    message: str
    next_step: str

    def text(self) -> str:
        """The finding for people: further lines of the message behind a bar, then the next step."""
        first, *more = self.message.split("\n")
        return escaped_lines(
            "\n".join(
                [
                    f"{escaped(self.where)}: {self.severity} [{self.code}]: {first}",
                    *(f"  | {line}" for line in more),
                    f"  next: {escaped(self.next_step)}",
                ]
            )
        )

    def as_dict(self) -> dict[str, str]:
        """The finding as plain values, ready for JSON."""
        return asdict(self) | {"severity": self.severity.value}

    def place(self, checked: str) -> Place:
        """Where it is, in the file that was checked or one beside it.

        Args:
            checked: The name of the file that was checked, as `where` begins where it is there.
        """
        if self.where.startswith(checked) and self.where[len(checked) :][:1] in ("", ":"):
            at = _AT.match(self.where[len(checked) :])
            file = checked
        else:
            at = _AT.match(self.where)
            file = at["file"] if at else self.where.partition(": ")[0]
        if at is None:
            return Place(file)
        return Place(file, int(at["line"]), int(at["column"]) if at["column"] else None)


def failed(findings: Iterable[Finding]) -> bool:
    """Whether any finding is an error."""
    return any(finding.severity is Severity.ERROR for finding in findings)
