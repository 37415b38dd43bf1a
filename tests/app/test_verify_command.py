"""`inferbudget verify`: a policy against its plan, and its promises against a store's outcomes."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx.parser
import pytest
import yaml
from click.testing import CliRunner, Result

from app.cli.main import cli
from app.verifying import judge_policy
from planner.limits import LimitSet
from planner.plan import CellFacts, Classes, Figures, Plan, Rung, read_plan
from planner.spec import Limits, read_spec
from policies.compile import compile_plan
from policies.file import write_policy
from policies.whole import WholePolicy, read_whole
from profiles.digest import digest_bytes
from profiles.errors import InputError
from profiles.money import PriceCard
from profiles.observation import Observation
from profiles.query import Query
from profiles.store.store import Store

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "tests" / "policies" / "fixtures"
CHANCES = {"small/single": (0.95, 0.3, 0.001), "large/single": (0.97, 0.9, 0.01)}
SPEC = """format_version: "1.0"
workload: w
objective: minimize cost
traffic: {requests: 10000, per: day}
limits:
  accuracy: {overall: 0.8, by_class: {hard: 0.5}}
  latency: {p95_s: 1.2}
  spend: {usd: 100, per: day}
  shares: [{name: canary, strategies: [large/single], at_least: 0.1}]
"""


def fill(
    path: Path,
    seed: int,
    *,
    count: int = 600,
    worse: float = 0.0,
    dearer: float = 1.0,
    labels: tuple[str, str] = ("easy", "hard"),
    strategies: tuple[str, ...] = tuple(CHANCES),
    timed: bool = True,
    prompts: bool = False,
) -> Path:
    """Queries of two kinds; `worse` takes from every chance and `dearer` multiplies dollars."""
    rng = random.Random(seed)
    rows, queries = [], []
    for i in range(count):
        hard = i % 3 == 0
        words = " ".join(f"s{seed}w{i}x{j}" for j in range(12 if hard else 4)) if prompts else None
        queries.append(Query(f"s{seed}q{i:04}", words, labels[hard]))
        for name in strategies:
            easy, difficult, usd = CHANCES[name]
            right = float(rng.random() < (difficult if hard else easy) - worse)
            cost, seconds = usd * dearer * rng.uniform(0.8, 1.2), rng.uniform(0.1, 1.0)
            rows.append(
                Observation(
                    "w",
                    f"s{seed}q{i:04}",
                    name,
                    0,
                    right,
                    cost_usd=cost,
                    latency_s=seconds if timed else None,
                )
            )
    with Store.open(path) as opened:
        opened.add_queries("w", queries)
        opened.add(rows)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy that was planned from one store, and its plan."""
    folder = tmp_path_factory.mktemp("verify")
    store = fill(folder / "store.duckdb", 1)
    (folder / "spec.yaml").write_text(SPEC)
    done = run("plan", folder / "spec.yaml", "--profiles", store, "-o", folder / "plan.json")
    assert done.exception is None, done.output
    done = run("compile", folder / "plan.json", "-o", folder / "policy.yaml")
    assert done.exception is None, done.output
    return folder


def run(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words], standalone_mode=False)


def verified(folder: Path, *words: object) -> Any:
    done = run("verify", folder / "policy.yaml", *words, "--format", "json")
    assert done.exception is None, done.output
    return json.loads(done.stdout)


def by_code(found: Any) -> dict[str, list[str]]:
    codes: dict[str, list[str]] = {}
    for finding in found["findings"]:
        codes.setdefault(finding["code"], []).append(finding["where"])
    return codes


def test_a_policy_and_its_plan_agree(folder: Path) -> None:
    found = verified(folder, "--plan", folder / "plan.json")
    assert (found["findings"], found["signed_by"]) == ([], None)
    assert found["digest"] == read_whole(folder / "policy.yaml").policy.digest
    assert "rungs" not in found


def test_another_plan_is_not_its_origin(folder: Path, tmp_path: Path) -> None:
    other = read_plan(folder / "plan.json").model_copy(update={"spec_digest": "sha256:0"})
    other.sealed().write(tmp_path / "other.json")
    done = run("verify", folder / "policy.yaml", "--plan", tmp_path / "other.json")
    assert done.return_value == 1
    assert "error [stale-plan]" in done.stdout
    assert "error [stale-spec]" in done.stdout


def test_promises_are_kept_by_queries_of_the_same_kind(folder: Path, tmp_path: Path) -> None:
    store = fill(tmp_path / "new.duckdb", 2)
    found = verified(folder, "--profiles", store)
    assert not [one for one in found["findings"] if one["severity"] == "error"]
    policy = read_whole(folder / "policy.yaml").policy
    assert len(found["rungs"]) == len(policy.rungs)
    for rung, said in zip(found["rungs"], policy.rungs, strict=True):
        assert (rung["queries"], rung["confidence"]) == (600, 0.95)
        assert said.limits is not None
        names = [one["promise"] for one in rung["promises"]]
        assert names[-3:] == ["promised accuracy", "promised USD/request", "promised p95"]
        assert set(names[:-3]) == {name for name, one in said.limits.items() if one.kept}
    asked = LimitSet.of(read_spec(folder / "spec.yaml")).values
    assert set(policy.rungs[0].limits or ()) == set(asked)  # the one on shares too


