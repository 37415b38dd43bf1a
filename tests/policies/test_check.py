from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_examples import LADDER, LARGE, SMALL, compiled, plan

from planner.plan import Figures
from planner.spec import Limits
from policies.check import check
from policies.compile import compile_plan
from policies.file import CompiledPolicy, read_policy, write_policy
from policies.findings import Severity
from policies.policy import CellFigures, Policy
from policies.schema import schema_text, schemas
from policies.staleness import stale
from policies.text import policy_text
from profiles.errors import InputError
from profiles.money import PriceCard


@pytest.fixture(params=["label", "text"])
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    write_policy(compiled(request.param), path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mutated")
    write_policy(compiled(), folder / "policy.yaml")
    return folder


def test_a_compiled_policy_has_no_findings(written: Path) -> None:
    assert check(written) == []


@given(st.integers(0, 10**6), st.integers(1, 255))
@settings(max_examples=200, deadline=None)
def test_any_changed_byte_of_the_text_is_noticed(folder: Path, at: int, change: int) -> None:
    good = policy_text(compiled().policy).encode()
    bad = bytearray(good)
    bad[at % len(good)] ^= change
    path = folder / "changed.yaml"
    path.write_bytes(bad)
    assert check(path)
    with contextlib.suppress(InputError):
        assert read_policy(path) == compiled().policy  # a comment or a spelling of the same value


@given(st.integers(0, 10**6), st.integers(1, 255))
@settings(max_examples=100, deadline=None)
def test_any_changed_byte_of_the_graph_is_noticed(folder: Path, at: int, change: int) -> None:
    good = compiled()
    bad = bytearray(good.graph)
    bad[at % len(bad)] ^= change
    graph = folder / "policy.onnx"
    graph.write_bytes(bad)
    try:
        assert [finding.code for finding in check(folder / "policy.yaml")] == ["graph"]
        with pytest.raises(InputError):
            read_policy(folder / "policy.yaml")
    finally:
        graph.write_bytes(good.graph)


def changed(policy: Policy, **changes: Any) -> Policy:
    return policy.model_copy(update=changes)


def with_rung(policy: Policy, index: int, **changes: Any) -> Policy:
    rungs = list(policy.rungs)
    rungs[index] = rungs[index].model_copy(update=changes)
    return changed(policy, rungs=tuple(rungs))


def too_cheap(policy: Policy) -> CellFigures:
    return policy.strategies[0].by_class["easy"].model_copy(update={"cost_max_usd": 1e-9})


def with_strategy(policy: Policy, index: int, **changes: Any) -> Policy:
    entries = list(policy.strategies)
    entries[index] = entries[index].model_copy(update=changes)
    return changed(policy, strategies=tuple(entries))


def with_budget(policy: Policy, **changes: Any) -> Policy:
    return changed(policy, budgets=(policy.budgets[0].model_copy(update=changes),))


Change = Callable[[Policy], Policy]
SEMANTICS: list[tuple[str, str, Change]] = [
    (
        "share-sum",
        "rungs.0.shares.easy",
        lambda p: with_rung(p, 0, shares={**p.rungs[0].shares, "easy": {SMALL: 0.9}}),
    ),
    (
        "strategy-unknown",
        "rungs.0.shares.easy",
        lambda p: with_rung(p, 0, shares={**p.rungs[0].shares, "easy": {"x/single": 1.0}}),
    ),
    (
        "class-missing",
        "rungs.1.shares",
        lambda p: with_rung(p, 1, shares={"easy": {SMALL: 1.0}}),
    ),
    (
        "class-unknown",
        "rungs.1.shares.odd",
        lambda p: with_rung(p, 1, shares={**p.rungs[1].shares, "odd": {SMALL: 1.0}}),
    ),
    ("strategy-text", "strategies.0.text", lambda p: with_strategy(p, 0, text="small/single(")),
    (
        "strategy-text",
        "strategies.0.text",
        lambda p: with_strategy(p, 0, text="small/single(b=1,a=2)"),
    ),
    ("strategy-twice", "strategies.1.text", lambda p: with_strategy(p, 1, text=SMALL)),
    ("strategy-unused", "strategies.0.text", lambda p: with_strategy(p, 0, text="x/single")),
    (
        "cost-bound",
        "strategies.0.by_class.easy.cost_max_usd",
        lambda p: with_strategy(p, 0, by_class=p.strategies[0].by_class | {"easy": too_cheap(p)}),
    ),
    ("rung-order", "rungs.1.budget_fraction", lambda p: with_rung(p, 1, budget_fraction=1.0)),
    (
        "rung-order",
        "rungs.1.expected",
        lambda p: with_rung(
            p,
            1,
            expected=Figures(accuracy=0.9, cost_usd_per_request=0.006, latency_p95_s=None),
        ),
    ),
    (
        "price-missing",
        "strategies.1.text",
        lambda p: changed(p, prices=PriceCard(models={"small": p.prices.models["small"]})),
    ),
    ("budget-limit", "budgets", lambda p: changed(p, budgets=())),
    ("budget-arithmetic", "budgets.0", lambda p: with_budget(p, usd_per_request=0.006)),
    ("budget-arithmetic", "budgets.0", lambda p: with_budget(p, limit_usd=6000.0)),
    ("budget-arithmetic", "budgets.0", lambda p: with_budget(p, requests=None)),
    (
        "budget-arithmetic",
        "budgets.0",
        lambda p: with_budget(p, limit_usd=6000.0, usd_per_request=0.006),
    ),
    (
        "budget-arithmetic",
        "budgets.0",
        lambda p: changed(p, limits=Limits.model_validate({"spend": {"usd_per_request": 0.004}})),
    ),
    (
        "class-twice",
        "classes.names",
        lambda p: changed(p, classes=p.classes.model_copy(update={"names": ("easy", "easy")})),
    ),
]


@pytest.mark.parametrize(("code", "key", "change"), SEMANTICS)
def test_nonsense_is_found_even_when_it_is_sealed(
    tmp_path: Path, code: str, key: str, change: Change
) -> None:
    made = compiled()
    path = tmp_path / "policy.yaml"
    write_policy(CompiledPolicy(change(made.policy).sealed(), made.graph), path)
    found = [finding for finding in check(path) if finding.code == code]
    assert found
    finding = found[0]
    assert finding.severity is Severity.ERROR
    assert finding.where.partition(": ")[2].startswith(key)


def test_a_finding_points_at_the_line_of_its_key(tmp_path: Path) -> None:
    made = compiled()
    shares = {**made.policy.rungs[1].shares, "hard": {LADDER: 0.5}}
    path = tmp_path / "policy.yaml"
    write_policy(
        CompiledPolicy(with_rung(made.policy, 1, shares=shares).sealed(), made.graph), path
    )
    finding = next(finding for finding in check(path) if finding.code == "share-sum")
    lines = path.read_text().splitlines()
    second_rung = lines.index("  - budget_fraction: 0.5")
    expected = lines.index("      hard:", second_rung) + 1
    assert finding.where == f"{path}:{expected}:7: rungs.1.shares.hard"


def test_a_policy_without_prices_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    write_policy(compile_plan(plan(prices=PriceCard()), estimator=None), path)
    (finding,) = check(path)
    assert (finding.severity, finding.code) == (Severity.WARNING, "prices-none")


def test_an_edit_is_found_at_its_digest(written: Path) -> None:
    written.write_text(written.read_text().replace(": 0.7\n", ": 0.6\n"))
    found = {finding.code for finding in check(written)}
    assert found == {"digest", "share-sum", "accuracy-sum", "cost-sum"}


def test_another_layout_of_the_same_values_is_a_warning(written: Path) -> None:
    written.write_text(written.read_text().replace("max_tokens: 400 #", "max_tokens:  400 #"))
    (finding,) = check(written)
    assert (finding.severity, finding.code) == (Severity.WARNING, "format")
    assert ":" in finding.where


def test_a_file_that_cannot_be_read_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("a: [")
    assert [f.code for f in check(tmp_path / "broken.yaml")] == ["invalid"]
    assert [f.code for f in check(tmp_path / "absent.yaml")] == ["unreadable"]


def test_a_fresh_policy_is_not_stale(written: Path) -> None:
    source = read_policy(written).classes.source
    assert stale(compiled(source), written) == []


def test_a_stale_policy_shows_what_changes(written: Path) -> None:
    source = read_policy(written).classes.source
    written.write_text(written.read_text().replace(": 0.7\n", ": 0.6\n"))
    (finding,) = stale(compiled(source), written)
    assert finding.code == "stale"
    assert f"-        {SMALL}: 0.6" in finding.message
    assert f"+        {SMALL}: 0.7" in finding.message
    assert str(written) in finding.next_step


def test_a_long_difference_is_cut(written: Path) -> None:
    written.write_text("nothing\n" * 100)
    finding = stale(compiled(), written)[0]
    assert finding.message.endswith("\n...")
    assert len(finding.message.splitlines()) < 25


def test_files_that_are_not_there_are_stale(tmp_path: Path) -> None:
    findings = stale(compiled(), tmp_path / "policy.yaml")
    names = ["policy.yaml", "policy.onnx", "policy.schema.json"]
    assert [(f.code, f.where) for f in findings] == [("missing", str(tmp_path / n)) for n in names]


def test_another_graph_is_stale(written: Path) -> None:
    source = read_policy(written).classes.source
    written.with_suffix(".onnx").write_bytes(b"other")
    (finding,) = stale(compiled(source), written)
    assert (finding.code, finding.where) == ("stale", str(written.with_suffix(".onnx")))


def test_another_schema_is_stale(written: Path) -> None:
    source = read_policy(written).classes.source
    schema = written.with_name("policy.schema.json")
    schema.write_text(schema.read_text() + "\n")
    (finding,) = stale(compiled(source), written)
    assert (finding.code, finding.where) == ("stale", str(schema))
    assert "the schema differs" in finding.message


def test_a_finding_reads_as_text_and_as_json(written: Path) -> None:
    written.with_suffix(".onnx").unlink()
    (finding,) = check(written)
    assert finding.text().startswith(f"{finding.where}: error [graph]: cannot read")
    assert "\n  next: put the graph beside" in finding.text()
    assert json.loads(json.dumps(finding.as_dict()))["severity"] == "error"


def test_every_format_has_a_schema_that_explains_its_keys() -> None:
    assert sorted(schemas()) == ["cases", "fleet", "plan", "policy", "spec"]
    for name in schemas():
        assert schema_text(name) == schema_text(name)
        assert json.loads(schema_text(name))["$schema"].startswith("https://json-schema.org/")
    keys = schemas()["policy"]["properties"]
    assert keys["rungs"]["description"].startswith("Dearest first")


def test_the_strategies_of_the_examples_are_what_the_checks_expect() -> None:
    assert compiled().policy.strategy_texts() == (SMALL, LADDER, LARGE)
