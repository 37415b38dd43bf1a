"""Views drawn by lot: every figure of a page is that of the command which the page shows."""

from __future__ import annotations

import json
import random
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from streamlit.testing.v1 import AppTest

from app.cli.main import cli
from app.figures import number
from app.opened import SPEC, STORE
from app.views import View
from planner.explaining.explanation import explanation
from planner.explaining.plain import limit_sentence
from policies.report_layout import code
from profiles.errors import InferbudgetError
from profiles.importing.importers import import_file
from profiles.observation import Evidence
from profiles.store.store import Store

SEEDS = (1, 3, 9, 24)
CLASSES = ("easy", "a.b", 'quo\'te "d"', "ünï *b* `c`")
STRATEGIES = ("small/single", "small/best_of_n(n=4)", "large/single", "large/best_of_n(n=4)")
_MEANS = {
    "small/single": (0.55, 0.001, 0.3),
    "small/best_of_n(n=4)": (0.66, 0.0041, 0.5),
    "large/single": (0.78, 0.0083, 0.9),
    "large/best_of_n(n=4)": (0.86, 0.031, 1.6),
}
_HEADER = (
    "query_id,strategy,score,cost_usd,latency_s,class,calls,tokens_out,gpu_s,energy_j,language"
)


def what_if() -> None:
    from app.pages.what_if import page  # noqa: PLC0415 -- the script stands alone

    page()


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """With everything measured, without latencies, and without dollars."""
    folder = tmp_path_factory.mktemp("stores")
    return {absent: _store(folder, absent) for absent in ("nothing", "latency_s", "cost_usd")}


def _store(folder: Path, absent: str) -> Path:
    rng, rows = random.Random(11), [_HEADER]
    for index in range(480):
        name = CLASSES[index % 4]
        language = ("de", "en")[index % 7 > 2]
        for text, (accuracy, usd, latency) in _MEANS.items():
            score = int(rng.random() < accuracy + 0.1 * (1.5 - index % 4))
            spread = rng.uniform(0.8, 1.2)
            calls = 4 if "n=4" in text else 1
            cost = "" if absent == "cost_usd" else f"{usd * spread:.6f}"
            late = latency * rng.lognormvariate(0, 0.4)
            timed = "" if absent == "latency_s" else f"{late:.3f}"
            quoted_name = name.replace('"', '""')
            rows.append(
                f'q{index},"{text}",{score},{cost},{timed},"{quoted_name}",{calls},'
                f"{200 * calls * spread:.0f},{latency * calls * spread:.4f},"
                f"{300 * latency * spread:.3f},{language}"
            )
    table, store = folder / f"no {absent}.csv", folder / f"no {absent}.duckdb"
    table.write_text("\n".join(rows) + "\n")
    with Store.open(store) as opened:
        import_file(opened, table, workload="t", evidence=Evidence.SIMULATED, groups=["language"])
    return store


def drawn_spec(rng: random.Random, absent: str) -> dict[str, Any]:  # noqa: C901 -- a list of parts
    """A question of some of the parts that specs have."""

    def often(part: float = 0.5) -> bool:
        return rng.random() < part

    spec: dict[str, Any] = {"format_version": "1.0", "workload": "t"}
    goal = rng.choice(
        ["minimize cost", "maximize accuracy", "maximize value", "minimize cost per correct"]
    )
    if absent == "cost_usd":
        goal = "maximize accuracy"
    spec["objective"] = goal
    if goal == "maximize value":
        spec["value"] = {"usd_per_correct": rng.choice([0.01, 0.05])}
    limits: dict[str, Any] = {}
    accuracy: dict[str, Any] = {}
    if often():
        accuracy["overall"] = round(rng.uniform(0.4, 0.75), rng.choice([2, 4]))
    if often(0.3):
        accuracy["by_class"] = {rng.choice(CLASSES): round(rng.uniform(0.3, 0.6), 3)}
    if often(0.2):
        accuracy["by_group"] = {"language": {"de": 0.5}}
    if accuracy:
        limits["accuracy"] = accuracy
    if absent != "cost_usd" and often():
        limits["spend"] = {"usd_per_request": round(rng.uniform(0.002, 0.03), 5)}
    if absent != "latency_s" and often(0.4):
        limits["latency"] = {"p95_s": rng.choice([2.0, 3.5, 5.0])}
        if often():
            limits["latency"]["p50_s"] = rng.choice([1.0, 2.5])
        if often(0.3):
            limits["latency"]["p99_s"] = 8.0
    if often(0.2):
        limits["gpu"] = {"pool": {"gpu_s_per_request": round(rng.uniform(1, 6), 2)}}
    if often(0.2):
        limits["energy"] = {"joules_per_request": round(rng.uniform(150, 500))}
    if often(0.2):
        limits["carbon"] = {"g_per_kwh": 380, "g_per_request": 0.05}
    if often(0.2):
        limits["per_request"] = {"calls": rng.choice([2.0, 3.0])}
    if often(0.2):
        limits["shares"] = [{"name": "own *hardware*", "models": ["small"], "at_least": 0.2}]
    if limits:
        spec["limits"] = limits
    if often(0.6):
        spec["traffic"] = {"requests": rng.choice([900, 40_000, 2_000_000]), "per": "month"}
        if often(0.3):
            spec["traffic"]["growth"] = {"rate": 0.1, "windows": 3}
        if often(0.3) and "spend" in limits:
            usd = limits["spend"]["usd_per_request"] * spec["traffic"]["requests"]
            limits["spend"] = {"usd": round(1.2 * usd, 2) or 1.0, "per": "month"}
    if (
        goal == "minimize cost"
        and "traffic" in spec
        and "growth" not in spec["traffic"]
        and often()
    ):
        usd = 0.002 * spec["traffic"]["requests"]
        spec["fixed_costs"] = [{"name": "rent", "pays_for": ["large"], "usd": usd, "per": "month"}]
    elif often(0.25):
        spec["tenants"] = {
            "acme": {"share": 0.3, "accuracy": {"overall": 0.5}},
            "rest": {"share": 0.7},
        }
    spec["confidence"] = rng.choice([0.95, 0.9, 0.995, "none"])
    return spec


