"""An encoder's files, each read once: what is digested is, byte for byte, what is opened.

Whatever happens to the folder meanwhile, no other model runs under this digest. Links are followed
where they are read, as model hubs keep files, and what they lead to is digested.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from tempfile import TemporaryDirectory, gettempdir
from typing import Literal

from profiles.digest import digest, digest_bytes
from profiles.errors import InputError
from profiles.external_data import external_files

Pooling = Literal["mean", "cls"]

MODEL, TOKENIZER = "model.onnx", "tokenizer.json"

_ALSO_DIGESTED = ("pooling", "max_tokens")
_IN_NO_NAME = {"\0", "*"}
"""ONNX Runtime marks by stars what is no file, but an address in its memory."""


@dataclass(frozen=True, slots=True)
class EncoderContents:
    """What the files of an encoder held when they were read.

    Attributes:
        folder: Where they lay.
        files: Bytes by name, those of model and tokenizer, and of all that the model names.
        weights: The names of those that the model names, as it names them.
    """

    folder: Path
    files: Mapping[str, bytes] = field(repr=False)
    weights: tuple[str, ...]


def read_contents(folder: Path) -> EncoderContents:
    """Read model, tokenizer, and the files in which the model keeps its weights.

    Raises:
        InputError: A file is missing or unreadable, the model is damaged, or it names a file
            outside of the folder.
    """
    missing = [n for n in (MODEL, TOKENIZER) if not (folder / n).is_file()]
    if missing:
        raise InputError(
            "this folder is not a sentence encoder",
            where=str(folder),
            expected="the files model.onnx and tokenizer.json",
            got=f"no {' and no '.join(missing)}",
            next_step="export an encoder to ONNX, and put its tokenizer.json beside it",
        )
    files = {name: _read(folder / name) for name in (MODEL, TOKENIZER)}
    weights = external_files(files[MODEL], str(folder / MODEL))
    for name in weights:
        _require_inside(name, folder)
        if name not in files:
            files[name] = _read(folder / name)
    return EncoderContents(folder, files, weights)


def identity_of(contents: EncoderContents, pooling: Pooling, max_tokens: int) -> str:
    """Digest of all that a vector depends on but for rounding: files, pooling and limit."""
    return digest(
        {
            **{name: digest_bytes(content) for name, content in contents.files.items()},
            "pooling": pooling,
            "max_tokens": max_tokens,
        }
    )


def read_pinned(folder: Path, pinned: str, pooling: Pooling, max_tokens: int) -> EncoderContents:
    """Read the very files that a digest names.

    Raises:
        InputError: The folder holds another encoder, or none.
    """
    contents = read_contents(folder)
    if (found := identity_of(contents, pooling, max_tokens)) != pinned:
        raise InputError(
            "this is another encoder than the one that classes were learned with",
            where=str(folder),
            expected=f"digest {pinned}",
            got=found,
            next_step="name the folder that was given to 'inferbudget difficulty fit --encoder'",
        )
    return contents


@contextmanager
def loadable(contents: EncoderContents) -> Iterator[bytes | str]:
    """What ONNX Runtime makes a session of: the model's bytes where they are all of it.

    Else the path of a copy, in a folder of the process's own, which lasts as long as the context.

    Raises:
        InputError: There is no room for the copy.
    """
    if not contents.weights:
        yield contents.files[MODEL]
        return
    with _folder_of_our_own() as own:
        for name in (*contents.weights, MODEL):  # last: weights may be named "./model.onnx"
            _write(Path(own) / name, contents.files[name])
        yield str(Path(own) / MODEL)


def _folder_of_our_own() -> TemporaryDirectory[str]:
    try:
        # Windows keeps what is still mapped until the process ends
        return TemporaryDirectory(prefix="inferbudget-encoder-", ignore_cleanup_errors=True)
    except OSError as error:
        raise _no_room(error) from error


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise _no_room(error) from error


def _no_room(error: OSError) -> InputError:
    return InputError(
        "cannot copy the encoder's weights, which are loaded from a copy that nobody else changes",
        where=gettempdir(),
        got=error.strerror,
        next_step="name a folder with room by TMPDIR, or save the model as one file",
    )


def _require_inside(name: str, folder: Path) -> None:
    """By the rules of Windows, which know every separator and every kind of absolute path."""
    path = PureWindowsPath(name)
    no_file = not path.name or path.anchor or ".." in path.parts or _IN_NO_NAME & set(name)
    if no_file or name in _ALSO_DIGESTED:
        raise InputError(
            "the encoder's model names a file that may not hold its weights",
            where=str(folder / MODEL),
            expected="a file in the encoder's folder or below it, not 'pooling' or 'max_tokens'",
            got=repr(name),
            next_step="save the model with its weights beside it, or as one file",
        )


def _read(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise FileNotFoundError(0, "no such file")
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            "cannot read a file of the encoder",
            where=str(path),
            got=error.strerror,
            next_step="copy the whole folder of the encoder, with all files of its model",
        ) from error
