from __future__ import annotations

import importlib.metadata
import math
from pathlib import Path

import numpy as np
import onnx.parser
import onnxruntime
import pytest

from planner.plan import read_plan
from policies.compile import compile_plan
from policies.decide import choose, choose_many
from policies.file import CompiledPolicy, write_policy
from profiles.errors import InputError
from runtime import decision
from runtime.decision import Decision, DecisionSession, refuse_mixed_install

FIXTURES = Path(__file__).parents[1] / "policies" / "fixtures"
LADDER = (
    "cascade(accept=checker,stages=[small/single(max_tokens=256),large/single(max_tokens=900)])"
)
LARGE = "large/best_of_n(n=8,verifier=checker)"


def compiled(source: str) -> CompiledPolicy:
    estimator = None
    if source == "text":
        model = onnx.parser.parse_model((FIXTURES / "words.onnxtxt").read_text())
        estimator = model.SerializeToString(deterministic=True)
    return compile_plan(read_plan(FIXTURES / f"{source}.plan.json"), estimator=estimator)


def session(folder: Path, source: str = "labels", *, require_gpu: bool = False) -> DecisionSession:
    made = compiled(source)
    write_policy(made, folder / "policy.yaml")
    return DecisionSession(made.policy, folder / "policy.onnx", require_gpu=require_gpu)


def test_a_label_becomes_a_decision(tmp_path: Path) -> None:
    assert session(tmp_path).decide("hard", 0, 0.9) == Decision(
        class_name="hard",
        class_index=1,
        strategy=LARGE,
        strategy_index=2,
        rung=0,
        expected_cost_usd=0.02,
    )


def test_a_prompt_becomes_a_decision(tmp_path: Path) -> None:
    decider = session(tmp_path, "text")
    assert decider.decide("what is 2 + 3", 0, 0.9).class_name == "easy"
    assert decider.decide("a " * 9, 0, 0.1).strategy == LADDER
    assert decider.decide("", 0, 0.9).class_name == "easy"


@pytest.mark.parametrize("prompt", ["\ud800 half a pair", "a\0b", "\U0001f600", "x" * 100_000])
def test_any_prompt_is_sorted(tmp_path: Path, prompt: str) -> None:
    assert session(tmp_path, "text").decide(prompt, 0, 0.5).class_name == "easy"


def test_a_rung_beyond_the_ladder_is_its_nearest_end(tmp_path: Path) -> None:
    decider = session(tmp_path)
    assert decider.decide("hard", 7, 0.9) == decider.decide("hard", 1, 0.9)
    assert decider.decide("hard", 7, 0.9).rung == 1
    assert decider.decide("hard", -7, 0.9).rung == 0


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-24, 1 - 2**-40, 1.0, math.nan, -1.0, 1e300])
def test_odd_numbers_decide_as_the_reference_does(tmp_path: Path, uniform: float) -> None:
    decider, policy = session(tmp_path), compiled("labels").policy
    found = decider.decide("hard", 0, uniform)
    assert found.strategy_index == choose(policy, 1, 0, uniform)


def test_many_decisions_are_the_same_as_one_by_one(tmp_path: Path) -> None:
    decider, policy = session(tmp_path), compiled("labels").policy
    generator = np.random.default_rng(3)
    classes = generator.integers(0, 2, 200)
    rungs = generator.integers(0, 2, 200).tolist()
    uniforms = generator.random(200).tolist()
    labels = [policy.classes.names[index] for index in classes]
    found = decider.decide_many(labels, rungs, uniforms)
    assert found == [decider.decide(*ask) for ask in zip(labels, rungs, uniforms, strict=True)]
    expected = choose_many(policy, classes, rungs, uniforms)
    assert [one.strategy_index for one in found] == expected.tolist()
    assert decider.decide_many([], [], []) == []


def test_an_unknown_class_is_refused_and_no_other_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a class of the policy; expected") as raised:
        session(tmp_path).decide("Hard", 0, 0.5)
    assert "one of its classes (2), which the operator knows; got 'Hard'" in str(raised.value)
    assert "easy" not in str(raised.value)


def test_arguments_of_different_lengths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="differ in number"):
        session(tmp_path).decide_many(["easy", "hard"], [0], [0.5])


def test_the_provider_is_what_really_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        onnxruntime,
        "get_available_providers",
        lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"],
    )
    real = onnxruntime.InferenceSession

    def without_cuda(graph: bytes, options: object, *, providers: list[str], **more: int) -> object:
        if "CUDAExecutionProvider" in providers:
            raise RuntimeError("no CUDA device")
        return real(graph, options, providers=providers, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", without_cuda)
    assert session(tmp_path).provider == "CPUExecutionProvider"
    assert capfd.readouterr() == ("", "")
    with pytest.raises(InputError, match="no CUDA device"):
        session(tmp_path, require_gpu=True)


def test_a_required_gpu_that_is_not_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(InputError, match="a GPU is required") as raised:
        session(tmp_path, require_gpu=True)
    assert "start without require_gpu" in str(raised.value)


def test_another_graph_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    session(tmp_path)
    graph = tmp_path / "policy.onnx"
    graph.write_bytes(graph.read_bytes() + b"\0")
    with pytest.raises(InputError, match="not the decision graph that the policy was compiled"):
        DecisionSession(compiled("labels").policy, graph)
    with pytest.raises(InputError, match="cannot read the decision graph"):
        DecisionSession(compiled("labels").policy, tmp_path / "absent.onnx")


def test_a_mixed_install_is_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.22.0")
    with pytest.raises(InputError, match="overwrite each other") as raised:
        refuse_mixed_install()
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in str(raised.value)


def test_a_single_install_is_fine() -> None:
    decision.refuse_mixed_install()


def test_a_decision_is_a_value(tmp_path: Path) -> None:
    with pytest.raises(AttributeError, match="immutable"):
        session(tmp_path).decide("easy", 0, 0.5).rung = 3  # type: ignore[misc]
