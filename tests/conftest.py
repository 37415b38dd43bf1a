"""Fixtures that every test folder shares."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# No example is too slow: a busy machine proves nothing.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

MEASURED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Measured data of third parties that is not part of the repository."""
    if not MEASURED_DATA.is_dir():
        pytest.skip(f"the measured data is not at {MEASURED_DATA}")
    return MEASURED_DATA
