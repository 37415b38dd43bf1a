"""From a difficulty graph that reads a label too, through plan, compile and check, to a replay."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import onnx
import onnx.parser

from profiles.digest import digest_bytes
from profiles.store.store import Store

GRAPH = Path(__file__).parents[1] / "policies" / "fixtures" / "words_and_labels.onnxtxt"
FACTS = {"inferbudget_format_version": "1.0", "workload": "two", "strategies": "[]"}
LONG = "one two three four five six seven eight nine ten"


def run(folder: Path, *words: str, expect: int = 0) -> str:
    command = str(Path(sys.executable).parent / "inferbudget")
    done = subprocess.run(
        [command, *words], cwd=folder, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == expect, (words, done.stdout, done.stderr)
    return done.stdout if expect == 0 else done.stderr


def graph(folder: Path) -> bytes:
    model = onnx.parser.parse_model(GRAPH.read_text())
    known = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, {**known, **FACTS})
    content: bytes = model.SerializeToString(deterministic=True)
    (folder / "difficulty.onnx").write_bytes(content)
    return content


def outcomes(folder: Path, *, labels: bool = True) -> Path:
    """`small` fails on long requests in law, where `large` does not."""
    path = folder / f"outcomes-{labels}.csv"
    lines = ["query_id,model,method,score,cost_usd,prompt" + (",class" if labels else "")]
    for index in range(300):
        label, prompt = ("art", LONG) if index % 3 == 0 else ("law", ("hi", LONG)[index % 2])
        small = 0 if (label, prompt) == ("law", LONG) else 1
        for model, score, cost in (("small", small, 0.001), ("large", 1, 0.01)):
            row = f"q{index},{model},single,{score},{cost},{prompt}"
            lines.append(row + (f",{label}" if labels else ""))
    path.write_text("\n".join(lines) + "\n")
    return path


def class_of(index: int) -> str:
    if index % 3 == 0:
        return "art/all"
    return "law/hard" if index % 2 else "law/easy"


def test_a_plan_by_text_and_label_compiles_checks_and_replays(tmp_path: Path) -> None:
    path = outcomes(tmp_path)
    run(tmp_path, "profile", "import", str(path), "--workload", "two", "--profiles", "p.duckdb")
    with Store.open(tmp_path / "p.duckdb") as store:
        classes = {f"q{index}": class_of(index) for index in range(300)}
        store.save_classes(digest_bytes(graph(tmp_path)), "two", classes)
    (tmp_path / "spec.yaml").write_text(
        'format_version: "1.0"\nworkload: two\nclasses: difficulty.onnx\n'
        "limits: {accuracy: {overall: 0.95}}\n"
    )
    run(tmp_path, "plan", "spec.yaml", "--profiles", "p.duckdb")
    assert json.loads((tmp_path / "plan.json").read_text())["classes"]["source"] == "text+label"
    run(tmp_path, "compile", "plan.json")
    assert "  labels: [art, law]" in (tmp_path / "policy.yaml").read_text()
    run(tmp_path, "check", "policy.yaml")
    told = run(tmp_path, "replay", "policy.yaml", "--outcomes", str(path), "--format", "json")
    report = json.loads(told)
    assert {name: part["requests"] for name, part in report["by_class"].items()} == {
        "art/all": 100,
        "law/easy": 100,
        "law/hard": 100,
    }
    assert report["accuracy"] > 0.95
    assert report["cost_usd_per_request"] < 0.006
    without = outcomes(tmp_path, labels=False)
    said = run(tmp_path, "replay", "policy.yaml", "--outcomes", str(without), expect=2)
    assert "300 queries have no class label, by which this policy sorts requests" in said
