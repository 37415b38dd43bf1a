"""Random predictions, and sortings run as a graph: shared by the tests of sortings."""

import numpy as np
import onnx
import onnxruntime
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto

from profiles.difficulty.nodes import Graph
from profiles.difficulty.predicting.predictor import Predictions


def names(count):
    return tuple(f"model-{index}/single" for index in range(count))


@st.composite
def predictions(draw, rows=(1, 60), columns=(1, 5), *, costs=None):
    """Scores with 5 decimals, many of them equal; costs from 1e-6 to 10 dollars, or none."""
    shape = draw(st.tuples(st.integers(*rows), st.integers(*columns)))
    steps = st.one_of(st.integers(0, 100_000), st.sampled_from([0, 50_000, 100_000]))
    scores = draw(hnp.arrays(np.int64, shape, elements=steps)) / 1e5
    with_costs = draw(st.booleans()) if costs is None else costs
    if not with_costs:
        return Predictions(scores, None)
    exponents = draw(hnp.arrays(np.float64, shape, elements=st.floats(-6, 1)))
    return Predictions(scores, 10.0**exponents)


def served(sorting, predictions):
    """The classes that the sorting's nodes give, through onnxruntime, of float32 predictions."""
    graph = Graph()
    scores = graph.add("Identity", "scores")
    costs = None if predictions.costs is None else graph.add("Identity", "costs")
    graph.add("Identity", sorting.append(graph, scores, costs), output="class_index")
    model = graph.model({"class_index": (TensorProto.INT64, ["N"])}, {})
    feed = {"scores": predictions.scores.astype(np.float32)}
    if predictions.costs is not None:
        feed["costs"] = predictions.costs.astype(np.float32)
    del model.graph.input[:]  # predictions instead of text
    for name, values in feed.items():
        shape = ["N", values.shape[1]]
        model.graph.input.append(onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(["class_index"], feed)[0]
