"""What tests need is installed; where that cannot be, they say so, and CI fails."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

from programs import program

TESTS = Path(__file__).parent
ROOT = TESTS.parent
SCRIPT = (TESTS / "tools.sh").read_text()
(LIST,) = re.findall(r"^tools='(.*?)'$", SCRIPT, re.MULTILINE | re.DOTALL)
TOOLS = {line.split("|")[0]: line.split("|")[1:] for line in LIST.splitlines()}
INSTALLED = {name for names in TOOLS for name in names.split()}
GROUP = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["test"]
FILES = sorted(set(TESTS.rglob("*.py")) - {TESTS / "programs.py", Path(__file__)})


def asked() -> set[tuple[str, ...]]:
    """The names that tests know each program by."""
    calls = re.findall(
        r'\bprogram\(((?:\s*"[\w-]+",?)+)\s*\)', "\n".join(path.read_text() for path in FILES)
    )
    return {tuple(re.findall(r'"([^"]+)"', call)) for call in calls}


def test_every_program_that_tests_ask_for_is_installed_and_no_other() -> None:
    for names in asked():
        wheels = [wheel for wheel in GROUP if wheel.startswith(names)]
        assert INSTALLED.intersection(names) or wheels, names
    wanted = {name for names in asked() for name in names} | {"npm"}  # for the second host
    for names in TOOLS:
        assert wanted.intersection(names.split()), names


def test_no_test_looks_for_programs_and_packages_in_its_own_way() -> None:
    own = re.compile(r"\bshutil\.which\(|\bimportorskip\(|\bfind_spec\(")
    assert not [path for path in FILES if own.search(path.read_text())]


def run_without_tools(folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """The script where there is nothing to install with."""
    for name in ("id", "cut"):
        (folder / name).symlink_to(program(name))
    return subprocess.run(
        [program("sh"), TESTS / "tools.sh"],
        cwd=ROOT,
        env={"PATH": str(folder), **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_is_missing_and_what_is_left_out_is_said(tmp_path: Path) -> None:
    done = run_without_tools(tmp_path)
    assert done.returncode == 0
    assert (
        "promtool is missing: the tests of alerts and dashboard by Prometheus are left out."
        " Install it (e.g. apt-get install prometheus) to run them.\n"
    ) in done.stderr


def test_in_ci_a_tool_that_is_missing_is_a_failure_and_all_are_named(tmp_path: Path) -> None:
    done = run_without_tools(tmp_path, CI="true")
    assert done.returncode == 1
    servers = {"haproxy", "nginx"}  # in folders that the script looks in by itself
    for names in TOOLS:
        first = names.split()[0]
        assert f"{first} is missing and could not be installed\n" in done.stderr or first in servers
