"""Does policy.onnx decide as the Python reference does? A million random requests, a second host.

Policies are compiled from made plans: two sort by label, the others by graphs that read text (the
demo's estimator, and estimators fitted here), text and label, or text and an encoder's vectors. The
reference takes the class from the difficulty graph alone, run in batches of other sizes, or from
the label, and strategy, names and dollars from the tables of the policy; all six outputs must be
equal, dollars bit for bit. Some requests are decided by `plain_onnx` too, which runs the graph in
numpy without ONNX Runtime. The second host is examples/node-host, one request at a time on another
version of ONNX Runtime; requests with U+0000, which it refuses, are not among them.

Latencies are of one request at a time on one thread, beside the difficulty graph alone; loading is
from bytes. Other work may run on the machine: processor time and ratios say more than wall time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto

from benchmarks.made_prompts import Language, prompts
from benchmarks.plain_onnx import PlainGraph
from benchmarks.random_requests import Requests, Sender, encodable
from demo.tasks import problems
from planner.plan import CellFacts, Classes, Figures, Plan, Rung
from planner.spec import Limits, Traffic, Window
from policies.compile import compile_plan
from policies.decide import Tables, choose_many, with_unknown
from policies.file import CompiledPolicy
from policies.policy import Policy
from profiles.difficulty.fit import fit
from profiles.difficulty.nodes import EMBEDDING_INPUT, Graph, floats, ints
from profiles.difficulty.reading.recipes import append_was_read
from profiles.difficulty.reading.text_features import STEPS, surface
from profiles.difficulty.running import outputs
from profiles.digest import digest_bytes
from profiles.money import PriceCard
from profiles.observation import Evidence, Observation
from profiles.query import Query
from profiles.store.store import Store

RESULT = Path("benchmarks/results/decision_graph.json")
DEMO = Path("demo/policy/difficulty.onnx")
NODE_HOST = Path(__file__).parents[1] / "examples/node-host"
SEED = 20261122
OUTPUTS = (
    "class_index", "strategy_index", "class_name", "strategy", "expected_cost_usd",
    "cost_bound_usd",
)  # fmt: skip
WIDTH = 8
# Most characters of a text to the requests of a batch and the weight of such batches.
LENGTHS = {20: (512, 0.5), 200: (128, 0.4), 2_000: (16, 0.095), 20_000: (2, 0.005)}
PROMPTS, LABELS = 600, ("art/x", "naïve", "数学", "law")
TIMED, SECONDS = 2_000, 10.0


@dataclass(frozen=True, slots=True)
class Case:
    """A policy and what made it."""

    name: str
    policy: Policy
    graph: bytes
    estimator: bytes | None
    samples: Sequence[str]


def cases() -> Iterator[Case]:
    """By every source of classes."""
    yield case("label, 8 classes", [f"class {n}" for n in range(8)], None, (1, 6))
    yield case("label, 50 classes", [f"tenant-{n}/数" for n in range(50)], None, (4, 24))
    demo = DEMO.read_bytes()
    asked = [problem.prompt for problem in problems(SEED, 2 * PROMPTS)]
    yield case("text, the demo's estimator", names_in(demo), demo, (4, 8), asked)
    made = [text for text, _ in prompts(2 * PROMPTS, SEED)]
    for weight in ("words+surface", "words+surface+characters"):
        fitted = estimator(weight, by_label=False)
        yield case(f"text, {weight}", names_in(fitted), fitted, (4, 8), made)
    fitted = estimator("words+surface", by_label=True)
    yield case("text and label", names_in(fitted), fitted, (3, 8), made)
    vectors = vector_estimator()
    yield case("text and vectors", names_in(vectors), vectors, (3, 8), made)


def case(
    name: str,
    names: list[str],
    graph: bytes | None,
    size: tuple[int, int],
    samples: Sequence[str] = (),
) -> Case:
    """A policy of these classes and so many rungs and strategies."""
    made = compiled(names, graph, *size)
    return Case(name, made.policy, made.graph, graph, samples)


def compiled(
    names: list[str], graph: bytes | None, rungs: int, strategies: int, seed: int = SEED
) -> CompiledPolicy:
    """A policy with random shares of one to four strategies a class, and random dollars."""
    rng = np.random.default_rng(seed)
    texts = [f"model{n}/single(max_tokens={64 << n % 6})" for n in range(strategies)]

    def allocation() -> dict[str, dict[str, float]]:
        found = {}
        for name in names:
            chosen = rng.choice(texts, rng.integers(1, 5), replace=False).tolist()
            shares = rng.dirichlet(np.ones(len(chosen))).tolist()
            found[name] = dict(zip(chosen, shares, strict=True))
        return found

    cells = {name: {text: cell(rng, certain=rungs > 1) for text in texts} for name in names}

    def cost(shares: dict[str, dict[str, float]]) -> float:
        dollars = [x * (cells[n][s].cost_usd or 0) for n in shares for s, x in shares[n].items()]
        return sum(dollars) / len(names)

    ladder = sorted((allocation() for _ in range(rungs)), key=cost, reverse=True)
    figures = [
        Figures(accuracy=0.8, cost_usd_per_request=cost(shares), latency_p95_s=1.0)
        for shares in ladder
    ]
    plan = Plan(
        status="optimal",
        workload="random",
        confidence=None,
        classes=Classes(
            source=source_of(graph),
            names=tuple(names),
            weights=tuple([1 / len(names)] * len(names)),
            estimator=graph and "difficulty.onnx",
            estimator_digest=graph and digest_bytes(graph),
        ),
        traffic=Traffic(requests=1_000_000, per=Window.MONTH),
        limits=Limits.model_validate({"spend": {"usd": 10_000, "per": "month"}}),
        prices=PriceCard(),
        cells=cells,
        rungs=tuple(
            Rung(
                budget_fraction=1 - 0.2 * step,
                objective="maximize accuracy",
                allocation=shares,
                expected=of_rung,
                promised=of_rung,
                by_class=dict.fromkeys(names, of_rung),
                shadow_prices={},
                limits={},
            )
            for step, (shares, of_rung) in enumerate(zip(ladder, figures, strict=True))
        ),
        best_single_strategy=None,
        spec_digest="sha256:made",
        profile_digest="sha256:made",
        solver="none",
    ).sealed()
    return compile_plan(plan, estimator=graph)


def cell(rng: np.random.Generator, *, certain: bool) -> CellFacts:
    """What was measured of a strategy in a class; now and then nobody knows its dollars.

    A ladder needs means that are `certain`.
    """
    cost = float(10 ** rng.uniform(-7, 1)) if certain or rng.random() < 0.9 else None
    most = cost and cost * float(rng.uniform(1, 9))
    return CellFacts(
        queries=100,
        accuracy=0.8,
        planned_accuracy=0.8,
        accuracy_se=0.01,
        cost_usd=cost,
        cost_se_usd=cost and cost / 20,
        cost_max_usd=most if rng.random() < 0.9 else None,
        latency_p95_s=1.0,
        tokens_out_max=512,
        evidence=("simulated",),
    )


def source_of(graph: bytes | None) -> Any:
    """What a plan with this difficulty graph sorts by."""
    if graph is None:
        return "label"
    return "+".join(name for name in inputs_of(graph) if name in {"text", "label"})


def inputs_of(graph: bytes) -> list[str]:
    """Names of a graph's inputs."""
    return [value.name for value in session(graph).get_inputs()]