def test_worse_answers_break_promises_beyond_noise_and_say_where(
    folder: Path, tmp_path: Path
) -> None:
    found = verified(folder, "--profiles", fill(tmp_path / "worse.duckdb", 3, worse=0.25))
    broken = by_code(found)["promise-broken"]
    text = (folder / "policy.yaml").read_text().splitlines()
    assert any(where.endswith("rungs.0.limits.accuracy.overall") for where in broken)
    assert any(where.endswith("rungs.0.promised") for where in broken)
    for where in broken:
        line = int(where.removeprefix(str(folder / "policy.yaml")).split(":")[1])
        key = where.split(": ")[1]
        assert ("promised:" if key.endswith("promised") else "accuracy.") in text[line - 1]
    done = run("verify", folder / "policy.yaml", "--profiles", tmp_path / "worse.duckdb")
    assert "broken" in done.stdout
    assert "Rung 0\n600 new queries judge it, with 95 % intervals" in done.stdout
    assert (
        "error [promise-broken]: accuracy.overall at least 0.8: these queries say 0." in done.stdout
    )


def test_dearer_answers_break_the_promised_bill(folder: Path, tmp_path: Path) -> None:
    found = verified(folder, "--profiles", fill(tmp_path / "dear.duckdb", 4, dearer=2.0))
    assert any("promised" in where for where in by_code(found)["promise-broken"])
    assert all(one["worth"]["cost_usd_per_request"] for one in found["rungs"])


def test_a_handful_of_queries_only_casts_doubt(folder: Path, tmp_path: Path) -> None:
    """With 12 queries a mean that is a little lower proves nothing."""
    found = verified(folder, "--profiles", fill(tmp_path / "few.duckdb", 5, count=12, worse=0.1))
    accuracy = [
        (one["severity"], one["code"])
        for one in found["findings"]
        if one["message"].startswith(("accuracy.", "promised accuracy"))
    ]
    assert accuracy
    assert set(accuracy) == {("warning", "promise-doubtful")}


def test_what_a_store_does_not_record_is_said_not_passed_over(folder: Path, tmp_path: Path) -> None:
    found = verified(folder, "--profiles", fill(tmp_path / "untimed.duckdb", 6, timed=False))
    messages = [one["message"] for one in found["findings"] if one["code"] == "promise-unjudged"]
    assert messages == ["not judged, since it is not recorded: the limit on latency"]
    assert not any("latency" in p["promise"] for r in found["rungs"] for p in r["promises"])


def test_a_rung_whose_strategy_was_not_measured_is_no_success(folder: Path, tmp_path: Path) -> None:
    store = fill(tmp_path / "small.duckdb", 7, strategies=("small/single",))
    found = verified(folder, "--profiles", store)
    (first, *_) = [one for one in found["findings"] if one["code"] == "promise-unjudged"]
    assert (first["severity"], found["rungs"][0]) == ("error", None)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (("easy", "new"), "a query has no class that the policy knows"),
        (("easy", "easy"), "no query of the store is of this class of the policy"),
    ],
)
def test_queries_of_other_classes_do_not_judge(
    folder: Path, tmp_path: Path, labels: tuple[str, str], said: str
) -> None:
    store = fill(tmp_path / "other.duckdb", 8, labels=labels)
    with pytest.raises(InputError, match=said):
        judge_policy(read_whole(folder / "policy.yaml"), store)


def test_a_store_without_the_workload_and_a_workload_without_a_store_are_refused(
    folder: Path, tmp_path: Path
) -> None:
    store = fill(tmp_path / "new.duckdb", 9, count=6)
    done = run("verify", folder / "policy.yaml", "--profiles", store, "--workload", "v")
    assert "no scored observation is stored" in str(done.exception)
    done = run("verify", folder / "policy.yaml", "--workload", "w")
    assert "give --profiles" in str(done.exception)


