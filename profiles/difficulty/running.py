"""Running a difficulty graph over many prompts, in batches of similar length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from profiles.difficulty.nodes import EMBEDDING_INPUT
from profiles.external_data import AS_ONNX

_BATCH = 256
_BATCH_CHARACTERS = 1 << 20


def outputs(
    graph: bytes,
    name: str,
    prompts: Sequence[str],
    labels: Sequence[str] | None = None,
    vectors: NDArray[np.float32] | None = None,
) -> Iterator[tuple[list[int], NDArray[Any]]]:
    """One output of a graph that takes `text`, and `label` where given, batch after batch.

    Beside the prompts, memory holds one batch: at most 256 texts, and a million characters unless
    one text alone has more.

    Args:
        graph: An ONNX file's bytes.
        name: The output.
        prompts: Any text; half of a surrogate pair, which no UTF-8 can carry, counts as "?".
        labels: One per prompt, for a graph that reads them.
        vectors: float32[prompts, D] by a sentence encoder, for a graph that reads them.

    Yields:
        Positions in `prompts`, and the output's rows for them, shape (positions, ...).
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry(*AS_ONNX)
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    for positions in _batches(prompts):
        feeds: dict[str, NDArray[Any]] = {"text": _strings(prompts, positions)}
        if labels is not None:
            feeds["label"] = _strings(labels, positions)
        if vectors is not None:
            feeds[EMBEDDING_INPUT] = vectors[positions]
        yield positions, session.run([name], feeds)[0]


def _strings(texts: Sequence[str], positions: Sequence[int]) -> NDArray[np.object_]:
    known = [texts[i].encode(errors="replace").decode() for i in positions]
    return np.array(known, dtype=object)


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
