"""Random requests for a policy: what a careful host sends, and what a careless one might.

Texts are like those that a policy was made for, empty, plain words, sums, code, one endless word,
letters of many scripts, emoji, control characters, halves of surrogate pairs. Labels are known,
unknown, or nearly known. Rungs lie beyond both ends of the ladder, uniform numbers on every edge of
the shares and out of range, and half of an encoder's vectors hold a number that is not finite.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.made_prompts import Language
from policies.agreement import edge_uniforms
from policies.policy import EMBEDDING, Policy

FARTHEST_RUNG = 2**53 - 1  # JSON's numbers are whole up to here
# First and last code points of what is drawn from.
_SCRIPTS = [
    *((0x20, 0x7E), (0xA0, 0x24F), (0x300, 0x36F), (0x370, 0x52F), (0x590, 0x6FF), (0x900, 0xDFF)),
    *((0xE00, 0xFFF), (0x1780, 0x17FF), (0x2000, 0x206F), (0x2190, 0x22FF), (0x3040, 0x30FF)),
    *((0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xE000, 0xE0FF), (0xFE00, 0xFE0F), (0xFF00, 0xFFFF)),
    *((0x1D400, 0x1D7FF), (0x1F300, 0x1FAFF), (0x20000, 0x2A6DF), (0x10FF00, 0x10FFFF)),
]
_BLANKS = ["", " ", "\n", "\t \r\n", "\u00a0", "\u2028", "\u200b", "\ufeff"]
_CODE = [
    "def f(x):\n    return",
    '{"a": [1, 2.5e-3]}',
    "\\frac{1}{2}",
    "<b>&amp;</b>",
    "x += 1;",
    "```",
]
_ODD = [*map(chr, range(1, 32)), "\x7f", "\ud800", "\udfff", "\ufffd", "\ufffe", "\u202e"]


@dataclass(frozen=True, slots=True)
class Requests:
    """Columns of equal length; None where a policy does not read them.

    Attributes:
        texts: As a caller sends them, halves of surrogate pairs included.
        labels: The same.
        vectors: float32[N, D].
        rungs: int64[N].
        uniforms: float32[N].
    """

    texts: list[str] | None
    labels: list[str] | None
    vectors: NDArray[np.float32] | None
    rungs: NDArray[np.int64]
    uniforms: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.rungs)

    def feeds(self, rows: slice = slice(None)) -> dict[str, NDArray[Any]]:
        """Some of them as ONNX Runtime takes them."""
        found: dict[str, NDArray[Any]] = {"rung": self.rungs[rows], "uniform": self.uniforms[rows]}
        for name, texts in (("text", self.texts), ("label", self.labels)):
            if texts is not None:
                found[name] = np.array([encodable(text) for text in texts[rows]], dtype=object)
        if self.vectors is not None:
            found[EMBEDDING] = self.vectors[rows]
        return found

    def lines(self) -> Iterator[str]:
        """As lines of JSON; nan is null, and what is infinite a number too large."""
        for at, (rung, uniform) in enumerate(zip(self.rungs, self.uniforms, strict=True)):
            parts = [f'"rung": {rung}', f'"uniform": {_number(uniform)}']
            if self.texts is not None:
                parts.append(f'"text": {json.dumps(self.texts[at])}')
            if self.labels is not None:
                parts.append(f'"label": {json.dumps(self.labels[at])}')
            if self.vectors is not None:
                parts.append(f'"embedding": [{", ".join(map(_number, self.vectors[at]))}]')
            yield f"{{{', '.join(parts)}}}"


def encodable(text: str) -> str:
    """Half of a surrogate pair, which no UTF-8 can carry, counts as a question mark."""
    return text.encode(errors="replace").decode()


class Sender:
    """Sends requests to one policy.

    Args:
        policy: Its labels, rungs and edges.
        seed: The same requests for the same seed.
        samples: Prompts of the traffic that it was made for.
    """

    def __init__(self, policy: Policy, seed: int, samples: Sequence[str] = ()) -> None:
        self._rng = np.random.default_rng(seed)
        self._language = Language(seed)
        self._policy, self._samples = policy, samples
        self._uniforms = edge_uniforms(policy)
        self._labels = list(policy.classes.accepted)
        strange = ["", " ", "no such label", "\ud800", "naïve", "nai\u0308ve", "x" * 10_000]
        near = [change(label) for label in self._labels[:20] for change in _CHANGES]
        self._unknown = sorted({*strange, *near} - set(self._labels))

    def requests(self, count: int, longest: int) -> Requests:
        """So many, of texts of at most about so many characters."""
        rng, classes = self._rng, self._policy.classes
        texts = labels = vectors = None
        if "text" in classes.inputs:
            texts = [self._text(longest) for _ in range(count)]
        if "label" in classes.inputs:
            known = rng.choice(np.array(self._labels, dtype=object), count)
            unknown = rng.choice(np.array(self._unknown, dtype=object), count)
            labels = np.where(rng.random(count) < 0.8, known, unknown).tolist()
        if classes.encoder:
            vectors = self._vectors(count, classes.encoder.width)
        rungs = rng.integers(-2, len(self._policy.rungs) + 2, count)
        far = rng.random(count) < 0.02
        rungs[far] = rng.choice([-FARTHEST_RUNG, FARTHEST_RUNG], far.sum())
        uniforms = rng.random(count, dtype=np.float32)
        odd = rng.random(count) < 0.4
        uniforms[odd] = rng.choice(self._uniforms, odd.sum())
        return Requests(texts, labels, vectors, rungs, uniforms)

    def _vectors(self, count: int, width: int) -> NDArray[np.float32]:
        vectors = self._rng.standard_normal((count, width), dtype=np.float32)
        unread = np.flatnonzero(self._rng.random(count) < 0.5)
        odd = self._rng.choice(np.array([np.nan, np.inf, -np.inf], dtype=np.float32), len(unread))
        vectors[unread, self._rng.integers(0, width, len(unread))] = odd
        return vectors

    def _text(self, longest: int) -> str:
        kinds: list[Callable[[int], str]] = [
            *[self._words] * 3, self._mixed, self._sum, self._script, self._code, self._odd,
            self._endless, lambda _: _BLANKS[self._rng.integers(len(_BLANKS))],
            *[self._sample] * (8 if self._samples else 0),
        ]  # fmt: skip
        length = int(longest ** self._rng.random())
        return kinds[self._rng.integers(len(kinds))](length)[:longest]

    def _sample(self, _: int) -> str:
        return self._samples[self._rng.integers(len(self._samples))]

    def _words(self, length: int) -> str:
        return self._language.text(max(1, length // 6))

    def _sum(self, length: int) -> str:
        return "".join(self._rng.choice(list("0123456789 +-*/=()."), length))

    def _script(self, length: int) -> str:
        first, last = _SCRIPTS[self._rng.integers(len(_SCRIPTS))]
        return "".join(map(chr, self._rng.integers(first, last + 1, length)))

    def _mixed(self, length: int) -> str:
        return "".join(
            part(min(length, 12)) + " " for part in (self._words, self._script, self._sum) * 2
        )

    def _code(self, length: int) -> str:
        return "\n".join(self._rng.choice(_CODE, max(1, length // 12)))

    def _odd(self, length: int) -> str:
        return "".join(self._rng.choice([*_ODD, "a", "7", "."], length))

    def _endless(self, length: int) -> str:
        return "a7 \n数🙂."[self._rng.integers(7)] * length


_CHANGES: list[Callable[[str], str]] = [
    str.upper,
    lambda label: f"{label} ",
    lambda label: f" {label}",
    lambda label: label[:-1],
    lambda label: f"{label}\ufeff",
]


def _number(value: np.floating) -> str:
    number = float(value)
    if math.isnan(number):
        return "null"
    return repr(number) if math.isfinite(number) else f"{'-' * (number < 0)}1e999"
