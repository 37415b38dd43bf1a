"""Running a difficulty graph over many prompts, in batches of similar length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

_BATCH = 256
_BATCH_CHARACTERS = 1 << 20


def outputs(
    graph: bytes, name: str, prompts: Sequence[str]
) -> Iterator[tuple[list[int], NDArray[Any]]]:
    """One output of a graph whose only input is `text`, batch after batch.

    Args:
        graph: An ONNX file's bytes.
        name: The output.
        prompts: Any text; half of a surrogate pair, which no UTF-8 can carry, counts as "?".

    Yields:
        Positions in `prompts`, and the output's rows for them, shape (positions, ...).
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    for positions in _batches(prompts):
        texts = [prompts[i].encode(errors="replace").decode() for i in positions]
        yield positions, session.run([name], {"text": np.array(texts, dtype=object)})[0]


def _batches(prompts: Sequence[str]) -> Iterator[list[int]]:
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    start = 0
    while start < len(order):
        end = start + 1
        while end < len(order) and end - start < _BATCH:
            if (end - start + 1) * len(prompts[order[end]]) > _BATCH_CHARACTERS:
                break
            end += 1
        yield order[start:end]
        start = end
