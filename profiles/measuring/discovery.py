"""What the text of unit tests defines and has to be called, found without running it."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_ENTRY = re.compile(r"^[ \t]*#[ \t]*entry_point[ \t]*[:=][ \t]*([^\W\d]\w*)[ \t]*$", re.MULTILINE)
_PROMPTED = re.compile(r"^(?:async )?def ([^\W\d]\w*)\(", re.MULTILINE)
_FAILING = ("assert", "fail", "raises", "exit", "_exit", "_fail")
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True, slots=True)
class Discovered:
    """What running tests takes beyond executing their text.

    Attributes:
        check: ``check`` is to be called with the program's function.
        functions: Names of the functions ``test_...`` to be called without arguments.
        cases: Names of the classes whose methods `unittest` runs.
        problem: Why these tests cannot decide anything, None where they can.
    """

    check: bool
    functions: tuple[str, ...]
    cases: tuple[str, ...]
    problem: str | None


def discover(tests: str) -> Discovered:
    """What tests define: ``check(candidate)``, functions ``test_...`` and unittest's classes.

    Args:
        tests: Python source. What it calls itself is not to be called once more.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: It is no Python.
    """
    with warnings.catch_warnings():  # of the tests' style
        warnings.simplefilter("ignore")
        tree = ast.parse(tests)
        compile(tree, "tests", "exec")
    defined = {node.name: node for node in tree.body if isinstance(node, _Definition)}
    running = [node for node in tree.body if not isinstance(node, _Definition) and _runs(node)]
    called = _names(running)
    functions = [
        node
        for name, node in defined.items()
        if name.startswith("test") and not isinstance(node, ast.ClassDef) and name not in called
    ]
    cases = [name for name in defined if _is_case(name, defined)]
    check = "check" not in called and isinstance(defined.get("check"), ast.FunctionDef)
    roots: list[ast.AST] = [*running, *functions, *(defined[name] for name in cases)]
    roots += [defined["check"]] if check else []
    problem = _uncallable(functions, defined, check=check) or _undecided(roots, defined, running)
    return Discovered(check, tuple(node.name for node in functions), tuple(cases), problem)


def entry_point(tests: str, prompt: str) -> str | None:
    """The function that ``check`` is to be called with.

    The tests name it in a comment ``# entry_point: NAME``; else it is the one function that the
    prompt begins. None where neither says it, or the prompt begins several.
    """
    named = set(_ENTRY.findall(tests)) or set(_PROMPTED.findall(prompt))
    return named.pop() if len(named) == 1 else None


def _runs(node: ast.stmt) -> bool:
    """Whether a statement runs in a module that is not the main one."""
    return not (isinstance(node, ast.If) and "__name__" in _names([node.test]))


def _names(nodes: Iterable[ast.AST]) -> set[str]:
    found = set()
    for node in _walk(nodes):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
    return found


def _walk(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    return (inner for node in nodes for inner in ast.walk(node))


def _is_case(name: str, defined: dict[str, _Definition], depth: int = 0) -> bool:
    node = defined.get(name)
    if not isinstance(node, ast.ClassDef) or depth > len(defined):
        return False
    bases = [getattr(base, "attr", getattr(base, "id", "")) for base in node.bases]
    return any(base.endswith("TestCase") or _is_case(base, defined, depth + 1) for base in bases)


def _uncallable(
    functions: list[ast.FunctionDef | ast.AsyncFunctionDef],
    defined: dict[str, _Definition],
    *,
    check: bool,
) -> str | None:
    for node in functions:
        if isinstance(node, ast.AsyncFunctionDef) or _required(node):
            return f"{node.name} is async or wants arguments, which nothing here hands over"
    if check and _required(defined["check"]) != 1:
        return "check does not take the program's function as its one argument"
    for name, kind in defined.items():
        if isinstance(kind, ast.ClassDef) and not _is_case(name, defined):
            methods = (item for item in kind.body if isinstance(item, ast.FunctionDef))
            if name.startswith("Test") and any(m.name.startswith("test") for m in methods):
                return f"the class {name} is no unittest.TestCase: only those and functions are run"
    return None


def _required(node: ast.AST) -> int:
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return 0
    args = node.args
    alone = sum(default is None for default in args.kw_defaults)
    return len(args.posonlyargs) + len(args.args) - len(args.defaults) + alone


def _undecided(
    roots: list[ast.AST], defined: dict[str, _Definition], running: list[ast.stmt]
) -> str | None:
    for node in _walk(running):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("unittest.main", "main"):
            return "they call unittest.main, which ends them without a verdict"
    reached, names = list(roots), _names(roots)
    while more := [node for name, node in defined.items() if name in names and node not in reached]:
        reached += more
        names |= _names(more)
    if any(_may_fail(node) for node in _walk(reached)):
        return None
    return "no assertion is ever reached, so every program would pass"


def _may_fail(node: ast.AST) -> bool:
    if isinstance(node, ast.Assert):
        return not isinstance(node.test, ast.Constant | ast.Tuple)
    if isinstance(node, ast.Call):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        return str(name).startswith(_FAILING)
    return isinstance(node, ast.Raise)
