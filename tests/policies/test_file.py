from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_examples import compiled

from planner.plan import Figures, LimitFigures
from planner.spec import Limits, Traffic, Window
from policies.decimals import plain
from policies.file import CompiledPolicy, graph_file_name, read_policy, write_policy
from policies.policy import (
    Budget,
    CellFigures,
    Graph,
    Policy,
    PolicyClasses,
    PolicyRung,
    Provenance,
    StrategyEntry,
)
from policies.text import policy_text
from profiles.digest import digest_bytes
from profiles.errors import InputError
from profiles.money import PriceCard
from profiles.yaml_input import parse_yaml

finite = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
shares = st.floats(0, 1)
any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
tricky = st.sampled_from(
    [
        "yes",
        "null",
        "~",
        "1e5",
        "1e-05",
        "0x1f",
        "12:30:00",
        "a: b",
        "#",
        "- a",
        "é",
        "y",
        "2026-01-01",
        "\u2028",
        "\x85",
        "\ufeff",
        "\x00",
        "\\",
        '"',
        "a #b",
        " a",
        "a ",
        "a:",
        "=",
        "<<",
        "\U0001f600",
    ]
)
texts = st.one_of(any_text, tricky, st.just("k" * 1500))
numbers_by_text = st.dictionaries(texts, finite, max_size=3)
figures = st.builds(
    Figures,
    accuracy=finite,
    cost_usd_per_request=st.none() | finite,
    latency_p95_s=st.none() | finite,
)
cells = st.builds(
    CellFigures,
    queries=st.integers(0, 10**9),
    accuracy=finite,
    accuracy_se=positive,
    cost_usd=st.none() | finite,
    cost_se_usd=st.none() | finite,
    cost_max_usd=st.none() | finite,
    latency_p95_s=st.none() | finite,
)
limit_figures = st.builds(
    LimitFigures, asked=finite, allowed=finite, promised=finite, kept=st.booleans()
)
policies = st.builds(
    Policy,
    workload=texts,
    confidence=st.none() | finite,
    warnings=st.lists(texts, max_size=3).map(tuple),
    classes=st.builds(
        PolicyClasses,
        source=st.sampled_from(["text", "label"]),
        names=st.lists(texts, min_size=1, max_size=4).map(tuple),
        weights=st.lists(shares, min_size=1, max_size=4).map(tuple),
    ),
    graph=st.builds(Graph, file=texts, sha256=texts),
    strategies=st.lists(
        st.builds(
            StrategyEntry,
            text=texts,
            max_tokens=st.none() | st.integers(1, 10**9),
            by_class=st.dictionaries(texts, cells, max_size=3),
        ),
        min_size=1,
        max_size=3,
    ).map(tuple),
    rungs=st.lists(
        st.builds(
            PolicyRung,
            budget_fraction=finite,
            shares=st.dictionaries(texts, st.dictionaries(texts, shares, max_size=3), max_size=3),
            expected=figures,
            promised=figures,
            objective=texts,
            by_class=st.dictionaries(texts, figures, max_size=3),
            limits=st.dictionaries(texts, limit_figures, max_size=3),
            shadow_prices=numbers_by_text,
        ),
        min_size=1,
        max_size=2,
    ).map(tuple),
    traffic=st.none()
    | st.builds(Traffic, requests=st.integers(1, 10**12), per=st.sampled_from(Window)),
    limits=st.builds(
        Limits.model_validate,
        st.fixed_dictionaries(
            {},
            optional={
                "accuracy": st.fixed_dictionaries(
                    {"by_class": st.dictionaries(texts, shares, max_size=2)},
                    optional={"overall": shares},
                ),
                "latency": st.fixed_dictionaries({"p95_s": positive}),
                "spend": st.one_of(
                    st.fixed_dictionaries({"usd_per_request": positive}),
                    st.fixed_dictionaries({"usd": positive, "per": st.sampled_from(Window)}),
                ),
            },
        ),
    ),
    budgets=st.lists(
        st.builds(
            Budget,
            limit_usd=st.none() | positive,
            usd_per_request=positive,
            window=st.sampled_from(Window),
            requests=st.none() | st.integers(1, 10**12),
        ),
        max_size=2,
        unique_by=lambda budget: budget.window,
    ).map(tuple),
    prices=st.builds(
        PriceCard.model_validate,
        st.fixed_dictionaries(
            {
                "models": st.dictionaries(
                    texts,
                    st.fixed_dictionaries(
                        {"input": positive, "output": positive},
                    ),
                    max_size=2,
                )
            }
        ),
    ),
    provenance=st.builds(
        Provenance,
        plan=texts,
        spec=texts,
        profile=texts,
        estimator=st.none() | texts,
        solver=texts,
        evidence=st.lists(texts, max_size=2).map(tuple),
    ),
)


@given(policies)
@settings(max_examples=150, deadline=None)
def test_any_policy_reads_back_as_it_was_written(policy: Policy) -> None:
    sealed = policy.sealed()
    text = policy_text(sealed)
    found = parse_yaml(text, Policy, "policy.yaml")
    assert found == sealed
    assert found.content_digest() == sealed.digest
    assert policy_text(found) == text


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
