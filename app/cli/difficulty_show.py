"""`inferbudget difficulty show`: what classes look like, and what a wrong one costs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli.difficulty_lines import show_text, wrong_text
from app.cli.options import FILE, FOLDER, Name, emit_json, emit_text, format_option, store_option
from profiles.errors import InputError

if TYPE_CHECKING:
    from planner.plan import Plan, Rung
    from profiles.difficulty.graph import GraphFacts
    from profiles.difficulty.showing.classed import Sorted
    from profiles.difficulty.showing.wrong_classes import WrongClasses


@click.command("show")
@click.argument("estimator", type=FILE)
@store_option
@click.option(
    "--workload", type=Name(), help="The traffic; left out, the one the estimator was fitted on."
)
@click.option("--plan", "plan_path", type=FILE, help="Price wrong classes under its first rung.")
@click.option(
    "--samples",
    type=click.IntRange(0, 100),
    default=3,
    show_default=True,
    help="Prompts to show per class.",
)
@click.option("--encoder", type=FOLDER, help="Folder of the encoder that ESTIMATOR reads with.")
@format_option
def show_command(
    estimator: Path,
    store_path: Path,
    workload: str | None,
    plan_path: Path | None,
    samples: int,
    encoder: Path | None,
    output_format: str,
) -> None:
    """Show what the classes of ESTIMATOR look like, and what a wrong class costs under a plan."""
    from planner.plan import read_plan
    from profiles.difficulty.graph import read_facts
    from profiles.difficulty.showing.show import show
    from profiles.pricing.prices import rates_of
    from profiles.store.store import Store

    facts = read_facts(estimator)
    workload = workload or facts.workload
    plan = read_plan(plan_path) if plan_path else None
    if plan and plan_path:
        _refuse_other_plan(plan, plan_path, facts, workload)
    with Store.open(store_path, read_only=True) as store:
        rates = rates_of(store, workload, plan.prices if plan else None)
        showing, outcomes = show(
            store, estimator, workload, samples=samples, rates=rates, encoder=encoder
        )
    wrong = _wrong(plan, facts, outcomes) if plan else None
    if output_format == "json":
        emit_json(
            {
                "estimator": str(estimator),
                **asdict(showing),
                "plan_digest": plan.digest if plan else None,
                "wrong_classes": asdict(wrong) if wrong else None,
            }
        )
        return
    emit_text(show_text(showing))
    if wrong:
        numbered = {name: f"{i} {name}" for i, name in enumerate(facts.class_names, start=1)}
        emit_text("\n" + wrong_text(wrong, numbered))


def _refuse_other_plan(plan: Plan, path: Path, facts: GraphFacts, workload: str) -> None:
    own = plan.workload, plan.classes.estimator_digest
    if own != (workload, facts.digest):
        raise InputError(
            "this plan is about other classes",
            where=str(path),
            expected=f"a plan of workload {workload} by estimator {facts.digest[:19]}",
            got=f"workload {own[0]}, estimator {own[1][:19] if own[1] else 'none: labels'}",
            next_step="run 'inferbudget plan' with this estimator as the spec's classes",
        )


def _wrong(plan: Plan, facts: GraphFacts, outcomes: Sorted) -> WrongClasses:
    import numpy as np

    from profiles.difficulty.showing.wrong_classes import wrong_classes

    allocation = plan.rungs[0].allocation
    names = [name for name in facts.class_names if name in allocation]
    strategies = sorted({*outcomes.strategies, *(s for of in allocation.values() for s in of)})
    shares = np.array([[allocation[name].get(s, 0.0) for s in strategies] for name in names])
    place = [names.index(name) if name in names else -1 for name in facts.class_names]
    sorted_as = np.array(place)[outcomes.class_index]
    planned = sorted_as >= 0  # a class without a measured query has no place in a plan
    columns = [strategies.index(name) for name in outcomes.strategies]
    scores, costs = np.full((2, len(sorted_as), len(strategies)), np.nan)
    scores[:, columns], costs[:, columns] = outcomes.scores, outcomes.costs
    return wrong_classes(
        shares,
        names,
        scores[planned],
        costs[planned],
        sorted_as[planned],
        usd_per_score=usd_per_score(plan.rungs[0]),
    )


def usd_per_score(rung: Rung) -> float | None:
    """Dollars per score of 1 at a rung's shadow prices; None where it puts no price on either."""
    from planner.limit_names import OVERALL, SPEND

    if rung.objective == "minimize cost":
        return abs(rung.shadow_prices.get(OVERALL, 0.0)) or None
    score_per_usd = abs(rung.shadow_prices.get(SPEND, 0.0))
    return 1 / score_per_usd if score_per_usd else None
