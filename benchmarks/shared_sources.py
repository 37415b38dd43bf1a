"""Every table of the shared measurements through the importer, against what its README says.

Run as ``python -m benchmarks.shared_sources [FOLDER]``; the folder of the measurements is the
argument, ``INFERBUDGET_SHARED_DATA``, or ``../shared/data`` beside the repository. Only aggregated
figures are written.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from profiles.importing.expectations import Check, check_all
from profiles.importing.import_report import ImportReport
from profiles.importing.importers import import_file
from profiles.importing.mapping import load_mapping, mapping_names
from profiles.store.store import Store

RESULT = Path("benchmarks/results/shared_sources.json")
BESIDE = Path(__file__).parents[2] / "shared" / "data"
# the source names no day; a card needs one
ASSUMED = {"llmrouter_listed_prices": {"as_of": "2025-01-01"}}
FURTHER_FILES = {
    "sglang_bench_h200": (
        "deepseek_dp_mla_output.jsonl",
        "llama_3_3_70b_online_output.jsonl",
        "llama_405b_online_output.jsonl",
    ),
    "tot_game24_logs": (
        "gpt-4_0.7_naive_standard_sample_100_start900_end1000.json",
        "gpt-4_0.7_propose1_value3_greedy5_start900_end1000.json",
    ),
}
DEFECTS = (
    ("swebench_minisweagent", "rows against their headline", "contradict their headline", 1),
    ("swebench_minisweagent", "headline cost 0 is unknown", "cost_usd 0 means not recorded", 1),
    ("swebench_minisweagent", "headline calls 0 are unknown", "calls 0 means not recorded", 1),
    ("swebench_minisweagent", "six models without rows", "headline without rows", 6),
    ("swebench_minisweagent", "a class of three", "class too small to promise", 1),
    ("open_agent_leaderboard", "cost 0 is not counted", "cost_usd 0 means not recorded", 107),
    ("open_agent_leaderboard", "one row without a score", "no accuracy", 1),
    ("open_agent_leaderboard_raw", "thousands separators", "tokens_in with thousands", 197),
    ("open_agent_leaderboard_raw", "empty columns without a name", "column without a name", 27),
    ("open_agent_leaderboard_raw", "one row without a score or cost", "no accuracy", 1),
    ("routellm", "GPT-4 answers in high-school mathematics not parsed", "answers that were not", 1),
    ("llmrouter_nine_models", "answer-format failures", "answers that were not read", 10),
    ("sglang_bench_h200", "bare Infinity", "Infinity", 1),
    ("tau2_leaderboard", "two submissions with identical numbers", "identical figures", 1),
    ("math500_strategies", "baselines in both tables", "row repeats another", 2),
    ("math500_devices", "runs that did not run", "nothing was measured", 5),
    ("bfcl_leaderboard_raw", "per-cent signs", "accuracy with a per-cent sign", 654),
    ("gpu_serving_measurements", "attention_dp_size 0", "attention_dp_size 0", 15),
    ("gpu_serving_measurements", "a batch of 8192", "a batch of 8192", 1),
    ("gpu_serving_measurements", "concurrency other than in the id", "concurrency contradicts", 1),
    ("tot_game24_logs", "a running counter that restarts", "running counter", 1),
    ("azure_llm_trace_2023_code", "times without a zone", "without a zone", 8819),
    ("azure_llm_trace_2023_conv", "times without a zone", "without a zone", 19366),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure that a README names, and what the store says."""

    text: str
    published: float
    within: float
    got: float

    @property
    def ok(self) -> bool:
        """Whether they agree."""
        return abs(self.published - self.got) <= self.within


def data_folder() -> Path:
    """Where the measurements lie."""
    given = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("INFERBUDGET_SHARED_DATA")
    return Path(given) if given else BESIDE


def import_all(store: Store, data: Path) -> dict[str, list[ImportReport]]:
    """Every mapping of ours over its file, each as a workload of its own."""
    reports: dict[str, list[ImportReport]] = {}
    for name in mapping_names():
        rules = load_mapping(name)
        first = data / rules.file
        files = [first, *(first.parent / other for other in FURTHER_FILES.get(name, ()))]
        reports[name] = [
            import_file(store, file, workload=name, mapping=rules, constants=ASSUMED.get(name, {}))
            for file in files
        ]
    return reports


