"""Pacing against the hindsight optimum: what money brings when it is spent by the clock.

Recorded arrivals (Azure's hour of conversations and of code completions, begun at random moments
and run round) go through the rungs of a policy under a budget for the window. Value is the sum of
the expected accuracies of the answers; a refused request brings none. It is divided by that of the
best division of the same requests over the same rungs with everything known: a linear programme
per lane, of each class how many requests each rung's row answers.

Contenders (`paced_traffic` has them in full):

- "first rung": the plan as asked until the money is gone;
- "best strategy": on every request the strategy of the greatest mean accuracy until it is gone;
- "forecast": money left over the forecast's requests left by the clock, the rule before this one;
- "arrivals": `runtime.pacing`, which corrects the forecast by what came;
- "arrivals by class": the same on the exact frontier of every class's rows, class by class;
- "dual": dual descent, a multiplier per budget against the window's planned rate of spend;
- "dual, money left": against the money left over the time left;
- "dual, spare": the same with the reserve of "arrivals".

    python -m benchmarks.pacing_value [FOLDER] [--lanes 12] [--picture docs/images/pacing_value.png]

The folder of the shared measurements is the argument, ``INFERBUDGET_SHARED_DATA``, or
``../shared/data`` beside the repository. Only aggregated figures are written.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
import timeit
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fleet_hours import requests_of
from benchmarks.paced_traffic import (
    ByArrivals,
    ByForecast,
    Dual,
    First,
    Floats,
    Indices,
    Ladder,
    Rule,
    Seen,
    Steps,
    World,
    hindsight,
    run,
)
from benchmarks.promises_on_data import table
from planner.solve import solve
from planner.spec import Spec, Window
from policies.file import read_policy
from profiles.money import PriceCard
from runtime import pacing
from runtime.ledger import ScopeState, Unit
from runtime.pacing.lateness import LATE_SHARE

RESULT = Path("benchmarks/results/pacing_value.json")
PICTURE = Path("docs/images/pacing_value.png")
BESIDE = Path(__file__).parents[2] / "shared" / "data"
POLICY = Path("demo/policy/policy.yaml")
SEED = 20231116
BUDGETS = (0.30, 0.50, 0.75, 1.00, 1.30)
ERRORS = (-0.5, 0.0, 1.0)
CELLS = tuple((budget, error) for budget in BUDGETS for error in ERRORS)
HOUR_S = 3_600.0
EVERY = 2
"""Of the conversations every second one, so that both windows have about 9,000 requests."""
ENOUGH = 0.98
PARETO_USD = 0.003
DEFINITIONS = {
    "budget": "dollars of the window over what its requests cost on the first rung",
    "error": "forecast requests over true ones, less 1",
    "value": "means over lanes of value over the hindsight optimum, a row per budget, a column per "
    "error; above 1 is luck of the costs drawn",
    "standard_error": "the largest of these 15 means",
    "least": "the least of them",
    "enough": f"share of them of at least {ENOUGH:g}",
    "refused": "mean share of requests refused, all cells together",
}


def contenders(ladder: Ladder) -> dict[str, tuple[Ladder, Rule]]:
    """Every rule, with the ladder that it draws from."""
    whole, best = Steps.whole(ladder), alone(ladder)
    return {
        "first rung": (ladder, First(whole)),
        "best strategy": (best, First(Steps.whole(best))),
        "forecast": (ladder, ByForecast(whole)),
        "arrivals": (ladder, ByArrivals(whole)),
        "arrivals by class": (ladder, ByArrivals(Steps.per_class(ladder))),
        "dual": (ladder, Dual(whole, by_money_left=False)),
        "dual, money left": (ladder, Dual(whole)),
        "dual, spare": (ladder, Dual(whole, spare=0.4)),
    }


def alone(ladder: Ladder) -> Ladder:
    """One rung of the strategy with the greatest mean accuracy, for every request."""
    best = int((ladder.accuracy.T @ ladder.weights).argmax())
    shares = np.zeros_like(ladder.shares[:1])
    shares[:, :, best] = 1.0
    return replace(ladder, shares=shares)


def pareto(folder: Path) -> Ladder:
    """Three models on nine families of prompts, planned at four budgets on point estimates."""
    found = table(
        "paretobandit",
        folder,
        sorted_by=lambda labels: {q: label.partition("/")[0] for q, label in labels.items()},
    )
    rows = np.arange(len(found.class_of))
    spec = {
        "format_version": "1.0",
        "workload": "paretobandit",
        "objective": "maximize accuracy",
        "confidence": "none",
        "limits": {"spend": {"usd_per_request": PARETO_USD}},
        "rungs": [1.0, 0.75, 0.5, 0.25],
    }
    nothing = PriceCard(models={})
    plan = solve(found.profile(rows), Spec.model_validate(spec), prices=nothing, estimator=None)
    texts = found.outcomes.strategies
    shares = np.array(
        [
            [[r.allocation[name].get(text, 0.0) for text in texts] for name in found.names]
            for r in plan.rungs
        ]
    )
    cost, accuracy, weights = found.means(rows)
    of_class = [found.outcomes.costs[found.class_of == c] for c in range(len(found.names))]
    spread = np.array([own.std(axis=0, ddof=1) / own.mean(axis=0) for own in of_class])
    bound = np.array([own.max(axis=0) for own in of_class])
    return Ladder.made(weights, shares, np.array([accuracy, cost, spread, bound]))


# ------------------------------------------------------------------- traffic


@dataclass(frozen=True)
class Question:
    """One kind of world.

    Attributes:
        name: In words.
        traffic: "conversations", "code", "flash", "day" or "minute".
        drift: Whether class weights run from easy to hard over the window.
        part_budget: Of each sixth of the window, over its even share; None without.
        shape: Whether the shape of the arrivals is forecast.
        world: What else differs.
    """

    name: str
    traffic: str
    drift: bool = False
    part_budget: float | None = None
    shape: bool = False
    world: Mapping[str, Any] = field(default_factory=dict)

    @property
    def on_both(self) -> bool:
        """Whether it is asked of both policies."""
        return self.traffic in {"conversations", "code"} and not self.world


def questions() -> Iterator[Question]:
    """All of them."""
    for name in ("conversations", "code"):
        ask = Question(f"{name}", name)
        yield ask
        yield replace(ask, name=f"{name}: classes drift", drift=True)
        yield replace(ask, name=f"{name}: 20 % dearer", world={"cost_times": 1.2})
        yield replace(ask, name=f"{name}: 20 % cheaper", world={"cost_times": 0.8})
        yield replace(ask, name=f"{name}: ten-minute budgets too", part_budget=1.1)
        yield replace(
            ask, name=f"{name}: 10 s each, 5 means held", world={"lasts": 1 / 360, "holds": 5.0}
        )
        for replicas in (4, 8):
            shared = {"exchange": 0.25 / HOUR_S, "lease": (replicas - 1) / (4 * replicas)}
            yield replace(ask, name=f"{name}: {replicas} replicas", world=shared)
    yield Question("flash crowd", "flash")
    yield Question("day, shape unknown", "day")
    yield Question("day, shape forecast", "day", shape=True)
    yield Question("a minute of 200 requests", "minute")


def arrivals(traffic: str, traces: Mapping[str, Floats], lanes: int) -> Floats:
    """Arrivals of every lane as shares of the window, N x lanes."""
    rng = np.random.default_rng(SEED)
    if traffic == "minute":
        return np.sort(rng.random((200, lanes)), axis=0)
    if traffic == "flash":
        crowd = np.r_[rng.random(6_000), 0.5 + 0.06 * rng.random(2_000)]
        return turned(np.sort(crowd), rng, lanes)
    if traffic == "day":
        moments, gone = day()
        return np.sort(np.interp(rng.random((8_000, lanes)), gone, moments), axis=0)
    return turned(traces[traffic], rng, lanes)


def turned(base: Floats, rng: np.random.Generator, lanes: int) -> Floats:
    """The same window begun at other moments, run round."""
    return np.stack([np.sort((base + rng.random()) % 1.0) for _ in range(lanes)], axis=1)


def day() -> tuple[Floats, Floats]:
    """Moments of a day, and the share of its load gone: nine times more at noon than at night."""
    moments = np.linspace(0.0, 1.0, 2_001)
    load = 1 - 0.8 * np.cos(2 * np.pi * (moments - 0.15))
    gone = np.r_[0.0, np.cumsum((load[1:] + load[:-1]) / 2)]
    return moments, gone / gone[-1]


def classes(ask: Question, weights: Floats, arrived: Floats) -> Indices:
    """A class per request."""
    rng = np.random.default_rng(SEED + 1)
    tilt = np.linspace(1.5, 0.5, len(weights)) if ask.drift else np.ones(len(weights))
    first, last = (weights * t / (weights @ t) for t in (tilt, tilt[::-1]))
    at = np.where(np.isfinite(arrived), arrived, 0.0)[..., None]
    edges = np.cumsum(first)[:-1] * (1 - at) + np.cumsum(last)[:-1] * at
    return np.asarray((edges <= rng.random(arrived.shape)[..., None]).sum(axis=-1))


def world_of(ask: Question, ladder: Ladder, traces: Mapping[str, Floats], lanes: int) -> World:
    """Lanes of every cell side by side."""
    arrived = np.tile(arrivals(ask.traffic, traces, lanes), (1, len(CELLS)))
    requests = np.isfinite(arrived).sum(axis=0).astype(np.float64)
    budget = requests * np.repeat([budget for budget, _ in CELLS], lanes)
    more = dict(ask.world)
    if ask.part_budget is not None:
        more |= {"parts": 6, "part_budget": budget / 6 * ask.part_budget}
    if ask.shape:
        moments, gone = day()
        more["load_gone"] = lambda now: np.interp(now, moments, gone)
    return World(
        ladder=ladder,
        arrived=arrived,
        classes=classes(ask, ladder.weights, arrived),
        budget=budget,
        forecast=requests * np.repeat([1 + error for _, error in CELLS], lanes),
        seed=SEED + 2,
        **more,
    )


# ------------------------------------------------------------------- figures


def compared(
    ask: Question, ladder: Ladder, traces: Mapping[str, Floats], lanes: int
) -> dict[str, Any]:
    """Every contender in one kind of world."""
    world = world_of(ask, ladder, traces, lanes)
    best = hindsight(world)
    found: dict[str, Any] = {}
    for name, (drawn_from, rule) in contenders(ladder).items():
        outcome = run(replace(world, ladder=drawn_from), rule)
        value = (outcome.value / best).reshape(len(CELLS), lanes)
        means = value.mean(axis=1)
        errors = value.std(axis=1, ddof=1) / lanes**0.5
        found[name] = {
            "value": means.round(4).reshape(len(BUDGETS), len(ERRORS)).tolist(),
            "standard_error": round(float(errors.max()), 4),
            "mean": round(float(means.mean()), 4),
            "least": round(float(means.min()), 4),
            "enough": round(float((means >= ENOUGH).mean()), 3),
            "refused": round(float(outcome.refused.mean()), 4),
        }
    return {"requests": len(world.arrived), "contenders": found}


def witnessed(ladder: Ladder, traces: Mapping[str, Floats]) -> dict[str, int]:
    """The arrays' rule beside `runtime.pacing`, request by request, one lane of each cell."""
    ask = Question("", "code")
    world = world_of(ask, ladder, traces, 1)
    rule = ByArrivals(Steps.whole(ladder))
    pacers = [pacing.Pacer(tuple(rule.steps.cost * 1e9)) for _ in CELLS]
    counts = {"compared": 0, "different": 0}
    last: list[Floats] = [np.zeros(len(CELLS))]
    chosen_before: list[Indices] = []

    def look(seen: Sequence[Seen], uniform: Floats, chosen: Indices) -> None:
        now = seen[0]
        for lane, pacer in enumerate(pacers):
            paid = round((now.spent[lane] - last[0][lane]) * 1e9)
            if paid and chosen_before:
                pacer.charged(int(chosen_before[-1][lane]), paid)
            state = state_of(now, lane)
            rung = pacer.rung(
                {"": float(now.forecast[lane])},
                partial(_only, state),
                now_s=float(now.gone[lane]) * 1e9,
                uniform=float(uniform[lane]),
            )
            counts["compared"] += 1
            counts["different"] += int(rung != chosen[lane])
        last[0] = now.spent
        chosen_before[:] = [chosen]

    run(world, rule, look)
    return counts


