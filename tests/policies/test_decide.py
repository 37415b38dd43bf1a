from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_examples import LADDER, LARGE, SMALL, compiled, requests

from policies.agreement import disagreement, edge_uniforms
from policies.decide import Tables, choose, choose_many, with_unknown
from policies.policy import Policy
from profiles.errors import InputError

MILLION = 1_000_000


@pytest.mark.parametrize("source", ["label", "text"])
def test_graph_and_reference_agree_on_a_million_decisions(source: str) -> None:
    made = compiled(source)
    generator = np.random.default_rng(7)
    lowest = -1 if source == "label" else 0
    classes = generator.integers(lowest, 2, MILLION)
    rungs = generator.integers(-3, 6, MILLION)
    uniforms = generator.random(MILLION, dtype=np.float32)
    odd = generator.random(MILLION) < 0.3
    uniforms[odd] = generator.choice(edge_uniforms(made.policy), odd.sum())
    session = onnxruntime.InferenceSession(made.graph, providers=["CPUExecutionProvider"])
    feeds = {source: requests(made.policy, classes), "rung": rungs, "uniform": uniforms}
    found_classes, found = session.run(["class_index", "strategy_index"], feeds)
    assert np.array_equal(found_classes, classes)
    assert np.array_equal(found, choose_many(made.policy, classes, rungs, uniforms))


@given(
    st.integers(-2, 3),
    st.integers(-5, 5),
    st.one_of(
        st.floats(width=32),
        st.floats(),
        st.sampled_from([float(edge) for edge in edge_uniforms(compiled().policy)]),
    ),
)
def test_one_by_one_and_all_at_once_choose_the_same(
    class_index: int, rung: int, uniform: float
) -> None:
    policy = compiled().policy
    assert choose(policy, class_index, rung, uniform) == choose_many(
        policy, [class_index], [rung], [uniform]
    )


def test_shares_of_decisions_are_the_shares_of_the_policy() -> None:
    policy = compiled().policy
    uniforms = (np.arange(MILLION) / MILLION).astype(np.float32)
    chosen = choose_many(policy, np.ones(MILLION, int), np.zeros(MILLION, int), uniforms)
    texts = policy.strategy_texts()
    found = dict(zip(*np.unique(chosen, return_counts=True), strict=True))
    shares = policy.rungs[0].shares["hard"]
    assert {texts[index] for index in found} == set(shares) == {LADDER, LARGE}
    for index, count in found.items():
        assert count / MILLION == pytest.approx(shares[texts[index]], abs=2e-6)


@pytest.mark.parametrize("uniform", [math.nan, -0.1, 1.0, 1 - 2**-40, math.inf, 1e300, -math.inf])
def test_a_number_out_of_range_counts_as_zero(uniform: float) -> None:
    policy = compiled().policy
    assert choose(policy, 1, 0, uniform) == choose(policy, 1, 0, 0.0)


def test_the_largest_number_below_one_takes_the_last_strategy_with_a_share() -> None:
    policy = compiled().policy
    texts = policy.strategy_texts()
    assert texts[choose(policy, 0, 0, 1 - 2**-24)] == LADDER
    assert texts[choose(policy, 0, 1, 1 - 2**-24)] == SMALL


def test_a_rung_beyond_the_ladder_is_its_nearest_end() -> None:
    policy = compiled().policy
    assert choose(policy, 1, 99, 0.9) == choose(policy, 1, 1, 0.9)
    assert choose(policy, 1, -1, 0.9) == choose(policy, 1, 0, 0.9)


def test_the_table_rises_to_exactly_one() -> None:
    table = Tables.of(compiled().policy).cumulative
    assert table.dtype == np.float32
    assert (np.diff(table, axis=-1) >= 0).all()
    assert (table[..., -1] == 1).all()


def run_label(label: str) -> list[object]:
    session = onnxruntime.InferenceSession(compiled().graph, providers=["CPUExecutionProvider"])
    feeds = {
        "label": np.array([label], dtype=object),
        "rung": np.array([0]),
        "uniform": np.array([0.999], dtype=np.float32),
    }
    return [output[0] for output in session.run(None, feeds)]


def test_the_graph_names_class_strategy_and_costs() -> None:
    *names, cost, bound = run_label("hard")
    assert names == [1, 2, "hard", LARGE]
    assert cost == np.float32(0.02)
    dearest = compiled().policy.strategies[2].cost_max_usd("hard")
    assert dearest == 0.0666667
    assert Decimal(float(bound)) >= Decimal("0.0666667") > Decimal(float(np.nextafter(bound, -1)))


def test_the_graph_has_no_answer_for_an_unknown_label() -> None:
    *names, cost, bound = run_label("Hard")
    assert names == [-1, -1, "", ""]
    assert np.isnan([cost, bound]).all()


def with_dearest(usd: float | None) -> Policy:
    """The policy with another dearest request of the first strategy in the first class."""
    policy = compiled().policy
    entry = policy.strategies[0]
    cells = {
        **entry.by_class,
        "easy": entry.by_class["easy"].model_copy(update={"cost_max_usd": usd}),
    }
    changed = entry.model_copy(update={"by_class": cells})
    return policy.model_copy(update={"strategies": (changed, *policy.strategies[1:])})


@given(st.floats(0, allow_infinity=False, allow_nan=False))
def test_a_bound_is_the_least_float32_that_is_not_below_the_decimal(usd: float) -> None:
    bound = Tables.of(with_dearest(usd)).cost_bound_usd[0, 0]
    assert bound.dtype == np.float32
    assert Decimal(float(bound)) >= Decimal(repr(usd))
    if bound:
        assert Decimal(float(np.nextafter(bound, np.float32(-1)))) < Decimal(repr(usd))


def test_a_bound_that_nobody_measured_is_unknown() -> None:
    table = with_unknown(Tables.of(with_dearest(None)).cost_bound_usd)
    assert np.isnan(table[0, 0])
    assert np.isnan(table[-1]).all()
    assert np.isnan(table[:, -1]).all()
    assert np.isfinite(table[1, :-1]).all()


def without_bounds(version: str) -> bytes:
    """The graph as format 1.0 had it, under some version."""
    model = onnx.load_from_string(compiled().graph)
    del model.graph.output[-1]
    known = {entry.key: entry.value for entry in model.metadata_props}
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {**known, "inferbudget_format_version": version})
    content: bytes = model.SerializeToString()
    return content


def test_a_graph_of_an_older_format_is_held_against_what_it_has() -> None:
    assert disagreement(compiled().policy, without_bounds("1.0")) is None
    with pytest.raises(InputError, match="cannot run the decision graph"):
        disagreement(compiled().policy, without_bounds("1.1"))


def test_a_graph_whose_bounds_differ_is_found() -> None:
    assert disagreement(compiled().policy, compiled().graph) is None
    difference = str(disagreement(with_dearest(0.5), compiled().graph))
    assert "cost_bound_usd of label 'easy'" in difference
    assert "the policy says 0.5" in difference


def test_the_graph_says_what_it_is() -> None:
    session = onnxruntime.InferenceSession(
        compiled("text").graph, providers=["CPUExecutionProvider"]
    )
    meta = session.get_modelmeta()
    assert meta.producer_name == "inferbudget"
    assert meta.custom_metadata_map["class_names"] == '["easy", "hard"]'
    assert [value.name for value in session.get_inputs()] == ["text", "rung", "uniform"]
    assert [value.name for value in session.get_outputs()] == [
        "class_index",
        "strategy_index",
        "class_name",
        "strategy",
        "expected_cost_usd",
        "cost_bound_usd",
    ]
