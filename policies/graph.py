"""The decision graph: text, label, rung and one uniform number in, class and strategy out.

Plain ONNX that a host in any language runs with ONNX Runtime and then decides exactly as
`policies.decide` does.
"""

from __future__ import annotations

import json
from typing import Any, cast

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from policies.admission import check_estimator_names
from policies.decide import Tables, with_unknown
from policies.estimator import load_estimator
from policies.policy import EMBEDDING, FORMAT_VERSION, Policy
from profiles.errors import InputError

IR_VERSION = 10
OPSET = 21
# The operators below mean the same in these versions, so an estimator keeps its own.
ESTIMATOR_OPSETS = range(18, 23)
_RESERVED = frozenset(
    {
        "rung",
        "uniform",
        "strategy_index",
        "class_name",
        "strategy",
        "expected_cost_usd",
        "cost_bound_usd",
    }
)


def build_graph(policy: Policy, estimator: bytes | None) -> bytes:
    """The graph that decides as the policy says; the same policy gives the same bytes.

    Inputs, all of length N: ``text``, ``label`` or both (string), ``embedding`` (float32[N, D],
    where the policy names an encoder; a row with a number that is not finite was not read),
    ``rung`` (int64), ``uniform`` (float32). Outputs: ``class_index`` and ``strategy_index``
    (int64, -1 for an unknown label), ``class_name`` and ``strategy`` (string, "" for an unknown
    label), ``expected_cost_usd`` (float32, mean dollars) and ``cost_bound_usd`` (float32, the
    dearest request measured, never below the policy's decimal), both nan where unknown.

    Args:
        policy: Its classes, strategies and shares are compiled.
        estimator: Bytes of the difficulty graph; None makes the label variant.

    Raises:
        InputError: The estimator is not a difficulty graph of these classes.
    """
    model = _label_model(policy) if estimator is None else _text_model(policy, estimator)
    _append_decision(model.graph, policy)
    model.ir_version = IR_VERSION
    model.producer_name = "inferbudget"
    model.producer_version = FORMAT_VERSION
    del model.metadata_props[:]
    helper.set_model_props(model, _metadata(policy))
    onnx.checker.check_model(model)
    return cast("bytes", model.SerializeToString(deterministic=True))


def _metadata(policy: Policy) -> dict[str, str]:
    encoder = policy.classes.encoder
    return {
        **({"encoder": json.dumps(encoder.model_dump())} if encoder else {}),
        "class_names": _json(policy.classes.names),
        "inferbudget_format_version": FORMAT_VERSION,
        "source": policy.classes.source,
        "strategies": _json(policy.strategy_texts()),
        "workload": policy.workload,
    }


def _json(names: tuple[str, ...]) -> str:
    return json.dumps(names, ensure_ascii=False)


def _label_model(policy: Policy) -> Any:
    """Label to class index: the position of the equal name, -1 where none is."""
    graph = helper.make_graph(
        [
            helper.make_node("Unsqueeze", ["label", "label/axis"], ["label/column"]),
            helper.make_node("Equal", ["label/column", "label/names"], ["label/equal"]),
            helper.make_node("Cast", ["label/equal"], ["label/hits"], to=TensorProto.INT64),
            helper.make_node("ArgMax", ["label/hits"], ["label/first"], axis=1, keepdims=0),
            helper.make_node("ReduceMax", ["label/hits", "label/axis"], ["label/any"], keepdims=0),
            helper.make_node("Cast", ["label/any"], ["label/known"], to=TensorProto.BOOL),
            helper.make_node(
                "Where", ["label/known", "label/first", "label/unknown"], ["class_index"]
            ),
        ],
        "decision",
        [_value("label", TensorProto.STRING)],
        [],
        [
            _constant("label/axis", np.array([1], dtype=np.int64)),
            _strings("label/names", policy.classes.names, [1, len(policy.classes.names)]),
            _constant("label/unknown", np.array(-1, dtype=np.int64)),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])


def _text_model(policy: Policy, estimator: bytes) -> Any:
    """The difficulty graph with only `class_index` kept of its outputs."""
    model = load_estimator(estimator)
    inputs, encoder = policy.classes.inputs, policy.classes.encoder
    _require_interface(model, (*inputs, EMBEDDING) if encoder else inputs)
    _require_free_names(model.graph)
    check_estimator_names({p.key: p.value for p in model.metadata_props}, policy.classes.names)
    graph = model.graph
    graph.name, graph.doc_string, model.doc_string = "decision", "", ""
    model.domain, model.model_version = "", 0
    del graph.input[:], graph.output[:], graph.value_info[:]
    graph.input.extend(_value(name, TensorProto.STRING) for name in inputs)
    if encoder:
        graph.input.append(_value(EMBEDDING, TensorProto.FLOAT, encoder.width))
    return model


def _require_interface(model: Any, expected: tuple[str, ...]) -> None:
    inputs = [value.name for value in model.graph.input]
    outputs = [value.name for value in model.graph.output]
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    usable = "class_index" in outputs and opset in ESTIMATOR_OPSETS
    if sorted(inputs) != sorted(expected) or not usable:
        raise InputError(
            "this ONNX file is not a difficulty graph",
            where="difficulty graph",
            expected=f"inputs {' and '.join(expected)}, output class_index, opset "
            f"{ESTIMATOR_OPSETS.start} to {ESTIMATOR_OPSETS.stop - 1}",
            got=f"inputs {inputs}, outputs {outputs}, opset {opset}",
            next_step="run 'inferbudget difficulty fit' again",
        )


