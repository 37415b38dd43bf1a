"""Programs in the sandbox: right ones pass, wrong and hostile ones do not."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiles.errors import InputError
from profiles.measuring import sandbox, sandbox_program
from profiles.measuring.sandbox import Limits, isolated, run_tests
from profiles.measuring.sandbox_remote import Line, ProgramDiedError, UndecidedError
from profiles.measuring.scorers import Task, UnscoredError
from profiles.measuring.unit_tests import UnitTests

TESTS = "assert double(2) == 4\nassert double(-3) == -6"
RIGHT = "def double(x):\n    return 2 * x\n"
WRITES_HELD = sys.platform == "linux" and ctypes.CDLL(None).syscall(444, None, 0, 1) >= 3
SEALED = sys.platform == "linux" and os.uname().machine in {"x86_64", "aarch64"}


def run(program, tests=TESTS, entry=None, **limits):
    chosen = Limits(**{"wall_s": 20.0, "cpu_s": 5, **limits})
    return asyncio.run(run_tests(program, tests, chosen, entry))


def line():
    reading, writing = os.pipe()
    return Line(reading, writing)


SMALL = st.integers(-9, 9)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
    | st.binary() | st.complex_numbers(allow_nan=False) | st.fractions() | st.dates()
    | st.decimals(allow_nan=False) | st.datetimes() | st.timedeltas()
    | st.builds(range, SMALL, SMALL),
    lambda inner: st.lists(inner, max_size=3)
    | st.lists(inner, max_size=3).map(tuple)
    | st.lists(inner, max_size=3).map(deque)
    | st.dictionaries(st.text() | st.integers(), inner, max_size=3)
    | st.sets(st.integers(), max_size=3)
    | st.frozensets(st.text(), max_size=3),
    max_leaves=8,
)  # fmt: skip


LINE = line()


def same(one, other):
    return one == other and repr(type(one)) == repr(type(other))


@settings(deadline=None)
@given(PLAIN)
def test_plain_values_travel_both_ways_as_they_are(value):
    there = sandbox_program.decode(json.loads(json.dumps(LINE.encode(value))))
    back = LINE.decode(json.loads(json.dumps(sandbox_program.encode(value))))
    assert same(there, value)
    assert same(back, value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text()
            | st.sampled_from(
                ["held", "dict", "set", "tuple", "bytes", "complex", "Fraction", "range"]
            ),
            inner,
            max_size=2,
        )
    ),
)


@settings(deadline=None)
@given(JSON)
def test_whatever_a_program_answers_is_a_value_or_a_broken_word(answer):
    try:
        LINE.decode(answer)
    except ProgramDiedError as error:
        assert "broke its word" in str(error)  # noqa: PT017 - one of the two right outcomes


def test_what_is_not_plain_cannot_be_handed_over():
    with pytest.raises(UndecidedError, match="plain values only"):
        LINE.encode([object()])


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
         attempt(os.rename, path, path + "y"), attempt(os.mkdir, path + "x")]
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


@pytest.mark.parametrize(
    "tests",
    [
        None, " ", "assert f(", "# nothing", "x = f(2)", "def helper():\n    assert f(2) == 4",
        "def test_a():\n    f(2)", "assert True", "def test_a(tmp_path):\n    assert f(2) == 4",
        "async def test_a():\n    assert f(2) == 4",
        "if __name__ == '__main__':\n    assert f(2) == 4",
        "class TestF:\n    def test_a(self):\n        assert f(2) == 4",
        "import unittest\nclass T(unittest.TestCase):\n    def test_a(self): self.fail()\n"
        "unittest.main()",
        "def check(candidate):\n    assert candidate(2) == 4",
    ],
)  # fmt: skip
def test_tasks_without_usable_tests_are_refused(tests):
    with pytest.raises(InputError, match="task q"):
        UnitTests().check(Task("q", "p", tests=tests))


FORMS = {
    "functions": "def test_a():\n    assert f(2) == 4\n",
    "a helper": "def helper(x):\n    assert f(x) == 4\ndef test_a():\n    helper(2)\n",
    "unittest": "import unittest\nclass T(unittest.TestCase):\n    def test_a(self):\n"
    "        self.assertEqual(f(2), 4)\nif __name__ == '__main__':\n    unittest.main()\n",
    "check": "METADATA = {}\n# entry_point: f\ndef check(candidate):\n    assert candidate(2) == 4",
    "check that is called": "def check(candidate):\n    assert candidate(2) == 4\ncheck(f)",
}


@pytest.mark.parametrize("form", FORMS)
def test_tests_that_only_define_are_run(form):
    scorer, task = UnitTests(), Task("q", "p", tests=FORMS[form])
    scorer.check(task)
    assert asyncio.run(scorer.score(task, "def f(x): return x * x")).score == 1.0
    assert asyncio.run(scorer.score(task, "def f(x): return 'wrong'")).score == 0.0
    assert asyncio.run(scorer.score(task, "def g(x): return x * x")).score == 0.0


def test_check_gets_the_one_function_that_the_prompt_begins():
    tests = "def check(candidate):\n    assert candidate(2) == 4"
    task = Task("q", 'def f(x):\n    """The square."""\n', tests=tests)
    UnitTests().check(task)
    assert (
        asyncio.run(UnitTests().score(task, "def g(x): return 1\ndef f(x): return x*x")).score == 1
    )
    two = Task("q", "def g(x):\n    return x\n\ndef f(x):\n", tests=tests)
    with pytest.raises(InputError, match="entry_point"):
        UnitTests().check(two)


@pytest.mark.parametrize(
    ("program", "tests"),
    [
        ("from fractions import Fraction\ndef f(x): return Fraction(1, x)",
         "from fractions import Fraction\nassert f(2) == Fraction(1, 2)"),
        ("import collections\ndef f(x): return collections.deque([x])", "assert len(f(1)) == 1"),
        ("def f(x):\n    yield x\n    yield 2", "g = f(1)\nassert next(g) == 1 and list(g) == [2]"),
        ("import itertools\ndef f(): return itertools.count()",
         "from itertools import islice\nassert list(islice(f(), 3)) == [0, 1, 2]"),
        ("class S:\n    def __len__(self): return 3\n    def __bool__(self): return False\n"
         "    def __getitem__(self, i): return [5, 6, 7][i]\n"
         "    def __contains__(self, x): return x == 5\n"
         "    def __repr__(self): return 'S!'\n",
         "s = S()\nassert len(s) == 3 and not s and s[1] == 6 and 5 in s and 4 not in s\n"
         "assert repr(s) == str(s) == 'S!' and list(s) == [5, 6, 7]"),
        ("class V:\n    def __init__(self, x): self.x = x\n"
         "    def __eq__(self, o): return self.x == o.x\n"
         "    def __lt__(self, o): return self.x < o.x\n"
         "    def __add__(self, o): return V(self.x + o.x)\n",
         "assert V(1) + V(2) == V(3) and V(1) != V(2) and V(1) < V(2) and (V(1) + V(2)).x == 3\n"
         "v = V(1)\nv.x = 9\nassert v == V(9) and isinstance(v, V) and not isinstance(3, V)"),
        ("from collections import namedtuple\nP = namedtuple('P', 'x y')\ndef f(): return P(1, 2)",
         "assert f() == (1, 2) and f().y == 2"),
        ("class Stack(list):\n    def push(self, x): self.append(x)\n",
         "s = Stack()\ns.push(4)\nassert s == [4] and len(s) == 1 and isinstance(s, list)"),
        ("import collections\ndef f(t): return collections.Counter(t)",
         "c = f('aab')\nassert c == {'a': 2, 'b': 1} and c['z'] == 0\n"
         "assert c.most_common(1) == [('a', 2)]"),
        ("from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\n"
         "class P:\n    x: int\n", "assert P(1) == P(1) and P(1).x == 1"),
        ("def f(): return {}.keys\nclass A: pass\na = A()", "assert a is a and a == a and a != 4"),
        ("def code(x): return x", "assert code(1) == 1"),
    ],
)  # fmt: skip
def test_objects_that_stay_with_the_program_answer_what_they_are_asked(program, tests):
    verdict = run(program, tests)
    assert verdict.passed, verdict.reason


YES = "class Yes:\n" + "".join(
    f"    def __{name}__(self, *o): return {value}\n"
    for name, value in {"eq": True, "lt": True, "gt": True, "sub": "0.0", "rsub": "0.0"}.items()
)


@pytest.mark.parametrize(
    "tests",
    [
        "assert f() == 4", "assert f() < 4", "assert 4 == f()", "assert [f()] == [4]",
        "assert f() in (3, 4)", "assert abs(f() - 4) < 1", "assert abs(4 - f()) < 1",
        "try:\n    assert f() == 4\nexcept BaseException:\n    pass",
        "import unittest\nclass T(unittest.TestCase):\n"
        "    def test(self): self.assertEqual(f(), 4)",
        "import asyncio\nassert asyncio.run(g()) == 4", "assert h(lambda: 4) == 4",
    ],
)  # fmt: skip
def test_what_only_the_program_could_compare_is_not_scored(tests):
    program = YES + "def f(): return Yes()\nasync def g(): return 4\ndef h(x): return x()"
    verdict = run(program, tests)
    assert verdict.passed is None, verdict
    with pytest.raises(UnscoredError, match="the tests could not tell") as caught:
        asyncio.run(UnitTests().score(Task("q", "p", tests=tests), program))
    assert caught.value.cost_nano_usd == 0


def test_an_object_without_equality_of_its_own_equals_no_plain_value():
    assert run("def double(x):\n    yield 4").passed is False
    assert run("def double(x): return object()").passed is False


@pytest.mark.parametrize("kind", ["StopIteration", "StopAsyncIteration", "GeneratorExit"])
def test_an_exception_of_the_program_ends_no_iteration_of_the_tests(kind):
    tests = "assert all(map(lambda c: f(c[0]) == c[1], [(2, 4), (3, 9)]))"
    assert run(f"def f(x): raise {kind}", tests).passed is False
    assert run("def f(x): return x * x", tests).passed


def test_expected_exceptions_keep_their_type():
    tests = "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n"
    tests += "        with self.assertRaises(KeyError):\n            f(1)\n"
    assert run("class Mine(KeyError): pass\ndef f(x): raise Mine(x)", tests).passed
    assert run("def f(x): raise ValueError(x)", tests).passed is False


DEEP = """
import os
here = os.getcwd()
for i in range(3000):
    os.mkdir("d")
    os.chdir("d")
