"""Programs in the sandbox: right ones pass, wrong and hostile ones do not."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiles.errors import InputError
from profiles.measuring import sandbox_program, sandbox_referee
from profiles.measuring.sandbox import Limits, run_tests
from profiles.measuring.scorers import Task
from profiles.measuring.unit_tests import UnitTests

TESTS = "assert double(2) == 4\nassert double(-3) == -6"
RIGHT = "def double(x):\n    return 2 * x\n"
WRITES_HELD = sys.platform == "linux" and ctypes.CDLL(None).syscall(444, None, 0, 1) >= 3
SEALED = sys.platform == "linux" and os.uname().machine in {"x86_64", "aarch64"}


def run(program, tests=TESTS, **limits):
    return asyncio.run(run_tests(program, tests, Limits(**{"wall_s": 20.0, "cpu_s": 5, **limits})))


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
    | st.binary() | st.complex_numbers(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3)
    | st.lists(inner, max_size=3).map(tuple)
    | st.dictionaries(st.text() | st.integers(), inner, max_size=3)
    | st.sets(st.integers(), max_size=3)
    | st.frozensets(st.text(), max_size=3),
    max_leaves=8,
)  # fmt: skip


def same(one, other):
    return one == other and repr(type(one)) == repr(type(other))


@settings(deadline=None)
@given(PLAIN)
def test_plain_values_travel_both_ways_as_they_are(value):
    there = sandbox_program.decode(json.loads(json.dumps(sandbox_referee.encode(value))))
    back = sandbox_referee.decode(json.loads(json.dumps(sandbox_program.encode(value))), None)
    assert same(there, value)
    assert same(back, value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text() | st.sampled_from(["held", "dict", "set", "tuple", "bytes", "complex"]),
            inner,
            max_size=2,
        )
    ),
)


@settings(deadline=None)
@given(JSON)
def test_whatever_a_program_answers_is_a_value_or_a_broken_word(answer):
    try:
        sandbox_referee.decode(answer, None)
    except sandbox_referee.ProgramDiedError as error:
        assert "broke its word" in str(error)  # noqa: PT017 - one of the two right outcomes


def test_what_is_not_plain_cannot_be_handed_over():
    with pytest.raises(TypeError, match="plain values only"):
        sandbox_referee.encode([object()])


def test_a_right_program_passes_and_a_wrong_one_does_not():
    assert run(RIGHT).passed
    verdict = run("def double(x): return x if x > 0 else 2 * x")
    assert (verdict.passed, verdict.reason) == (False, "AssertionError:  (line 1 of the tests)")


@pytest.mark.parametrize(
    "program",
    [
        "import os\nos._exit(0)",
        "import sys\nsys.exit(0)",
        "raise SystemExit",
        "class Yes:\n    def __eq__(self, other): return True\ndef double(x): return Yes()",
        "class Yes(int):\n    def __eq__(self, other): return True\ndef double(x): return Yes(1)",
        "import os\nfor fd in range(256):\n    try: os.write(fd, b'{\"passed\": true}\\n')\n"
        "    except OSError: pass\nos._exit(0)",
        "import builtins\nbuiltins.AssertionError = ValueError\ndef double(x): return 0",
        "import os\ndef double(x):\n    os._exit(0)",
        "def double(x):\n    raise KeyboardInterrupt",
        "def double(x): return [" * 3,
        "def double(x):\n    return float('nan')",
        "double = None",
        "",
    ],
)
def test_nothing_that_a_program_does_fakes_a_pass(program):
    assert not run(program).passed


def test_a_program_cannot_replace_what_its_results_are_compared_with():
    tests = "import math\nassert abs(third() - 0.5) < 1e-6\nassert math.isclose(third(), 0.5)"
    program = """
class math:
    @staticmethod
    def isclose(a, b): return True
