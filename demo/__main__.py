"""`python -m demo`: the whole loop on real small models, by the public commands alone.

measure -> difficulty fit -> plan -> compile -> serve -> traffic -> report, then the same problems
on the same upstream with one strategy for everything. Profiles are measured on one seed, traffic
is drawn from another.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import time
from pathlib import Path

from demo import stages
from demo.report import Report, baseline_table, headline

OUT = Path("demo/out")
PROFILE_SEED = 1
PROFILE_PROBLEMS = 1000
TRAFFIC_REQUESTS = 2000
REQUESTS_PER_S = 25.0


def main() -> int:
    """Run the loop; 0 when the budget held to the nano-dollar."""
    arguments = _arguments()
    seed = arguments.seed if arguments.seed is not None else secrets.randbelow(1_000_000) + 1000
    OUT.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with stages.upstream() as upstream:
        print(f"upstream: {', '.join(upstream.models)} on {upstream.provider}")
        stages.measure(stages.Workload(OUT, PROFILE_SEED, PROFILE_PROBLEMS), upstream)
        stages.make_policy(OUT)
        work = stages.Workload(OUT, seed, TRAFFIC_REQUESTS)
        traffic = stages.serve_traffic(work, upstream, per_s=REQUESTS_PER_S)
        baselines = stages.baselines(work, upstream)
    report = Report.build(OUT, seed=seed, traffic=traffic, baselines=baselines)
    (OUT / "report.json").write_text(json.dumps(report.as_dict(), indent=2) + "\n")
    stages.picture(OUT, report)
    print(f"\n{headline(report)}\n\n{baseline_table(report)}\n")
    print(f"wrote {OUT}/report.json and {OUT}/frontier.png in {time.monotonic() - started:.0f} s")
    return 0 if report.budget_held() else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--seed", type=int, help="Of the traffic; a fresh one where absent.")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
