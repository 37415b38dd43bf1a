"""Logs as JSON lines: what happened, to which request; never a prompt or a key.

An error is named by its kind and the places in the code, without its words, which can quote what a
client wrote. What is logged is written by a thread: a reader of the log that stands still must not
stop the gateway, so beyond a bound lines are lost and counted. Of what happens again and again,
such as requests without money, the log has some lines and a count of others: no client can fill it.
"""

from __future__ import annotations

import json
import logging
import queue
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, TextIO

REQUEST_ID: Final[ContextVar[str | None]] = ContextVar("request_id", default=None)
"""Set where a request begins: every line that its task logs names it."""
TRACE_ID: Final[ContextVar[str | None]] = ContextVar("trace_id", default=None)
"""Likewise, where it is traced."""
HIDDEN = "[hidden]"
_LONGEST = 2_000
_MOST_PLACES = 30
_MOST_WAITING = 10_000
_LAST_LINES_S = 2.0
_LINES = 100  # of one place in the code, and then one a second
_SHORTEST_SECRET = 8  # a shorter one would blank ordinary words
_KEYS = re.compile(r"(?i)\b(bearer|basic)\s+[^\s\"',]+|\b(sk|ib)-[A-Za-z0-9_-]{8,}")


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, event, logger, and what is known of request and error.

    All beyond ASCII and all control characters are escaped, so that no text can forge a line or
    turn its reader's screen around.

    Args:
        secrets: Texts that are hidden wherever they appear, such as keys.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        known = {text for text in secrets if len(text) >= _SHORTEST_SECRET}
        # The longest first: one may begin like another.
        ordered = sorted(known, key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its line break."""
        entry: dict[str, Any] = {
            "time": _time(record.created),
            "level": record.levelname.lower(),
            "event": self.hide(_event(record)),
            "logger": record.name,
        }
        if request := REQUEST_ID.get():
            entry["request_id"] = self.hide(request)
        if trace := TRACE_ID.get():
            entry["trace_id"] = self.hide(trace)
        if left_out := getattr(record, "left_out", 0):
            entry["left_out"] = left_out
        if record.exc_info and record.exc_info[0] is not None:
            kind, _, trail = record.exc_info
            entry["error"] = kind.__name__
            entry["at"] = _places(trail)
        return json.dumps(entry)

    def hide(self, text: str) -> str:
        """The text without secrets, cut where it is very long."""
        if self._secrets is not None:
            text = self._secrets.sub(HIDDEN, text)
        text = _KEYS.sub(HIDDEN, text)
        return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text)} characters)"


@dataclass(slots=True)
class _Place:
    """A line of code that logs: how many lines it may write now, and how many were left out."""

    at_s: float
    lines: float = _LINES
    left_out: int = 0


class Sparing(logging.Filter):
    """Of one place in the code 100 lines, and then one a second; it tells how many it left out.

    Args:
        clock: Seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._places: dict[tuple[str, int], _Place] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written; then it has the number of those left out before it."""
        now_s = self._clock()
        place = self._places.setdefault((record.pathname, record.lineno), _Place(now_s))
        place.lines = min(place.lines + now_s - place.at_s, _LINES)
        place.at_s = now_s
        if place.lines < 1:
            place.left_out += 1
            return False
        place.lines -= 1
        vars(record)["left_out"], place.left_out = place.left_out, 0
        return True


class LogWriter:
    """Sends what is logged to a stream as JSON lines, as far as `Sparing` lets it through.

    Use it as ``with LogWriter():`` around what a process does.

    Args:
        stream: Where to; standard error where absent.
        level: What is less than this is not logged.
        secrets: See `JsonLines`.

    Attributes:
        lost: Lines that the stream did not take in time.
    """

    def __init__(
        self, stream: TextIO | None = None, level: str = "INFO", secrets: Iterable[str] = ()
    ) -> None:
        self.lost = 0
        self._stream = stream or sys.stderr
        self._level = level
        self._waiting: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._handler = _Queueing(self)
        self._handler.setFormatter(JsonLines(secrets))
        self._thread = threading.Thread(target=self._write, name="logs", daemon=True)
        self._before: tuple[list[logging.Handler], int] = ([], logging.WARNING)

    def put(self, line: str) -> None:
        """Take a line, or lose and count it. Never waits."""
        if self._waiting.qsize() < _MOST_WAITING:
            self._waiting.put(line)
        else:
            self.lost += 1

    def __enter__(self) -> LogWriter:
        root = logging.getLogger()
        self._before = root.handlers[:], root.level
        root.handlers[:] = [self._handler]
        root.setLevel(self._level)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trail: TracebackType | None,
    ) -> None:
        root = logging.getLogger()
        root.handlers[:], level = self._before
        root.setLevel(level)
        self._waiting.put(None)
        self._thread.join(_LAST_LINES_S)

    def _write(self) -> None:
        while (line := self._waiting.get()) is not None:
            try:
                self._stream.write(f"{line}\n")
                self._stream.flush()
            except (OSError, ValueError):  # nobody reads any more
                self.lost += 1


class _Queueing(logging.Handler):
    """Formats in the thread that logs, which knows its request."""

    def __init__(self, writer: LogWriter) -> None:
        super().__init__()
        self._writer = writer
        self.addFilter(Sparing())

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a line over."""
        self._writer.put(self.format(record))


def _event(record: logging.LogRecord) -> str:
    """What is logged; a call that does not fit its own text must not end a request."""
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        return str(record.msg)


def _time(created_s: float) -> str:
    moment = datetime.fromtimestamp(created_s, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _places(trail: TracebackType | None) -> list[str]:
    """Where an error went through, the innermost last."""
    frames = traceback.extract_tb(trail)[-_MOST_PLACES:]
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
