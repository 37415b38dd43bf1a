"""Whole GPUs by hour: against parts of GPUs and rounding, with equal hours together, by replay.

Run as ``python -m benchmarks.fleet_hours [FOLDER]``; the folder of the shared measurements is the
argument, ``INFERBUDGET_SHARED_DATA``, or ``../shared/data`` beside the repository. Four parts:

* ``caps``: the load that c slots may carry, by Erlang C under several meanings of "the tail",
  beside `1 - 1/sqrt(c)`, and what single events say of each.
* ``whole``: the programme with whole GPUs against its bound in parts of GPUs and against rounding
  that up, and equal hours together against one by one. Speeds are MLPerf's.
* ``turns``: plans that take turns by the hour against one plan for all hours.
* ``replay``: recorded traffic through a fleet that was planned for it. Speeds are measured times
  per token at 32 requests at once.

Prices are assumed and count in the price of one H100-hour on demand. Only aggregated figures are
written.
"""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import sys
import time
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import brentq

from planner.fleet.answer import Fleet
from planner.fleet.certified import CertifiedPlan
from planner.fleet.fleet import plan_fleet
from planner.fleet.question import FleetQuestion, Headroom
from planner.fleet.queueing import late_share, usable_load, waiting_share
from planner.fleet.replay import replay_fleet
from planner.fleet.simulation import Stop, simulate
from planner.fleet.traffic import Trace, poisson_trace, trace_of
from profiles.arrival import Arrival
from profiles.importing.importers import read_outcomes
from profiles.importing.mapping import load_mapping
from profiles.serving import ServingPoint

RESULT = Path("benchmarks/results/fleet_hours.json")
BESIDE = Path(__file__).parents[2] / "shared" / "data"
SEED = 20231116
QUOTED = {2: 0.30, 4: 0.58, 8: 0.74, 16: 0.86, 64: 0.94}
"""Utilisations that were said to keep the tail within half a point, to be checked."""

USD = {"h100": (1.0, 0.6), "h200": (1.25, 0.75), "mi300x": (1.1, 0.66)}
"""Assumed: one GPU-hour on demand and reserved, in H100-hours on demand."""

CARDS = {
    "h100": "NVIDIA H100-SXM-80GB",
    "h200": "NVIDIA H200-SXM-141GB",
    "mi300x": "AMD Instinct MI300X-NPS1-SPX-192GB-750W",
}


def gpus(*names: str) -> dict[str, Any]:
    """Types with their assumed prices."""
    return {
        name: {"usd_per_hour": USD[name][0], "reserved_usd_per_hour": USD[name][1]}
        for name in names
    }


def wave(peak: float, hours: int = 24, levels: int | None = None) -> list[float]:
    """Days from a fifth of the peak at four in the morning; the weekend has half of it.

    With levels, hours are rounded up to so many parts of the peak, as people estimate them.
    """
    found = []
    for hour in range(hours):
        level = 0.6 - 0.4 * math.cos(2 * math.pi * (hour % 24 - 4) / 24)
        share = level * (0.5 if hour >= 120 else 1.0)
        share = share if levels is None else math.ceil(share * levels) / levels
        found.append(round(peak * share))
    return found


# --- caps


def slow_share(c: int, utilisation: float, limit: float) -> float:
    """Share of requests of M/M/c that take longer than `limit` mean services, wait included."""
    waits, leave = waiting_share(c, c * utilisation), c * (1 - utilisation)
    if abs(leave - 1) < 1e-9:
        return math.exp(-limit) * (1 + waits * limit)
    apart = (leave * math.exp(-limit) - math.exp(-leave * limit)) / (leave - 1)
    return (1 - waits) * math.exp(-limit) + waits * apart


def cap(kept: Any) -> float:
    """Largest utilisation at which `kept(utilisation)` is at most 0."""
    return float(brentq(kept, 1e-6, 1 - 1e-9)) if kept(1e-6) < 0 else 0.0


def definitions(c: int) -> dict[str, float]:
    """Utilisation that each meaning of "the tail is kept" allows, M/M/c."""
    found = {}
    for tail in (0.05, 0.02, 0.01):
        limit = -math.log(tail)
        found[f"at most 0.5 points more are beyond the {100 - 100 * tail:g}th percentile"] = cap(
            lambda u, limit=limit, tail=tail: slow_share(c, u, limit) - tail - 0.005
        )
    for allowed in (0.05, 0.01):
        found[f"at most {allowed:.0%} wait longer than a mean service"] = cap(
            lambda u, allowed=allowed: late_share(c, c * u, 1.0, 1.0) - allowed
        )
    found["at most 0.5% wait longer than a mean service"] = cap(
        lambda u: late_share(c, c * u, 1.0, 1.0) - 0.005
    )
    return found