def _only(state: ScopeState, _: str) -> ScopeState:
    return state


def state_of(now: Seen, lane: int) -> ScopeState:
    """A budget of the arrays as the ledger would tell it; the window lasts 1e9 seconds."""
    spent, limit = round(now.spent[lane] * 1e9), round(now.budget[lane] * 1e9)
    return ScopeState(
        name="",
        unit=Unit.NANO_USD,
        window=Window.MONTH,
        epoch_start_s=0,
        epoch_end_s=10**9,
        limit=limit,
        spent=spent,
        held=0,
        remaining=max(limit - spent, 0),
        requests=int(now.came[lane]),
        refusals=0,
        spent_ever=spent,
    )


def speed(ladder: Ladder) -> dict[str, float]:
    """Processor time of one choice, the least of 25 rounds; the ledger's look-up is left out."""
    costs = tuple(Steps.whole(ladder).cost * 44_660.3)
    full = np.array([1e9])
    state = state_of(Seen(full / 1e9, full / 3e9, full, full / 2e9, np.array([9e3]), full), 0)
    plain = pacing.Pacer(costs, lateness=pacing.Lateness(2.0, 3))
    shaped = pacing.Pacer(costs, shape=pacing.Shape([1.0] * 12 + [2.0] * 12))

    def choice(pacer: pacing.Pacer, budgets: int) -> float:
        forecasts = {str(number): 2e4 for number in range(budgets)}

        def choose() -> int:
            return pacer.rung(forecasts, lambda _: state, now_s=5e8, uniform=0.5)

        return round(
            min(timeit.repeat(choose, timer=time.process_time, number=5_000, repeat=25))
            / 5_000
            * 1e6,
            2,
        )

    return {
        "one_budget_us": choice(plain, 1),
        "two_budgets_us": choice(plain, 2),
        "one_budget_with_shape_us": choice(shaped, 1),
    }