os.chdir(here)
os.mkdir("closed")
open("closed/file", "w").write("x")
os.chmod("closed", 0)
"""


@pytest.mark.parametrize("own_disk", [True, False])
def test_nothing_is_left_of_folders_however_deep_or_closed(own_disk, tmp_path, monkeypatch):
    tmp_path.chmod(0o755)
    monkeypatch.setattr(sandbox.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(sandbox, "isolated", isolated if own_disk else lambda: False)
    verdict = run(DEEP + RIGHT)
    assert verdict.passed, verdict.reason
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not SEALED, reason="the kernel of this platform is not asked to refuse")
def test_nothing_that_outlives_a_program_is_to_be_had():
    program = """
import ctypes
libc = ctypes.CDLL(None)
found = [libc.shmget(0, 1 << 20, 0o1600), libc.semget(0, 1, 0o1600), libc.msgget(0, 0o1600),
         libc.prctl(1, 0, 0, 0, 0), libc.unshare(0x10000000)]
"""
    verdict = run(program, "assert found == [-1] * 5, found")
    assert verdict.passed, verdict.reason


@pytest.mark.skipif(not isolated(), reason="no user namespaces here")
def test_an_isolated_program_sees_itself_alone_and_has_a_small_disk():
    program = """
import os
seen = [name for name in os.listdir("/proc") if name.isdigit()]
written = 0
try:
    for i in range(100):
        with open(f"f{i}", "wb") as file:
            written += file.write(bytes(8 << 20))
