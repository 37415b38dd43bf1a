"""Full spools become Parquet in a process of their own, one such process at a time."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from runtime.recording import parquet
from runtime.recording.spool import Spool

_AGAIN_S = 60.0
_log = logging.getLogger(__name__)


class Conversion:
    """Hands spools to the converting process and tries again where it could not.

    The locks on spools are kept until they are converted, so that another gateway of the same
    folder does not take them for leftovers.
    """

    def __init__(self) -> None:
        self._waiting: dict[Path, Spool | None] = {}
        self._running: subprocess.Popen[bytes] | None = None
        self._given: dict[Path, Spool | None] = {}
        self._not_before_s = 0.0

    def add(self, paths: Iterable[Path], lock: Spool | None = None) -> None:
        """Convert these when it is their turn.

        Args:
            paths: Spools that nobody writes any more.
            lock: Is released when they are converted.
        """
        self._waiting.update(dict.fromkeys(paths, lock))

    def go_on(self) -> None:
        """Look after the process that runs, or start the next. Never waits."""
        if self._running is not None and self._running.poll() is not None:
            self._end(self._running)
        if self._running is None and self._waiting and time.monotonic() >= self._not_before_s:
            self._start()

    def finish(self) -> None:
        """Wait for the process that runs and convert the rest, once; what fails then is left."""
        self._wait()
        if self._waiting:
            self._start()
            self._wait()
        for lock in self._waiting.values():
            if lock is not None:
                lock.close()

    def _wait(self) -> None:
        if self._running is not None:
            self._running.wait()
            self._end(self._running)

    def _start(self) -> None:
        command = [sys.executable, "-m", parquet.__name__, *map(str, self._waiting)]
        try:
            self._running = subprocess.Popen(  # noqa: S603 - our own module
                command,
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl+C is the gateway's, which then waits for this
            )
        except OSError as error:
            self._not_before_s = time.monotonic() + _AGAIN_S
            _log.error("records wait as JSON lines, no process converts them: %s", error.strerror)
            return
        self._given, self._waiting = self._waiting, {}

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        with process:
            said = process.stderr.read().decode(errors="replace") if process.stderr else ""
        if process.returncode or said:
            _log.error("records were not all made Parquet: %s", said.strip()[-500:])
        for path, lock in self._given.items():
            if path.exists():
                self._waiting[path] = lock
                self._not_before_s = time.monotonic() + _AGAIN_S
            elif lock is not None:
                lock.close()
        self._running, self._given = None, {}
