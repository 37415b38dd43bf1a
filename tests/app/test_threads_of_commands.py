"""Commands do their linear algebra on one thread, unless told otherwise."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SAYS = """
import os, sys, app.cli.main
print(os.environ["OPENBLAS_NUM_THREADS"], "numpy" in sys.modules)
"""


@pytest.mark.parametrize(("given", "used"), [(None, "1"), ("3", "3")])
def test_the_threads_are_set_before_numpy_is_loaded_and_a_users_own_number_stays(
    given: str | None, used: str
) -> None:
    env = {key: value for key, value in os.environ.items() if key != "OPENBLAS_NUM_THREADS"}
    if given:
        env["OPENBLAS_NUM_THREADS"] = given
    done = subprocess.run(
        [sys.executable, "-c", SAYS], env=env, check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == [used, "False"]
