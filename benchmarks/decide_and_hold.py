"""One decision and one hold: what the policy adds to a request, in process."""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnxruntime

from demo.tasks import problems
from policies.file import read_policy
from runtime.decision import DecisionSession
from runtime.ledger import Ledger, Scope

POLICY = Path("demo/policy/policy.yaml")
RESULT = Path("benchmarks/results/decide_and_hold.json")
ROUNDS = 5000


def timed(step: Callable[[int], object]) -> dict[str, float]:
    """Median and 99th percentile in microseconds, after a warm-up."""
    for index in range(200):
        step(index)
    took = []
    for index in range(ROUNDS):
        started = time.perf_counter_ns()
        step(index)
        took.append((time.perf_counter_ns() - started) / 1000)
    return {
        "p50_us": round(statistics.median(took), 2),
        "p99_us": round(statistics.quantiles(took, n=100)[98], 2),
    }


def main() -> None:
    """Time and write."""
    policy = read_policy(POLICY)
    graph = policy.graph_path(POLICY)
    decider = DecisionSession(policy, graph)
    prompts = [problem.prompt for problem in problems(11, 512)]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    bare = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    rung, uniform = np.zeros(1, np.int64), np.full(1, 0.5, np.float32)
    texts = [np.array([prompt], dtype=object) for prompt in prompts]
    ledger = Ledger([Scope("global", 10**15), Scope("tenant", 10**15), Scope("key", 10**15)])

    def hold(index: int) -> None:
        held = ledger.hold(str(index), 1000)
        held.call(1000).settle(400)
        held.close()

    rows = {
        "bare_onnxruntime": timed(
            lambda n: bare.run(
                ["strategy_index"], {"text": texts[n % 512], "rung": rung, "uniform": uniform}
            )
        ),
        "decision": timed(lambda n: decider.decide(prompts[n % 512], 0, 0.5)),
        "hold_and_settle_on_three_scopes": timed(hold),
    }
    result = {
        "rounds": ROUNDS,
        "provider": decider.provider,
        "rows": rows,
        "ratio_decision_to_bare": round(
            rows["decision"]["p50_us"] / rows["bare_onnxruntime"]["p50_us"], 3
        ),
        "machine": {
            "processor": platform.machine(),
            "python": platform.python_version(),
            "numpy": version("numpy"),
            "onnxruntime": onnxruntime.__version__,
        },
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
