"""Every limit that a spec can set, through the commands: plan, compile, check, replay."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from app.cli.main import cli
from planner.plan import Plan
from profiles.errors import InputError
from profiles.observation import Observation
from profiles.query import Query
from profiles.store.store import Store

QUERIES = 600
SPEC = """format_version: "1.0"
workload: w
objective: maximize value
value: {usd_per_correct: 0.01, by_class: {hard: 0.05}}
traffic:
  requests: 100000
  per: day
  shape: [1, 1, 3, 1]
  growth: {rate: 0.1, windows: 3}
  mix: {easy: 0.7, hard: 0.3}
limits:
  accuracy: {overall: 0.5}
  latency: {p50_s: 4, p95_s: 30, by_class: {easy: {p90_s: 8}}}
  spend: {usd: 300, per: day}
  gpu: {h100: {models: [large], gpus: 8, utilization: 0.8}}
  energy: {kwh: 40, per: day}
  carbon: {kg: 20, per: day, g_per_kwh: 400}
  per_request: {calls: 3, tokens_out: 400, tokens_in: 200}
  shares: [{name: canary, strategies: [large/single], at_least: 0.05, classes: [easy]}]
rungs: [1.0]
"""
TENANTS = """format_version: "1.0"
workload: w
traffic: {requests: 100000, per: day}
limits: {accuracy: {overall: 0.6}}
tenants:
  acme: {share: 0.25, mix: {easy: 0.2, hard: 0.8}, accuracy: {overall: 0.7}}
  bolt: {share: 0.75, mix: {easy: 0.9, hard: 0.1}, spend: {usd: 60, per: day}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small is right in 8 of 10 easy and 3 of 10 hard queries, large in 9 of 10 everywhere."""
    folder = tmp_path_factory.mktemp("limits")
    queries = [Query(f"q{n}", None, "hard" if n % 2 else "easy") for n in range(QUERIES)]
    rows = []
    for index in range(QUERIES):
        hard = index % 2
        for name, scale, right in (("small", 1, (8, 3)), ("large", 5, (9, 9))):
            rows.append(
                Observation(
                    "w",
                    f"q{index}",
                    f"{name}/single",
                    0,
                    float((index * 7) % 10 < right[hard]),
                    tokens_in=100,
                    tokens_out=40 * scale,
                    cost_usd=0.0004 * scale + index * 1e-9,
                    calls=1,
                    gpu_s=0.2 * scale,
                    energy_j=60.0 * scale,
                    latency_s=0.5 * scale + (index % 7) / 10,
                )
            )
    with Store.open(folder / "store.duckdb") as store:
        store.add_queries("w", queries)
        store.add(rows)
    return folder


def run(*words: object) -> str:
    done = CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def planned(folder: Path, spec: str, name: str) -> Plan:
    (folder / f"{name}.yaml").write_text(spec)
    run("plan", folder / f"{name}.yaml", "--profiles", folder / "store.duckdb",
        "-o", folder / f"{name}.json")  # fmt: skip
    return Plan.model_validate_json((folder / f"{name}.json").read_text())


def test_a_spec_with_every_limit_becomes_a_plan_that_keeps_them_all(folder: Path) -> None:
    plan = planned(folder, SPEC, "every")
    limits = plan.rungs[0].limits
    assert set(limits) == {
        "accuracy.overall",
        "latency.p50_s",
        "latency.p95_s",
        "latency.by_class.easy.p90_s",
        "spend.usd_per_request",
        "gpu.h100",
        "energy.joules_per_request",
        "carbon.g_per_request",
        "per_request.calls",
        "per_request.tokens_in",
        "per_request.tokens_out",
        "shares.canary.at_least",
    }
    assert all(limit.kept for limit in limits.values())
    assert plan.rungs[0].allocation["easy"]["large/single"] >= 0.05 - 1e-9


@pytest.mark.parametrize(
    "more",
    [
        "",
        "rungs: [1.0, 0.9, 0.7]\nobjective: minimize cost\n",
        "confidence: none\nrungs: [1.0, 0.8]\n",
        "objective: maximize accuracy\nconfidence: 0.9\nrungs: [1.0, 0.5]\n",
    ],
)
def test_a_policy_of_every_limit_has_nothing_that_a_check_finds(folder: Path, more: str) -> None:
    keys = {line.partition(":")[0] for line in more.splitlines()}
    keys |= {"value"} if "objective" in keys else set()
    kept = [line for line in SPEC.splitlines() if line.partition(":")[0] not in keys]
    prices = "prices: {models: {small: {input: 1, output: 4}, large: {input: 5, output: 20}}}"
    planned(folder, "\n".join([*kept, prices, more]), "checked")
    run("compile", folder / "checked.json", "-o", folder / "checked.policy.yaml")
    said = run("check", folder / "checked.policy.yaml")
    assert said.endswith(": ok\n")


def test_tenants_get_policies_of_their_own_that_check(folder: Path) -> None:
    plan = planned(folder, TENANTS, "tenants")
    assert set(plan.tenants) == {"acme", "bolt"}
    with pytest.raises(InputError, match="--tenant NAME"):
        run("compile", folder / "tenants.json", "-o", folder / "all.yaml")
    for name in ("acme", "bolt"):
        run("compile", folder / "tenants.json", "--tenant", name, "-o", folder / f"{name}.yaml")
        run("check", folder / f"{name}.yaml")
    said = run("compile", folder / "tenants.json", "--tenant", "bolt", "-o",
               folder / "bolt.yaml", "--check", "--format", "json")  # fmt: skip
    assert json.loads(said)["findings"] == []
    assert "usd: 60" in (folder / "bolt.yaml").read_text()
    assert "usd: 60" not in (folder / "acme.yaml").read_text()


@pytest.mark.parametrize("form", ["text", "markdown"])
def test_people_read_what_every_limit_asked_and_got(folder: Path, form: str) -> None:
    (folder / "said.yaml").write_text(SPEC)
    said = run("plan", folder / "said.yaml", "--profiles", folder / "store.duckdb",
               "-o", folder / "said.json", "--format", form)  # fmt: skip
    for words in (
        "latency.p50_s",
        "at most 4 s",
        "of 50.0 %",
        "gpu.h100",
        "GPU-s",
        "at least 0.05",
    ):
        assert words in said, words


def test_people_read_what_every_tenant_gets(folder: Path) -> None:
    (folder / "who.yaml").write_text(TENANTS)
    said = run("plan", folder / "who.yaml", "--profiles", folder / "store.duckdb",
               "-o", folder / "who.json")  # fmt: skip
    assert "tenants.acme.accuracy.overall" in said
    assert "at least 0.7" in said
    assert "bolt" in said.split("promised")[-1]
