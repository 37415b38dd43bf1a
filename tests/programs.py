"""Programs that tests run beside Python, and what happens where one is missing."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

# Some come as wheels, and servers are where only root looks.
_PATH = os.pathsep.join(
    (str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin")
)


def program(*names: str) -> str:
    """The path of a program that has one of these names.

    Without it the test is left out, but in CI it fails: nothing is left out there for want of a
    program. `tests/tools.sh` and the group `test` of pyproject.toml install all of them.
    """
    for name in names:
        if found := shutil.which(name, path=_PATH):
            return found
    if os.environ.get("CI") == "true":
        pytest.fail(f"{names[0]} is not installed; tests/tools.sh installs it")
    pytest.skip(f"{names[0]} is not installed; 'make test' installs it where it can")
