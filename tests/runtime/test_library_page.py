"""Every program of the page about the library runs and prints, or answers, what the page says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from background_upstream import in_background
from fake_upstream import FakeUpstream
from small_policies import budget, policy, written

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/how-to/use-as-a-library.md").read_text()
URL = "http://localhost:8000/v1"
PROGRAM, TEXT = r"```python (\w+\.py)\n([^`]*)```\n\n", r"```text\n([^`]*)```"
PRINTING = re.findall(PROGRAM + TEXT, PAGE)
SERVING = re.findall(PROGRAM + r"```sh\nuvicorn ([^`]*)```\n\n" + TEXT, PAGE)
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def test_every_program_of_the_page_is_run() -> None:
    assert (len(PRINTING), len(SERVING)) == (6, 2)
    assert len(PRINTING) + len(SERVING) == PAGE.count("```python")


def test_the_programs_of_the_page_print_what_it_says(tmp_path: Path) -> None:
    written(policy(budgets=(budget(1.0),)), tmp_path)
    with in_background(FakeUpstream()) as fake:
        for name, code, printed in PRINTING:
            (tmp_path / name).write_text(code.replace(URL, fake.url))
            done = subprocess.run(
                [sys.executable, name],
                cwd=tmp_path,
                env=ENVIRONMENT,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            assert (name, done.stdout) == (name, printed)


@pytest.mark.parametrize(("name", "code", "how", "said"), SERVING, ids=[s[0] for s in SERVING])
def test_the_servers_of_the_page_answer_what_it_says(
    name: str, code: str, how: str, said: str, tmp_path: Path
) -> None:
    written(policy(budgets=(budget(1.0),)), tmp_path)
    module, path, body = re.findall(
        r"^(\S+) --port 8080\ncurl -s http://localhost:8080(\S+) \\\n    -d '(.*?)' \\\n", how
    )[0]
    with in_background(FakeUpstream()) as fake:
        (tmp_path / name).write_text(code.replace(URL, fake.url))
        server = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", module, "--port", "0"],
            cwd=tmp_path,
            env=ENVIRONMENT,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert server.stderr is not None
        log = ""
        try:
            while "running on" not in log:
                line = server.stderr.readline()
                assert line, log
                log += line
            address = re.findall(r"running on (http\S+)", log)[0]
            with urllib.request.urlopen(address + path, body.encode()) as found:  # noqa: S310 ours
                answer = json.load(found)["choices"][0]["message"]["content"]
        finally:
            server.terminate()
            log += server.communicate()[1]
    assert (name, answer) == (name, said.strip())
    assert "Application shutdown complete" in log
    assert "Traceback" not in log
