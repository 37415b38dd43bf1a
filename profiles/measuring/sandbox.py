"""Python programs of unknown intent, run against tests without being able to fake the result.

Two processes: the *program* knows nothing but itself; the *referee* runs the tests and calls the
program through a pipe that carries plain values only. The verdict comes from the referee over a
channel of its own with a word drawn for this run, so neither `exit`, nor a patched `assert`, nor an
object that claims to equal everything can pass a test.

Held everywhere: limits on CPU seconds, memory, the size of each file and open files, an own
directory, an empty environment, a wall-clock limit that kills the process group. Linux also refuses
it writes outside its directory (Landlock, kernel 5.13), new processes and threads, sockets, other
processes' memory and what would outlive it, such as System V shared memory (seccomp, x86-64 and
ARM), and kills both processes when the measuring is killed. Where user namespaces are allowed
(`isolated`) it also sees no other process and no network, and its directory is a disk in memory of
limited size. Not held: without user namespaces it sees the list of processes and may fill the disk,
file by file; it can read whatever files its user can read; systems other than Linux leave it the
network and the files. Run tests of programs you have reason to distrust in a container that holds
nothing of worth.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from profiles.errors import InputError
from profiles.measuring.sandbox_walls import NO_ISOLATION

_HERE = Path(__file__).parent
_PROGRAM = _HERE / "sandbox_program.py"
_REFEREE = _HERE / "sandbox_referee.py"
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
        disk_bytes: All files of the program together, where `isolated`.
    """

    wall_s: float = 20.0
    cpu_s: int = 10
    memory_bytes: int = 1 << 30
    file_bytes: int = 16 << 20
    open_files: int = 64
    disk_bytes: int = 64 << 20


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the referee found.

    Attributes:
        passed: Every test passed; None where the tests could not tell.
        reason: ``passed``, or the first thing that went wrong.
    """

    passed: bool | None
    reason: str


@functools.cache
def isolated() -> bool:
    """Whether programs get processes, a network and a disk of their own on this machine."""
    if sys.platform != "linux":
        return False
    with tempfile.TemporaryDirectory(prefix="unit-tests-") as folder:
        _hand_over(folder)
        return _runs(_program(_START_S, Limits().disk_bytes), _user(), folder)


async def run_tests(
    program: str, tests: str, limits: Limits | None = None, entry: str | None = None
) -> Verdict:
    """Run tests against a program.

    Args:
        program: Python source. Its functions and classes are known to the tests by their names;
            all of it also as ``solution.NAME``, which reaches names that Python has itself.
        tests: Python source; an exception means not passed. Functions ``test_...`` and classes of
            unittest's are run. What the tests hand over must be plain values (numbers, texts,
            bytes, dates, None and lists, tuples, sets, dicts of them); other objects stay with the
            program and answer what they are asked, but never whether they equal a plain value.
        limits: What the run may use.
        entry: The program's function that the tests' ``check`` is called with.

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
    folder = tempfile.mkdtemp(prefix="unit-tests-")
    try:
        _hand_over(folder)
        task = {"program": program, "tests": tests, "entry": entry}
        return await _Run(task, limits or Limits(), folder).verdict()
    except OSError as error:
        raise InputError(
            "the sandbox cannot start", where="scorer unit-tests", got=str(error)
        ) from error
    finally:
        await _remove(folder)


def _program(wall_s: float, disk_bytes: int) -> list[str]:
    """The command that becomes the program; 0 bytes of disk mean not `isolated`."""
    return [sys.executable, "-I", str(_PROGRAM), str(os.getpid()), str(wall_s), str(disk_bytes)]


def _hand_over(folder: str) -> None:
    if _user():
        os.chown(folder, _NOBODY, _NOBODY)


async def _remove(folder: str) -> None:
    """Remove a folder however deep and however closed: the system's own tools never recurse."""
    try:
        os.rmdir(folder)  # noqa: PTH106 - nearly always empty
    except OSError:
        await asyncio.to_thread(_clear, folder)


def _clear(folder: str) -> None:
    for command in (("rm", "-rf"), ("chmod", "-R", "u+rwX"), ("rm", "-rf")):
        with contextlib.suppress(OSError):
            if os.path.lexists(folder):
                subprocess.run([*command, folder], capture_output=True, check=False)  # noqa: S603 - fixed words


@functools.cache
def _user() -> Mapping[str, Any]:
    """Root gives its rights up where others may run this interpreter."""
    nobody = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []}
    able = os.geteuid() == 0 and _runs([sys.executable, "-I", "-c", ""], nobody, "/")
    return nobody if able else {}


def _runs(command: list[str], user: Mapping[str, Any], folder: str) -> bool:
    try:
        probe = subprocess.run(  # noqa: S603 - fixed words
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=2 * _START_S,
            check=False,
            cwd=folder,
            **user,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return probe.returncode == 0


class _Run:
    """One program, one referee."""

    def __init__(self, task: Mapping[str, Any], limits: Limits, folder: str) -> None:
        self._limits = limits
        self._nonce = secrets.token_hex(16)
        self._task = {**task, "nonce": self._nonce}
        self._common: Mapping[str, Any] = {
            "cwd": folder,
            "env": {"HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"},
            "stderr": asyncio.subprocess.DEVNULL,
            "start_new_session": True,
            **_user(),
        }

    async def verdict(self) -> Verdict:
        """Start both, wait for the referee, kill both."""
        limits = self._limits
        to_program, to_referee = os.pipe(), os.pipe()
        processes = []
        try:
            processes.append(
                await asyncio.create_subprocess_exec(
                    *_program(limits.wall_s, limits.disk_bytes if isolated() else 0),
                    stdin=to_program[0],
                    stdout=to_referee[1],
                    **self._common,
                )
            )
            pipes = (to_referee[0], to_program[1])
            referee = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", str(_REFEREE), str(os.getpid()), str(limits.wall_s)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                pass_fds=pipes,
                **self._common,
            )
            processes.append(referee)
            for end in (*to_program, *to_referee):
                os.close(end)
            to_program = to_referee = ()  # type: ignore[assignment] # closed: not again below
            verdict = await self._wait(referee, pipes)
        finally:
            for end in (*to_program, *to_referee):
                os.close(end)
            for process in processes:
                await _kill(process)
        if processes[0].returncode == NO_ISOLATION:
            raise OSError("the program could not be isolated, as it could be before")
        return verdict

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
        passed, reason = said["passed"], str(said["reason"])
    except (ValueError, KeyError, TypeError, RecursionError):
        known, passed, reason = False, False, ""
    if not known:
        return Verdict(passed=False, reason="the tests ended without a verdict")
    return Verdict(None if passed is None else passed is True, reason)


async def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