def names_in(graph: bytes) -> list[str]:
    """Class names that a difficulty graph carries."""
    found: list[str] = json.loads(session(graph).get_modelmeta().custom_metadata_map["class_names"])
    return found


def estimator(weight: str, *, by_label: bool) -> bytes:
    """Fitted on made prompts of three strategies."""
    rng, store = np.random.default_rng(SEED), Store.open(":memory:")
    made = list(prompts(PROMPTS, SEED))
    store.add_queries(
        "random",
        [Query(f"q{at}", text, LABELS[at % 4]) for at, (text, _) in enumerate(made)],
    )
    store.add(
        Observation(
            workload="random",
            query_id=f"q{at}",
            strategy=f"model{strength}/single",
            sample=0,
            score=float(rng.random() < 1 / (1 + np.exp(difficulty - strength))),
            cost_usd=1e-5 * 4.0**strength,
            evidence=Evidence.SIMULATED,
            source="made",
        )
        for at, (_, difficulty) in enumerate(made)
        for strength in range(3)
    )
    with store:
        return fit(store, "random", classes=3, weights=(weight,), by_label=by_label).content


def vector_estimator() -> bytes:
    """More than eight words are hard, and so are a first number above 0 and what was not read."""
    graph = Graph()
    words = graph.add("Gather", surface(graph), ints(STEPS.index(8)), axis=1)
    first = graph.add("Slice", EMBEDDING_INPUT, ints(0), ints(1), ints(1))
    first = graph.add(
        "Where", graph.add("Unsqueeze", append_was_read(graph), ints(1)), first, floats(1)
    )
    most = graph.add(
        "Max", graph.add("Squeeze", words, ints(1)), graph.add("Squeeze", first, ints(1))
    )
    hard = graph.add("Greater", most, floats(0))
    graph.add("Cast", hard, output="class_index", to=TensorProto.INT64)
    pinned = {"digest": "sha256:made", "width": WIDTH, "max_tokens": 64, "pooling": "mean"}
    model = graph.model(
        {"class_index": (TensorProto.INT64, ["N"])},
        {"class_names": json.dumps(["easy", "hard"]), "encoder": json.dumps(pinned)},
        vectors={EMBEDDING_INPUT: WIDTH},
    )
    return bytes(model.SerializeToString(deterministic=True))


