"""IO binding as a GPU runs it, here with the CPU as the device."""

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from tiny_encoders import model, table

from profiles.difficulty.reading.on_device import DeviceRun

KINDS = {
    np.float16: TensorProto.FLOAT16,
    np.float32: TensorProto.FLOAT,
    np.float64: TensorProto.DOUBLE,
}


def session(kind, last="states", **more):
    """Token vectors of a table, as numbers of one kind; padding is not a number."""
    rows = table(50).astype(np.float32)
    rows[0] = np.nan
    nodes = [
        ("Gather", ["table", "input_ids"], ["wide"], {}),
        ("Cast", ["wide"], ["states"], {"to": kind}),
        *more.get("nodes", ()),
    ]
    made = model(nodes, {"table": rows, **more.get("constants", {})})
    del made.graph.output[:]
    made.graph.output.append(helper.make_tensor_value_info(last, kind, more.get("shape")))
    onnx.checker.check_model(made)
    return onnxruntime.InferenceSession(
        made.SerializeToString(), providers=["CPUExecutionProvider"]
    ), rows


def fed(lengths):
    ids = np.zeros((len(lengths), max(lengths)), dtype=np.int64)
    for row, length in enumerate(lengths):
        ids[row, :length] = 1 + (np.arange(length) * 7 + row) % 49
    return {"input_ids": ids, "attention_mask": (ids > 0).astype(np.int64)}


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=9),
    st.sampled_from(sorted(KINDS, key=str)),
    st.sampled_from(["mean", "cls"]),
)
def test_what_is_pooled_on_the_device_is_what_numpy_makes_of_the_token_vectors(
    lengths, kind, pooling
):
    opened, rows = session(KINDS[kind], shape=["N", "T", "D"])
    given_ = fed(lengths)
    found = DeviceRun(opened, "states", pooling, "cpu")(given_)
    states = rows.astype(kind).astype(np.float64)[given_["input_ids"]]
    counts = given_["attention_mask"][:, :, None] == 1
    mean = np.where(counts, states, 0).sum(axis=1) / counts.sum(axis=1)
    np.testing.assert_allclose(found, mean if pooling == "mean" else states[:, 0], rtol=1e-12)
    assert found.dtype == np.float64


def test_vectors_that_the_model_has_pooled_come_back_as_they_are():
    opened, rows = session(
        TensorProto.FLOAT,
        "first",
        nodes=[("Gather", ["states", "zero"], ["first"], {"axis": 1})],
        constants={"zero": np.array(0)},
        shape=["N", "D"],
    )
    given_ = fed([3, 5])
    found = DeviceRun(opened, "first", "mean", "cpu")(given_)
    np.testing.assert_array_equal(found, rows[given_["input_ids"][:, 0]])


@pytest.mark.parametrize(
    ("kind", "last", "shape"),
    [
        (TensorProto.FLOAT, "odd", ("N", 1, "T", "D")),
        (TensorProto.INT32, "states", ("N", "T", "D")),
    ],
)
def test_what_cannot_be_pooled_comes_back_for_the_caller_to_refuse(kind, last, shape):
    more = {"nodes": [("Unsqueeze", ["states", "axes"], ["odd"], {})]} if last == "odd" else {}
    opened, rows = session(kind, last, shape=shape, constants={"axes": np.array([1])}, **more)
    found = DeviceRun(opened, last, "mean", "cpu")(fed([2, 4]))
    assert found.shape == tuple({"N": 2, "T": 4, "D": rows.shape[1]}.get(d, d) for d in shape)
