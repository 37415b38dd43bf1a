"""Texts as sets of shingles, runs of three words or signs (Broder 1997), each a hash of 52 bits.

Words are as they are written, numbers too. Scripts without blanks between words count characters.
Nothing depends on the machine, on the process or on which other texts there are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.intp]
Hashes = NDArray[np.uint64]

_SHINGLE = 3
# A longer text is known by so many characters from its beginning and from its end.
_EITHER_END = 1 << 14
_CHARACTERS_AT_ONCE = 1 << 20
_BITS = 52  # of a shingle's hash; the others of 64 name its text among those read together
_BASE = 0x9E3779B97F4A7C15
_BLANK, _LETTER, _SIGN = range(3)
# Scripts that put no blank between words: a character of theirs is a word.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]"
)
# A shingle of more texts than this is a frame; of few texts, more than a twentieth of them.
_FRAME, _FRAME_SHARE, _FRAME_AT_LEAST = 50, 0.05, 3


@dataclass(frozen=True, slots=True)
class Sets:
    """Sets of hashes, one after the other; set i is `hashes[ends[i] : ends[i + 1]]`, ascending."""

    hashes: Hashes
    ends: Ints

    @property
    def sizes(self) -> Ints:
        """How many hashes each set has."""
        return np.diff(self.ends)


def shingle_sets(texts: Sequence[str]) -> Sets:
    """Shingles of every text; a text of fewer words than that has one, an empty text none."""
    hashes, sizes = [], []
    for part in _together(texts):
        words, row = _words(part)
        counts = np.bincount(row, minlength=len(part))
        place = np.arange(len(row)) - (np.cumsum(counts) - counts)[row]
        gaps = row * (_SHINGLE - 1)  # words of two texts share no shingle
        spread = np.zeros(len(row) + (_SHINGLE - 1) * len(part), dtype=np.uint64)
        spread[np.arange(len(row)) + gaps] = words
        starts = np.flatnonzero((place + _SHINGLE <= counts[row]) | (place == 0))
        shingles = np.zeros(len(starts), dtype=np.uint64)
        for offset in range(_SHINGLE):
            shingles = mixed(shingles + spread[starts + gaps[starts] + offset])
        keys = row[starts].astype(np.uint64) << np.uint64(_BITS) | shingles >> np.uint64(64 - _BITS)
        keys.sort()
        keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])[: len(keys)]]
        hashes.append(keys & np.uint64(2**_BITS - 1))
        sizes.append(np.bincount((keys >> np.uint64(_BITS)).view(np.int64), minlength=len(part)))
    return Sets(np.concatenate(hashes), _ends(np.concatenate(sizes)))


def _together(texts: Sequence[str]) -> Iterator[list[str]]:
    """Texts, the middle of long ones left out, in parts of bounded length."""
    part: list[str] = []
    length = 0
    for text in texts:
        is_long = len(text) > 2 * _EITHER_END
        part.append(f"{text[:_EITHER_END]} {text[-_EITHER_END:]}" if is_long else text)
        length += len(part[-1])
        if length > _CHARACTERS_AT_ONCE or len(part) == 2 ** (64 - _BITS):
            yield part
            part, length = [], 0
    if part:
        yield part


def _words(texts: Sequence[str]) -> tuple[Hashes, Ints]:
    """Hash of every word or sign of normal texts, one text after the other, and its text."""
    joined = " ".join(texts) + " "
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    kind = _kinds(joined, codes)
    joins = (kind[1:] == _LETTER) & (kind[:-1] == _LETTER)  # a character and the one before it
    starts = np.flatnonzero((kind != _BLANK) & ~np.concatenate([[False], joins]))
    ends = np.flatnonzero((kind != _BLANK) & ~np.concatenate([joins, [False]])) + 1
    # a polynomial in an odd base, as differences of running sums modulo 2^64
    base = np.full(len(codes), _BASE, dtype=np.uint64)
    inverse = np.full(len(codes), pow(_BASE, -1, 2**64), dtype=np.uint64)
    terms = mixed(codes.astype(np.uint64)) * np.cumprod(base)
    sums = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(terms)])
    words = mixed((sums[ends] - sums[starts]) * np.cumprod(inverse)[starts])
    after = np.cumsum([len(text) + 1 for text in texts])
    return words, np.searchsorted(after, starts, side="right")


def _kinds(text: str, codes: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Whether each character is blank, belongs to a word with its neighbours, or is a word."""
    kind_of = np.full(max(map(ord, present := set(text))) + 1, _SIGN, dtype=np.uint8)
    for character in present:
        if character == " ":
            kind_of[ord(character)] = _BLANK
        elif (character.isalnum() or character == "_") and not _UNSPACED.match(character):
            kind_of[ord(character)] = _LETTER
    return kind_of[codes]


def mixed(values: Hashes) -> Hashes:
    """A permutation of 64-bit numbers that scatters them (SplitMix64, Steele et al. 2014)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _ends(sizes: Ints) -> Ints:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.intp)


def without_frames(sets: Sets) -> Sets:
    """The sets less their frames: shingles that too many of them have."""
    most = int(min(_FRAME, max(_FRAME_AT_LEAST, _FRAME_SHARE * len(sets.sizes))))
    ordered = np.sort(sets.hashes)
    frames = np.unique(ordered[most:][ordered[most:] == ordered[:-most]])
    if not frames.size:
        return sets
    nearest = np.searchsorted(frames, sets.hashes).clip(max=len(frames) - 1)
    kept = frames[nearest] != sets.hashes
    return Sets(sets.hashes[kept], np.concatenate([[0], np.cumsum(kept)])[sets.ends])