def session(content: bytes) -> onnxruntime.InferenceSession:
    """On one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def expected(of: Case, asked: Requests) -> dict[str, NDArray[Any]]:
    """What the reference answers."""
    policy = of.policy
    names, texts = policy.classes.names, policy.strategy_texts()
    classes = reference_classes(of, asked)
    strategies = choose_many(policy, classes, asked.rungs, asked.uniforms)
    tables = Tables.of(policy)
    return {
        "class_index": classes,
        "strategy_index": strategies,
        "class_name": np.array([*names, ""], dtype=object)[classes],
        "strategy": np.array([*texts, ""], dtype=object)[strategies],
        "expected_cost_usd": with_unknown(tables.cost_usd)[classes, strategies],
        "cost_bound_usd": with_unknown(tables.cost_bound_usd)[classes, strategies],
    }


def reference_classes(of: Case, asked: Requests) -> NDArray[np.int64]:
    """By the difficulty graph alone, or by the label's place among the names."""
    found = np.empty(len(asked), dtype=np.int64)
    labels = asked.labels and [encodable(label) for label in asked.labels]
    if of.estimator is None:
        place = {name: index for index, name in enumerate(of.policy.classes.names)}
        found[:] = [place.get(label, -1) for label in labels or []]
        return found
    texts = asked.texts or []
    for at, classes in outputs(of.estimator, "class_index", texts, labels, asked.vectors):
        found[at] = classes
    return found