def command(words: list[str], *more: str) -> dict[str, Any] | None:
    """What a command prints as JSON; None where it finds no plan."""
    done = CliRunner().invoke(cli, [*words[1:], *more, "--format", "json"])
    if isinstance(done.exception, InferbudgetError):
        return None
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def shaken(page: AppTest, rng: random.Random) -> None:
    """Move some of the sliders."""
    if rng.random() < 0.6:
        page.slider(key="accuracy").set_value(round(rng.uniform(0, 80), 1))
    budgets = [one for one in page.slider if one.key == "budget"]
    if budgets and rng.random() < 0.6:
        page.toggle(key="limit_budget").set_value(True).run()
        budget = page.slider(key="budget")
        budget.set_value(rng.uniform(budget.min, budget.max)).run()
        page.toggle(key="limit_budget").set_value(rng.random() < 0.8)
    tails = [one for one in page.select_slider if one.key == "p95"]
    if tails and rng.random() < 0.5:
        page.toggle(key="limit_p95").set_value(True).run()
        tail = page.select_slider(key="p95")
        tail.set_value(float(rng.choice(tail.options[len(tail.options) // 2 :]))).run()
        page.toggle(key="limit_p95").set_value(rng.random() < 0.7)
    if rng.random() < 0.3:
        page.text_area(key="set").set_value(
            rng.choice(
                [
                    "confidence=0.8",
                    "strategies=[small/single, large/single]",
                    'limits.accuracy.by_class."a.b"=0.45',
                    "limits.latency.p99_s=9",
                ]
            )
        )
    page.run()


@pytest.mark.parametrize("seed", SEEDS)
def test_what_if_shows_what_its_command_answers(
    stores: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rng = random.Random(seed)
    absent = rng.choice(["nothing", "nothing", "nothing", "latency_s", "cost_usd"])
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(drawn_spec(rng, absent), sort_keys=False))
    monkeypatch.setenv(SPEC, str(path))
    monkeypatch.setenv(STORE, str(stores[absent]))
    page = AppTest.from_function(what_if, default_timeout=120).run()
    assert not page.exception, path.read_text()
    for _ in range(2):
        assert page.code, [one.value for one in page.error]
        _held(page, tmp_path, path)
        shaken(page, rng)
        assert not page.exception, path.read_text()


def _held(page: AppTest, tmp_path: Path, path: Path) -> None:
    words = shlex.split(page.code[0].value)
    plan = command(words, "-o", str(tmp_path / "plan.json"))
    metrics = {one.label: one for one in page.metric}
    about = f"{path.read_text()}\n{page.code[0].value}\n{[e.value for e in page.error]}"
    if plan is None:
        assert not metrics, about
        assert page.error, about
        return
    assert metrics, about
    rung = plan["rungs"][0]
    expected, promised = rung["expected"], rung["promised"]
    usd, promised_usd = expected["cost_usd_per_request"], promised["cost_usd_per_request"]
    assert metrics["USD per 1,000 requests"].value == number(usd, 1000), about
    assert metrics["Accuracy"].value == f"{expected['accuracy']:.1%}", about
    tail = metrics["p95 latency, s"].value
    if expected["latency_p95_s"] is not None:
        assert tail == number(expected["latency_p95_s"]), about
    promise = next(one.value for one in page.caption if "accuracy at least" in one.value)
    assert f"at least {promised['accuracy']:.1%}" in promise, about
    assert f"at most {number(promised_usd, 1000)} USD per 1,000 requests" in promise, about
    sure = plan["confidence"]
    assert (f"with {100 * sure:g} % confidence" if sure else "no promise") in promise, about
    if plan.get("traffic") and usd is not None:
        total = plan["traffic"]["requests"] * usd
        if plan.get("fixed_costs"):
            total = plan["fixed_costs"]["expected_total_usd"]
        assert f"Expected spend: {number(total)} USD" in promise, about
    shown = page.dataframe[-1].value
    shares = {(r["class"], r["strategy"]): r["of the class"] for _, r in shown.iterrows()}
    asked = {(c, s): part for c, by in rung["allocation"].items() for s, part in by.items()}
    assert shares.keys() == asked.keys(), about
    assert all(abs(shares[key] - asked[key]) < 1e-6 for key in asked), about
    _held_sentences(page, words, about)
    _held_frontier(page, words, about)


def _held_sentences(page: AppTest, words: list[str], about: str) -> None:
    sets = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    question = View(Path(words[2]), Path(words[4]), tuple(sets)).ask()
    found = explanation(question.planner(), most_solves=0)
    told = [
        f"- {limit_sentence(one, found.objective, found.traffic, code)}" for one in found.limits
    ]
    shown = [one.value for one in page.markdown if one.value.startswith("- ")]
    lacking = [text for text in told if text not in shown]
    assert not lacking, (lacking, shown, about)


def _held_frontier(page: AppTest, words: list[str], about: str) -> None:
    boxes = [one for one in page.selectbox if one.key == "adopt"]
    found = command(["inferbudget", "frontier", *words[2:]], "--points", "30")
    if found is None or not boxes:
        assert (found is None) == (not boxes), about
        return
    shown = [float(text.partition(" USD")[0].replace(",", "")) for text in boxes[0].options]
    asked = [1000 * point["usd_per_request"] for point in found["points"]]
    assert shown == pytest.approx(asked, rel=1e-3), about
