"""Every method on the demo's models: what it adds to one plain answer of the same model, and costs.

The demo's server answers for real: three character-level transformers behind an OpenAI-compatible
API, nine classes of problems (three tasks at three sizes), the same problems for every strategy.
Each strategy runs as `inferbudget profile measure` runs it. A row says, of one strategy in one
class, accuracy and its gain over the plain answer of the same model, paired by problem, calls,
tokens and dollars per request, and the 50th and 95th percentile of latency at `CONCURRENCY`.

What was measured is kept in the store, so a run that was stopped goes on where it was.

    python -m benchmarks.strategies_on_demo [--problems 500] [--store FILE] [--picture FILE]
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import onnxruntime

from demo.stages import COMMAND, upstream
from demo.tasks import SIZES, Problem, problem
from profiles.observation import Observation
from profiles.store.store import Store
from profiles.strategy import parse

RESULT = Path(__file__).parent / "results" / "strategies_on_demo.json"
PICTURE = Path("docs/images/strategies_on_demo.png")
STRATEGIES = Path(__file__).parent / "strategies_on_demo.txt"
SEED = 71_000
PROBLEMS = 500
CONCURRENCY = 24
WORKLOAD = "demo"
SCORING = [
    "--scorer", "demo.tasks:score",
    "--verifier", "checker=demo.tasks:check",
    "--verifier", "steps=demo.steps:check_step",
    "--verifier", "risky=regex:.",
    "--record-verdict", "checker",
    "--extractor", "demo.tasks:final_answer",
]  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One strategy in one class, or in all (``all``: every class counts alike).

    Attributes:
        family: Heading of the strategy in the list.
        strategy: Its text.
        class_name: Task and size.
        requests: Problems.
        accuracy: Share of right answers.
        standard_error: Of it.
        gain: Accuracy less that of the model's plain answer.
        gain_standard_error: Of it, over problems, paired.
        calls: Per request, mean.
        tokens_in: Likewise.
        tokens_out: Likewise.
        tokens_reasoning: Likewise, where all replies said.
        cost_usd: Likewise.
        cost_ratio: Over the plain answer's.
        latency_p50_s: Of a request.
        latency_p95_s: Likewise.
    """

    family: str
    strategy: str
    class_name: str
    requests: int
    accuracy: float
    standard_error: float
    gain: float
    gain_standard_error: float
    calls: float
    tokens_in: float
    tokens_out: float
    tokens_reasoning: float | None
    cost_usd: float
    cost_ratio: float
    latency_p50_s: float
    latency_p95_s: float


def listed() -> dict[str, list[str]]:
    """Strategies by family, from the list: a line that ends with a colon is a heading."""
    found: dict[str, list[str]] = {}
    for line in STRATEGIES.read_text().splitlines():
        if line.endswith(":"):
            family = found.setdefault(line[:-1], [])
        elif line and not line.startswith("#"):
            family.append(str(parse(line)))
    return found


def drawn(count: int) -> list[Problem]:
    """So many problems of every class."""
    return [
        problem(task, level, SEED, index)
        for task in SIZES
        for level in (1, 2, 3)
        for index in range(count)
    ]


def measure(store: Path, problems: Iterable[Problem], strategies: Iterable[str]) -> None:
    """Run all strategies on all problems; what the store holds is kept."""
    tasks = store.with_suffix(".jsonl")
    rows = [
        {"query": p.query_id, "prompt": p.prompt, "class": f"{p.task} {SIZES[p.task][p.level - 1]}"}
        for p in problems
    ]
    tasks.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with upstream() as server:
        for text in strategies:
            subprocess.run(  # noqa: S603 our own command
                [COMMAND, "profile", "measure", str(tasks), "--profiles", str(store),
                 "--workload", WORKLOAD, "--upstream", f"{server.url}/v1",
                 "--prices", "demo/prices-strategies.yaml", *SCORING, "--strategy", text,
                 "--concurrency", str(CONCURRENCY)],
                check=True,
            )  # fmt: skip


def plain(strategy: str) -> str:
    """The plain answer that a strategy is held against: of the model that it begins with."""
    model = parse(strategy).models()[0]
    return THINKS.get(model, f"{model}/single(max_tokens=56,temperature=0)")


THINKS = {
    "demo-reasoner": "demo-reasoner/reasoning_effort(effort=none,max_tokens=220,temperature=0)"
}
"""The plain answer of a model that thinks unless it is told not to."""


def rows_of(store: Path, families: dict[str, list[str]], problems: list[Problem]) -> list[Row]:
    """Every strategy in every class, and over all."""
    class_of = {p.query_id: f"{p.task} {SIZES[p.task][p.level - 1]}" for p in problems}
    seen: dict[str, dict[str, Observation]] = defaultdict(dict)
    with Store.open(str(store)) as opened:
        for row in opened.observations(WORKLOAD):
            if row.query_id in class_of:
                seen[row.strategy][row.query_id] = row
    found = []
    classes = list(dict.fromkeys(class_of.values()))
    for family, strategies in families.items():
        for text in strategies:
            base = seen[plain(text)]
            for name in (*classes, "all"):
                ids = [query for query, own in class_of.items() if name in (own, "all")]
                pairs = [(seen[text][query], base[query]) for query in ids]
                found.append(_row(family, text, name, pairs))
    return found