def stored_checks(store: Store, name: str, reports: list[ImportReport]) -> tuple[Check, ...]:
    """The mapping's check values once more, over what the store gives back."""
    rules = load_mapping(name)
    sources = {Path(report.file).name for report in reports}
    records = [
        *store.observations(name),
        *store.aggregates(name),
        *(point for point in store.serving() if point.source in sources),
        *store.arrivals(name),
    ]
    with store.reading() as sql:
        rows = sql("SELECT query_id, class_label FROM queries WHERE workload = ?", [name])
        classes = dict(rows.fetchall())
    counts = {
        "read": sum(report.rows for report in reports),
        "kept": len(records) if records else sum(report.kept for report in reports),
        "set_aside": len([row for s in sources for row in store.quarantined(s)]),
        "queries": len(classes),
    }
    return check_all(rules.expect, records, counts, classes)


def figures(store: Store) -> Iterator[tuple[str, Figure]]:
    """README figures that are more than a mean of one field."""
    yield from _best_choices(store)
    yield from _arrivals(store)
    yield from _tokens_per_accelerator(store)
    yield from _game_of_24(store)
    serving = Counter(point.source for point in store.serving())
    sglang = sum(n for source, n in serving.items() if source.endswith("_output.jsonl"))
    yield "sglang_bench_h200", Figure("runs", 21, 0, sglang)
    with store.reading() as sql:
        sizes = dict(
            sql(
                "SELECT class_label, count(*) FROM queries WHERE workload = ? GROUP BY ALL",
                ["swebench_minisweagent"],
            ).fetchall()
        )
    for label, n in (("<15 min fix", 194), ("15 min - 1 hour", 261), ("1-4 hours", 42),
                     (">4 hours", 3)):  # fmt: skip
        yield "swebench_minisweagent", Figure(f"tasks of {label}", n, 0, sizes[label])


def _best_choices(store: Store) -> Iterator[tuple[str, Figure]]:
    name = "llmrouter_nine_models"
    with store.reading() as sql:
        rows = sql(
            "SELECT o.query_id, class_label, strategy, score FROM observations o "
            "JOIN queries q USING (workload, query_id) WHERE workload = ?",
            [name],
        ).fetchall()
    best = {
        "best single model": _mean_of_best(rows, lambda _query, _task: ""),
        "best model per task": _mean_of_best(rows, lambda _query, task: task),
        "best model per query": _mean_of_best(rows, lambda query, _task: query),
    }
    for (text, got), published in zip(best.items(), (0.617, 0.664, 0.797), strict=True):
        yield name, Figure(text, published, 5e-4, got)


def _mean_of_best(rows: list[Any], group: Callable[[str, str], str]) -> float:
    """Mean score per query where every group of queries takes the model that is best for it."""
    totals: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    queries = set()
    for query, task, strategy, score in rows:
        totals[group(query, task)][strategy] += score
        queries.add(query)
    return sum(max(by_model.values()) for by_model in totals.values()) / len(queries)


def _arrivals(store: Store) -> Iterator[tuple[str, Figure]]:
    for kind, seconds, rate in (("conv", 3502, 5.53), ("code", 3436, 2.57)):
        name = f"azure_llm_trace_2023_{kind}"
        times = [request.arrived_at for request in store.arrivals(name)]
        lasted = (times[-1] - times[0]).total_seconds()
        yield name, Figure("seconds", seconds, 0.5, lasted)
        yield name, Figure("requests per second", rate, 0.005, len(times) / lasted)


