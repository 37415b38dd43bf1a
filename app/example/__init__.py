"""What the app opens where nothing was named: measurements of the project's own demo.

`python -m demo.example` packs them anew from what `make demo` left.
"""

from __future__ import annotations

import shutil
import threading
import zipfile
from pathlib import Path

from app.scratch import new_folder, scratch

ARCHIVE = Path(__file__).with_name("measurements.zip")
SPEC, STORE = "spec.yaml", "profiles.duckdb"
FILES = (SPEC, "prices.yaml", "difficulty.onnx", STORE)
ABOUT = (
    "These are this project's own measurements, not yours: two small language models that ship "
    "with its demo solved 1,000 arithmetic and puzzle problems in 8 ways, on 2 CPU cores. Every "
    "score, token and second was measured; the prices per token are made up (`prices.yaml`)."
)

_lock = threading.Lock()
_unpacked: list[Path] = []


def unpacked() -> tuple[Path, Path]:
    """Spec and store, in a folder that goes when the process ends.

    Raises:
        InputError: Nothing can be written here.
    """
    with _lock:
        if not _unpacked:
            folder = new_folder(scratch(), "example-")
            with zipfile.ZipFile(ARCHIVE) as archive:
                for name in FILES:
                    with archive.open(name) as packed, (folder / name).open("wb") as file:
                        shutil.copyfileobj(packed, file)
            _unpacked.append(folder)
    return _unpacked[0] / SPEC, _unpacked[0] / STORE


def is_example(spec: Path) -> bool:
    """Whether this is the example's spec."""
    return spec.parent in _unpacked
