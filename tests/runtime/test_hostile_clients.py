"""A short round of the hostile clients' benchmark: a running gateway, and what must hold after."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CASES = {"wire": 0.004, "bodies": 0.008, "forged": 0.02, "proxies": 0.02}
"""Parts, and what share of their cases is enough to see that nothing broke."""


@pytest.mark.slow
@pytest.mark.parametrize("part", CASES)
def test_a_running_gateway_withstands_hostile_clients(part: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.hostile_clients", "--parts", part]
    command += ["--scale", str(CASES[part]), "--folder", str(tmp_path)]
    command += ["--result", str(tmp_path / "result.json")]
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    found = json.loads((tmp_path / "result.json").read_text())
    assert found["parts"][part]["failures"] == []
    assert found["requests"] > 100
