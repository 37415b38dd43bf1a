"""The documentation says what the code does: commands run, names exist, links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from planner.spec import Spec
from runtime.strategies import methods

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "demo").rglob("*.md")])


def fences(page: Path) -> list[tuple[str, str]]:
    """Language and text of every fenced block."""
    found: list[tuple[str, str]] = []
    block: list[str] | None = None
    language = ""
    for line in page.read_text().splitlines():
        if not line.strip().startswith("```"):
            if block is not None:
                block.append(line)
        elif block is None:
            block, language = [], line.strip().removeprefix("```")
        else:
            found.append((language, textwrap.dedent("\n".join(block))))
            block = None
    return found


def test_the_tutorials_commands_run(tmp_path: Path) -> None:
    blocks = fences(ROOT / "docs/tutorial/first-plan.md")
    (spec,) = [text for language, text in blocks if language == "yaml"]
    (tmp_path / "spec.yaml").write_text(spec)
    (tmp_path / "run.sh").write_text(
        "set -e\n" + "\n".join(text for language, text in blocks if not language)
    )
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    done = subprocess.run(
        ["bash", "run.sh"], cwd=tmp_path, env={"PATH": path}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "requests  400, answered 400, refused 0" in done.stdout


def test_the_tutorials_last_step_is_infeasible_as_it_says(tmp_path: Path) -> None:
    test_the_tutorials_commands_run(tmp_path)
    spec = tmp_path / "spec.yaml"
    spec.write_text(spec.read_text().replace("0.85", "0.99"))
    done = subprocess.run(
        [str(Path(sys.executable).parent / "inferbudget"), "plan", "spec.yaml", "--profiles",
         "store.duckdb"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 3
    assert "accuracy.overall" in done.stderr


def test_every_strategy_is_documented() -> None:
    page = (ROOT / "docs/reference/strategies.md").read_text()
    for method in methods():
        assert f"| `{method}` |" in page


def test_every_key_of_a_spec_is_documented() -> None:
    page = (ROOT / "docs/reference/files.md").read_text()
    for key in Spec.model_fields:
        assert f"`{key}" in page, key


def test_every_metric_is_documented() -> None:
    code = (ROOT / "runtime/metrics.py").read_text()
    page = (ROOT / "docs/how-to/serve.md").read_text()
    names = set(re.findall(r"inferbudget_[a-z_]+", code))
    assert names
    for name in names:
        assert name in page, name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target