def test_what_was_asked_is_answered_unless_the_file_is_no_whole_policy(
    folder: Path, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_bytes((folder / "policy.yaml").read_bytes() + b"#")
    (tmp_path / "policy.onnx").write_bytes((folder / "policy.onnx").read_bytes())
    judged = ("--profiles", folder / "store.duckdb", "--format", "json")
    found = json.loads(run("verify", policy, *judged).stdout)
    assert by_code(found).keys() >= {"format"}
    assert found["rungs"]
    policy.write_bytes(b"{}")
    found = json.loads(run("verify", policy, *judged).stdout)
    assert (found["digest"], by_code(found).keys()) == (None, {"invalid"})
    assert "rungs" not in found


def test_findings_fit_other_tools(folder: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_bytes((folder / "policy.yaml").read_bytes() + b"#")
    (tmp_path / "policy.onnx").write_bytes((folder / "policy.onnx").read_bytes())
    done = run("verify", policy, "--require-signature", "--format", "github")
    unsigned, touched = done.stdout.splitlines()
    assert unsigned.startswith(f"::error file={policy}.sig,title=inferbudget unsigned::")
    assert touched.startswith(f"::error file={policy},line=")
    done = run("verify", policy, "--require-signature", "--format", "sarif")
    results = json.loads(done.stdout)["runs"][0]["results"]
    assert [one["ruleId"] for one in results] == ["unsigned", "format"]


ORDERS = "ha\x1b[31mrd\n::error::pay\r\n  next: pay"
SHOWN = r"ha\x1b[31mrd\n::error::pay\r\n  next: pay"


def test_a_class_whose_name_holds_orders_begins_no_line(tmp_path: Path) -> None:
    store = fill(tmp_path / "store.duckdb", 11, labels=("easy", ORDERS))
    spec: dict[str, Any] = yaml.safe_load(SPEC)
    spec["limits"]["accuracy"]["by_class"] = {ORDERS: 0.5}
    (tmp_path / "spec.yaml").write_text(json.dumps(spec))
    run("plan", tmp_path / "spec.yaml", "--profiles", store, "-o", tmp_path / "plan.json")
    policy = tmp_path / "policy.yaml"
    run("compile", tmp_path / "plan.json", "-o", policy)
    worse = fill(tmp_path / "worse.duckdb", 12, labels=("easy", ORDERS), worse=0.3)
    for words in (("--profiles", worse), ("--profiles", worse, "--format", "github")):
        lines = run("verify", policy, *words).stdout.splitlines()
        assert all(line.isprintable() for line in lines)
        begun = ("policy", "graph", "signed by", "Rung", "accuracy", "spend", "latency", "shares")
        own = (
            *begun,
            "600 new",
            "promise",
            "its own",
            str(policy),
            "  next: plan",
            "::error file=",
        )
        for line in lines:
            assert not line or line.startswith((*own, "  next: measure", "::warning file=")), line
    assert f"accuracy.by_class.{SHOWN} at least 0.5" in run("verify", policy, *words[:2]).stdout


WITHOUT = "import sys; sys.modules['cryptography'] = None; from app.cli.main import main; main()"


def test_only_signatures_need_the_package_for_them(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_text("a key")
    for words, code, said in (
        (("verify", folder / "policy.yaml"), 0, "policy.yaml: ok"),
        (("verify", folder / "policy.yaml", "--key", tmp_path / "key.pub"), 2, "[sign]"),
        (("sign", "keygen", "-o", tmp_path / "key"), 2, "pip install 'inferbudget[sign]'"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT, *map(str, words)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert said in done.stdout + done.stderr


def test_new_prompts_are_sorted_by_the_policys_own_graph(tmp_path: Path) -> None:
    """More than eight words are hard: the graph finds the classes that no label tells."""
    store = fill(tmp_path / "store.duckdb", 10, prompts=True)
    model = onnx.parser.parse_model((FIXTURES / "words.onnxtxt").read_text())
    whole = text_policy(tmp_path, model.SerializeToString(deterministic=True))
    judged = judge_policy(whole, store)
    assert judged.left_out == ()
    (rung,) = judged.rungs
    assert rung.held is not None
    small, large = (CHANCES[name] for name in CHANCES)
    expected = 2 / 3 * small[0] + 1 / 3 * large[1]
    assert rung.held.worth.accuracy == pytest.approx(expected, abs=4 * (0.1 / 600) ** 0.5)
    bill = 2 / 3 * small[2] + 1 / 3 * large[2]
    assert rung.held.worth.cost_usd_per_request == pytest.approx(bill, rel=0.05)


def text_policy(folder: Path, estimator: bytes) -> WholePolicy:
    """Small answers easy prompts, large hard ones."""
    figures = Figures(accuracy=0.8, cost_usd_per_request=0.01, latency_p95_s=None)
    facts = CellFacts(
        queries=200,
        accuracy=0.8,
        planned_accuracy=0.8,
        accuracy_se=0.02,
        cost_usd=0.005,
        cost_se_usd=0.0001,
        cost_max_usd=0.01,
        latency_p95_s=None,
        tokens_out_max=100,
        evidence=("measured",),
    )
    allocation = {"easy": {"small/single": 1.0}, "hard": {"large/single": 1.0}}
    solved = Plan(
        status="optimal",
        workload="w",
        confidence=None,
        classes=Classes(
            source="text",
            names=("easy", "hard"),
            weights=(0.5, 0.5),
            estimator="words.onnx",
            estimator_digest=digest_bytes(estimator),
        ),
        traffic=None,
        limits=Limits(),
        prices=PriceCard(),
        cells={
            "easy": dict.fromkeys(CHANCES, facts),
            "hard": dict.fromkeys(CHANCES, facts),
        },
        rungs=(
            Rung(
                budget_fraction=1.0,
                objective="minimize cost",
                allocation=allocation,
                expected=figures,
                promised=figures,
                by_class={"easy": figures, "hard": figures},
                shadow_prices={},
            ),
        ),
        best_single_strategy=None,
        spec_digest="sha256:1",
        profile_digest="sha256:2",
        solver="none",
    ).sealed()
    write_policy(compile_plan(solved, estimator=estimator), folder / "policy.yaml")
    return read_whole(folder / "policy.yaml")
