"""Python programs of unknown intent, run against tests without being able to fake the result.

Two processes: the *program* knows nothing but itself; the *referee* runs the tests and calls the
program through a pipe that carries plain values only. The verdict comes from the referee over a
channel of its own with a word drawn for this run, so neither `exit`, nor a patched `assert`, nor an
object that claims to equal everything can pass a test.

Held everywhere: limits on CPU seconds, memory, file size and open files, an own directory, an empty
environment, a wall-clock limit that kills the process group. Linux also refuses it writes outside
its directory (Landlock, kernel 5.13), new processes and threads, sockets, and other processes'
memory (seccomp, x86-64 and ARM); where user namespaces are allowed (`isolated`) it sees no other
process and no network at all. Not held: it can read whatever files its user can read, and systems
other than Linux leave it the network and the files. Run tests of programs you have reason to
distrust in a container that holds nothing of worth.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from profiles.errors import InputError

_HERE = Path(__file__).parent
_PROGRAM = _HERE / "sandbox_program.py"
_REFEREE = _HERE / "sandbox_referee.py"
_UNSHARE = ("--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child")
_NOBODY = 65534
_START_S = 5.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run may use.

    Attributes:
        wall_s: Seconds until both processes are killed; more than `cpu_s`, so that a busy machine
            does not decide what is right.
        cpu_s: CPU seconds of each process.
        memory_bytes: Address space of each process.
        file_bytes: Size of any file it writes.
        open_files: Files it may hold open.
    """

    wall_s: float = 20.0
    cpu_s: int = 10
    memory_bytes: int = 1 << 30
    file_bytes: int = 16 << 20
    open_files: int = 64


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the referee found.

    Attributes:
        passed: Every test passed.
        reason: ``passed``, or the first thing that went wrong.
    """

    passed: bool
    reason: str


@functools.cache
def isolated() -> bool:
    """Whether programs get no network and a process list of their own on this machine."""
    if not shutil.which("unshare"):
        return False
    return _runs([*_prefix(), sys.executable, "-I", "-c", ""], _user())


async def run_tests(program: str, tests: str, limits: Limits | None = None) -> Verdict:
    """Run tests against a program.

    Args:
        program: Python source. Its functions and classes are known to the tests by their names;
            all of it also as ``solution.NAME``, which reaches names that Python has itself.
        tests: Python source; an exception means not passed. What the tests hand over and get back
            must be plain values (numbers, texts, bytes, None and lists, tuples, sets, dicts of
            them); other objects stay with the program, their attributes can be read and called.
        limits: What the run may use.

    Raises:
        InputError: This platform cannot hold the limits, or no process can be started.
    """
    if os.name != "posix":
        raise InputError(
            "unit tests need a POSIX system",
            where="scorer unit-tests",
            next_step="run the measuring in a Linux container",
        )
    await asyncio.to_thread(isolated)
    with tempfile.TemporaryDirectory(prefix="unit-tests-", ignore_cleanup_errors=True) as folder:
        if _user():
            os.chown(folder, _NOBODY, _NOBODY)
        try:
            return await _Run(program, tests, limits or Limits(), folder).verdict()
        except OSError as error:
            raise InputError(
                "the sandbox cannot start", where="scorer unit-tests", got=str(error)
            ) from error


def _prefix() -> list[str]:
    return [shutil.which("unshare") or "unshare", *_UNSHARE]


@functools.cache
def _user() -> Mapping[str, Any]:
    """Root gives its rights up where others may run this interpreter."""
    nobody = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []}
    able = os.geteuid() == 0 and _runs([sys.executable, "-I", "-c", ""], nobody)
    return nobody if able else {}


def _runs(command: list[str], user: Mapping[str, Any]) -> bool:
    try:
        probe = subprocess.run(  # noqa: S603 - fixed words
            command, capture_output=True, timeout=_START_S, check=False, cwd="/", **user
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return probe.returncode == 0


class _Run:
    """One program, one referee."""

    def __init__(self, program: str, tests: str, limits: Limits, folder: str) -> None:
        self._limits = limits
        self._nonce = secrets.token_hex(16)
        self._task = {"program": program, "tests": tests, "nonce": self._nonce}
        self._common: Mapping[str, Any] = {
            "cwd": folder,
            "env": {"HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"},
            "stderr": asyncio.subprocess.DEVNULL,
            "start_new_session": True,
            **_user(),
        }

    async def verdict(self) -> Verdict:
        """Start both, wait for the referee, kill both."""
        to_program, to_referee = os.pipe(), os.pipe()
        processes = []
        try:
            processes.append(
                await asyncio.create_subprocess_exec(
                    *(_prefix() if isolated() else ()),
                    *(sys.executable, "-I", str(_PROGRAM)),
                    stdin=to_program[0],
                    stdout=to_referee[1],
                    **self._common,
                )
            )
            pipes = (to_referee[0], to_program[1])
            referee = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", str(_REFEREE)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                pass_fds=pipes,
                **self._common,
            )
            processes.append(referee)
            for end in (*to_program, *to_referee):
                os.close(end)
            to_program = to_referee = ()  # type: ignore[assignment] # closed: not again below
            return await self._wait(referee, pipes)
        finally:
            for end in (*to_program, *to_referee):
                os.close(end)
            for process in processes:
                await _kill(process)

    async def _wait(self, referee: asyncio.subprocess.Process, pipes: tuple[int, int]) -> Verdict:
        task = json.dumps({**self._task, "pipes": pipes, "limits": asdict(self._limits)})
        try:
            output, _ = await asyncio.wait_for(
                referee.communicate(task.encode()), self._limits.wall_s
            )
        except TimeoutError:
            return Verdict(passed=False, reason=f"no result within {self._limits.wall_s:g} s")
        return _read(output, self._nonce)


def _read(output: bytes, nonce: str) -> Verdict:
    try:
        said = json.loads(output)
        known = secrets.compare_digest(str(said["nonce"]), nonce)
        passed, reason = said["passed"] is True, str(said["reason"])
    except (ValueError, KeyError, TypeError, RecursionError):
        known, passed, reason = False, False, ""
    if not known:
        return Verdict(passed=False, reason="the tests ended without a verdict")
    return Verdict(passed, reason)


async def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
