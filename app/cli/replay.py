"""`inferbudget replay`: recorded outcomes through the real decision path and ledger."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli.options import (
    FILE,
    FOLDER,
    emit_json,
    emit_text,
    format_option,
    pairs,
    share,
    table,
    usd,
)
from profiles.errors import InputError

if TYPE_CHECKING:
    from policies.policy import PolicyClasses
    from profiles.importing.importers import Outcomes
    from runtime.replay import Recorded, ReplayReport


@click.command("replay")
@click.argument("policy", type=FILE)
@click.option("--outcomes", "outcomes_path", type=FILE, required=True, help="Recorded outcomes.")
@click.option("--prompts", type=FILE, help="Table with a prompt (or class) for every query.")
@click.option("--columns", multiple=True, help="Our name=theirs, as in 'profile import'.")
@click.option(
    "--constant", multiple=True, help="Column=value for every row; method=single where no method."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the draws by share.")
@click.option("--encoder", type=FOLDER, help="Folder of the encoder that the policy names.")
@format_option
def replay_command(
    policy: Path,
    outcomes_path: Path,
    prompts: Path | None,
    columns: tuple[str, ...],
    constant: tuple[str, ...],
    seed: int,
    encoder: Path | None,
    output_format: str,
) -> None:
    """Send recorded requests through POLICY and take the recorded outcome of what it chose.

    The budget is scaled to the trace: the policy's dollars per request times its requests.
    """
    from policies.file import read_policy
    from profiles.importing.importers import read_outcomes
    from runtime.replay import replay

    wanted = read_policy(policy)
    outcomes = read_outcomes(
        outcomes_path,
        workload=wanted.workload,
        columns=pairs(columns, "--columns"),
        prompts=prompts,
        constants=pairs(constant, "--constant"),
    )
    for note in outcomes.notes:
        emit_text(f"note: {note}", err=True)
    requests, labels = _requests(outcomes, wanted.classes)
    report = replay(
        policy, _recorded(outcomes), requests, labels=labels, seed=seed, encoder=encoder
    )
    if output_format == "json":
        emit_json(report.as_dict())
    else:
        emit_text(replay_text(report))


def replay_text(report: ReplayReport) -> str:
    """A replay as people read it."""
    budget = "no budget" if report.budget_usd is None else f"budget {report.budget_usd:.6f} USD"
    spend = "unknown" if report.spend_usd is None else f"{report.spend_usd:.6f} USD"
    lines = [
        f"requests  {report.requests}, answered {report.answered}, refused {report.refused}",
        f"accuracy  {share(report.accuracy)}",
        f"spend     {spend}, {budget}, {usd(report.cost_usd_per_request)} USD per request",
        f"p95       {'not recorded' if report.latency_p95_s is None else report.latency_p95_s}",
        f"rungs     {', '.join(map(str, report.rungs))} requests, dearest first",
        *([f"unread    {report.unread} prompts, which took the last class"] * bool(report.unread)),
        "",
    ]
    for kind, parts in (("class", report.by_class), ("strategy", report.by_strategy)):
        rows = [
            (name, part.requests, share(part.accuracy), usd(part.cost_usd_per_request))
            for name, part in parts.items()
        ]
        lines += [table(rows, (kind, "requests", "accuracy", "USD/request")), ""]
    return "\n".join(lines).rstrip()


def _recorded(outcomes: Outcomes) -> dict[str, dict[str, Recorded]]:
    """The first sample of every query and strategy."""
    found: dict[str, dict[str, Recorded]] = {}
    for row in sorted(outcomes.observations, key=lambda row: row.sample):
        by_strategy = found.setdefault(row.query_id, {})
        by_strategy.setdefault(row.strategy, (row.score, row.cost_usd, row.latency_s))
    in_file_order = dict.fromkeys(row.query_id for row in outcomes.observations)
    return {query: found[query] for query in in_file_order}


def _requests(
    outcomes: Outcomes, classes: PolicyClasses
) -> tuple[dict[str, str], dict[str, str] | None]:
    """By query, what the policy sorts by, and the label where it sorts by a prompt and a label.

    Where the labels are the classes and there is but one, no query needs a label.
    """
    prompts = {q.query_id: q.prompt for q in outcomes.queries if q.prompt is not None}
    labels = {q.query_id: q.class_label for q in outcomes.queries if q.class_label is not None}
    every = dict.fromkeys(query.query_id for query in outcomes.queries)
    if classes.source == "label" and len(classes.names) == 1:
        return dict.fromkeys(every, classes.names[0]), None
    if classes.source == "label":
        return _of_all(every, labels, "class label"), None
    if "label" not in classes.inputs:
        return _of_all(every, prompts, "prompt"), None
    return _of_all(every, prompts, "prompt"), _of_all(every, labels, "class label")


def _of_all(every: Iterable[str], known: dict[str, str], kind: str) -> dict[str, str]:
    missing = [query for query in every if query not in known]
    if missing:
        raise InputError(
            f"{len(missing)} queries have no {kind}, by which this policy sorts requests",
            where=f"query {missing[0]}",
            next_step="pass a table with them: --prompts FILE",
        )
    return known