def services(rng: np.random.Generator, kind: str, n: int) -> Any:
    """Seconds of service with mean 1."""
    if kind == "exponential":
        return rng.exponential(1.0, n)
    if kind == "constant":
        return np.ones(n)
    sigma = math.sqrt(math.log(1 + float(kind.removeprefix("lognormal scv "))))
    return np.exp(sigma * rng.standard_normal(n) - sigma**2 / 2)


def simulated(c: int, utilisation: float, kind: str, runs: int = 10, n: int = 20_000) -> Any:
    """What single events say of a utilisation: who waits long, and what it does to the tail."""
    late, more = [], []
    for run in range(runs):
        rng = np.random.default_rng([SEED, c, run])
        at = np.cumsum(rng.exponential(1 / (c * utilisation), n))
        took = services(rng, kind, n)
        waits = np.array(simulate(at, [[Stop(0, float(s))] for s in took], [(0.0, 0, c)], 1))
        limit = np.quantile(took, 0.95)
        late.append(float((waits > 1).mean()))
        more.append(float((waits + took > limit).mean() - (took > limit).mean()))
    return {
        "utilisation": round(utilisation, 4),
        "service": kind,
        "waits_longer_than_a_mean_service": mean_and_error(late),
        "points_more_beyond_the_95th_percentile": mean_and_error([100 * m for m in more]),
    }


def mean_and_error(values: list[float]) -> dict[str, float]:
    """Mean over runs and its standard error."""
    return {
        "mean": round(statistics.fmean(values), 5),
        "standard_error": round(statistics.stdev(values) / math.sqrt(len(values)), 5),
    }


def caps() -> dict[str, Any]:
    """All slots, all meanings."""
    rows = {str(c): definitions(c) for c in QUOTED}
    names = list(rows["2"])
    apart = {
        name: math.sqrt(
            statistics.fmean((rows[str(c)][name] - quoted) ** 2 for c, quoted in QUOTED.items())
        )
        for name in names
    }
    square_root = Headroom.model_validate({"rule": "square root", "wait_s": 1.0})
    safe = {c: usable_load(c, 1.0, square_root) / c for c in QUOTED}
    return {
        "quoted": QUOTED,
        "one_less_one_over_the_root": {c: round(u, 4) for c, u in safe.items()},
        "by_erlang_c": {c: {k: round(v, 4) for k, v in row.items()} for c, row in rows.items()},
        "root_mean_square_distance_to_quoted": {k: round(v, 4) for k, v in apart.items()},
        "simulated_at_quoted": [
            simulated(c, u, kind) | {"slots": c}
            for c, u in QUOTED.items()
            for kind in ("exponential", "constant", "lognormal scv 0.25", "lognormal scv 4")
        ],
        "simulated_at_the_root_rule": [
            simulated(c, u, kind) | {"slots": c}
            for c, u in safe.items()
            for kind in ("exponential", "lognormal scv 4")
        ],
    }


# --- whole GPUs


def tokens_per_second(folder: Path) -> dict[str, float]:
    """MLPerf v4.1, llama2-70b-99, Server: median tokens per second of one accelerator."""
    found = defaultdict(list)
    for point in serving(folder, "mlperf_inference_v4_1"):
        if point.model == "llama2-70b-99" and point.label.endswith("Server") and point.gpus:
            found[point.system].append((point.output_tokens_per_s or 0.0) / point.gpus)
    return {name: round(statistics.median(found[card]), 1) for name, card in CARDS.items()}


def serving(folder: Path, name: str) -> list[ServingPoint]:
    """A table of serving measurements through its mapping."""
    rules = load_mapping(name)
    return list(read_outcomes(folder / rules.file, workload=name, mapping=rules).serving)


