"""Microseconds per prompt of a fitted difficulty estimator's graph, on one thread of a processor.

Texts are made and have 50, 500 or 5,000 words, which are more than as many tokens of a language
model. They come one at a time or 32 at once, never the same ones twice in a row. Beside the
estimator stand its parts: `call` is a graph that does nothing, `words` makes its first split of the
text, into words, `tokenizers` all its splits, `features` computes keys of words and surface counts.
The graphs take turns, so that a busy machine is busy for all of them. Where others use it too,
processor time and the least time say more than the median.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import tempfile
import time
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper

from benchmarks.made_prompts import STRATEGIES, WORKLOAD, Language, make_store
from profiles.difficulty.fit import WEIGHT, fit
from profiles.difficulty.nodes import Graph
from profiles.difficulty.reading.recipes import RECIPES
from profiles.difficulty.reading.text_features import surface
from profiles.store.store import Store

RESULT = Path("benchmarks/results/difficulty_latency.json")
SEED = 12
QUERIES, CLASSES = 1_000, 3
LENGTHS = (50, 500, 5_000)
BATCHES = (1, 32)
FEWEST_RUNS, MOST_RUNS, SECONDS = 15, 1_000, 12.0
TEXTS_OF_EACH = 64
PROVIDER = "CPUExecutionProvider"


def estimator() -> bytes:
    """Fitted on made prompts."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "made.duckdb"
        make_store(file, QUERIES, SEED)
        with Store.open(file) as store:
            return fit(store, WORKLOAD, classes=CLASSES, seed=SEED).content


def splits(whole: bytes, number: int | None) -> bytes:
    """The first so many tokenizers of an estimator, or all."""
    graph, found = Graph(), ["text"]
    nodes = onnx.load_from_string(whole).graph.node
    for node in [node for node in nodes if node.op_type == "Tokenizer"][:number]:
        given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        found.append(graph.add("Tokenizer", "text", domain=node.domain, **given))
    return sizes_of(graph, found)


def features() -> bytes:
    """What a predictor of the usual weight reads of a text: keys of words, and the surface."""
    graph, recipe = Graph(), RECIPES[WEIGHT]
    found = [keys(graph) for keys in recipe.bags]
    if recipe.with_surface:
        found.append(surface(graph))
    return sizes_of(graph, found)


def sizes_of(graph: Graph, found: list[str]) -> bytes:
    """A model that gives the sizes of what was found, which itself stays inside."""
    given: dict[str, tuple[int, list[str | int]]] = {}
    for index, name in enumerate(found):
        given[graph.add("Size", name, output=f"size_{index}")] = (TensorProto.INT64, [])
    return bytes(graph.model(given, {}).SerializeToString())


def session(content: bytes) -> onnxruntime.InferenceSession:
    """On one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options, providers=[PROVIDER])


def batches(language: Language, words: int, size: int) -> list[NDArray[np.object_]]:
    """Texts of so many words."""
    number = max(3, TEXTS_OF_EACH // size)
    return [
        np.array([language.text(words) for _ in range(size)], dtype=object) for _ in range(number)
    ]


def timed(
    graphs: dict[str, onnxruntime.InferenceSession], texts: list[NDArray[np.object_]]
) -> dict[str, Any]:
    """Median and least wall time and median processor time per prompt, of so many runs."""
    took: dict[str, list[tuple[int, int]]] = {name: [] for name in graphs}
    for graph in graphs.values():
        for _ in range(3):
            graph.run(None, {"text": texts[0]})
    until, run = time.perf_counter() + SECONDS, 0
    while run < FEWEST_RUNS or (run < MOST_RUNS and time.perf_counter() < until):
        feed = {"text": texts[run % len(texts)]}
        for name, graph in graphs.items():
            wall, processor = time.perf_counter_ns(), time.process_time_ns()
            graph.run(None, feed)
            spent = time.process_time_ns() - processor
            took[name].append((time.perf_counter_ns() - wall, spent))
        run += 1
    size = len(texts[0])
    return {"runs": run} | {
        name: {
            "p50_us": rounded(statistics.median(wall for wall, _ in spent) / size),
            "least_us": rounded(min(wall for wall, _ in spent) / size),
            "processor_p50_us": rounded(statistics.median(used for _, used in spent) / size),
        }
        for name, spent in took.items()
    }


def rounded(nanoseconds: float) -> float:
    """In microseconds, four digits."""
    return float(f"{nanoseconds / 1000:.4g}")


def shares(row: dict[str, Any], names: list[str]) -> dict[str, float]:
    """What each part adds to the one before it, as a share of the estimator's processor time."""
    whole = row["estimator"]["processor_p50_us"]
    added = {
        later: (row[later]["processor_p50_us"] - row[earlier]["processor_p50_us"]) / whole
        for earlier, later in pairwise(names)
    }
    return {name: round(share, 3) for name, share in added.items()}


def main() -> None:
    """Time and write."""
    whole = estimator()
    graphs = {
        "call": session(splits(whole, 0)),
        "words": session(splits(whole, 1)),
        "tokenizers": session(splits(whole, None)),
        "features": session(features()),
        "estimator": session(whole),
    }
    language, rows = Language(SEED), []
    for words in LENGTHS:
        for size in BATCHES:
            row: dict[str, Any] = {"words_per_text": words, "batch": size}
            row |= {"load_average": round(os.getloadavg()[0], 1)}
            row |= timed(graphs, batches(language, words, size))
            row["share_added_by"] = shares(row, list(graphs))
            rows.append(row)
            print(row, flush=True)
    result = {
        "weight": WEIGHT,
        "strategies": STRATEGIES,
        "classes": CLASSES,
        "seed": SEED,
        "threads": 1,
        "provider": PROVIDER,
        "cuda": "CUDAExecutionProvider" in onnxruntime.get_available_providers(),
        "estimator_bytes": len(whole),
        "rows": rows,
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "onnx", "onnxruntime")},
        },
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
