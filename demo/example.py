"""`python -m demo.example [FOLDER]`: packs the demo's measurements for the what-if app to ship.

FOLDER is what `make demo` left, demo/out by default. Say in `app.example.ABOUT` what was measured.
"""

from __future__ import annotations

import sys
import tempfile
import zipfile
from pathlib import Path

from app.example import ARCHIVE, FILES, STORE

HERE = Path("demo")
_NEVER = (1980, 1, 1, 0, 0, 0)


def pack(folder: Path, archive: Path) -> None:
    """Write the archive.

    Args:
        folder: With the store and the difficulty graph.
        archive: The file to write.
    """
    with tempfile.TemporaryDirectory() as made:
        compact = Path(made) / STORE
        _copy(folder / STORE, compact)
        sources = {"spec.yaml": HERE, "prices.yaml": HERE, STORE: compact.parent}
        with zipfile.ZipFile(archive, "w") as opened:
            for name in FILES:
                content = (sources.get(name, folder) / name).read_bytes()
                info = zipfile.ZipInfo(name, _NEVER)
                opened.writestr(info, content, zipfile.ZIP_DEFLATED, compresslevel=9)


def _copy(store: Path, compact: Path) -> None:
    """The same tables in a new file, without the space that rows left behind."""
    import duckdb

    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{store}' AS old (READ_ONLY)")
        # The oldest DuckDB that the project installs beside reads it too.
        connection.execute(f"ATTACH '{compact}' AS new (STORAGE_VERSION 'v1.2.0')")
        connection.execute("COPY FROM DATABASE old TO new")


if __name__ == "__main__":
    pack(Path(sys.argv[1] if len(sys.argv) > 1 else "demo/out"), ARCHIVE)
    print(f"wrote {ARCHIVE}: {ARCHIVE.stat().st_size:,} bytes")