def whole_question(
    speeds: dict[str, float],
    shape: list[float],
    *,
    pools: int,
    per_replica: int,
    rule: str,
) -> FleetQuestion:
    """Pools of models like llama2-70b, each with a part of the traffic and 200 tokens an answer."""
    names = list(speeds)
    headroom: dict[str, Any] = {"rule": rule, "wait_s": 2.0}
    if rule == "utilisation":
        headroom["utilisation"] = 0.7
    if rule == "erlang c":
        headroom["late_share"] = 0.01
    return FleetQuestion.model_validate(
        {
            "format_version": "1.0",
            "requests_per_hour": shape,
            "gpus": gpus(*names),
            "pools": {
                f"pool {p}": {
                    "strategies": [f"model {p}"],
                    "servers": [
                        {
                            "gpu": name,
                            "gpus": per_replica,
                            "slots": 16,
                            "gpu_s": {f"model {p}": 200 / speed},
                            "source": "MLPerf Inference v4.1, closed division, datacenter",
                        }
                        for name, speed in speeds.items()
                        if (names.index(name) + p) % 3 or pools == 1
                    ],
                }
                for p in range(pools)
            },
            "headroom": headroom,
        }
    )


def even_plan(pools: int) -> CertifiedPlan:
    """Unequal parts of the traffic to every pool."""
    parts = {f"model {p}": 2.0 ** -(p + 1) for p in range(pools)}
    shares = {name: part / sum(parts.values()) for name, part in parts.items()}
    return CertifiedPlan("plan", 0.9, {"all": 1.0}, {"all": shares}, {})


def timed(question: FleetQuestion, plans: tuple[CertifiedPlan, ...], **how: Any) -> Any:
    """A fleet with its seconds, processor and wall."""
    process, wall = time.process_time(), time.perf_counter()
    fleet = plan_fleet(question, plans, **how)
    return fleet, time.process_time() - process, time.perf_counter() - wall


def whole(speeds: dict[str, float]) -> list[dict[str, Any]]:
    """Sizes of fleets, with equal hours together and one by one."""
    rows = []
    for pools, per_replica, peak, hours, levels, rule in (
        (1, 1, 500_000, 24, None, "utilisation"),
        (1, 1, 5_000_000, 24, None, "utilisation"),
        (3, 1, 2_000_000, 24, None, "utilisation"),
        (3, 2, 2_000_000, 24, None, "utilisation"),
        (3, 2, 2_000_000, 168, None, "utilisation"),
        (3, 2, 10_000_000, 168, None, "utilisation"),
        (3, 2, 2_000_000, 24, None, "erlang c"),
        (3, 2, 2_000_000, 168, None, "erlang c"),
        (3, 2, 2_000_000, 168, 4, "erlang c"),
        (3, 2, 10_000_000, 168, 4, "erlang c"),
        (3, 2, 2_000_000, 168, None, "square root"),
        (3, 8, 4_000_000, 168, None, "erlang c"),
    ):
        shape = wave(peak, hours, levels)
        question = whole_question(speeds, shape, pools=pools, per_replica=per_replica, rule=rule)
        plans = (even_plan(pools),)
        limits = {"time_limit_s": 120.0, "max_gap": 1e-4}
        together, cpu, wall = timed(question, plans, **limits)
        alone, cpu_alone, wall_alone = timed(question, plans, together=False, **limits)
        rows.append(
            {
                "pools": pools,
                "gpus_per_replica": per_replica,
                "peak_requests_per_hour": peak,
                "hours": hours,
                "different_hours": len(set(shape)),
                "rule": rule,
                "peak_gpus": peak_gpus(together),
                "cost": round(together.usd, 2),
                "proven": together.proven,
                "gap": round(together.gap, 6),
                "over_parts_of_gpus": over(together.usd, together.fractional_usd),
                "rounded_up_over_whole": over(together.rounded_up_usd, together.usd),
                "processor_s_together": round(cpu, 2),
                "processor_s_one_by_one": round(cpu_alone, 2),
                "one_by_one_over_together": round(cpu_alone / cpu, 1),
                "wall_ratio": round(wall_alone / wall, 1),
                "one_by_one_proven": alone.proven,
                "one_by_one_cost_over_together": round(alone.usd / together.usd - 1, 6),
            }
        )
        print(rows[-1], flush=True)
    return rows


def over(value: float | None, base: float) -> float | None:
    """How much dearer, as a share."""
    return None if value is None else round(value / base - 1, 4)


def peak_gpus(fleet: Fleet) -> int:
    """GPUs of the fullest hour."""
    return max(sum(hour.reserved.values()) + sum(hour.on_demand.values()) for hour in fleet.hours)


# --- turns and replay