except OSError:
    pass
"""
    verdict = run(program, "assert seen in ([], ['1']) and written <= 64 << 20, (seen, written)")
    assert verdict.passed, verdict.reason


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends processes with their parent")
@pytest.mark.parametrize("own_disk", [True, False])
def test_a_killed_measuring_leaves_no_process(own_disk, tmp_path):
    tmp_path.chmod(0o777)
    mark = f"mark-{os.getpid()}-{own_disk}-{time.monotonic_ns()}"
    script = "import asyncio, sys\nfrom profiles.measuring import sandbox\n"
    script += "" if own_disk else "sandbox.isolated = lambda: False\n"
    script += "program = 'import time\\ntime.sleep(600)'\n"
    script += "print('up', flush=True)\nasyncio.run(sandbox.run_tests(program, 'assert f(2)'))\n"
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", script, mark]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=env) as measuring:
        measuring.stdout.readline()
        while len(mine := sandboxed(measuring.pid)) < 2:
            time.sleep(0.05)
        time.sleep(0.5)
        mine |= sandboxed(measuring.pid)
        measuring.kill()
    deadline = time.monotonic() + 30
    while any(alive(pid) for pid in mine) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in mine if alive(pid)]


def sandboxed(parent):
    """The sandbox's processes below a process: {process id}."""
    children = {}
    for folder in Path("/proc").iterdir():
        try:
            text = (folder / "stat").read_text()
        except OSError:
            continue
        if folder.name.isdigit():
            children.setdefault(int(text.rpartition(")")[2].split()[1]), set()).add(
                int(folder.name)
            )
    found, new = set(), {parent}
    while new:
        new = set().union(*(children.get(pid, set()) for pid in new))
        found |= new
    return found


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
