"""What checks find, and how it is shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum

from profiles.visible import escaped_lines


class Severity(StrEnum):
    """How much a finding matters: an error fails a check, a warning informs."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check found.

    Attributes:
        severity: Whether it fails the check.
        code: A stable word for it, e.g. ``graph-hash``.
        where: ``file:line: key``.
        message: What is wrong, with what was expected and found.
        next_step: What to do about it.
    """

    severity: Severity
    code: str
    where: str
    message: str
    next_step: str

    def text(self) -> str:
        """The finding for people, the next step on a line of its own."""
        return escaped_lines(
            f"{self.where}: {self.severity} [{self.code}]: {self.message}\n  next: {self.next_step}"
        )

    def as_dict(self) -> dict[str, str]:
        """The finding as plain values, ready for JSON."""
        return asdict(self) | {"severity": self.severity.value}


def failed(findings: Iterable[Finding]) -> bool:
    """Whether any finding is an error."""
    return any(finding.severity is Severity.ERROR for finding in findings)