# ------------------------------------------------------------------- lateness


def lateness(ladder: Ladder, traces: Mapping[str, Floats]) -> list[dict[str, Any]]:
    """Slots that dearer rungs keep longer: late answers with and without the multiplier.

    A request's service takes as long as it costs, so much that the first rung fills `load` of the
    slots on average, and waits for a free slot. The limit is what 95 % keep on the first rung
    without waiting, times 1.5. Money is no concern.
    """
    accuracy, cost = ladder.by_class()
    rows = []
    for traffic, load in (("conversations", 0.7), ("conversations", 0.95), ("code", 0.5)):
        arrived = traces[traffic] * HOUR_S
        sorts = classes(Question("", traffic), ladder.weights, arrived[:, None])[:, 0]
        slots = 32
        unit = load * slots * HOUR_S / len(arrived)
        times = np.random.default_rng(SEED).gamma(2.0, 0.5, len(arrived)) * unit
        limit_s = float(np.quantile(times * cost[0, sorts], 0.95)) * 1.5
        uniforms = np.random.default_rng(SEED + 1).random(len(arrived))
        for stepping in (False, True):
            late = pacing.Lateness(limit_s, len(cost) - 1 if stepping else 0)
            took, rungs = served(late, arrived, times[:, None] * cost.T[sorts], uniforms, slots)
            rows.append(
                {
                    "traffic": traffic,
                    "load_on_first_rung": load,
                    "multiplier": stepping,
                    "late_share": round(float((took > limit_s).mean()), 4),
                    "p95_over_limit": round(float(np.quantile(took, 0.95)) / limit_s, 3),
                    "mean_accuracy": round(float(accuracy[rungs, sorts].mean()), 4),
                    "first_rung_accuracy": round(float(accuracy[0, sorts].mean()), 4),
                    "mean_rung": round(float(rungs.mean()), 3),
                }
            )
    return rows