def measured(folder: Path) -> dict[str, ServingPoint]:
    """Three shapes of replica at 32 requests at once, about 1,024 tokens in."""
    wanted = {
        "8b on h100": ("meta-llama/Llama-3.1-8B-Instruct", "h100_sxm", 1, 256),
        "70b on h100": ("meta-llama/Llama-3.1-70B", "h100_sxm", 2, 1024),
        "70b on h200": ("meta-llama/Llama-3.1-70B", "h200_sxm", 2, 1024),
    }
    found = {}
    for point in serving(folder, "gpu_serving_measurements"):
        setup = (point.model, point.system, point.gpus, point.tokens_out)
        for name, asked in wanted.items():
            backend = "trtllm" if name.startswith("8b") else "vllm"
            loaded = (point.tokens_in, point.concurrency, point.backend) == (1024, 32, backend)
            if setup == asked and loaded:
                found[name] = point
    return found


def server(point: ServingPoint, strategy: str, tokens: tuple[float, float]) -> dict[str, Any]:
    """A shape of replica whose requests have a trace's mean tokens."""
    per_token = (
        (point.ttft_mean_s or 0.0) / (point.tokens_in or 1.0),
        point.itl_mean_s or 0.0,
    )
    service_s = per_token[0] * tokens[0] + per_token[1] * tokens[1]
    slots, count = int(point.concurrency or 1), int(point.gpus or 1)
    return {
        "gpu": (point.system or "").removesuffix("_sxm"),
        "gpus": count,
        "slots": slots,
        "gpu_s": {strategy: service_s * count / slots},
        "seconds_per_token": {"input": per_token[0], "output": per_token[1]},
        "source": f"AIConfigurator's silicon measurements, {point.label}",
    }


def turns(shapes: dict[str, ServingPoint], tokens: tuple[float, float]) -> list[dict[str, Any]]:
    """Plans that send 0, 40 and 100 % to the larger model, with made-up promises."""
    plans = tuple(
        CertifiedPlan(name, promised, {"all": 1.0}, {"all": shares}, {})
        for name, promised, shares in (
            ("small", 0.78, {"8b": 1.0}),
            ("mixed", 0.82, {"8b": 0.6, "70b": 0.4}),
            ("large", 0.85, {"70b": 1.0}),
        )
    )
    rows = []
    for peak in (20_000, 100_000):
        costs = {}
        for over_what in ("hour", "period"):
            question = FleetQuestion.model_validate(
                {
                    "format_version": "1.0",
                    "requests_per_hour": wave(peak),
                    "gpus": gpus("h100", "h200"),
                    "pools": {
                        "8b": {
                            "strategies": ["8b"],
                            "servers": [server(shapes["8b on h100"], "8b", tokens)],
                        },
                        "70b": {
                            "strategies": ["70b"],
                            "servers": [
                                server(shapes[f"70b on {gpu}"], "70b", tokens)
                                for gpu in ("h100", "h200")
                            ],
                        },
                    },
                    "headroom": {"wait_s": 1.0, "late_share": 0.01},
                    "accuracy": {"promised": 0.82, "over": over_what},
                }
            )
            fleet = plan_fleet(question, plans, time_limit_s=100.0, max_gap=1e-3)
            costs[over_what] = {
                "cost": round(fleet.usd, 2),
                "gap": round(fleet.gap, 5),
                "promised_accuracy": round(fleet.promised_accuracy, 5),
                "hours_by_plan": {
                    plan.name: sum(hour.plan == plan.name for hour in fleet.hours) for plan in plans
                },
            }
        saved = 1 - costs["period"]["cost"] / costs["hour"]["cost"]
        rows.append({"peak_requests_per_hour": peak, "saved": round(saved, 4), **costs})
        print(rows[-1], flush=True)
    return rows