def _row(family: str, text: str, name: str, pairs: list[tuple[Observation, Observation]]) -> Row:
    own = [mine for mine, _ in pairs]
    scores = [mine.score or 0.0 for mine in own]
    gains = [(mine.score or 0.0) - (theirs.score or 0.0) for mine, theirs in pairs]
    root = math.sqrt(len(pairs))
    latencies = np.array([mine.latency_s for mine in own], dtype=float)
    p50, p95 = (float(value) for value in np.quantile(latencies, [0.5, 0.95]))
    reasoning = [mine.tokens_reasoning for mine in own]
    cost, base_cost = _mean(own, "cost_usd"), _mean([theirs for _, theirs in pairs], "cost_usd")
    return Row(
        family=family,
        strategy=text,
        class_name=name,
        requests=len(pairs),
        accuracy=round(fmean(scores), 4),
        standard_error=round(stdev(scores) / root, 4),
        gain=round(fmean(gains), 4),
        gain_standard_error=round(stdev(gains) / root, 4),
        calls=round(_mean(own, "calls"), 3),
        tokens_in=round(_mean(own, "tokens_in"), 2),
        tokens_out=round(_mean(own, "tokens_out"), 2),
        tokens_reasoning=None if None in reasoning else round(_mean(own, "tokens_reasoning"), 2),
        cost_usd=float(f"{cost:.4g}"),
        cost_ratio=round(cost / base_cost, 2),
        latency_p50_s=round(p50, 4),
        latency_p95_s=round(p95, 4),
    )


def _mean(rows: list[Observation], name: str) -> float:
    return fmean(float(getattr(row, name)) for row in rows)


def picture(rows: list[Row], path: Path) -> None:
    """Accuracy against dollars, one panel per class."""
    import altair as alt  # noqa: PLC0415 only a picture needs it

    values = [row.__dict__ | {"usd": row.cost_usd * 1e6} for row in rows]
    families = list(dict.fromkeys(row.family for row in rows))
    family = {"title": None, "scale": alt.Scale(domain=families)}
    points = (
        alt.Chart(alt.Data(values=values), width=190, height=150)
        .mark_point(filled=True, size=50, opacity=0.8)
        .encode(
            x=alt.X("usd:Q", scale=alt.Scale(type="log"), title="millionths of a dollar a request"),
            y=alt.Y("accuracy:Q", axis=alt.Axis(format="%"), title="accuracy"),
            color=alt.Color("family:N", **family),
            shape=alt.Shape("family:N", **family),
        )
    )
    order = list(dict.fromkeys(row.class_name for row in rows))
    panel = alt.Facet("class_name:N", title=None, sort=order)
    points.facet(facet=panel, columns=5).save(str(path), scale_factor=1.3)


def main() -> None:
    """Measure, and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.strategies_on_demo")
    parser.add_argument("--problems", type=int, default=PROBLEMS, help="of every class")
    parser.add_argument("--store", type=Path, default=Path("strategies_on_demo.duckdb"))
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--picture", type=Path, help=f"draw it, as in {PICTURE}; needs altair")
    chosen = parser.parse_args()
    families, problems = listed(), drawn(chosen.problems)
    texts = [text for own in families.values() for text in own]
    measure(chosen.store, problems, dict.fromkeys([*map(plain, texts), *texts]))
    rows = rows_of(chosen.store, families, problems)
    result: dict[str, Any] = {
        "definitions": {name: " ".join(text.split()) for name, text in _definitions().items()},
        "problems_per_class": chosen.problems,
        "seed": SEED,
        "concurrency": CONCURRENCY,
        "versions": {
            "inferbudget": version("inferbudget"),
            "onnxruntime": onnxruntime.__version__,
        },
        "machine": {"processor": platform.machine(), "python": platform.python_version()},
        "rows": [row.__dict__ for row in rows],
    }
    chosen.out.write_text(json.dumps(result, indent=1) + "\n")
    if chosen.picture:
        picture(rows, chosen.picture)
    for row in rows:
        if row.class_name == "all":
            sys.stdout.write(
                f"{row.accuracy:.3f} {row.gain:+.3f} {row.cost_ratio:7.2f} {row.strategy}\n"
            )


def _definitions() -> dict[str, str]:
    lines = (Row.__doc__ or "").partition("Attributes:")[2].strip().splitlines()
    return dict(line.strip().split(": ", 1) for line in lines if ": " in line)


if __name__ == "__main__":
    main()