def served(
    late: pacing.Lateness, arrived: Floats, times: Floats, uniforms: Floats, slots: int
) -> tuple[Floats, Indices]:
    """Seconds and rung of every request; an answer counts when it is there."""
    free = np.zeros(slots)
    running: list[tuple[float, float]] = []
    took, rungs = np.zeros(len(arrived)), np.zeros(len(arrived), dtype=np.intp)
    for k, now in enumerate(arrived):
        for end, seconds in sorted(pair for pair in running if pair[0] <= now):
            late.answered(seconds)
            running.remove((end, seconds))
        rungs[k] = late.rung(uniforms[k])
        slot = int(free.argmin())
        free[slot] = max(free[slot], now) + times[k, rungs[k]]
        took[k] = free[slot] - now
        running.append((free[slot], took[k]))
    return took, rungs


# ------------------------------------------------------------------- output


def picture(worlds: Mapping[str, Any], path: Path) -> None:
    """Value against the budget, a panel per trace and forecast."""
    import altair as alt  # noqa: PLC0415 - the simulation needs no pictures

    said = {
        -0.5: "half the requests forecast",
        0.0: "forecast right",
        1.0: "twice as many forecast",
    }
    drawn = ("first rung", "forecast", "dual", "dual, money left", "arrivals")
    points = [
        {
            "budget": 100 * budget,
            "value": value[row][column],
            "rule": name,
            "forecast": said[error],
            "traffic": traffic,
        }
        for traffic in ("conversations", "code")
        for name in drawn
        for value in [worlds[traffic]["contenders"][name]["value"]]
        for row, budget in enumerate(BUDGETS)
        for column, error in enumerate(ERRORS)
    ]
    lines = (
        alt.Chart()
        .mark_line(point=True, clip=True)
        .encode(
            x=alt.X("budget:Q", title="budget, % of the first rung").axis(
                values=[100 * budget for budget in BUDGETS]
            ),
            y=alt.Y(
                "value:Q",
                title="value over hindsight",
                scale=alt.Scale(domain=[0.7, 1.01], nice=False),
            ),
            color=alt.Color("rule:N", title=None, sort=list(drawn)),
        )
    )
    enough = alt.Chart().mark_rule(strokeDash=[4, 4]).encode(y=alt.datum(ENOUGH))
    panels = alt.layer(lines, enough, data=alt.Data(values=points)).properties(
        width=230, height=200
    )
    panels.facet(
        column=alt.Column("forecast:N", title=None, sort=list(said.values())),
        row=alt.Row("traffic:N", title=None, sort=None),
    ).save(str(path), scale_factor=2)


