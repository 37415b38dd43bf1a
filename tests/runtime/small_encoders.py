"""Encoders made here: words with vectors to reckon with, one that is slow, two that fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers

WIDTH = 4
PROBES = "a What is 17 times 23? def f(x): return x + 1 word"  # what every encoder is tried on
WORDS = ("[UNK]", "near", "far", "odd", "slow", "broken", *PROBES.split())
ROWS = [[0.0] * 4, [-1, 0.5, 0, 0], [1, 0, 0.5, 0], [-0.1, 0, 0, 1], [0, 1, 0, 0]]
_STEPS, _SIDE = 150, 512  # of multiplying matrices: more than 0.1 s on any core of today


def encoder_folder(folder: Path, *, unknown: str | None = "[UNK]", slow: bool = False) -> Path:
    """An encoder whose vector of a text is the mean of its words'.

    Args:
        folder: Made where it is not there.
        unknown: The token for other words; None makes the tokenizer fail on them.
        slow: A text with the word "slow" takes long.

    On the word "broken" the model fails.
    """
    folder.mkdir(exist_ok=True)
    onnx.save(_model(slow=slow), folder / "model.onnx")
    vocabulary = {word: index for index, word in enumerate(dict.fromkeys(WORDS))}
    if unknown is None:
        del vocabulary["[UNK]"]
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=unknown or "none"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def _model(*, slow: bool) -> Any:
    words = list(dict.fromkeys(WORDS))
    table = np.full((len(words), WIDTH), 0.5, dtype=np.float32)
    table[: len(ROWS)] = ROWS
    constants = {
        "table": table,
        "slow_id": np.int64(words.index("slow")),
        "broken_id": np.int64(words.index("broken")),
        "far_out": np.int64(1_000_000),
        "steps": np.int64(_STEPS),
        "true": np.bool_(True),
        "start": np.eye(_SIDE, dtype=np.float32),
        "zero": np.float32(0),
    }
    nodes = [
        helper.make_node("Equal", ["input_ids", "broken_id"], ["is_broken"]),
        helper.make_node("Where", ["is_broken", "far_out", "input_ids"], ["rows"]),
        helper.make_node("Gather", ["table", "rows"], ["states" if not slow else "quick"]),
    ]
    if slow:
        nodes += [
            helper.make_node("Equal", ["input_ids", "slow_id"], ["is_slow"]),
            helper.make_node("Cast", ["is_slow"], ["slow_words"], to=TensorProto.INT64),
            helper.make_node("ReduceMax", ["slow_words"], ["any_slow"], keepdims=0),
            helper.make_node("Mul", ["any_slow", "steps"], ["trips"]),
            helper.make_node("Loop", ["trips", "true", "start"], ["worked"], body=_work()),
            helper.make_node("ReduceMax", ["worked"], ["most"], keepdims=0),
            helper.make_node("Mul", ["most", "zero"], ["nothing"]),
            helper.make_node("Add", ["quick", "nothing"], ["states"]),
        ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["N", "T"])
        for name in ("input_ids", "attention_mask")
    ]
    graph = helper.make_graph(
        nodes,
        "encoder",
        inputs,
        [helper.make_tensor_value_info("states", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def _work() -> Any:
    """One step of a loop: the product of two matrices."""
    return helper.make_graph(
        [
            helper.make_node("Identity", ["more"], ["more_still"]),
            helper.make_node("MatMul", ["state", "state"], ["next"]),
        ],
        "work",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("more", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [_SIDE, _SIDE]),
        ],
        [
            helper.make_tensor_value_info("more_still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [_SIDE, _SIDE]),
        ],
    )
