from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from generated_policies import any_policies
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_examples import compiled

from planner.plan import LimitFigures
from planner.spec import Limits
from policies.decimals import plain
from policies.file import CompiledPolicy, graph_file_name, read_policy, write_policy
from policies.policy import (
    Graph,
    Policy,
)
from policies.text import policy_text
from profiles.digest import digest_bytes
from profiles.errors import InputError
from profiles.yaml_input import parse_yaml


@given(any_policies)
@settings(max_examples=150, deadline=None)
def test_any_policy_reads_back_as_it_was_written(policy: Policy) -> None:
    sealed = policy.sealed()
    text = policy_text(sealed)
    found = parse_yaml(text, Policy, "policy.yaml")
    assert found == sealed
    assert found.content_digest() == sealed.digest
    assert policy_text(found) == text


def backwards(value: Any) -> Any:
    """The same value; every mapping in it, at any depth, from its last key to its first."""
    if isinstance(value, dict):
        return {key: backwards(value[key]) for key in reversed(value)}
    return [backwards(one) for one in value] if isinstance(value, (list, tuple)) else value


@given(any_policies)
@settings(max_examples=100, deadline=None)
def test_equal_policies_have_equal_texts_whatever_the_order_of_their_mappings(
    policy: Policy,
) -> None:
    other = Policy.model_validate(backwards(policy.model_dump(mode="json")))
    assert other == policy
    assert policy_text(other) == policy_text(policy)


def test_limits_of_every_kind_stand_in_one_order() -> None:
    limits = {
        "latency": {"p99_s": 4, "p95_s": 2, "by_class": {"hard": {"p95_s": 3}}},
        "spend": {"usd_per_request": 1},
        "gpu": {"b": {"gpu_s_per_request": 1}, "a": {"gpu_s_per_request": 1}},
        "energy": {"joules_per_request": 9},
        "carbon": {"g_per_kwh": 400, "g_per_request": 1},
        "per_request": {"tokens_out": 9, "calls": 2},
        "shares": [{"name": "new", "strategies": ["m/single"], "at_least": 0.1, "at_most": 0.5}],
        "accuracy": {
            "max_gap": {"lang": 0.1},
            "by_group": {"lang": {"en": 0.7, "de": 0.6}},
            "by_class": {"hard": 0.5, "easy": 0.9},
            "overall": 0.8,
        },
    }
    order = [
        "accuracy.overall",
        "accuracy.by_class.easy",
        "accuracy.by_class.hard",
        "accuracy.by_group.lang.de",
        "accuracy.by_group.lang.en",
        "accuracy.max_gap.lang",
        "spend.usd_per_request",
        "gpu.a",
        "gpu.b",
        "energy.joules_per_request",
        "carbon.g_per_request",
        "per_request.calls",
        "per_request.tokens_out",
        "shares.new.at_least",
        "shares.new.at_most",
        "latency.by_class.hard.p95_s",
        "latency.p95_s",
        "latency.p99_s",
        "tenants.a.accuracy.overall",
    ]
    found = LimitFigures(asked=1, allowed=1, promised=1, kept=True)
    policy = compiled().policy
    rung = policy.rungs[0].model_copy(
        update={"limits": dict.fromkeys(reversed(order), found), "shadow_prices": {}}
    )
    changes = {"limits": Limits.model_validate(limits), "rungs": (rung,)}
    text = policy_text(policy.model_copy(update=changes))
    assert list(yaml.safe_load(text)["rungs"][0]["limits"]) == order
    said = yaml.safe_load(text)["limits"]["accuracy"]
    assert list(said["by_class"]) == ["easy", "hard"]
    assert list(said["by_group"]["lang"]) == ["de", "en"]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_is_a_number_to_yaml(value: float) -> None:
    found = yaml.safe_load(plain(value))
    assert isinstance(found, (int, float))
    assert float(found) == value


