from __future__ import annotations

import math

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_examples import LADDER, LARGE, SMALL, compiled, requests

from policies.agreement import edge_uniforms
from policies.decide import Tables, choose, choose_many

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


def test_the_graph_names_class_strategy_and_cost() -> None:
    assert run_label("hard") == [1, 2, "hard", LARGE, pytest.approx(0.02)]


def test_the_graph_has_no_answer_for_an_unknown_label() -> None:
    *names, cost = run_label("Hard")
    assert names == [-1, -1, "", ""]
    assert np.isnan(cost)


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
    ]
