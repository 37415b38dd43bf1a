"""Decisions and sentence vectors by the size of a batch, on the CPU and on a GPU if there is one.

The demo's policy decides the demo's prompts, and an encoder of MiniLM's shape (6 layers of width
384, 12 heads) reads texts of 16 and 128 words. The encoder's weights are drawn: its time depends on
the shape alone. Each provider is timed in a process of its own, and a row is of the provider that
really ran.

    python -m benchmarks.decisions_by_batch
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers

from demo.tasks import problems
from policies.file import read_policy
from profiles.difficulty.reading.encoder import Encoder
from runtime.decision import DecisionSession

POLICY = Path("demo/policy/policy.yaml")
RESULT = Path("benchmarks/results/decisions_by_batch.json")
BATCHES = (1, 4, 16, 64)
WORDS = (16, 128)
LAYERS, WIDTH, HEADS, INNER, VOCABULARY, MOST_TOKENS = 6, 384, 12, 1536, 30_522, 256
RUNS, SECONDS = 2000, 20.0
"""Of one row: so many runs, or as many as fit into the time, but three."""
ENOUGH_FOR_P99 = 100
ALONE = "--alone"

Tensors = dict[str, np.ndarray[Any, np.dtype[Any]]]


def timed(step: Callable[[], object], batch: int) -> dict[str, float]:
    """Median and, from 100 runs on, 99th percentile of a run in microseconds; rows a second."""
    step()
    took: list[float] = []
    started = time.perf_counter()
    while len(took) < 3 or (len(took) < RUNS and time.perf_counter() - started < SECONDS):
        before = time.perf_counter_ns()
        step()
        took.append((time.perf_counter_ns() - before) / 1000)
    return {
        "batch": batch,
        "runs": len(took),
        "p50_us": round(statistics.median(took), 1),
        **(
            {"p99_us": round(statistics.quantiles(took, n=100)[98], 1)}
            if len(took) >= ENOUGH_FOR_P99
            else {}
        ),
        "rows_per_s": round(1e6 * batch * len(took) / sum(took)),
    }


def encoder_folder(folder: Path) -> Path:
    """A transformer of MiniLM's shape with drawn weights, and a tokenizer of whole words."""
    rng = np.random.default_rng(0)
    kept: Tensors = {
        "words": _drawn(rng, VOCABULARY, WIDTH),
        "places": _drawn(rng, MOST_TOKENS, WIDTH),
        "ones": np.ones(WIDTH, np.float32),
        "zeros": np.zeros(WIDTH, np.float32),
        "split": np.array([0, 0, HEADS, WIDTH // HEADS]),
        "joined": np.array([0, 0, WIDTH]),
        "scale": np.array((WIDTH // HEADS) ** -0.5, np.float32),
        "low": np.array(-1e4, np.float32),
        "one": np.array(1, np.float32),
        "first": np.array([0]),
        "middle": np.array([1, 2]),
        "start": np.array(0),
        "step": np.array(1),
        "second": np.array(1),
    }
    nodes = [
        helper.make_node("Gather", ["words", "input_ids"], ["of_words"]),
        helper.make_node("Shape", ["input_ids"], ["shape"]),
        helper.make_node("Gather", ["shape", "second"], ["length"]),
        helper.make_node("Range", ["start", "length", "step"], ["order"]),
        helper.make_node("Gather", ["places", "order"], ["of_places"]),
        helper.make_node("Add", ["of_words", "of_places"], ["in_0"]),
        helper.make_node("Cast", ["attention_mask"], ["counted"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["one", "counted"], ["left_out"]),
        helper.make_node("Mul", ["left_out", "low"], ["flat_mask"]),
        helper.make_node("Unsqueeze", ["flat_mask", "middle"], ["mask"]),
    ]
    for layer in range(LAYERS):
        nodes += _layer(rng, layer, kept)
    graph = helper.make_graph(
        nodes,
        "encoder",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["N", "T"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info(f"in_{LAYERS}", TensorProto.FLOAT, ["N", "T", WIDTH])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in kept.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, folder / "model.onnx")
    vocabulary = {"[UNK]": 0} | {f"w{index}": index for index in range(1, VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106 -- no secret
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.enable_truncation(MOST_TOKENS)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def _drawn(rng: np.random.Generator, *shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return rng.normal(0, 0.02, shape).astype(np.float32)


def _layer(rng: np.random.Generator, layer: int, kept: Tensors) -> list[Any]:
    """Attention and two dense steps, each added to its input and normalised.

    Vaswani et al., "Attention is all you need", NIPS 2017.
    """

    def named(name: str) -> str:
        return f"{name}_{layer}"

    def node(kind: str, given: list[str], gives: str, **options: Any) -> Any:
        return helper.make_node(kind, given, [named(gives)], **options)

    for name in ("query", "key", "value", "out"):
        kept[named(f"{name}_weight")] = _drawn(rng, WIDTH, WIDTH)
    kept[named("up_weight")] = _drawn(rng, WIDTH, INNER)
    kept[named("down_weight")] = _drawn(rng, INNER, WIDTH)
    given = f"in_{layer}"
    nodes = []
    for name, order in (("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3])):
        nodes += [
            node("MatMul", [given, named(f"{name}_weight")], f"{name}_flat"),
            node("Reshape", [named(f"{name}_flat"), "split"], f"{name}_heads"),
            node("Transpose", [named(f"{name}_heads")], name, perm=order),
        ]
    return [
        *nodes,
        node("MatMul", [named("query"), named("key")], "raw"),
        node("Mul", [named("raw"), "scale"], "scaled"),
        node("Add", [named("scaled"), "mask"], "masked"),
        node("Softmax", [named("masked")], "weights", axis=-1),
        node("MatMul", [named("weights"), named("value")], "mixed"),
        node("Transpose", [named("mixed")], "together", perm=[0, 2, 1, 3]),
        node("Reshape", [named("together"), "joined"], "flat"),
        node("MatMul", [named("flat"), named("out_weight")], "attended"),
        node("Add", [given, named("attended")], "with_attention"),
        node("LayerNormalization", [named("with_attention"), "ones", "zeros"], "middle"),
        node("MatMul", [named("middle"), named("up_weight")], "up"),
        node("Gelu", [named("up")], "active"),
        node("MatMul", [named("active"), named("down_weight")], "down"),
        node("Add", [named("middle"), named("down")], "with_dense"),
        helper.make_node(
            "LayerNormalization", [named("with_dense"), "ones", "zeros"], [f"in_{layer + 1}"]
        ),
    ]


def rows() -> dict[str, Any]:
    """Rows of the provider that this process gets."""
    policy = read_policy(POLICY)
    decider = DecisionSession(policy, policy.graph_path(POLICY))
    prompts = [problem.prompt for problem in problems(11, max(BATCHES))]
    rng = np.random.default_rng(1)
    decisions = [
        timed(partial(decider.decide_many, prompts[:n], [0] * n, [0.5] * n), n) for n in BATCHES
    ]
    with tempfile.TemporaryDirectory() as folder:
        encoder = Encoder.open(encoder_folder(Path(folder)))
    encoded = []
    for words in WORDS:
        texts = [
            " ".join(f"w{word}" for word in rng.integers(1, VOCABULARY, words))
            for _ in range(max(BATCHES))
        ]
        encoded += [
            {"words": words, **timed(partial(encoder.encode, texts[:n]), n)} for n in BATCHES
        ]
    return {
        "decision": {"provider": decider.provider, "rows": decisions},
        "encoder": {"provider": encoder.provider, "rows": encoded},
    }


def _in_a_process(*, gpu: bool) -> dict[str, Any]:
    hidden = {} if gpu else {"CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "benchmarks.decisions_by_batch", ALONE]
    done = subprocess.run(  # noqa: S603 -- this script
        command, check=True, stdout=subprocess.PIPE, env=os.environ | hidden
    )
    return dict(json.loads(done.stdout))


def _gpu() -> str | None:
    """The name of the GPU, None without one."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],  # noqa: S607 -- on the path
            check=True,
            capture_output=True,
            text=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.splitlines()[0]


def main() -> None:
    """Time and write."""
    if ALONE in sys.argv:
        print(json.dumps(rows()))
        return
    gpu = _gpu()
    found = {"cpu": _in_a_process(gpu=False)} | ({"gpu": _in_a_process(gpu=True)} if gpu else {})
    result = {
        "encoder": {
            "layers": LAYERS, "width": WIDTH, "heads": HEADS, "inner": INNER, "weights": "drawn",
        },
        "threads": 1,
        **found,
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "gpu": gpu,
            "python": platform.python_version(),
            "numpy": version("numpy"),
            "onnxruntime": onnxruntime.__version__,
        },
    }  # fmt: skip
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