def test_small_numbers_are_written_without_an_exponent() -> None:
    assert plain(1e-05) == "0.00001"
    assert plain(5000.0) == "5000"
    assert plain(0.1) == "0.1"


@pytest.mark.parametrize("source", ["label", "text"])
def test_a_written_policy_reads_back_and_writes_the_same_bytes(tmp_path: Path, source: str) -> None:
    made = compiled(source)
    path = tmp_path / "policy.yaml"
    write_policy(made, path)
    before = path.read_bytes()
    policy = read_policy(path)
    assert policy == made.policy
    write_policy(CompiledPolicy(policy, made.graph), path)
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "policy.onnx",
        "policy.schema.json",
        "policy.yaml",
    ]


def test_the_first_line_names_a_schema_that_lies_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    write_policy(compiled(), path)
    first = path.read_text().splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=./")
    assert (tmp_path / first.partition("$schema=./")[2]).is_file()


def test_the_graph_is_named_after_the_policy() -> None:
    assert graph_file_name(Path("deploy/chat.yaml")) == "chat.onnx"


def resealed(**changes: Any) -> CompiledPolicy:
    made = compiled()
    return CompiledPolicy(made.policy.model_copy(update=changes).sealed(), made.graph)


@pytest.mark.parametrize("name", ["../policy.onnx", "/etc/passwd", "", "..", "a\\b", "policy.yaml"])
def test_a_graph_outside_the_folder_is_neither_written_nor_read(tmp_path: Path, name: str) -> None:
    made = compiled()
    graph = Graph(file=name, sha256=digest_bytes(made.graph))
    path = tmp_path / "policy.yaml"
    with pytest.raises(InputError, match="not named as a file beside"):
        write_policy(resealed(graph=graph), path)
    path.write_text(policy_text(resealed(graph=graph).policy))
    with pytest.raises(InputError, match="not named as a file beside"):
        read_policy(path)


def test_a_failed_write_leaves_the_old_file_and_no_crumbs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "policy.yaml"
    write_policy(compiled(), path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def fail(self: Path, target: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(InputError, match="cannot write the policy"):
        write_policy(resealed(workload="other"), path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def written(tmp_path: Path, old: str = "", new: str = "") -> Path:
    path = tmp_path / "policy.yaml"
    write_policy(compiled(), path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return path


def line_of(path: Path, start: str) -> int:
    lines = path.read_text().splitlines()
    return next(at for at, line in enumerate(lines, start=1) if line.startswith(start))


def test_a_key_that_stands_twice_is_refused_with_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, "when_exhausted: refuse", "when_exhausted: refuse\nworkload: other")
    line = line_of(path, "workload: other")
    with pytest.raises(
        InputError, match=rf"policy\.yaml:{line}:1: workload: the key 'workload' stands twice"
    ):
        read_policy(path)


def test_an_unknown_key_is_refused_with_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, "when_exhausted:", "when_exhaustd:")
    line = line_of(path, "when_exhaustd")
    with pytest.raises(InputError, match=rf"policy\.yaml:{line}:1: when_exhaustd: ") as raised:
        read_policy(path)
    assert "did you mean 'when_exhausted'?" in str(raised.value)


def test_an_edit_by_hand_is_refused_with_the_way_back(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="changed after it was compiled") as raised:
        read_policy(written(tmp_path, ": 0.3\n", ": 0.4\n"))
    assert "run 'inferbudget compile' again" in str(raised.value)


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="format_version"):
        read_policy(written(tmp_path, '"1.1"', '"2.0"'))


def test_another_graph_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    graph = tmp_path / "policy.onnx"
    graph.write_bytes(graph.read_bytes() + b"\0")
    with pytest.raises(InputError, match="not the decision graph that the policy was compiled"):
        read_policy(path)


def test_a_graph_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    (tmp_path / "policy.onnx").unlink()
    with pytest.raises(InputError, match="cannot read the decision graph"):
        read_policy(path)
