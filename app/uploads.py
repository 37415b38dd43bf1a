"""Files that somebody drops into the app: checked, kept for one session, gone with it.

Who drops files may be anybody who reaches the page. So nothing in them may name a file outside of
them, the names that they come with are compared but never used as paths, and there is a limit to
their size, to their number and to how long they are kept.
"""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from app.scratch import new_folder, scratch
from app.views import files_of
from profiles.errors import InputError
from profiles.visible import quoted
from profiles.yaml_characters import decoded
from profiles.yaml_input import parse_yaml, parsed

if TYPE_CHECKING:
    from planner.spec import Spec

MOST_MIB = 64
"""Of one file."""
MOST_FILES = 4
"""At once: a spec, a store, a difficulty graph and a price card."""
MOST_FOLDERS = 32
"""Of all sessions together; the oldest make way."""
KEPT_S = 8 * 3600.0
"""After which they are deleted although their session goes on."""
GONE_S = 120.0
"""After which they are deleted when their visitor's connection has ended: as long as Streamlit
keeps the session for one who comes back."""
SUFFIXES = ("yaml", "yml", "duckdb", "onnx")
SPEC, STORE = "spec.yaml", "profiles.duckdb"
_BESIDE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}\Z")
"""A bare file name: no folder, no drive, nothing hidden."""
_KINDS = {"classes": (".onnx",), "prices": (".yaml", ".yml")}


class Dropped(NamedTuple):
    """A file as the browser sent it.

    Attributes:
        name: What its sender called it.
        content: Its bytes.
    """

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Own:
    """The files of one session.

    Attributes:
        folder: Where they are.
        spec: As it came, or the plainest one that the dropped store answers.
        store: None where only a spec came.
    """

    folder: Path
    spec: Path
    store: Path | None

    @property
    def is_there(self) -> bool:
        """Whether the files were kept until now."""
        _delete_old(most=MOST_FOLDERS)
        return self.folder.exists()


def take(files: Sequence[Dropped]) -> Own:
    """Check files and keep them.

    Args:
        files: A spec, a store or both, with the graph and the price card that the spec names.

    Raises:
        InputError: A file is none of these, too large, damaged, or names files that did not come
            with it. Nothing is kept then.
    """
    _refuse_sizes(files)
    spec = _only([file for file in _with_suffix(files, "yaml", "yml") if _is_spec(file)], "spec")
    store = _only(_with_suffix(files, "duckdb"), "store")
    if spec is None and store is None:
        raise InputError(
            "nothing that could be opened was dropped",
            where=", ".join(quoted(file.name) for file in files) or "no file",
            expected="a spec (.yaml), a profile store (.duckdb), or both",
        )
    beside = _beside(_read(spec), files) if spec else {}
    _delete_old(most=MOST_FOLDERS - 1)
    folder = new_folder(scratch(), "own-")
    try:
        return _kept(folder, spec, store, beside)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _kept(
    folder: Path, spec: Dropped | None, store: Dropped | None, beside: Mapping[str, bytes]
) -> Own:
    for name, content in beside.items():
        (folder / name).write_bytes(content)
    if store:
        from profiles.store.foreign import require_plain_store

        (folder / STORE).write_bytes(store.content)
        require_plain_store(folder / STORE, quoted(store.name))
    content = spec.content if spec else _plainest_spec(folder / STORE)
    (folder / SPEC).write_bytes(content)
    with _lock:
        _folders[folder] = time.monotonic()
    return Own(folder, folder / SPEC, folder / STORE if store else None)


def _refuse_sizes(files: Sequence[Dropped]) -> None:
    if len(files) > MOST_FILES:
        raise InputError(
            "these are too many files",
            where="the files that were dropped",
            expected=f"at most {MOST_FILES}: a spec, a store, and what the spec names",
            got=str(len(files)),
        )
    for file in files:
        if len(file.content) > MOST_MIB * 2**20:
            raise InputError(
                "the file is too large to be dropped",
                where=quoted(file.name),
                expected=f"at most {MOST_MIB} MiB",
                got=f"{len(file.content):,} bytes",
                next_step="name it when the app is started: inferbudget app SPEC --profiles STORE",
            )
        if _suffix(file) not in SUFFIXES:
            raise InputError(
                "files of this kind are not opened here",
                where=quoted(file.name),
                expected=f"one of {', '.join(f'.{suffix}' for suffix in SUFFIXES)}",
            )


