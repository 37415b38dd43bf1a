"""The one folder that this process writes to; it goes when the process ends."""

from __future__ import annotations

import atexit
import re
import shutil
import tempfile
import threading
from pathlib import Path

from profiles.errors import InputError

_lock = threading.Lock()
_made: list[Path] = []


def scratch() -> Path:
    """The folder, made at the first call, for this user alone.

    Raises:
        InputError: Nothing can be written here.
    """
    with _lock:
        if not _made:
            folder = new_folder(None, "inferbudget-")
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            _made.append(folder)
        return _made[0]


def new_folder(parent: Path | None, prefix: str) -> Path:
    """A folder that nobody else can read, below `parent` or where the system keeps such folders.

    Raises:
        InputError: It cannot be made.
    """
    try:
        return Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    except OSError as error:
        raise InputError(
            "there is no place for temporary files",
            where=str(parent or tempfile.tempdir or "the folder for temporary files"),
            got=error.strerror or str(error),
            next_step="name a folder that can be written: TMPDIR=/some/folder inferbudget app",
        ) from error


def without_folders(text: str) -> str:
    """A message that names files below it by what people may call them: their bare names."""
    for folder in _made:
        text = re.sub(rf"{re.escape(str(folder))}/[^/\s]+/", "", text)
    return text


def is_scratch(path: Path) -> bool:
    """Whether a file is below it: its place means nothing to people."""
    return any(path.is_relative_to(folder) for folder in _made)
