"""Encoders made of a tokenizer trained on a few sentences and a tiny ONNX graph."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

WIDTH = 12
WORDS = "the sum of two numbers is even because every odd number has a partner def return 17 42"


def subwords(**truncation):
    """Byte-level BPE: every text has tokens it knows."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([WORDS] * 4, trainer)
    if truncation:
        tokenizer.enable_truncation(**truncation)
    return tokenizer


def table(rows):
    return np.random.default_rng(7).standard_normal((rows, WIDTH)).astype(np.float32)


def model(nodes, constants, *, inputs=("input_ids", "attention_mask"), kind=TensorProto.INT64):
    """Nodes from the inputs to `vectors`, or to what the last node gives."""
    graph = helper.make_graph(
        [helper.make_node(*parts, **attributes) for *parts, attributes in nodes],
        "encoder",
        [helper.make_tensor_value_info(name, kind, ["N", "T"]) for name in inputs],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
            for *_, outputs, _ in nodes
            for name in outputs
            if name in ("states", "sentence_embedding")
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def static(rows=400):
    """Token vectors straight from a table."""
    return model([("Gather", ["table", "input_ids"], ["states"], {})], {"table": table(rows)})


def folder_of(folder, made, tokenizer):
    folder.mkdir(exist_ok=True)
    onnx.save(made, folder / "model.onnx")
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