def _suffix(file: Dropped) -> str:
    return file.name.rpartition(".")[2].lower()


def _with_suffix(files: Sequence[Dropped], *suffixes: str) -> list[Dropped]:
    return [file for file in files if _suffix(file) in suffixes]


def _only(found: Sequence[Dropped], what: str) -> Dropped | None:
    if len(found) > 1:
        raise InputError(
            f"it is not clear which {what} is meant",
            where=", ".join(quoted(file.name) for file in found),
            expected=f"one {what} at a time",
        )
    return found[0] if found else None


def _is_spec(file: Dropped) -> bool:
    """Whether it asks of a workload; price cards do not."""
    _, data = parsed(decoded(file.content, quoted(file.name)), quoted(file.name))
    if "graph" in data:
        raise InputError(
            "this is a policy, which answers; a spec asks",
            where=quoted(file.name),
            next_step="drop it on the page Policy diff",
        )
    return "workload" in data


def _read(spec: Dropped) -> Spec:
    from planner.spec import Spec

    return parse_yaml(decoded(spec.content, quoted(spec.name)), Spec, quoted(spec.name))


def _beside(spec: Spec, files: Sequence[Dropped]) -> dict[str, bytes]:
    """The files that the spec names, by the names that it gives them."""
    found = {}
    for key, name in files_of(spec).items():
        if not _BESIDE.match(name) or not name.endswith(_KINDS[key]) or name in (SPEC, STORE):
            raise InputError(
                "a dropped spec names only files that were dropped with it",
                where=f"{SPEC}: {key}",
                expected=f"a bare file name that ends in {' or '.join(_KINDS[key])}",
                got=quoted(name),
                next_step=f"write {key}: NAME and drop the file NAME too",
            )
        same = _only([file for file in files if file.name == name], f"file called {name}")
        if same is None:
            raise InputError(
                "the spec names a file that was not dropped with it",
                where=f"{SPEC}: {key}",
                expected=name,
                got=", ".join(quoted(file.name) for file in files),
                next_step=f"drop {name} and the spec together",
            )
        found[name] = same.content
    return found


def _plainest_spec(store: Path) -> bytes:
    """What can be asked of a store that came without a question."""
    from profiles.store.store import Store

    with Store.open(store, read_only=True) as opened:
        workloads = opened.workloads()
    if len(workloads) != 1:
        raise InputError(
            "it is not clear what to ask of this store",
            where=STORE,
            expected="one workload, or a spec that names one of several",
            got=", ".join(map(quoted, workloads)) or "a store without observations",
            next_step="drop a spec together with the store",
        )
    text = f'format_version: "1.0"\nworkload: {json.dumps(workloads[0])}\n'
    return f"{text}objective: maximize accuracy\n".encode()


_lock = threading.Lock()
_folders: dict[Path, float] = {}
_leaving: dict[Path, threading.Timer] = {}


def leave(folder: Path) -> None:
    """Delete files in `GONE_S` seconds, unless their visitor comes back: connections break."""
    timer = threading.Timer(GONE_S, delete, [folder])
    timer.daemon = True
    with _lock:
        _leaving[folder] = timer
    timer.start()


def stay(folder: Path) -> None:
    """Their visitor is there, or there again."""
    with _lock:
        timer = _leaving.pop(folder, None)
    if timer:
        timer.cancel()


def delete(folder: Path) -> None:
    """Delete the files of a session."""
    stay(folder)
    with _lock:
        _folders.pop(folder, None)
    shutil.rmtree(folder, ignore_errors=True)


def _delete_old(most: int) -> None:
    """Delete folders that were kept long enough, and the oldest of those that are too many."""
    now = time.monotonic()
    with _lock:
        old = [one for one, since in _folders.items() if now - since > KEPT_S]
        rest = [one for one in _folders if one not in old]
    for folder in [*old, *rest[: max(0, len(rest) - most)]]:
        delete(folder)