def abs(x): return 0
def third(): return 7.0
"""
    assert not run(program, tests).passed
    assert not run(program, "assert math.isclose(third(), 0.5)").passed


def test_a_function_named_like_one_of_pythons_is_reached_by_solution():
    assert run("def sum(a, b): return a + b", "assert solution.sum(10, 15) == 25").passed


@pytest.mark.parametrize(
    ("program", "tests"),
    [
        (
            "def f(x): return (x, {1: {2}}, b'a', 1j, None)",
            "assert f([1]) == ([1], {1: {2}}, b'a', 1j, None)",
        ),
        ("def f(x): x.sort()", "l = [3, 1]\nf(l)\nassert l == [1, 3]"),
        ("def f(n): return 2 ** n", "assert f(20000) == 2 ** 20000"),
        ("def f(n):\n    for i in range(n): yield i", "assert list(f(3)) == [0, 1, 2]"),
        (
            "class Box:\n    def __init__(self, v): self.v = v\n    def get(self): return self.v",
            "b = Box(3)\nassert b.get() == 3 and b.v == 3",
        ),
        (
            "def f(x):\n    raise ValueError('negative')",
            "found = None\ntry:\n    f(1)\nexcept ValueError as error:\n    found = str(error)\n"
            "assert found == 'negative'",
        ),
        ("LIMIT = 5\ndef f(): return LIMIT", "assert LIMIT == f() == 5"),
        ("def f(x): print(x); return input", "assert callable(f(1))"),
        (
            "def f(x): return x",
            "def check(candidate):\n    assert candidate('\\ud800') == '\\ud800'\ncheck(f)",
        ),
    ],
)
def test_values_objects_and_exceptions_travel(program, tests):
    verdict = run(program, tests)
    assert verdict.passed, verdict.reason


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("while True: pass", "the program ended"),
        ("x = 'a' * (1 << 34)", "MemoryError"),
        ("open('big', 'wb').write(b'x' * (1 << 26))", "File too large"),
        ("l = []\nwhile True: l.append(open('/dev/null'))", "Too many open files"),
        ("def double(:", "SyntaxError"),
    ],
)
def test_limits_end_a_program(program, reason):
    verdict = run(program, cpu_s=1)
    assert not verdict.passed
    assert reason in verdict.reason


def test_a_program_that_only_waits_is_ended_by_the_clock():
    verdict = run("import time\ntime.sleep(600)", wall_s=1.0)
    assert verdict.reason == "no result within 1 s"


@pytest.mark.skipif(not SEALED, reason="the kernel of this platform is not asked to refuse")
@pytest.mark.parametrize(
    "attempt",
    [
        "os.fork()",
        "threading.Thread(target=print).start()",
        "subprocess.run(['true'])",
        "os.execv('/bin/true', ['true'])",
        "socket.socket()",
        "socket.socketpair()",
    ],
)
def test_no_process_no_thread_and_no_socket_is_to_be_had(attempt):
    program = f"""
import os, socket, subprocess, threading
try:
    {attempt}
    result = "had"
except (OSError, RuntimeError):
    result = "refused"
"""
    verdict = run(program, "assert result == 'refused'")
    assert verdict.passed, verdict.reason


@pytest.mark.skipif(not WRITES_HELD, reason="this kernel has no Landlock")
def test_files_outside_its_directory_are_not_to_be_written_or_removed(tmp_path):
    tmp_path.chmod(0o777)
    victim = tmp_path / "victim"
    victim.write_text("whole")
    victim.chmod(0o666)
    program = f"""
import os, shutil
def attempt(function, *args):
    try:
        function(*args)
    except PermissionError:
        return "refused"
    return "had"
path = {str(victim)!r}
found = [attempt(open, path, "w"), attempt(os.truncate, path, 0), attempt(os.remove, path),
         attempt(os.rename, path, "mine"), attempt(os.mkdir, path + "x")]
open("own", "w").write("x")
os.rename("own", "other")
os.remove("other")
open(os.devnull, "w").write("x")
"""
    verdict = run(program, "assert found == ['refused'] * 5, found")
    assert verdict.passed, verdict.reason
    assert victim.read_text() == "whole"


def test_the_environment_is_not_handed_on(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    program = "import os\nnames = sorted(os.environ)\nwhere = os.getcwd()"
    tests = "assert 'OPENAI_API_KEY' not in names\nassert 'unit-tests-' in where"
    verdict = run(program, tests)
    assert verdict.passed, verdict.reason


def test_many_runs_at_once_leave_no_file_open():
    async def many():
        return await asyncio.gather(*(run_tests(RIGHT, TESTS) for _ in range(6)))

    open_files = Path("/dev/fd")
    before = len(list(open_files.iterdir()))
    assert all(verdict.passed for verdict in asyncio.run(many()))
    assert len(list(open_files.iterdir())) <= before


def test_the_scorer_runs_the_code_block_of_an_answer():
    task = Task("q", "p", tests=TESTS)
    answer = f"Sure:\n```python\n{RIGHT}```\nIt doubles."
    found = asyncio.run(UnitTests().score(task, answer))
    assert (found.score, found.cost_nano_usd, found.extracted) == (1.0, 0, RIGHT)
    assert asyncio.run(UnitTests().score(task, " ")).extracted is None
    assert asyncio.run(UnitTests().score(task, "I cannot")).score == 0.0


@pytest.mark.parametrize("tests", [None, " ", "assert f("])
def test_tasks_without_usable_tests_are_refused(tests):
    with pytest.raises(InputError, match="task q"):
        UnitTests().check(Task("q", "p", tests=tests))
