"""Made prompts and outcomes for benchmarks: words of a made-up language, with Zipf's frequencies.

Every twentieth prompt is another one with a word changed. Nothing is taken from measured data.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from profiles.query import Query
from profiles.store.store import Store

WORKLOAD = "made"
STRATEGIES = 6
WORDS = 30_000
MEDIAN_WORDS, SPREAD_OF_WORDS = 80, 0.7  # of a log-normal
_AT_ONCE = 10_000


class Language:
    """Words by rank; a word's chance is in inverse proportion to its rank.

    Args:
        seed: The same words, and the same texts, for the same seed.
    """

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
        lengths = self.rng.integers(2, 10, WORDS)
        self.words = np.array(
            ["".join(self.rng.choice(letters, length)) for length in lengths], dtype=object
        )
        chance = 1 / np.arange(1, WORDS + 1)
        self._below = np.cumsum(chance / chance.sum())

    def ranks(self, count: int) -> NDArray[np.intp]:
        """So many words, by rank."""
        return np.searchsorted(self._below, self.rng.random(count)).clip(max=WORDS - 1)

    def text(self, words: int) -> str:
        """A text of so many words."""
        return " ".join(self.words[self.ranks(words)])


def prompts(count: int, seed: int) -> Iterator[tuple[str, float]]:
    """Texts, each with the difficulty that its words and its length give it, around 0."""
    language = Language(seed)
    hardness = language.rng.normal(size=WORDS)
    sizes = np.exp(language.rng.normal(np.log(MEDIAN_WORDS), SPREAD_OF_WORDS, count))
    before = language.ranks(3)
    for index, size in enumerate(sizes.astype(int).clip(3, 4000).tolist()):
        if index % 20:
            ranks = language.ranks(size)
        else:
            ranks = before.copy()
            ranks[language.rng.integers(len(ranks))] = language.ranks(1)[0]
        before = ranks
        difficulty = 8 * hardness[ranks].mean() + np.log(len(ranks) / MEDIAN_WORDS)
        yield " ".join(language.words[ranks]), float(difficulty)


def make_store(file: Path, count: int, seed: int) -> None:
    """A store of so many queries, `STRATEGIES` outcomes each."""
    rng = np.random.default_rng(seed + 1)
    with Store.open(file) as store, store.transaction():
        made = list(prompts(count, seed))
        for start in range(0, count, _AT_ONCE):
            part = made[start : start + _AT_ONCE]
            names = [f"q{start + i:07}" for i in range(len(part))]
            texts = (text for text, _ in part)
            store.add_queries(WORKLOAD, [Query(n, t) for n, t in zip(names, texts, strict=True)])
            difficulty = np.array([difficulty for _, difficulty in part])
            for strength in range(STRATEGIES):
                chance = 1 / (1 + np.exp(difficulty - strength / 2))
                store.add_table(
                    pa.table(
                        {
                            "workload": [WORKLOAD] * len(part),
                            "query_id": names,
                            "strategy": [f"model{strength}/single"] * len(part),
                            "sample": np.zeros(len(part), dtype=np.int64),
                            "score": (rng.random(len(part)) < chance).astype(float),
                            "cost_usd": 1e-5 * 2.0**strength * rng.uniform(0.5, 1.5, len(part)),
                            "evidence": ["simulated"] * len(part),
                            "source": ["made"] * len(part),
                        }
                    )
                )
