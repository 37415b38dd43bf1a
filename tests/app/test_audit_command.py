"""Groups from the import to the audit of a plan, by the command line."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path

import pytest
from test_command_line import run

from app.measuring_adaptively import Jobs, measure_adaptively
from planner.spec import Spec
from profiles.errors import InputError
from profiles.measuring.measure import MeasureReport
from profiles.store.store import Store

STORE = ("--profiles", "store.duckdb", "--workload", "w")
AUDIT = ("audit", *STORE, "--group", "lang")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`small` is cheap and fails on half of what is Welsh, `large` is dear and good."""
    rng = random.Random(3)
    rows = ["query,model,score,cost_usd,class,lang"]
    for index in range(900):
        lang = ("en", "en", "cy")[index % 3]
        name = "hard" if index % 2 else "easy"
        for model, usd, good in (("small", 0.001, 0.5 if lang == "cy" else 0.9),
                                 ("large", 0.01, 0.95)):  # fmt: skip
            rows.append(f"q{index},{model},{int(rng.random() < good)},{usd},{name},{lang}")
    rows.append("lonely,small,1,0.001,easy,kw")
    rows.append("nobody,small,1,0.001,easy,")
    (tmp_path / "outcomes.csv").write_text("\n".join(rows) + "\n")
    done = run("profile", "import", "outcomes.csv", *STORE, "--group", "lang", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "group lang: known of 901 queries" in done.stdout
    return tmp_path


def imported(folder: Path, rows: list[str]) -> None:
    """Outcomes of one model by `lang`, in a store of their own."""
    text = "query,model,score,cost_usd,lang\n" + "\n".join(rows) + "\n"
    (folder / "outcomes.csv").write_text(text)
    done = run("profile", "import", "outcomes.csv", *STORE, "--group", "lang", cwd=folder)
    assert done.returncode == 0, done.stderr


def planned(folder: Path, accuracy: str) -> str:
    (folder / "spec.yaml").write_text(
        f'format_version: "1.0"\nworkload: w\nlimits: {{accuracy: {accuracy}}}\n'
    )
    done = run("plan", "spec.yaml", "--profiles", "store.duckdb", cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_audit_of_strategies_warns_of_the_one_that_serves_a_group_worse(folder: Path) -> None:
    done = run(*AUDIT, cwd=folder)
    assert done.returncode == 0, done.stderr
    large, small = done.stdout.split("\nsmall/single\n")
    assert "no group is served better than another beyond noise" in large
    assert "warning: en is served better than cy beyond noise" in small
    assert "kw" in small
    assert "note: 1 query has no lang" in small


def test_an_audit_for_scripts_says_everything(folder: Path) -> None:
    done = run(*AUDIT, "--format", "json", "--confidence", "0.9", cwd=folder)
    found = json.loads(done.stdout)
    assert (found["group"], found["confidence"], found["without_group"]) == ("lang", 0.9, 1)
    by_way = {one["of"]: one for one in found["audits"]}
    assert set(by_way) == {"large/single", "small/single"}
    (lonely,) = [g for g in by_way["small/single"]["groups"] if g["value"] == "kw"]
    assert (lonely["queries"], lonely["accuracy"]) == (1, 1.0)
    assert lonely["accuracy_interval"][0] < 0.2
    (unseen,) = [g for g in by_way["large/single"]["groups"] if g["value"] == "kw"]
    assert unseen["unmeasured"] == 1.0
    assert unseen["accuracy_interval"] == [0.0, 1.0]


def test_a_plan_with_a_floor_for_a_group_serves_it_better_and_the_audit_sees_it(
    folder: Path,
) -> None:
    planned(folder, "{overall: 0.7}")
    before = json.loads(run(*AUDIT, "--plan", "plan.json", "--format", "json", cwd=folder).stdout)
    text = planned(folder, "{by_group: {lang: {cy: 0.75}}}")
    assert "lang cy" in text
    assert "the last point of accuracy.by_group.lang.cy costs" in text
    after = json.loads(run(*AUDIT, "--plan", "plan.json", "--format", "json", cwd=folder).stdout)
    (worse, better) = (
        next(g["accuracy"] for g in found["audits"][0]["groups"] if g["value"] == "cy")
        for found in (before, after)
    )
    assert worse < 0.7 < better
    assert run("compile", "plan.json", "-o", "policy.yaml", cwd=folder).returncode == 0
    by_policy = run(*AUDIT, "--policy", "policy.yaml", "--format", "json", cwd=folder)
    for group, same in zip(
        after["audits"][0]["groups"],
        json.loads(by_policy.stdout)["audits"][0]["groups"],
        strict=True,
    ):
        assert same["accuracy"] == pytest.approx(group["accuracy"], abs=1e-4)
    lower = run(*AUDIT, "--policy", "policy.yaml", "--rung", "9", cwd=folder)
    assert lower.returncode == 2
    assert "no such rung" in lower.stderr


def test_a_floor_that_no_strategy_reaches_ends_with_code_3_and_names_the_group(
    folder: Path,
) -> None:
    (folder / "spec.yaml").write_text(
        'format_version: "1.0"\nworkload: w\nlimits: {accuracy: {by_group: {lang: {cy: 0.99}}}}\n'
    )
    done = run("plan", "spec.yaml", "--profiles", "store.duckdb", cwd=folder)
    assert done.returncode == 3
    assert "accuracy.by_group.lang.cy 0.99 cannot hold" in done.stderr
    assert "fewest queries behind accuracy.by_group.lang.cy: 300 of cy" in done.stderr
    (folder / "spec.yaml").write_text(
        'format_version: "1.0"\nworkload: w\nlimits:\n  accuracy: {by_group: {lang: 0.9}}\n'
    )
    done = run("plan", "spec.yaml", "--profiles", "store.duckdb", cwd=folder)
    assert done.returncode == 2
    assert "spec.yaml:4:31: limits.accuracy.by_group.lang" in done.stderr


def test_an_audit_of_what_does_not_belong_together_is_refused(folder: Path) -> None:
    planned(folder, "{overall: 0.7}")
    other = run("audit", "--profiles", "store.duckdb", "--workload", "x", "--group", "lang",
                "--plan", "plan.json", cwd=folder)  # fmt: skip
    assert other.returncode == 2
    assert "another workload" in other.stderr
    missing = run("audit", *STORE, "--group", "land", cwd=folder)
    assert "did you mean 'lang'" in missing.stderr
    both = run(*AUDIT, "--plan", "plan.json", "--classes", "plan.json", cwd=folder)
    assert both.returncode == 2


def test_a_rung_of_neither_plan_nor_policy_is_refused(folder: Path) -> None:
    done = run(*AUDIT, "--rung", "0", cwd=folder)
    assert done.returncode == 2
    assert "give --plan or --policy" in done.stderr


def test_equal_groups_have_no_gap_in_an_audit_and_in_a_plan(tmp_path: Path) -> None:
    rows = [f"q{i},m,{int(i % 10 > 1)},0.001,{i % 20 // 10 + 1}" for i in range(200)]
    imported(tmp_path, rows)
    audit = run(*AUDIT, cwd=tmp_path)
    assert "gap: none, all groups are the same to 0.1 points; truly 0.0 .. " in audit.stdout
    assert "from 1 to" not in audit.stdout
    plan = planned(tmp_path, "{max_gap: {lang: 0.5}}")
    assert "lang gap: none, all groups are the same to 0.1 points; at most " in plan


def test_a_gap_reads_alike_in_an_audit_and_in_a_plan_and_shares_say_of_what(
    tmp_path: Path,
) -> None:
    rows = [f"q{i},m,{int(i % 10 > i % 2 * 4)},0.001,{'ab'[i % 2]}" for i in range(200)]
    imported(tmp_path, [*rows, "nobody,m,1,0.001,"])
    audit, plan = run(*AUDIT, cwd=tmp_path).stdout, planned(tmp_path, "{max_gap: {lang: 0.9}}")
    assert "gap: 20.0 points from a to b; truly" in audit
    assert "lang gap: 20.0 points from a to b; at most " in plan
    assert "share of grouped" in audit
    assert "50.0 %" in audit
    assert "share of traffic" in plan
    assert "49.8 %" in plan


def test_a_group_that_cannot_be_printed_is_escaped_in_tables_and_whole_for_scripts(
    tmp_path: Path,
) -> None:
    names = ('"two\nlines"', "bell\x07")
    imported(
        tmp_path, [f"q{i},m,{int(i % 10 > i % 2 * 4)},0.001,{names[i % 2]}" for i in range(200)]
    )
    text = run(*AUDIT, cwd=tmp_path).stdout + planned(tmp_path, "{max_gap: {lang: 0.9}}")
    assert "\x07" not in text
    assert "two\nlines" not in text
    assert text.count("two\\nlines") > 2
    assert "from two\\nlines to bell\\x07" in text
    found = json.loads(run(*AUDIT, "--format", "json", cwd=tmp_path).stdout)
    assert {one["value"] for one in found["audits"][0]["groups"]} == {"two\nlines", "bell\x07"}


def test_measuring_towards_limits_on_groups_is_refused_before_anything_is_paid(
    tmp_path: Path,
) -> None:
    spec = Spec.model_validate(
        {"format_version": "1.0", "workload": "w", "limits": {"accuracy": {"max_gap": {"g": 0.1}}}}
    )

    async def pay(jobs: Jobs) -> MeasureReport:
        raise AssertionError(jobs)

    with Store.open(tmp_path / "s.duckdb") as store, pytest.raises(InputError, match="no groups"):
        asyncio.run(measure_adaptively(store, spec, [], ["m/single"], pay))
