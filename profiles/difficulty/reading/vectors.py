"""Vectors of many prompts by a sentence encoder, and the encoder that an estimator asks for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from profiles.difficulty.progress import Progress, silent
from profiles.difficulty.reading.encoder import Encoder, Vectors, open_pinned
from profiles.difficulty.reading.encoder_files import EncoderFacts
from profiles.errors import InputError

_AT_ONCE = 256
_EVERY_CORE = 0


def read_vectors(encoder: Encoder, prompts: Sequence[str], progress: Progress = silent) -> Vectors:
    """float32[prompts, D], each row of length 1, or zeros for a text without tokens.

    Args:
        encoder: Reads them.
        prompts: Any texts.
        progress: Told every 256 prompts.

    Raises:
        InputError: The encoder fails on a text.
    """
    found = np.empty((len(prompts), encoder.width), dtype=np.float32)
    for start in range(0, len(prompts), _AT_ONCE):
        progress("encode prompts", start, len(prompts))
        end = start + _AT_ONCE
        found[start:end] = encoder.encode(prompts[start:end])
    return found


def open_asked_for(facts: EncoderFacts | None, folder: Path | None, where: Path) -> Encoder | None:
    """The encoder that an estimator reads with, on every core; None where text is enough for it.

    Args:
        facts: What the estimator says of its encoder.
        folder: Where the encoder lies, None where nobody said.
        where: The estimator, for errors.

    Raises:
        InputError: A folder is missing or one too many, or holds another encoder.
    """
    if facts is not None and folder is not None:
        return open_pinned(folder, facts, threads=_EVERY_CORE)
    if facts is not None:
        raise InputError(
            "this estimator reads the vectors of a sentence encoder, and none is given",
            where=str(where),
            expected=f"the folder of the encoder with digest {facts.digest}",
            next_step="name it with --encoder, as for 'inferbudget difficulty fit'",
        )
    if folder is not None:
        raise InputError(
            "this estimator reads no sentence encoder",
            where=str(where),
            got=f"the encoder {folder}",
            next_step="leave --encoder out",
        )
    return None
