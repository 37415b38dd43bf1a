"""The tests' side of the sandbox: runs them and says what came of it where only it can."""

from __future__ import annotations

import ast
import builtins
import contextlib
import importlib
import json
import os
import sys
import unittest
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.append(str(Path(__file__).parents[2]))  # isolated Python finds only what is installed

from profiles.measuring import sandbox_walls as walls
from profiles.measuring.discovery import discover
from profiles.measuring.sandbox_remote import Line, ProgramDiedError, UndecidedError


class _Solution:
    """All names of the program under ``solution.``."""

    def __init__(self, names: dict[str, Any]) -> None:
        self.__dict__.update(names)


def namespace(tests: str, names: dict[str, Any]) -> dict[str, Any]:
    """What tests may name: the program's names, but never in place of Python's own.

    A program that defines ``abs`` or ``math`` must not decide how its results are compared. A
    name that Python has as a module only is the module where the tests read its attributes.
    """
    nodes = list(ast.walk(ast.parse(tests)))
    used = {node.id for node in nodes if isinstance(node, ast.Name)}
    bases = {ast.unparse(node.value) for node in nodes if isinstance(node, ast.Attribute)}
    module = sys.modules["tests"] = ModuleType("tests")  # dataclasses and unittest look it up
    space = module.__dict__
    space["solution"] = _Solution(names)
    for name in used - set(dir(builtins)) - {"solution"}:
        if name in sys.stdlib_module_names & bases:
            with contextlib.suppress(ImportError):
                space[name] = importlib.import_module(name)
        elif name in names:
            space[name] = names[name]
    return space


def run(tests: str, entry: str | None, space: dict[str, Any]) -> None:
    """Execute the tests, then call what they define and do not call themselves.

    Raises:
        BaseException: A test failed.
    """
    exec(compile(tests, "tests.py", "exec"), space)  # noqa: S102 - the task
    found = discover(tests)
    if found.check:
        space["check"](getattr(space["solution"], str(entry)))
    for name in found.functions:
        space[name]()
    for name in found.cases:
        run_case(space[name])


def run_case(case: type[unittest.TestCase]) -> None:
    """Run a class of unittest's.

    Raises:
        AssertionError: Not all of its tests passed.
    """
    result = unittest.TestResult()
    result.failfast = True
    unittest.TestSuite([unittest.defaultTestLoader.loadTestsFromTestCase(case)]).run(result)
    for _, trace in result.errors + result.failures:
        raise AssertionError(trace.strip().splitlines()[-1])
    if not result.wasSuccessful():
        raise AssertionError(f"a test of {case.__name__} passed that was to fail")


def judged(task: dict[str, Any]) -> tuple[bool | None, str]:
    """Whether all tests pass, None where they cannot tell; and if not, why."""
    line = Line(*task["pipes"])
    try:
        reply = line.ask({"program": task["program"], "limits": task["limits"]})
        names = {str(name): line.decode(item) for name, item in dict(reply["names"]).items()}
        run(task["tests"], task["entry"], namespace(task["tests"], names))
    except (ProgramDiedError, UndecidedError) as error:
        passed, reason = False, str(error)
    except BaseException as error:  # a test fails by any exception
        passed, reason = False, f"{type(error).__name__}: {str(error)[:200]}{_at(error)}"
    else:
        passed, reason = True, "passed"
    return (passed, reason) if line.undecided is None else (None, line.undecided)


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
    walls.end_with(int(sys.argv[1]), float(sys.argv[2]))
    walls.hide_memory()
    task = json.loads(sys.stdin.buffer.read())
    verdict = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
    sys.set_int_max_str_digits(0)
    walls.limit({**task["limits"], "open_files": 256})
    passed, reason = judged(task)
    verdict.write(json.dumps({"nonce": task["nonce"], "passed": passed, "reason": reason}))
    verdict.flush()
    os._exit(0)  # a test's leftovers must not delay the verdict


if __name__ == "__main__":
    main()
