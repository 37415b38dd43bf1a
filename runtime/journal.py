"""Calls that were paid for, on disk the moment their reply is complete.

A measuring run that is killed resumes from its store, which knows finished outcomes, and from this
journal, which knows the single calls of those that were not finished. A call that the journal holds
is answered from it and takes as long as it took, so that latencies stay what they were.

Each reply is one line and one unbuffered write. A killed process loses none that was written, for
the page cache outlives it; a torn last line is dropped. There is no fsync: a machine that loses
power may lose, and pay again, the calls of the last seconds. Errors are not kept, nor is a reply
that could not be read or used: the next run asks again. A line that cannot be true is refused with
its number.

Lines whose outcome the store holds are dropped: when the journal is opened, and whenever they make
up more than half of a file of at least 1 MiB. So the file holds at most twice what is unfinished
plus 1 MiB, and none is left after a run that finished everything.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

import msgspec
from msgspec.structs import replace

from profiles.errors import InputError
from profiles.measuring.jobs import Key
from runtime.upstream import LONGEST_TIMEOUT_S, MOST_TOKENS, ChatCall, Completion, request_body

Send: TypeAlias = Callable[[ChatCall], Awaitable[Completion]]
Useful: TypeAlias = Callable[[Completion], bool]
_COMPACT_BYTES = 1 << 20
# A call is sent a second time where the first try did not leave this machine.
_LONGEST_CALL_S = 2 * LONGEST_TIMEOUT_S
_REPEATABLE: Key = ("", "", 0, None)


class _Entry(msgspec.Struct, frozen=True):
    """One line: whose call it was, which one, and what came back."""

    workload: str
    outcome: Key
    call: str
    occurrence: int
    reply: Completion


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Entry)


def journal_of(store: Path) -> Path:
    """Where the journal of a store lies: next to the file itself, whatever link leads to it."""
    file = store.resolve()
    return file.with_name(f"{file.name}.calls")


class Journal:
    """Paid calls of one workload that the store does not know yet.

    One process at a time may hold a journal. A file may carry calls of several workloads.

    Args:
        path: The file; made where absent, and removed at the end where nothing is left in it.
        workload: Whose calls are asked for and added.
        endpoint: Part of every call's key: another server's reply is none of this one's.

    Raises:
        InputError: The file cannot be written, is damaged, or another process holds it.
    """

    def __init__(self, path: Path, *, workload: str, endpoint: str) -> None:
        self.replayed = 0
        self._path = path
        self._workload = workload
        self._endpoint = endpoint.rstrip("/").encode()
        self._failed: InputError | None = None
        self._size = 0
        self._live = 0
        # By workload and outcome: the lines as they stand in the file.
        self._lines: dict[tuple[str, Key], list[bytes]] = {}
        self._replies: dict[tuple[Key, str, int], Completion] = {}
        self._file = self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the file, and remove it where nothing unfinished is in it."""
        if not self._lines and not self._failed:
            self._path.unlink(missing_ok=True)  # still locked: see `_open`
        os.close(self._file)

    def outcome(self, key: Key, send: Send) -> RecordedCalls:
        """The calls of one outcome; `send` pays for those that are not in the journal."""
        return RecordedCalls(self, key, send)

    def repeatable(self, send: Send, useful: Useful = lambda _: True) -> RecordedCalls:
        """Calls whose reply depends on nothing but what is sent: each is paid for once in a run.

        A reply that is not `useful` is not kept, and the next time is asked for again.
        """
        return RecordedCalls(self, _REPEATABLE, send, useful)

    def forget(self, outcomes: Iterable[Key]) -> None:
        """Drop the calls of outcomes that the store holds now."""
        for key in outcomes:
            for line in self._lines.pop((self._workload, key), ()):
                entry = _decoder.decode(line)
                self._replies.pop((key, entry.call, entry.occurrence), None)
                self._live -= len(line)
        if self._size > _COMPACT_BYTES and self._size > 2 * self._live:
            self._compact()

    def forget_repeatable(self) -> None:
        """Drop the calls of `repeatable`: everything they were needed for is in the store."""
        self.forget([_REPEATABLE])

    def require_sound(self) -> None:
        """Refuse to go on where a reply could not be written.

        Raises:
            InputError: What went wrong then.
        """
        if self._failed:
            raise self._failed

    def find(self, key: Key, call: str, occurrence: int) -> Completion | None:
        """The reply to a call, None where it was not paid for."""
        found = self._replies.get((key, call, occurrence))
        self.replayed += found is not None
        return found

    def digest(self, call: ChatCall) -> str:
        """Of the endpoint and everything that is sent, seed included; never of the API key."""
        return hashlib.sha256(self._endpoint + b"\n" + request_body(call)).hexdigest()[:32]

    def append(self, key: Key, call: str, occurrence: int, reply: Completion) -> None:
        """Keep a reply.

        Raises:
            InputError: It could not be written whole; no further call may be paid for.
        """
        line = _encoder.encode(_Entry(self._workload, key, call, occurrence, reply)) + b"\n"
        try:
            written = os.write(self._file, line)
        except OSError as error:
            raise self._fail(str(error)) from error
        if written != len(line):
            raise self._fail(f"only {written} of {len(line)} bytes could be written")
        self._lines.setdefault((self._workload, key), []).append(line)
        self._replies[key, call, occurrence] = reply
        self._size += len(line)
        self._live += len(line)

    def _fail(self, got: str) -> InputError:
        self._failed = InputError(
            "cannot keep a call that was paid for",
            where=str(self._path),
            got=got,
            next_step="make room on the disk and run again; what was kept is not paid for again",
        )
        return self._failed

    def _open(self) -> int:
        """The file, locked and read.

        Another process may remove or replace it, as this one does at its end, between the opening
        and the locking. A lock on a file without a name locks nobody out, so it is opened anew.
        """
        while True:
            try:
                file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            except OSError as error:
                raise self._fail(str(error)) from error
            try:
                self._lock(file)
                if self._is_in_place(file):
                    self._read(file)
                    return file
            except BaseException:
                os.close(file)
                raise
            os.close(file)

    def _is_in_place(self, file: int) -> bool:
        try:
            return os.path.samestat(os.fstat(file), self._path.stat())
        except FileNotFoundError:
            return False

    def _lock(self, file: int) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(
                "another process is measuring into this store",
                where=str(self._path),
                next_step="wait until it ends, or measure into another store",
            ) from error

    def _read(self, file: int) -> None:
        content = self._path.read_bytes()
        self._size = self._live = content.rfind(b"\n") + 1
        if self._size < len(content):  # torn by a kill or a full disk
            os.ftruncate(file, self._size)
        for number, line in enumerate(content[: self._size].splitlines(keepends=True), start=1):
            try:
                self._take(line)
            except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
                raise InputError(
                    "this line is no paid call",
                    where=f"{self._path}:{number}",
                    got=str(error),
                    next_step="remove the line; its call is paid for again",
                ) from error

    def _take(self, line: bytes) -> None:
        entry = _decoder.decode(line)
        reply = _possible(entry.reply)
        self._lines.setdefault((entry.workload, entry.outcome), []).append(line)
        if entry.workload == self._workload:
            self._replies[entry.outcome, entry.call, entry.occurrence] = reply

    def _compact(self) -> None:
        """Write the living lines to a file of their own and put it in the place of this one."""
        fresh_path = self._path.with_name(self._path.name + ".new")
        content = b"".join(line for lines in self._lines.values() for line in lines)
        with suppress(OSError):  # the longer file serves as well
            fresh_path.unlink(missing_ok=True)
            fresh = os.open(fresh_path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            try:
                fcntl.flock(fresh, fcntl.LOCK_EX)
                with open(fresh, "wb", closefd=False) as file:
                    file.write(content)
                fresh_path.replace(self._path)
            except OSError:
                os.close(fresh)
                fresh_path.unlink(missing_ok=True)
                raise
            os.close(self._file)
            self._file, self._size = fresh, len(content)


def _possible(reply: Completion) -> Completion:
    """A reply as an upstream can have given it; usage beyond `MOST_TOKENS` is unknown.

    Raises:
        ValueError: No call can have brought this.
    """
    if not reply.texts or len(reply.finish_reasons) != len(reply.texts):
        raise ValueError("a reply has at least one text, and a finish reason for each")
    if reply.confidences and len(reply.confidences) != len(reply.texts):
        raise ValueError("a reply has a confidence for each text, or none at all")
    if any(not 0 <= known <= 1 for known in reply.confidences if known is not None):
        raise ValueError("a confidence is a probability")
    if not 0 <= reply.latency_s <= _LONGEST_CALL_S:
        raise ValueError(f"no call takes {reply.latency_s:g} s")
    counts = (reply.tokens_in, reply.tokens_out, reply.tokens_reasoning, reply.tokens_cached)
    known = [count for count in counts if count is not None]
    if any(count < 0 for count in known):
        raise ValueError("a reply has no negative number of tokens")
    if any(count > MOST_TOKENS for count in known):
        return replace(
            reply, tokens_in=None, tokens_out=None, tokens_reasoning=None, tokens_cached=None
        )
    return reply


class RecordedCalls:
    """The calls of one outcome, those of an earlier run answered from the journal."""

    def __init__(
        self, journal: Journal, key: Key, send: Send, useful: Useful = lambda _: True
    ) -> None:
        self._journal = journal
        self._key = key
        self._send = send
        self._useful = useful
        self._seen: Counter[str] = Counter()

    async def chat(self, call: ChatCall) -> Completion:
        """Answer one call from the journal, or send it and keep the reply.

        Raises:
            InputError: A reply could not be kept, now or before; nothing more is sent.
        """
        self._journal.require_sound()
        digest = self._journal.digest(call)
        # Within one outcome the same words may be asked twice: each is a call of its own.
        occurrence = 0 if self._key == _REPEATABLE else self._seen[digest]
        self._seen[digest] += 1
        known = self._journal.find(self._key, digest, occurrence)
        if known is not None and self._useful(known):
            if self._key != _REPEATABLE:
                await asyncio.sleep(known.latency_s)
            return known
        reply = await self._send(call)
        if self._useful(reply):
            self._journal.append(self._key, digest, occurrence, reply)
        return reply
