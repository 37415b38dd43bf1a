"""Takes records from traffic without ever making it wait, and brings them to disk.

The event loop only appends to a bounded queue. A thread empties it a few times a second into a
spool, and hands full spools to a process that makes Parquet of them. So the gateway's memory stays
flat, and SIGKILL loses the records of the last `POLL_S` seconds at most.
"""

from __future__ import annotations

import importlib.util
import logging
import threading
import time
from collections import deque
from pathlib import Path
from typing import Annotated

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from profiles.errors import InputError
from runtime.recording.conversion import Conversion
from runtime.recording.record import Record
from runtime.recording.spool import Spool, leftovers, remove_torn_parts

POLL_S = 0.2
"""Seconds between two looks at the queue."""
_RETRY_S = 5.0  # a full disk is not asked more often than this
# Prompts of 1 MiB each would otherwise fill the memory of the gateway, or of the conversion.
_MOST_WAITING_CHARACTERS = 32 * 1024 * 1024
_MOST_SPOOL_BYTES = 128 * 1024 * 1024
_encoder = msgspec.json.Encoder()
_log = logging.getLogger(__name__)


class RecorderSettings(BaseModel):
    """The part `recorder` of a gateway's configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    folder: Annotated[Path, Field(strict=False)] = Field(
        description="Where the files go; it must be there."
    )
    rows: Annotated[int, Field(ge=1, le=10_000_000)] = Field(
        default=50_000, description="A file ends after so many records, or 128 MiB,"
    )
    minutes: Annotated[float, Field(gt=0, le=1440)] = Field(
        default=10.0, description="or after so many minutes, whichever is first."
    )
    queue: Annotated[int, Field(ge=1, le=10_000_000)] = Field(
        default=20_000,
        description="Records that may wait for the disk; a further one is lost and counted.",
    )
    prompts: bool = Field(
        default=False,
        description="Keep prompts and replies too. They are what users wrote: mind who reads them.",
    )


class Recorder:
    """Writes every record of one gateway process.

    Args:
        settings: Where to, and how files rotate.

    Attributes:
        settings: As given.
        written: Records that were written, whatever became of their folder afterwards.

    Raises:
        InputError: The folder is not there or takes no files, or pyarrow is not installed.
    """

    def __init__(self, settings: RecorderSettings) -> None:
        if importlib.util.find_spec("pyarrow") is None:
            raise InputError(
                "the recorder writes Parquet and pyarrow is not installed",
                where="recorder",
                next_step="pip install 'inferbudget[record]', or take `recorder` out",
            )
        self.settings = settings
        self.written = 0
        self._queue: deque[Record] = deque()
        self._not_queued = 0  # counted by the event loop's thread only
        self._not_written = 0  # counted by the writer's thread only
        self._characters_in = 0  # by the event loop's thread
        self._characters_out = 0  # by the writer's thread
        self._failing = False
        self._retry_at_s = 0.0
        self._conversion = Conversion()
        self._stop = threading.Event()
        folder = settings.folder
        try:
            remove_torn_parts(folder)
            self._conversion.add(leftovers(folder))
            self._spool: Spool | None = Spool(folder)
        except OSError as error:
            raise InputError(
                "the recorder's folder takes no files",
                where=str(folder),
                got=error.strerror or str(error),
                next_step="make the folder, and let the gateway's user write in it",
            ) from error
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """Records that never reached the disk, or went with their folder."""
        return self._not_queued + self._not_written

    @property
    def waiting(self) -> int:
        """Records that wait for the disk now."""
        return len(self._queue)

    def put(self, record: Record) -> None:
        """Take a record, or lose and count it where the queue is full. Never waits.

        Only the event loop's thread may call it. Prompts and replies that were not asked for are
        dropped here, whoever put them in.
        """
        if record.prompt is not None or record.reply is not None:
            if not self.settings.prompts:
                record = msgspec.structs.replace(record, prompt=None, reply=None)
            elif self._characters_in - self._characters_out > _MOST_WAITING_CHARACTERS:
                self._not_queued += 1
                return
        if len(self._queue) >= self.settings.queue or self._stop.is_set():
            self._not_queued += 1
        else:
            self._characters_in += _characters(record)
            self._queue.append(record)

    def close(self, timeout_s: float = 30.0) -> None:
        """Bring everything to disk and end; what is left after the time the next start converts."""
        self._stop.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stop.wait(POLL_S):
            self._write_waiting()
            self._rotate_when_due()
            self._conversion.go_on()
        self._write_waiting()
        self._end_spool()
        self._conversion.finish()

    def _write_waiting(self) -> None:
        lines = []
        while self._queue:
            record = self._queue.popleft()
            self._characters_out += _characters(record)
            try:
                lines.append(_encoder.encode(record) + b"\n")
            except (ValueError, TypeError) as error:  # a text that is no Unicode
                self._not_written += 1
                _log.error("a record cannot be written: %s", type(error).__name__)
        if lines:
            self._write(lines)

    def _write(self, lines: list[bytes]) -> None:
        spool = self._usable_spool()
        if spool is None:
            self._not_written += len(lines)
            return
        before = spool.rows
        try:
            spool.write(lines)
        except OSError as error:
            self._not_written += len(lines) - (spool.rows - before)
            self._fail(error)
        else:
            self._recover()
        self.written += spool.rows - before

    def _usable_spool(self) -> Spool | None:
        """The open one, or a new one where there is none and the disk may be asked again."""
        if self._spool is None and time.monotonic() >= self._retry_at_s:
            try:
                self._spool = Spool(self.settings.folder)
            except OSError as error:
                self._fail(error)
        return self._spool

    def _fail(self, error: OSError) -> None:
        """Drop the spool: it may be gone. Else what is whole in it is converted as any other."""
        if not self._failing:
            _log.error(
                "recording stopped, requests go on without it: %s: %s",
                self.settings.folder,
                error.strerror or type(error).__name__,
            )
        self._failing = True
        self._retry_at_s = time.monotonic() + _RETRY_S
        self._end_spool()

    def _recover(self) -> None:
        if self._failing:
            _log.warning("recording again; %d records are lost so far", self.lost)
        self._failing = False

    def _rotate_when_due(self) -> None:
        spool = self._spool
        if spool is None or not spool.rows:
            return
        age_s = time.monotonic() - spool.began_s
        full = spool.rows >= self.settings.rows or spool.size >= _MOST_SPOOL_BYTES
        if full or age_s >= 60 * self.settings.minutes:
            self._end_spool()

    def _end_spool(self) -> None:
        spool, self._spool = self._spool, None
        if spool is None:
            return
        if not spool.is_in_place():
            self._not_written += spool.rows
            spool.close()
        elif spool.rows:
            self._conversion.add([spool.path], spool)
        else:
            spool.remove()


def _characters(record: Record) -> int:
    return len(record.prompt or "") + len(record.reply or "")
