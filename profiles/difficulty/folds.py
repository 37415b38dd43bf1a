"""Folds of a cross-validation in which near-duplicates stay together.

A model that learned from a prompt knows the answer to its near-copy, so both belong to one fold.
Texts are sets of shingles, runs of three words or signs (Broder 1997). Near-duplicates share at
least half of the shingles that either has; pairs are found by MinHash with banded signatures
(Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, 3.4) and checked on the sets.

A shingle that many different texts have is a frame, not content: the preamble of few-shot prompts,
the words around the numbers of a template. Frames do not count, else a workload made of one
template would be one group. Words count as they are, numbers too.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from profiles.difficulty.shingles import Ints, Sets, mixed, shingle_sets, without_frames

SIMILAR = 0.5
"""Share of the shingles of two texts that near-duplicates have in common, at least."""
# A pair that shares half of its shingles agrees in a band with probability 1 - (1 - 0.5^3)^40,
# 0.995. Its signatures agree in half of the places, with a standard error of 4.6 %.
_BANDS, _ROWS = 40, 3
_SIGNATURES_AGREE = 0.3
_NEIGHBOURS = 16
_SHINGLES_AT_ONCE = 1 << 16
_PAIRS_AT_ONCE = 1 << 14


@dataclass(frozen=True, slots=True)
class Folds:
    """Which prompt is judged by which model.

    Attributes:
        fold_of: intp (n,), the fold of every prompt, from 0.
        group_of: intp (n,), equal for near-duplicates.
        remarks: What a person should know, in words.
    """

    fold_of: Ints
    group_of: Ints
    remarks: tuple[str, ...]


def folds(prompts: Sequence[str], count: int, seed: int) -> Folds:
    """Deal groups of near-duplicates to folds, large groups first, each to the emptiest fold.

    Groups of one size are dealt in the order of a seeded hash. A prompt's fold depends on which
    prompts there are and on the seed, not on their order. Sizes of folds differ by at most the
    largest group, and by at most 1 where there are enough single prompts.

    Args:
        prompts: n texts.
        count: Folds, at least 1.
        seed: Same prompts and seed, same folds.
    """
    texts = [normal(prompt) for prompt in prompts]
    group_of = _groups(texts)
    sizes = np.bincount(group_of)
    name_of: dict[int, str] = {}
    for group, text in zip(group_of.tolist(), texts, strict=True):
        name_of[group] = min(name_of.get(group, text), text)
    rank = {
        group: sha256(f"{seed}:{text}".encode(errors="surrogatepass")).digest()
        for group, text in name_of.items()
    }
    fold_of_group = np.empty(len(sizes), dtype=np.intp)
    emptiest = [(0, fold) for fold in range(count)]
    for group in sorted(rank, key=lambda group: (-sizes[group], rank[group])):
        load, fold = emptiest[0]
        fold_of_group[group] = fold
        heapq.heapreplace(emptiest, (load + int(sizes[group]), fold))
    return Folds(fold_of_group[group_of], group_of, _remarks(sizes, len(prompts), count))


def _remarks(sizes: Ints, prompts: int, count: int) -> tuple[str, ...]:
    large = sizes[(sizes > 1) & (sizes > prompts / (2 * count))]
    if not large.size:
        return ()
    return (
        f"near-duplicate prompts make groups of more than half a fold: {len(large)}, the largest "
        f"of {large.max()} of {prompts} prompts, so what is learned is judged on few other texts",
    )


def near_duplicates(prompts: Sequence[str]) -> Ints:
    """Group ids from 0, in the order of first members; near-duplicates of near-duplicates join.

    Texts equal but for case and blanks are always in one group.

    Args:
        prompts: n texts, any characters.

    Returns:
        intp (n,).
    """
    return _groups([normal(prompt) for prompt in prompts])


def _groups(texts: Sequence[str]) -> Ints:
    if not texts:
        return np.zeros(0, dtype=np.intp)
    distinct = sorted(set(texts))
    place = {text: index for index, text in enumerate(distinct)}
    sets = without_frames(shingle_sets(distinct))
    left, right = _similar(sets, _candidates(_signatures(sets)))
    edges = coo_array((np.ones(len(left)), (left, right)), shape=(len(distinct),) * 2)
    _, group_of_text = connected_components(edges, directed=False)
    group = group_of_text[[place[text] for text in texts]]
    _, first, inverse = np.unique(group, return_index=True, return_inverse=True)
    return np.asarray(first.argsort().argsort()[inverse], dtype=np.intp)


def _signatures(sets: Sets) -> NDArray[np.uint32]:
    """uint32 (n, bands x rows): least hash of every set under each of so many scatterings.

    An empty set has a signature of zeros.
    """
    number = np.arange(1, _BANDS * _ROWS + 1, dtype=np.uint64)
    factors = mixed(number) | np.uint64(1)
    found = np.zeros((len(sets.sizes), len(factors)), dtype=np.uint32)
    for part in _slices(sets):
        rows = part[sets.sizes[part] > 0]
        if not rows.size:
            continue
        hashes = sets.hashes[sets.ends[rows[0]] : sets.ends[rows[-1] + 1]]
        starts = sets.ends[rows] - sets.ends[rows[0]]
        for column, factor in enumerate(factors):
            least = np.minimum.reduceat(hashes * factor, starts)
            found[rows, column] = least >> np.uint64(32)
    return found


def _slices(sets: Sets) -> Iterator[Ints]:
    """Neighbouring sets with about as many hashes as a processor's cache holds."""
    marks = np.arange(_SHINGLES_AT_ONCE, len(sets.hashes), _SHINGLES_AT_ONCE)
    borders = np.unique([0, *np.searchsorted(sets.ends, marks), len(sets.sizes)])
    for start, end in pairwise(borders.tolist()):
        yield np.arange(start, end)


