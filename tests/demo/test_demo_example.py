"""What the what-if app shows newcomers is packed from what the demo left."""

from __future__ import annotations

import zipfile
from pathlib import Path

import duckdb
import pytest

from app import example
from demo.example import pack

ROOT = Path(__file__).parents[2]


def test_a_packed_demo_has_every_row_and_the_demos_spec_and_prices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    _, store = example.unpacked()
    pack(store.parent, tmp_path / "packed.zip")
    with zipfile.ZipFile(tmp_path / "packed.zip") as archive:
        assert set(archive.namelist()) == set(example.FILES)
        assert archive.read("spec.yaml") == (ROOT / "demo/spec.yaml").read_bytes()
        assert archive.read("prices.yaml") == (ROOT / "demo/prices.yaml").read_bytes()
        archive.extract(example.STORE, tmp_path)
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{store}' AS one (READ_ONLY)")
        connection.execute(f"ATTACH '{tmp_path / example.STORE}' AS other (READ_ONLY)")
        for table in ("observations", "queries", "classes"):
            one, other = (connection.table(f"{name}.{table}") for name in ("one", "other"))
            assert len(one.except_(other)) == 0, table
            assert len(one) == len(other) >= 1000, table