def shares_of_hour(folder: Path, kind: str) -> Floats:
    """Arrivals of one of Azure's traces as shares of its length."""
    moments = sorted(one.arrived_at for one in requests_of(folder, kind))
    seconds = np.array([(moment - moments[0]).total_seconds() for moment in moments])
    return np.asarray(seconds / seconds[-1] * (1 - 1e-9))


def main() -> None:
    """Simulate and write."""
    chosen = _arguments()
    if chosen.redraw:
        picture(json.loads(RESULT.read_text())["demo"], chosen.picture or PICTURE)
        return
    traces = {
        name: shares_of_hour(chosen.folder, kind)
        for name, kind in (("conversations", "conv"), ("code", "code"))
    }
    traces["conversations"] = traces["conversations"][::EVERY]
    ladders = {"demo": Ladder.of(read_policy(POLICY)), "pareto": pareto(chosen.folder)}
    result: dict[str, Any] = {
        "seed": SEED,
        "lanes": chosen.lanes,
        "budgets": BUDGETS,
        "errors": ERRORS,
        "definitions": DEFINITIONS,
        "sources": [
            "Azure LLM inference traces 2023 (CC BY 4.0), Patel et al., Splitwise, ISCA 2024; "
            "of the conversations every second",
            "ParetoBandit (Apache-2.0)",
        ],
        "costs": {name: Steps.whole(one).cost.round(4).tolist() for name, one in ladders.items()},
    }
    for name, ladder in ladders.items():
        result[name] = {}
        for ask in questions():
            if name != "demo" and not ask.on_both:
                continue
            began = time.process_time()
            result[name][ask.name] = compared(ask, ladder, traces, chosen.lanes)
            figures = result[name][ask.name]["contenders"]
            told = {rule: (one["mean"], one["least"]) for rule, one in figures.items()}
            print(name, ask.name, told, f"{time.process_time() - began:.0f} s", flush=True)
    result |= {
        "witnessed": witnessed(ladders["demo"], traces),
        "lateness": {"late_share_allowed": LATE_SHARE, "rows": lateness(ladders["demo"], traces)},
        "speed": speed(ladders["demo"]),
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "scipy")},
        },
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    if chosen.picture:
        picture(result["demo"], chosen.picture)


def _arguments() -> argparse.Namespace:
    default = Path(os.environ.get("INFERBUDGET_SHARED_DATA", BESIDE))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, nargs="?", default=default)
    parser.add_argument("--lanes", type=int, default=12, help="windows per cell")
    parser.add_argument("--picture", type=Path, help=f"draw it, as in {PICTURE}; needs altair")
    parser.add_argument("--redraw", action="store_true", help="draw what was simulated before")
    return parser.parse_args()


if __name__ == "__main__":
    main()
