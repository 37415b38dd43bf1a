"""The audit log: one line for every settled request, on the disk within 50 ms.

Lines are JSON, numbered by each replica from 1. A number that is missing is an entry that was lost,
and one that comes again counts once: so a log says itself whether it is whole. A thread writes what
has gathered and waits for the disk once for all of it (group commit). Where the disk is full,
entries wait in memory; beyond a bound they are lost and counted, and requests go on.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from profiles.errors import InputError

COMMIT_S = 0.05
"""Seconds between two commits."""
SUFFIX = ".jsonl"
"""Of the files of a log."""
_RETRY_S = 1.0
_NAME = re.compile(r"[0-9A-Za-z._-]{1,100}", re.ASCII)
_log = logging.getLogger(__name__)


class Charge(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one request did to one account.

    Attributes:
        account: The account's name; it says the unit.
        epoch: Start of the window that held it, Unix seconds; 0 for `total` and rolling windows.
        held: What was reserved, in the account's unit.
        charged: What was charged, in the account's unit.
    """

    account: str
    epoch: int
    held: int
    charged: int


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One settled request.

    Attributes:
        number: Counts this replica's entries from 1.
        request: The request's id.
        time_s: When it was settled, Unix seconds.
        replica: The process that settled it.
        charges: One per account that it held on.
    """

    number: int
    request: str
    time_s: float
    replica: str
    charges: tuple[Charge, ...]


_encoder = msgspec.json.Encoder()


class AuditSettings(BaseModel):
    """The part `audit` of a gateway's configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    folder: Annotated[Path, Field(strict=False)] = Field(
        description="Where the files go; it must be there."
    )
    megabytes: Annotated[float, Field(gt=0, le=1_000_000)] = Field(
        default=64.0, description="A file ends after so many."
    )
    queue: Annotated[int, Field(ge=1, le=10_000_000)] = Field(
        default=100_000,
        description="Entries that may wait for the disk; a further one is lost and counted.",
    )


class AuditLog:
    """Writes the entries of one replica.

    Args:
        settings: Where to.
        replica: This process, by the name that the budget store knows it by; never used again.

    Attributes:
        written: Entries that are on the disk.

    Raises:
        InputError: The folder takes no files, or holds a log of this replica already.
    """

    def __init__(self, settings: AuditSettings, replica: str) -> None:
        if not _NAME.fullmatch(replica):
            raise InputError("this is no name of a replica", where="replica", got=repr(replica))
        self.written = 0
        self._settings = settings
        self._replica = replica
        self._number = 0  # this and the next are the event loop's
        self._lost = 0
        self._queue: deque[Entry] = deque()
        self._batch: list[bytes] = []  # this and all below are the writer's
        self._unwritable = 0
        self._files = 0
        self._failing = False
        self._file = -1
        self._size = 0
        try:
            self._open()
        except OSError as error:
            raise InputError(
                "the audit log's folder takes no file of this replica",
                where=str(settings.folder),
                got=error.strerror or str(error),
                next_step="make the folder, and let the gateway's user write in it",
            ) from error
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """Entries that were never written: the log has gaps."""
        return self._lost + self._unwritable

    @property
    def waiting(self) -> int:
        """Entries that are not on the disk yet."""
        return len(self._queue) + len(self._batch)

    def put(self, request: str, time_s: float, charges: tuple[Charge, ...]) -> None:
        """Take the entry of a settled request. Never waits.

        Only the event loop's thread may call it. A lost entry leaves a gap in the numbers.
        """
        self._number += 1
        if self.waiting >= self._settings.queue or self._stop.is_set():
            self._lost += 1
            if self._lost == 1:
                _log.error("the audit log loses entries: its disk does not keep up")
            return
        self._queue.append(Entry(self._number, request, time_s, self._replica, charges))

    def close(self, timeout_s: float = 10.0) -> None:
        """Bring everything to the disk and end."""
        self._stop.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stop.wait(_RETRY_S if self._failing else COMMIT_S):
            self._commit()
        self._commit()
        if self.waiting:
            _log.error("the audit log ends with %d entries unwritten", self.waiting)
        with suppress(OSError):
            os.close(self._file)

    def _commit(self) -> None:
        """Write what has gathered, or try again what could not be written."""
        self._gather()
        if not self._batch:
            return
        try:
            self._write(b"".join(self._batch))
        except OSError as error:
            if not self._failing:
                _log.error("the audit log cannot be written: %s", error.strerror or error)
            self._failing = True
            return
        if self._failing:
            _log.warning("the audit log is written again; %d entries are lost so far", self.lost)
        self._failing = False
        self.written += len(self._batch)
        self._batch = []

    def _gather(self) -> None:
        while self._queue:
            entry = self._queue[0]
            try:
                self._batch.append(_encoder.encode(entry) + b"\n")
            except (ValueError, TypeError) as error:  # a text that is no Unicode
                self._unwritable += 1
                _log.error("the entry of request %r: %s", entry.request, type(error).__name__)
            self._queue.popleft()

    def _write(self, content: bytes) -> None:
        """All of it and on the disk, or nothing that is not written again.

        What an unsuccessful fsync left behind nobody knows, so it is cut off.
        """
        if self._failing:
            self._mend()
        if self._size >= self._settings.megabytes * 1e6:
            os.close(self._file)
            self._open()
        if not self._is_in_place():
            raise FileNotFoundError(2, "the file is gone")
        written = 0
        while written < len(content):
            written += os.write(self._file, memoryview(content)[written:])
        os.fsync(self._file)
        self._size += written

    def _mend(self) -> None:
        """A file that ends where the last commit did: this one, or a new one where it is gone."""
        if self._is_in_place():
            os.ftruncate(self._file, self._size)
        else:
            with suppress(OSError):
                os.close(self._file)
            self._open()

    def _is_in_place(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._file), self._path().stat())
        except OSError:
            return False

    def _path(self) -> Path:
        return self._settings.folder / f"{self._replica}-{self._files:06d}{SUFFIX}"

    def _open(self) -> None:
        self._file, self._size = -1, 0
        self._files += 1
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        try:
            self._file = os.open(self._path(), flags, 0o640)
        except OSError:
            self._files -= 1
            raise
        folder = os.open(self._settings.folder, os.O_RDONLY)
        try:
            os.fsync(folder)  # else a power cut may take the name of a file whose lines are safe
        finally:
            os.close(folder)
