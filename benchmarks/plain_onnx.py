"""Decision graphs without ONNX Runtime: onnx's reference operators in numpy, and two of our own.

`Tokenizer` and `MurmurHash3`, which ONNX Runtime adds to the standard, are written here from their
definitions, for the expressions that the difficulty graphs use. Which characters are letters comes
from Python's Unicode tables, and scripts from the characters' names; other tables can differ in
characters that were added later.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

_UNSPACED = (
    *(
        "CJK UNIFIED",
        "CJK COMPATIBILITY IDEOGRAPH",
        "IDEOGRAPHIC ITERATION",
        "VERTICAL IDEOGRAPHIC",
    ),
    *("HIRAGANA", "KATAKANA LETTER", "HALFWIDTH KATAKANA LETTER", "KATAKANA ITERATION"),
    *("KATAKANA VOICED ITERATION", "KATAKANA DIGRAPH"),
    *("THAI ", "LAO ", "KHMER ", "MYANMAR ", "TIBETAN "),
)
"""How names of letters begin whose script is written without spaces."""


def _words(text: str) -> list[str]:
    """Runs of letters of scripts with spaces; each other character that is no blank; newlines."""
    found: list[str] = []
    run = ""
    for character in text:
        if unicodedata.category(character)[0] == "L" and not _unspaced(character):
            run += character
            continue
        if run:
            found.append(run)
            run = ""
        if character == "\n" or character not in "\t\n\f\r ":
            found.append(character)
    return [*found, run] if run else found


def _unspaced(character: str) -> bool:
    return unicodedata.name(character, "").startswith(_UNSPACED)


# By the first characters of the expression in the graph.
_SPLITS: dict[str, Callable[[str], list[str]]] = {
    r"[^\PL": _words,
    "[0-9]+": lambda text: re.findall("[0-9]+", text),
    "(?s).{1,8}": lambda text: [text[at : at + 8] for at in range(0, len(text), 8)],
    "(?s).": list,
}


def murmur3(text: str) -> int:
    """MurmurHash3 x86 32 with seed 0 (Appleby, public domain)."""
    data, mask = text.encode(), 0xFFFFFFFF
    value, whole = 0, len(data) // 4 * 4
    for at in range(0, len(data), 4):
        word = int.from_bytes(data[at : at + 4], "little") * 0xCC9E2D51 & mask
        word = (word << 15 | word >> 17) & mask
        value ^= word * 0x1B873593 & mask
        if at < whole:
            value = (value << 13 | value >> 19) & mask
            value = (value * 5 + 0xE6546B64) & mask
    value ^= len(data)
    value = (value ^ value >> 16) * 0x85EBCA6B & mask
    value = (value ^ value >> 13) * 0xC2B2AE35 & mask
    return value ^ value >> 16


class Tokenizer(OpRun):  # type: ignore[misc] # onnx ships no types
    """Texts to tokens, padded to the longest."""

    op_domain = "com.microsoft"

    def _run(
        self, texts: NDArray[Any], tokenexp: str, pad_value: str, **_: int
    ) -> tuple[NDArray[Any]]:
        split = next(s for start, s in _SPLITS.items() if tokenexp.startswith(start))
        rows = [split(text) for text in texts]
        width = max(map(len, rows))
        padded = [row + [pad_value] * (width - len(row)) for row in rows]
        return (np.array(padded, dtype=object).reshape(len(rows), width),)


class MurmurHash3(OpRun):  # type: ignore[misc]
    """Of every token."""

    op_domain = "com.microsoft"

    def _run(self, tokens: NDArray[Any], **_: int) -> tuple[NDArray[np.uint32]]:
        known = {token: murmur3(token) for token in set(tokens.ravel().tolist())}
        hashes = np.array([known[token] for token in tokens.ravel().tolist()], dtype=np.uint32)
        return (hashes.reshape(tokens.shape),)


class PlainGraph:
    """A graph that runs without ONNX Runtime, slowly."""

    def __init__(self, content: bytes) -> None:
        self._evaluator = ReferenceEvaluator(
            onnx.load_from_string(content), new_ops=[Tokenizer, MurmurHash3]
        )

    def run(self, outputs: list[str], feeds: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """As a session of ONNX Runtime does."""
        return list(self._evaluator.run(outputs, feeds))
