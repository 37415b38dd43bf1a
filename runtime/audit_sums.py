"""What an audit log adds up to, read line by line: memory grows with accounts, not with lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, TypeAlias

import msgspec

from profiles.errors import InputError
from runtime.audit import SUFFIX

Key: TypeAlias = tuple[str, int, str]
"""Account, epoch, replica."""
_MOST_NAMED = 20
_PIECE_BYTES = 2**20


@dataclass(slots=True)
class ReplicaLog:
    """What one replica wrote.

    Attributes:
        entries: Entries that count.
        last: The highest number.
        gaps: Numbers below it that are missing, as (first, last): entries that were lost.
        repeated: Lines of a number that had come before; they count once.
    """

    entries: int = 0
    last: int = 0
    gaps: list[tuple[int, int]] = field(default_factory=list)
    repeated: int = 0

    @property
    def missing(self) -> int:
        """Entries that were settled and are not in the log."""
        return sum(last - first + 1 for first, last in self.gaps)

    def take(self, number: int) -> bool:
        """Whether the entry of this number counts: it has not come before."""
        if number == self.last + 1:
            self.last = number
        elif number > self.last:
            self.gaps.append((self.last + 1, number - 1))
            self.last = number
        elif not self._fill(number):
            self.repeated += 1
            return False
        self.entries += 1
        return True

    def _fill(self, number: int) -> bool:
        for place, (first, last) in enumerate(self.gaps):
            if first <= number <= last:
                rest = ((first, number - 1), (number + 1, last))
                self.gaps[place : place + 1] = [gap for gap in rest if gap[0] <= gap[1]]
                return True
        return False


@dataclass(slots=True)
class Sums:
    """What a log adds up to.

    Attributes:
        charged: Charged by account, epoch and replica, in the account's unit.
        requests: Settled requests that held on them.
        replicas: By name, what each wrote.
        torn: Last lines of files that a kill cut off.
        unreadable: Other lines that are no entries, the first of them by file and line.
        unreadable_lines: How many there are.
    """

    charged: dict[Key, int] = field(default_factory=dict)
    requests: dict[Key, int] = field(default_factory=dict)
    replicas: dict[str, ReplicaLog] = field(default_factory=dict)
    torn: int = 0
    unreadable: list[str] = field(default_factory=list)
    unreadable_lines: int = 0

    def refuse(self, where: str) -> None:
        """Count a line that is no entry."""
        self.unreadable_lines += 1
        if len(self.unreadable) < _MOST_NAMED:
            self.unreadable.append(where)


_Amount = Annotated[int, msgspec.Meta(ge=0)]


class _Line(msgspec.Struct, gc=False):
    """`runtime.audit.Entry` as far as it is summed; plain tuples are unpacked fastest."""

    number: Annotated[int, msgspec.Meta(ge=1)]
    replica: str
    charges: tuple[tuple[str, int, _Amount, _Amount], ...]


_decoder = msgspec.json.Decoder(_Line)


def read_sums(path: Path, progress: Callable[[int, int], None] | None = None) -> Sums:
    """Sum a folder of audit files, or one file.

    Args:
        path: The folder, or the file.
        progress: Told, about every megabyte, how many bytes are read, and how many there are.

    Raises:
        InputError: There is no such file or folder, or it cannot be read.
    """
    sums = Sums()
    files = _files(path)
    done, total = 0, sum(_size(file) for file in files)
    for file in files:
        try:
            with file.open("rb") as content:
                number = 1
                while lines := content.readlines(_PIECE_BYTES):
                    _add(sums, lines, str(file), number)
                    number += len(lines)
                    if progress is not None:
                        progress(done + content.tell(), total)
                done += content.tell()
        except OSError as error:
            raise InputError(
                "cannot read the audit log", where=str(file), got=error.strerror or str(error)
            ) from error
    return sums


def _size(file: Path) -> int:
    """Its bytes now; 0 for one that will be found unreadable."""
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if path.is_dir():
        return sorted(path.rglob(f"*{SUFFIX}"))
    raise InputError(
        "there is no such audit log", where=str(path), expected="a folder of *.jsonl, or one file"
    )


def _add(sums: Sums, lines: Iterable[bytes], name: str, first: int) -> None:
    charged, requests, decode = sums.charged, sums.requests, _decoder.decode
    for number, line in enumerate(lines, start=first):
        try:
            entry = decode(line)
        except ValueError:  # msgspec's errors are ValueErrors
            if line.endswith(b"\n"):
                sums.refuse(f"{name}:{number}")
            else:
                sums.torn += 1
            continue
        replica = entry.replica
        log = sums.replicas.get(replica)
        if log is None:
            log = sums.replicas[replica] = ReplicaLog()
        if not log.take(entry.number):
            continue
        for account, epoch, _, amount in entry.charges:
            key = account, epoch, replica
            charged[key] = charged.get(key, 0) + amount
            requests[key] = requests.get(key, 0) + 1
