"""Thirty minutes of Azure's traffic at ten times its speed, through real gateways with a budget.

The times at which requests came are those of Azure's two traces of 2023, divided by the speed. What
a request asks is a problem of the demo, and what the model server answers was recorded from the
demo's own models: text, tokens and seconds, call by call. Arrivals come ten times as densely; an
answer takes as long as it took when it was recorded. So ten times as many requests are in flight as
at the trace's own speed, and nothing else is scaled.

Policies are planned by the product itself on a profile of other problems: the most accurate plan
within a 95th percentile, for as many requests as the budget pays for. More come: a budget of 0.5
meets twice as many as it was planned for. The budget is for a day, by the machine's clock, and the
traffic's shape says in which minutes of the day all requests come; how many, and how unevenly, the
gateways find out.

Value is the sum of the expected accuracies of the answers, by class and strategy as the policy has
them, over the most that a linear programme reaches with the same money when it knows every request
and what each strategy costs on it; a refused request brings none. All gateways of an arm are
processes of their own over one Redis server; their clients know nothing of each other.

    python -m benchmarks.replayed_traffic [FOLDER] --work WORK [--minutes 30] [--speed 10]
        [--budgets 0.5 0.7 0.9] [--replicas 1 4] [--traces conversations code] [--rounds 1]

Arms with the same number of replicas run beside each other. What an arm saw is kept in WORK; one
that is there is not run again. The result has every arm that WORK has.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.replayed_traffic.figures import Known, figures, row
from benchmarks.replayed_traffic.picture import PICTURE, picture
from benchmarks.replayed_traffic.planned import PROFILE_SEED, TRAFFIC_SEED, Material
from benchmarks.replayed_traffic.run import run
from benchmarks.replayed_traffic.traffic import SEED, TRACES, Arm, Replay
from policies.file import read_policy

RESULT = Path("benchmarks/results/replayed_traffic.json")
BESIDE = Path(__file__).parents[3] / "shared" / "data"
P95_S = 1.0
PLAN_S, START_S = 3.0, 2.5
"""Seconds of lead for a policy and for a gateway."""
DEFINITIONS = {
    "value": "expected accuracy of the answers over that of hindsight within the rungs' rows",
    "value_over_any_strategy": "over that of hindsight with any strategy for any class",
    "value_unpaced": "of the best plan, and of the cheapest rung, for every request until the "
    "money is gone; reckoned, not run",
    "expected_accuracy": "by class and strategy as the policy has them, refused ones 0",
    "true_accuracy": "by the problems' truths, refused ones 0",
    "rungs": "answers decided on each rung, dearest first",
    "downgraded": "answers by a cheaper strategy than drawn, since the hold did not fit",
    "sorted_otherwise": "answers whose class is not that of the graph on its own",
    "budget_over_first_rung": "budget over what the first rung costs on all requests that came",
    "spent_share": "the model server's bill over the budget",
    "told_nano_usd": "sum of the costs in the headers of the answers",
    "memory": "resident memory of the gateway that grew most, after a fifth of the run",
    "course": "shares of the budget by the bill, by an even plan and by arrivals; requests per "
    "second, mean rung, requests in flight, resident MB of the largest gateway",
}


def main() -> None:
    """Run what is missing, then write."""
    chosen = _arguments()
    replay = Replay(chosen.minutes, chosen.speed, chosen.rounds)
    arms = [
        Arm(trace, budget, replicas, replay)
        for replicas in chosen.replicas
        for trace in chosen.traces
        for budget in chosen.budgets
    ]
    material = Material(chosen.work, chosen.profile, chosen.problems, P95_S)
    material.prepare()
    material.best()
    missing = [arm for arm in arms if not (chosen.work / arm.name / "seen.json").exists()]
    for _, together in groupby(missing, key=lambda arm: arm.replicas):
        _wave(list(together), material, chosen)
    _write(material, chosen)


def _wave(arms: Sequence[Arm], material: Material, chosen: argparse.Namespace) -> None:
    """Arms beside each other, from planning to the end."""
    gateways = sum(arm.replicas for arm in arms)
    lead_s = chosen.lead or 10 + PLAN_S * len(arms) + START_S * gateways
    replay = arms[0].replay
    start_s = replay.start_s(time.time(), lead_s)
    print(f"{len(arms)} arms begin in {start_s - time.time():.0f} s", flush=True)
    best = material.best()
    each_usd, promised = (best[what]["cost_usd_per_request"] for what in ("expected", "promised"))
    arrivals = {arm.trace: replay.arrivals(chosen.folder, arm.trace) for arm in arms}

    def plan(arm: Arm) -> None:
        folder = chosen.work / arm.name
        shutil.rmtree(folder, ignore_errors=True)
        usd = arm.budget * each_usd * len(arrivals[arm.trace])
        # A certified plan needs its promised mean, which is above the expected one.
        requests = int(usd / promised)
        material.policy(folder, requests, usd, (start_s, start_s + replay.span_s))

    with ThreadPoolExecutor(2) as planners:
        list(planners.map(plan, arms))

    async def all_of_them() -> None:
        problems = material.asked()
        ran = (
            run(
                arm,
                chosen.work / arm.name,
                start_s=start_s,
                answers=material.answers,
                arrivals=arrivals[arm.trace],
                problems=problems,
            )
            for arm in arms
        )
        for arm, ended in zip(
            arms, await asyncio.gather(*ran, return_exceptions=True), strict=True
        ):
            if ended is not None:
                print(f"{arm.name}: {ended!r}", flush=True)

    asyncio.run(all_of_them())


def _write(material: Material, chosen: argparse.Namespace) -> None:
    found = {}
    kept = {Arm.named(file.parent.name): file for file in chosen.work.glob("*/seen.json")}
    for arm in sorted(
        kept, key=lambda arm: (-arm.replay.span_s, arm.trace, arm.budget, arm.replicas)
    ):
        file = kept[arm]
        policy = read_policy(file.parent / "policy.yaml")
        known = Known.of(policy, file.parent / policy.graph.file, material)
        found[arm.name] = figures(arm, json.loads(file.read_text()), known, P95_S)
        shown = {key: one for key, one in found[arm.name].items() if key != "course"}
        print(arm.name, json.dumps(shown), flush=True)
    best = material.best()
    result: dict[str, Any] = {
        "seeds": {"profile": PROFILE_SEED, "problems": TRAFFIC_SEED, "traffic": SEED},
        "definitions": DEFINITIONS,
        "sources": [
            "Azure LLM inference traces 2023 (CC BY 4.0), Patel et al., Splitwise, ISCA 2024: when "
            "requests come",
            "the demo's models: answers, tokens and seconds, 24 calls in flight",
        ],
        "profiled_problems": material.profile,
        "problems": material.traffic,
        "best_plan": {"expected": best["expected"], "promised": best["promised"]},
        "arms": found,
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "scipy", "aiohttp", "redis", "uvicorn")},
        },
    }
    chosen.result.write_text(json.dumps(result, indent=1) + "\n")
    print("\n".join(row(name, one) for name, one in found.items()))
    if chosen.picture:
        picture(found, chosen.picture)


def _arguments() -> argparse.Namespace:
    default = Path(os.environ.get("INFERBUDGET_SHARED_DATA", BESIDE))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, nargs="?", default=default)
    parser.add_argument("--work", type=Path, required=True, help="where arms are kept")
    parser.add_argument("--minutes", type=float, default=30.0, help="of the trace")
    parser.add_argument("--speed", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=1, help="how often these minutes are played")
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.5, 0.7, 0.9])
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--traces", nargs="+", choices=tuple(TRACES), default=list(TRACES))
    parser.add_argument("--profile", type=int, default=1_000, help="problems profiled")
    parser.add_argument("--problems", type=int, default=500, help="problems that are asked")
    parser.add_argument("--lead", type=float, help="seconds until a wave begins")
    parser.add_argument("--result", type=Path, default=RESULT)
    parser.add_argument("--picture", type=Path, help=f"draw it, as in {PICTURE}; needs altair")
    return parser.parse_args()


if __name__ == "__main__":
    main()