def _require_free_names(graph: Any) -> None:
    names = {name for node in graph.node for name in node.output}
    names |= {tensor.name for tensor in graph.initializer}
    taken = sorted(n for n in names if n in _RESERVED or n.startswith("decision/"))
    if taken:
        raise InputError(
            "the difficulty graph uses names that belong to the decision graph",
            where="difficulty graph",
            got=", ".join(taken),
            next_step="run 'inferbudget difficulty fit' again",
        )


def _append_decision(graph: Any, policy: Policy) -> None:
    """Class index, rung and uniform number to strategy, names and costs."""
    tables = Tables.of(policy)
    rungs, classes, strategies = tables.cumulative.shape
    # One more class and strategy, reached by index -1, stand for an unknown label.
    graph.initializer.extend(
        [
            _constant("decision/zero", np.array(0, dtype=np.int64)),
            _constant("decision/unknown", np.array(-1, dtype=np.int64)),
            _constant("decision/axis", np.array([1], dtype=np.int64)),
            _constant("decision/last_rung", np.array(rungs - 1, dtype=np.int64)),
            _constant("decision/classes", np.array(classes, dtype=np.int64)),
            _constant("decision/zero_share", np.array(0, dtype=np.float32)),
            _constant("decision/one", np.array(1, dtype=np.float32)),
            _constant(
                "decision/cumulative", tables.cumulative.reshape(rungs * classes, strategies)
            ),
            _constant("decision/costs", with_unknown(tables.cost_usd)),
            _constant("decision/bounds", with_unknown(tables.cost_bound_usd)),
            _strings("decision/class_names", (*policy.classes.names, ""), [classes + 1]),
            _strings("decision/strategies", (*policy.strategy_texts(), ""), [strategies + 1]),
        ]
    )
    graph.node.extend(_decision_nodes())
    graph.input.append(_value("rung", TensorProto.INT64))
    graph.input.append(_value("uniform", TensorProto.FLOAT))
    graph.output.extend(
        [
            _value("class_index", TensorProto.INT64),
            _value("strategy_index", TensorProto.INT64),
            _value("class_name", TensorProto.STRING),
            _value("strategy", TensorProto.STRING),
            _value("expected_cost_usd", TensorProto.FLOAT),
            _value("cost_bound_usd", TensorProto.FLOAT),
        ]
    )


def _decision_nodes() -> list[Any]:
    steps: list[tuple[str, str, str]] = [
        ("GreaterOrEqual", "uniform decision/zero_share", "decision/not_below"),
        ("Less", "uniform decision/one", "decision/not_above"),
        ("And", "decision/not_below decision/not_above", "decision/in_range"),
        ("Where", "decision/in_range uniform decision/zero_share", "decision/draw"),
        ("Unsqueeze", "decision/draw decision/axis", "decision/draw_column"),
        # ONNX Runtime's Clip, Max and Min lose int64 beyond 31 bits where they take rows together
        ("Less", "rung decision/zero", "decision/before_first"),
        ("Where", "decision/before_first decision/zero rung", "decision/not_negative"),
        ("Less", "decision/not_negative decision/last_rung", "decision/on_ladder"),
        ("Where", "decision/on_ladder decision/not_negative decision/last_rung", "decision/rung"),
        ("Mul", "decision/rung decision/classes", "decision/first_row"),
        ("Max", "class_index decision/zero", "decision/class"),
        ("Add", "decision/first_row decision/class", "decision/row"),
        ("Gather", "decision/cumulative decision/row", "decision/edges"),
        ("LessOrEqual", "decision/edges decision/draw_column", "decision/passed"),
        ("Cast", "decision/passed", "decision/passed_int"),
        ("ReduceSum", "decision/passed_int decision/axis", "decision/position"),
        ("Less", "class_index decision/zero", "decision/is_unknown"),
        ("Where", "decision/is_unknown decision/unknown decision/position", "strategy_index"),
        ("Gather", "decision/class_names class_index", "class_name"),
        ("Gather", "decision/strategies strategy_index", "strategy"),
        ("Unsqueeze", "class_index decision/axis", "decision/class_column"),
        ("Unsqueeze", "strategy_index decision/axis", "decision/strategy_column"),
        ("Concat", "decision/class_column decision/strategy_column", "decision/pair"),
        ("GatherND", "decision/costs decision/pair", "expected_cost_usd"),
        ("GatherND", "decision/bounds decision/pair", "cost_bound_usd"),
    ]
    attributes: dict[str, dict[str, int]] = {
        "Cast": {"to": TensorProto.INT64},
        "ReduceSum": {"keepdims": 0},
        "Concat": {"axis": 1},
    }
    return [
        helper.make_node(operator, inputs.split(), [output], **attributes.get(operator, {}))
        for operator, inputs, output in steps
    ]


def _value(name: str, kind: int, *dims: int) -> Any:
    return helper.make_tensor_value_info(name, kind, ["N", *dims])


def _constant(name: str, array: NDArray[Any]) -> Any:
    return numpy_helper.from_array(array, name)


def _strings(name: str, texts: tuple[str, ...], shape: list[int]) -> Any:
    return helper.make_tensor(
        name, TensorProto.STRING, shape, [text.encode("utf-8") for text in texts]
    )