def replays(
    shapes: dict[str, ServingPoint], traces: dict[str, tuple[Trace, tuple[float, float]]]
) -> list[dict[str, Any]]:
    """Fleets for more and more of a peak within the hour, with the trace through each.

    At 20,000 requests in the busiest hour the trace of conversations runs at its own speed there.
    """
    rows = []
    plan = (CertifiedPlan("70b", 0.85, {"all": 1.0}, {"all": {"70b": 1.0}}, {}),)
    for name, peak, factors in (
        ("poisson", 60_000, (1.0,)),
        ("azure conv", 20_000, (1.0, 1.5)),
        ("azure conv", 60_000, (1.0, 1.25, 1.5, 2.0)),
        ("azure code", 60_000, (1.0, 2.0, 4.0, 8.0)),
    ):
        trace, tokens = traces[name]
        base = None
        for peak_factor in factors:
            question = FleetQuestion.model_validate(
                {
                    "format_version": "1.0",
                    "requests_per_hour": wave(peak),
                    "gpus": gpus("h100", "h200"),
                    "pools": {
                        "70b": {
                            "strategies": ["70b"],
                            "servers": [
                                server(shapes[f"70b on {gpu}"], "70b", tokens)
                                for gpu in ("h100", "h200")
                            ],
                        }
                    },
                    "headroom": {
                        "wait_s": 1.0,
                        "late_share": 0.01,
                        "peak_factor": peak_factor,
                    },
                }
            )
            fleet = plan_fleet(question, plan, max_gap=1e-3)
            base = base or fleet.usd
            found = replay_fleet(question, fleet, plan, trace, seed=SEED)
            worst = max(hour.late_share or 0.0 for hour in found.hours)
            rows.append(
                {
                    "trace": name,
                    "peak_requests_per_hour": peak,
                    "peak_factor": peak_factor,
                    "cost": round(fleet.usd, 2),
                    "cost_over_steady": over(fleet.usd, base),
                    "peak_gpus": peak_gpus(fleet),
                    "requests": found.requests,
                    "allowed_late_share": 0.01,
                    "planned_late_share_worst_hour": round(
                        max(hour.late_share for hour in fleet.hours), 5
                    ),
                    "late_share": round(found.late_share, 5),
                    "late_share_worst_hour": round(worst, 5),
                    "hours_within_allowed": sum(
                        (hour.late_share or 0.0) <= 0.01 for hour in found.hours
                    ),
                    "arrival_scv": round(found.arrival_scv, 3),
                    "service_scv": round(found.service_scv, 3),
                    "busiest_minute_median_hour": round(
                        statistics.median(hour.busiest_minute or 0.0 for hour in found.hours), 3
                    ),
                }
            )
            print(rows[-1], flush=True)
    return rows


def requests_of(folder: Path, kind: str) -> tuple[Arrival, ...]:
    """Requests of a trace of Azure's."""
    rules = load_mapping(f"azure_llm_trace_2023_{kind}")
    return read_outcomes(folder / rules.file, workload=kind, mapping=rules).arrivals


def busiest_minute(requests: tuple[Arrival, ...]) -> float:
    """Requests of the busiest minute over those of the mean minute, at the trace's own speed."""
    start = min(one.arrived_at for one in requests)
    times = [(one.arrived_at - start).total_seconds() for one in requests]
    by_minute = np.histogram(times, np.arange(0, max(times), 60.0))[0]
    return round(float(by_minute.max() / by_minute.mean()), 2)


def recorded(folder: Path, kind: str) -> tuple[Trace, tuple[float, float]]:
    """A trace of Azure's and its mean tokens."""
    trace = trace_of(requests_of(folder, kind))
    if trace.tokens_in is None or trace.tokens_out is None:
        raise SystemExit(f"{kind} has requests without tokens")
    return trace, (float(trace.tokens_in.mean()), float(trace.tokens_out.mean()))


def main() -> None:
    """Measure and write."""
    given = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("INFERBUDGET_SHARED_DATA", BESIDE)
    folder = Path(given)
    speeds, shapes = tokens_per_second(folder), measured(folder)
    traces = {f"azure {kind}": recorded(folder, kind) for kind in ("conv", "code")}
    tokens = traces["azure conv"][1]
    traces = {"poisson": (poisson_trace(20_000, SEED), tokens), **traces}
    result = {
        "seed": SEED,
        "assumed_prices_in_h100_hours": USD,
        "tokens_per_s_per_gpu": speeds,
        "measured_shapes": {
            name: {
                "source": point.label,
                "ttft_mean_s": point.ttft_mean_s,
                "itl_mean_s": point.itl_mean_s,
                "gpus": point.gpus,
                "concurrency": point.concurrency,
            }
            for name, point in shapes.items()
        },
        "sources": [
            "MLPerf Inference v4.1, closed division, datacenter (Apache-2.0)",
            "ai-dynamo/aiconfigurator, silicon measurements (Apache-2.0)",
            "Azure LLM inference traces 2023 (CC BY 4.0), Patel et al., Splitwise, ISCA 2024",
        ],
        "busiest_minute_at_own_speed": {
            kind: busiest_minute(requests_of(folder, kind)) for kind in ("conv", "code")
        },
        "replay": replays(shapes, traces),
        "turns": turns(shapes, tokens),
        "whole": whole(speeds),
        "caps": caps(),
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "scipy", "highspy", "pyomo")},
        },
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
