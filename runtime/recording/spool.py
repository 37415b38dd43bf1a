"""The file that records are first written to: JSON lines, one unbuffered write a batch.

A killed process loses none that was written, for the page cache outlives it. Whoever writes or
converts a spool holds a lock on it, which ends with its process: a spool without one is a leftover.
"""

from __future__ import annotations

import fcntl
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SUFFIX = ".jsonl"
PART = ".part"


class Spool:
    """One file of records that grows. Readers of Parquet pass over it: its name is hidden.

    Args:
        folder: Where it lies; must be there.
        mode: Of the file.

    Attributes:
        path: The file.
        rows: Lines written whole.
        size: Bytes of them.
        began_s: When it was opened, on the monotonic clock.

    Raises:
        OSError: The folder is gone or takes no file.
    """

    def __init__(self, folder: Path, mode: int = 0o640) -> None:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        self.path = folder / f".{stamp}-{uuid.uuid4().hex[:12]}{SUFFIX}"
        self.rows = 0
        self.began_s = time.monotonic()
        self.size = 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        self._file = os.open(self.path, flags, mode)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def write(self, lines: list[bytes]) -> None:
        """Append lines, each with its line break; what could not be written whole leaves no trace.

        Raises:
            OSError: Not all of them were written; `rows` says how many there are now.
        """
        if not self.is_in_place():
            raise FileNotFoundError(2, "the folder or the file in it is gone", str(self.path))
        content = b"".join(lines)
        written = 0
        try:
            while written < len(content):
                written += os.write(self._file, memoryview(content)[written:])
        finally:
            whole = content.rfind(b"\n", 0, written) + 1
            self.rows += content.count(b"\n", 0, whole)
            self.size += whole
            if whole < written:
                os.ftruncate(self._file, self.size)

    def is_in_place(self) -> bool:
        """Whether the file still has its name: a removed one takes writes without a word."""
        try:
            return os.path.samestat(os.fstat(self._file), self.path.stat())
        except OSError:
            return False

    def remove(self) -> None:
        """Delete the file and release the lock."""
        with suppress(OSError):
            self.path.unlink()
        self.close()

    def close(self) -> None:
        """Release the lock."""
        with suppress(OSError):
            os.close(self._file)


def leftovers(folder: Path) -> tuple[Path, ...]:
    """Spools that no living process writes, oldest first."""
    return tuple(path for path in sorted(folder.glob(f".*{SUFFIX}")) if not is_locked(path))


def remove_torn_parts(folder: Path) -> None:
    """Delete what conversions that were killed left behind."""
    for path in folder.glob(f"**/.*{PART}"):
        if not is_locked(path):
            path.unlink(missing_ok=True)


def is_locked(path: Path) -> bool:
    """Whether a living process holds the file; one that is gone nobody holds."""
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(file)
    return False


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A hidden file beside `path` that takes its place when the block ends without an error."""
    part = path.with_name(f".{path.name}.{os.getpid()}{PART}")
    file = os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o640)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield part
        os.fsync(file)
        part.replace(path)
    finally:
        os.close(file)
        part.unlink(missing_ok=True)