def _tokens_per_accelerator(store: Store) -> Iterator[tuple[str, Figure]]:
    """MLPerf: median tokens per second of one accelerator, llama2-70b-99."""
    published = {
        "NVIDIA L40S": (292, 238), "NVIDIA H100-PCIe-80GB": (1160, 1012),
        "NVIDIA H100-SXM-80GB": (3017, 2699), "NVIDIA H200-SXM-141GB": (3913, 3717),
        "AMD Instinct MI300X-NPS1-SPX-192GB-750W": (3014, 2629),
        "NVIDIA B200-SXM-180GB": (11264, 10756),
    }  # fmt: skip
    found = defaultdict(list)
    for point in store.serving():
        if point.model != "llama2-70b-99" or not point.gpus or not point.output_tokens_per_s:
            continue
        scenario = point.label.rpartition(" ")[2]
        found[point.system, scenario].append(point.output_tokens_per_s / point.gpus)
    for card, pair in published.items():
        for scenario, value in zip(("Offline", "Server"), pair, strict=True):
            got = statistics.median(found[card, scenario])
            text = f"median tokens/s per accelerator, {card}, {scenario}"
            yield "mlperf_inference_v4_1", Figure(text, value, 0.5, got)


def _game_of_24(store: Store) -> Iterator[tuple[str, Figure]]:
    """Dollars of all samples per puzzle, out of the program's running counters."""
    name = "tot_game24_logs"
    with store.reading() as sql:
        rows = sql(
            "SELECT strategy, avg(score), sum(cost_usd) / count(DISTINCT query_id) "
            "FROM observations WHERE workload = ? GROUP BY strategy",
            [name],
        ).fetchall()
    published = {
        "single": (0.0734, 0.138), "chain_of_thought": (0.0403, 0.470),
        "tree_of_thoughts": (0.69, 0.745),
    }  # fmt: skip
    for strategy, score, usd in rows:
        method = next(word for word in published if f"/{word}" in strategy)
        yield name, Figure(f"mean score of {method}", published[method][0], 5e-5, score)
        yield name, Figure(f"USD per puzzle of {method}", published[method][1], 5e-4, usd)


def defects(reports: dict[str, list[ImportReport]]) -> list[dict[str, Any]]:
    """Every listed defect with the notes that report it."""
    rows = []
    for name, defect, text, at_least in DEFECTS:
        notes = [note for report in reports[name] for note in report.notes if text in note.text]
        count = sum(note.count for note in notes)
        rows.append(
            {
                "source": name,
                "defect": defect,
                "notes": sorted({note.text for note in notes}),
                "count": count,
                "reported": count >= at_least,
            }
        )
    return rows


def main() -> None:
    """Import, compare and write."""
    data = data_folder()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "s.duckdb") as store:
        reports = import_all(store, data)
        took = time.perf_counter() - started
        more: dict[str, list[Figure]] = defaultdict(list)
        for name, figure in figures(store):
            more[name].append(figure)
        sources = {
            name: {
                "kind": found[0].kind,
                "read": sum(report.rows for report in found),
                "kept": sum(report.kept for report in found),
                "added": sum(report.added for report in found),
                "set_aside": dict(sum((Counter(r.set_aside) for r in found), Counter())),
                "suspicious": sorted(
                    {
                        e
                        for r in found
                        for n in r.notes
                        if n.kind == "suspicious"
                        for e in n.examples
                    }
                ),
                "checks": [
                    *(asdict(check) for check in stored_checks(store, name, found)),
                    *(asdict(figure) | {"ok": figure.ok} for figure in more[name]),
                ],
            }
            for name, found in reports.items()
        }
    listed = defects(reports)
    checks = [check for source in sources.values() for check in source["checks"]]
    result = {
        "imports": sum(len(found) for found in reports.values()),
        "seconds": round(took, 1),
        "assumed": ASSUMED,
        "checks": {"all": len(checks), "ok": sum(check["ok"] for check in checks)},
        "defects": {"all": len(listed), "reported": sum(row["reported"] for row in listed)},
        "defect_rows": listed,
        "sources": sources,
        "machine": {
            "processor": platform.machine(),
            "python": platform.python_version(),
            "duckdb": version("duckdb"),
            "numpy": version("numpy"),
        },
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({key: result[key] for key in ("checks", "defects", "seconds")}))


if __name__ == "__main__":
    main()
