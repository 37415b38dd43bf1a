"""The tests' side of the sandbox: runs them and says what came of it where only it can."""

from __future__ import annotations

import ast
import builtins
import contextlib
import ctypes
import importlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[2]))  # isolated Python finds only what is installed

from profiles.measuring import sandbox_program as plain  # the same words on both sides

_PR_SET_DUMPABLE = 4


class ProgramDiedError(BaseException):
    """The program left or answered out of turn; no test may catch this."""


class Line:
    """The pipes to the program."""

    def __init__(self, reading: int, writing: int) -> None:
        self._replies = os.fdopen(reading)
        self._requests = os.fdopen(writing, "w")

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """One request, one reply; an exception of the program is raised here."""
        try:
            self._requests.write(json.dumps(request) + "\n")
            self._requests.flush()
            reply = json.loads(self._replies.readline())
            if "raised" not in reply:
                return dict(reply)
            kind, text = getattr(builtins, reply["raised"], None), str(reply["text"])
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise ProgramDiedError("the program ended or broke its word") from error
        if isinstance(kind, type) and issubclass(kind, Exception):
            raise _built(kind, text)
        raise ProgramDiedError(f"the program left with {reply['raised']}")


class Remote:
    """Something that stays with the program: it can be called, read and iterated, never trusted."""

    def __init__(self, line: Line, number: int) -> None:
        self._line = line
        self._number = number

    def __call__(self, *args: Any, **named: Any) -> Any:
        """Call it; lists, dicts and sets that it changes are changed here too."""
        reply = self._line.ask(
            {
                "do": "call",
                "held": self._number,
                "args": [encode(item) for item in args],
                "named": {name: encode(item) for name, item in named.items()},
            }
        )
        changed = reply.get("args")
        if isinstance(changed, list) and len(changed) == len(args):
            for mine, theirs in zip(args, changed, strict=True):
                _copy_into(mine, self._value(theirs))
        return self._value(reply.get("value"))

    def __getattr__(self, name: str) -> Any:
        """One attribute; none that Python itself asks for."""
        if name.startswith("__"):
            raise AttributeError(name)
        reply = self._line.ask({"do": "get", "held": self._number, "name": name})
        return self._value(reply.get("value"))

    def __iter__(self) -> Iterator[Any]:
        """Its items, all at once."""
        reply = self._line.ask({"do": "iter", "held": self._number})
        return iter(self._value(reply.get("value")))

    def _value(self, encoded: Any) -> Any:
        return decode(encoded, self._line)


def encode(value: Any) -> Any:
    """A value for the program; only plain ones and what came from it can travel."""
    if isinstance(value, Remote):
        return {"held": value.__dict__["_number"]}
    if isinstance(value, list):
        return [encode(item) for item in value]
    if isinstance(value, tuple | set | frozenset):
        tag = next(kind for kind in (tuple, frozenset, set) if isinstance(value, kind))
        return {tag.__name__: [encode(item) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[encode(key), encode(item)] for key, item in value.items()]}
    found = plain.encode(value)
    if isinstance(found, dict) and "held" in found:
        raise TypeError(f"a test cannot hand over a {type(value).__name__}: plain values only")
    return found


def decode(value: Any, line: Line) -> Any:
    """What the program answered, trusted for nothing but being JSON."""
    try:
        return _decoded(value, line)
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise ProgramDiedError("the program broke its word") from error


def _decoded(value: Any, line: Line) -> Any:
    if isinstance(value, list):
        return [_decoded(item, line) for item in value]
    if not isinstance(value, dict):
        return value
    ((tag, inner),) = value.items()
    if tag == "held":
        return Remote(line, int(inner))
    if tag == "dict":
        return {_decoded(key, line): _decoded(item, line) for key, item in inner}
    if tag in ("tuple", "set", "frozenset"):
        kind = {"tuple": tuple, "set": set, "frozenset": frozenset}[tag]
        return kind(_decoded(item, line) for item in inner)
    return plain.decode(value)


def _copy_into(mine: Any, theirs: Any) -> None:
    if isinstance(mine, list) and isinstance(theirs, list):
        mine[:] = theirs
    elif (isinstance(mine, dict) and isinstance(theirs, dict)) or (
        isinstance(mine, set) and isinstance(theirs, set)
    ):
        mine.clear()
        mine.update(theirs)


def _built(kind: type[Exception], text: str) -> Exception:
    try:
        return kind(text)
    except TypeError:  # some, such as UnicodeDecodeError, want more than a text
        return RuntimeError(f"{kind.__name__}: {text}")


class _Solution:
    """All names of the program under ``solution.``."""

    def __init__(self, names: dict[str, Any]) -> None:
        self.__dict__.update(names)


def namespace(tests: str, names: dict[str, Any]) -> dict[str, Any]:
    """What tests may name: the program's names, but never in place of Python's own.

    A program that defines ``abs`` or ``math`` must not decide how its results are compared.
    """
    used = {node.id for node in ast.walk(ast.parse(tests)) if isinstance(node, ast.Name)}
    space: dict[str, Any] = {"__name__": "tests", "solution": _Solution(names)}
    for name in used - set(dir(builtins)) - {"solution"}:
        if name in sys.stdlib_module_names:
            with contextlib.suppress(ImportError):
                space[name] = importlib.import_module(name)
        elif name in names:
            space[name] = names[name]
    return space


def judged(task: dict[str, Any]) -> tuple[bool, str]:
    """Whether all tests pass, and if not, why."""
    line = Line(*task["pipes"])
    try:
        reply = line.ask({"program": task["program"], "limits": task["limits"]})
        names = {str(name): decode(item, line) for name, item in dict(reply["names"]).items()}
        space = namespace(task["tests"], names)
        exec(compile(task["tests"], "tests.py", "exec"), space)  # noqa: S102 - the task
    except ProgramDiedError as error:
        return False, str(error)
    except BaseException as error:  # a test fails by any exception
        return False, f"{type(error).__name__}: {str(error)[:200]}{_at(error)}"
    return True, "passed"


def _at(error: BaseException) -> str:
    """The last line of the tests that the exception passed."""
    found, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "tests.py":
            found = trace.tb_lineno
        trace = trace.tb_next
    return f" (line {found} of the tests)" if found else ""


def main() -> None:
    """Judge one task from stdin; the verdict goes to stdout with the word that came with it."""
    if sys.platform == "linux":  # same-user processes may not read this one's memory
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    task = json.loads(sys.stdin.buffer.read())
    verdict = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
    sys.set_int_max_str_digits(0)
    plain.limit({**task["limits"], "open_files": 256})
    passed, reason = judged(task)
    verdict.write(json.dumps({"nonce": task["nonce"], "passed": passed, "reason": reason}))
    verdict.flush()
    os._exit(0)  # a test's leftovers must not delay the verdict


if __name__ == "__main__":
    main()