def equal(found: dict[str, NDArray[Any]], wanted: dict[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """bool[N]: whether all outputs are, dollars bit for bit."""
    same = np.ones(len(wanted["class_index"]), dtype=bool)
    for name in OUTPUTS:
        ours, theirs = found[name], wanted[name]
        if theirs.dtype == np.float32:
            unknown = np.isnan(theirs) & np.isnan(ours)
            same &= unknown | (ours.view(np.int32) == theirs.view(np.int32))
        else:
            same &= ours == theirs
    return same


def parts_of(count: int) -> dict[int, int]:
    """So many requests by the most characters of a text."""
    ends = np.cumsum([weight for _, weight in LENGTHS.values()]) * count
    return dict(zip(LENGTHS, np.diff(ends.round(), prepend=0).astype(int).tolist(), strict=True))


def agreement(
    of: Case, count: int, graph: PlainGraph | onnxruntime.InferenceSession, seed: int
) -> dict[str, Any]:
    """Requests that graph and reference decide alike."""
    sender = Sender(of.policy, seed, of.samples)
    row: dict[str, Any] = {"requests": 0, "equal": 0, "unknown_labels": 0}
    reached: set[tuple[int, int]] = set()
    for longest, part in parts_of(count).items():
        size = LENGTHS[longest][0]
        for start in range(0, part, 20 * size):
            asked = sender.requests(min(part - start, 20 * size), longest)
            wanted = expected(of, asked)
            parts = [
                graph.run(list(OUTPUTS), asked.feeds(slice(at, at + size)))
                for at in range(0, len(asked), size)
            ]
            found = map(np.concatenate, zip(*parts, strict=True))
            row["requests"] += len(asked)
            row["equal"] += int(equal(dict(zip(OUTPUTS, found, strict=True)), wanted).sum())
            row["unknown_labels"] += int((wanted["class_index"] < 0).sum())
            reached |= {*zip(*(wanted[n].tolist() for n in OUTPUTS[:2]), strict=True)}
    return row | {
        "classes_reached": len({class_index for class_index, _ in reached} - {-1}),
        "classes_with_strategies_reached": len(reached - {(-1, -1)}),
    }


def node_answers(graph: Path, asked: Requests) -> list[dict[str, Any]]:
    """What examples/node-host answers."""
    done = subprocess.run(  # noqa: S603 our own script
        [node(), str(NODE_HOST / "decide.mjs"), str(graph)],
        input="".join(f"{line}\n" for line in asked.lines()),
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    return [json.loads(line) for line in done.stdout.split("\n")[:-1]]


def columns(answers: list[dict[str, Any]]) -> dict[str, NDArray[Any]]:
    """Answers as the graph's outputs; null is nan."""
    kinds: dict[str, Any] = dict.fromkeys(OUTPUTS[:2], np.int64)
    kinds |= dict.fromkeys(OUTPUTS[2:4], object) | dict.fromkeys(OUTPUTS[4:], np.float32)
    return {name: np.array([a[name] for a in answers], dtype=kinds[name]) for name in OUTPUTS}


def second_host(of: Case, count: int) -> dict[str, int]:
    """Requests that the second host decides as the reference does."""
    sender, same, sent = Sender(of.policy, SEED + 1, of.samples), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "policy.onnx"
        path.write_bytes(of.graph)
        for longest, part in parts_of(count).items():
            asked = sender.requests(part, longest)
            found = columns(node_answers(path, asked))
            same += int(equal(found, expected(of, asked)).sum())
            sent += len(asked)
    return {"requests": sent, "equal": same}


def timed(steps: dict[str, Callable[[int], object]]) -> dict[str, dict[str, float]]:
    """Of one call of each, in microseconds, after a warm-up. They take turns."""
    for index in range(20):
        for step in steps.values():
            step(index)
    wall: dict[str, list[float]] = {name: [] for name in steps}
    processor: dict[str, list[float]] = {name: [] for name in steps}
    run, until = 0, time.perf_counter() + SECONDS
    while run < TIMED and (run < 100 or time.perf_counter() < until):
        for name, step in steps.items():
            started, used = time.perf_counter_ns(), time.process_time_ns()
            step(run)
            processor[name].append((time.process_time_ns() - used) / 1000)
            wall[name].append((time.perf_counter_ns() - started) / 1000)
        run += 1
    return {
        name: {
            "runs": run,
            "p50_us": digits(statistics.median(wall[name])),
            "p99_us": digits(statistics.quantiles(wall[name], n=100)[98]),
            "processor_p50_us": digits(statistics.median(processor[name])),
        }
        for name in steps
    }


def digits(number: float) -> float:
    """Four of them."""
    return float(f"{number:.4g}")


def latency(of: Case) -> dict[str, Any]:
    """Of one decision and of the difficulty graph alone, and of loading."""
    graph, language, rows = session(of.graph), Language(SEED), {}
    alone = session(of.estimator) if of.estimator else None
    sizes = (20, 500, 5_000) if "text" in of.policy.classes.inputs else (0,)
    rung, uniform = np.zeros(1, np.int64), np.full(1, 0.5, np.float32)
    for words in sizes:
        feeds: list[dict[str, Any]] = []
        for at in range(64):
            feed: dict[str, Any] = {}
            if words:
                feed["text"] = np.array([language.text(words)], dtype=object)
            if "label" in of.policy.classes.inputs:
                labels = of.policy.classes.accepted
                feed["label"] = np.array([labels[at % len(labels)]], dtype=object)
            if of.policy.classes.encoder:
                feed[EMBEDDING_INPUT] = np.ones((1, WIDTH), np.float32)
            feeds.append(feed)
        steps: dict[str, Callable[[int], object]] = {
            "decision": lambda n, f=feeds: graph.run(
                list(OUTPUTS), {**f[n % 64], "rung": rung, "uniform": uniform}
            )
        }
        if alone is not None:
            steps["difficulty_graph_alone"] = lambda n, f=feeds, a=alone: a.run(
                ["class_index"], f[n % 64]
            )
        rows[f"{words} words" if words else "label"] = timed(steps)
    loads = []
    for _ in range(7):
        started = time.perf_counter_ns()
        session(of.graph)
        loads.append((time.perf_counter_ns() - started) / 1e6)
    return {"one_request": rows, "load_p50_ms": digits(statistics.median(loads))}


def main() -> None:
    """Count, time and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--second-host-requests", type=int, default=100_000)
    parser.add_argument("--plain-requests", type=int, default=50_000)
    parser.add_argument("--output", type=Path, default=RESULT)
    given = parser.parse_args()
    every, rows = list(cases()), []
    for place, of in enumerate(every):
        counts = [
            (place + 1) * total // len(every) - place * total // len(every)
            for total in (given.requests, given.plain_requests, given.second_host_requests)
        ]
        row: dict[str, Any] = {
            "policy": of.name,
            "classes": len(of.policy.classes.names),
            "rungs": len(of.policy.rungs),
            "strategies": len(of.policy.strategies),
            "graph_bytes": len(of.graph),
            "difficulty_graph_bytes": len(of.estimator) if of.estimator else None,
        }
        row["onnxruntime"] = agreement(of, counts[0], session(of.graph), SEED)
        row["plain_onnx"] = agreement(of, counts[1], PlainGraph(of.graph), SEED + 2)
        row["node_host"] = second_host(of, counts[2])
        row |= latency(of)
        rows.append(row)
        print(json.dumps(row), flush=True)
    result = {
        "seed": SEED,
        **{
            host: {key: sum(row[host][key] for row in rows) for key in ("requests", "equal")}
            for host in ("onnxruntime", "plain_onnx", "node_host")
        },
        "policies": rows,
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "load_average": round(os.getloadavg()[0], 1),
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "onnx")},
            "onnxruntime": onnxruntime.__version__,
            **node_versions(),
        },
    }
    given.output.parent.mkdir(exist_ok=True)
    given.output.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")


def node() -> str:
    """Where Node is."""
    found = shutil.which("node")
    if found is None or not (NODE_HOST / "node_modules").is_dir():
        sys.exit(f"install Node and run 'npm ci' in {NODE_HOST}")
    return found


def node_versions() -> dict[str, str]:
    """Of Node and its ONNX Runtime."""
    done = subprocess.run(  # noqa: S603
        [node(), "--version"], capture_output=True, text=True, check=True
    )
    package = json.loads((NODE_HOST / "package.json").read_text())["dependencies"]
    return {"node": done.stdout.strip(), "onnxruntime-node": package["onnxruntime-node"]}


if __name__ == "__main__":
    main()