def _candidates(signatures: NDArray[np.uint32]) -> tuple[Ints, Ints]:
    """Pairs whose signatures agree in one band and, by and large, in all.

    Texts with the same band stand in a row. Each is paired with the next few, so that rows of any
    length cost time in proportion; groups join through the neighbours that they share.
    """
    filled = np.flatnonzero(signatures.any(axis=1))
    found = [np.zeros((0, 2), dtype=np.intp)]
    for band in range(_BANDS):
        key = np.zeros(len(filled), dtype=np.uint64)
        for column in range(band * _ROWS, (band + 1) * _ROWS):
            key = mixed(key + signatures[filled, column])
        order = key.argsort(kind="stable")
        key, member = key[order], filled[order]
        for distance in range(1, _NEIGHBOURS + 1):
            at = np.flatnonzero(key[distance:] == key[:-distance])
            if not at.size:
                break
            pairs = np.column_stack([member[at], member[at + distance]])
            found += [part[_agree(signatures, part)] for part in _parts(pairs)]
    left, right = np.unique(np.concatenate(found), axis=0).T
    return left, right


def _parts(pairs: Ints) -> Iterator[Ints]:
    for start in range(0, len(pairs), _PAIRS_AT_ONCE):
        yield pairs[start : start + _PAIRS_AT_ONCE]


def _agree(signatures: NDArray[np.uint32], pairs: Ints) -> NDArray[np.bool_]:
    same = signatures[pairs[:, 0]] == signatures[pairs[:, 1]]
    return np.asarray(same.mean(axis=1) >= _SIGNATURES_AGREE)


def _similar(sets: Sets, candidates: tuple[Ints, Ints]) -> tuple[Ints, Ints]:
    """The pairs whose sets share at least `SIMILAR` of what either has."""
    shape = (len(sets.sizes), 2**63 - 1)
    ones = np.ones(len(sets.hashes), dtype=np.int8)
    rows = csr_array((ones, sets.hashes.view(np.int64), sets.ends.astype(np.int64)), shape=shape)
    kept = [np.zeros((0, 2), dtype=np.intp)]
    for pairs in _parts(np.column_stack(candidates)):
        left, right = pairs.T
        shared = np.diff(rows[left].multiply(rows[right]).tocsr().indptr)
        either = sets.sizes[left] + sets.sizes[right] - shared
        kept.append(pairs[shared >= SIMILAR * either])
    left, right = np.concatenate(kept).T
    return left, right


def normal(prompt: str) -> str:
    """What copies of a prompt share: all but case and blanks."""
    return " ".join(prompt.split()).lower()
