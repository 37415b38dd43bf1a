"""`inferbudget audit`: accuracy and compute by group, and how far apart groups really are."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from app.cli.group_lines import gap_words, points, shown
from app.cli.options import (
    FILE,
    Name,
    emit_json,
    emit_text,
    format_option,
    share,
    store_option,
    table,
    usd,
    workload_option,
)
from profiles.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from profiles.cells.audit import Audit, GroupFigure
    from profiles.cells.group_sums import Shares
    from profiles.profile import Profile


class _Sorted(NamedTuple):
    """How queries are sorted, and who answers: a plan's or policy's shares, None without one."""

    estimator_digest: str | None
    names: tuple[str, ...] | None
    shares: Shares | None


@click.command("audit")
@store_option
@workload_option
@click.option("--group", type=Name(), required=True, help="Column that was imported as a group.")
@click.option("--plan", "plan_path", type=FILE, help="Audit what this plan does.")
@click.option("--policy", "policy_path", type=FILE, help="Audit what this policy does.")
@click.option(
    "--rung",
    type=click.IntRange(min=0),
    help="Of the plan or policy; where absent 0, the first and dearest.",
)
@click.option(
    "--classes", type=FILE, help="Difficulty graph; labels without. A plan or policy has its own."
)
@click.option("--prices", type=FILE, help="Price card for rows without dollars; else the store's.")
@click.option(
    "--confidence",
    type=click.FloatRange(0.5, 1, max_open=True),
    default=0.95,
    show_default=True,
    help="Of every interval; those of gaps hold together.",
)
@format_option
def audit_command(
    store_path: Path,
    workload: str,
    group: str,
    plan_path: Path | None,
    policy_path: Path | None,
    rung: int | None,
    classes: Path | None,
    prices: Path | None,
    confidence: float,
    output_format: str,
) -> None:
    """Accuracy, dollars and compute of every group: of a plan, of a policy, or of each strategy.

    Warns where one group is served better than another beyond noise.
    """
    from profiles.cells.audit import audits

    if rung is not None and not (plan_path or policy_path):
        raise click.UsageError("--rung is of a plan or policy: give --plan or --policy")
    rung = rung or 0
    asked = _sorted(plan_path, policy_path, rung, classes, workload)
    profile = _profile(store_path, workload, group, asked, prices)
    if asked.shares is not None:
        ways: Mapping[str, Shares] = {f"rung {rung}": asked.shares}
    else:
        ways = {
            strategy: {name: {strategy: 1.0} for name in profile.classes}
            for strategy in profile.strategies
        }
    found = audits(profile, profile.groups[group], list(ways.values()), confidence)
    by_way = dict(zip(ways, found, strict=True))
    without = profile.groups[group].without
    if output_format == "json":
        emit_json(
            {
                "workload": workload,
                "group": group,
                "confidence": confidence,
                "profile_digest": profile.digest,
                "without_group": without,
                "audits": [{"of": name, **asdict(one)} for name, one in by_way.items()],
            }
        )
        return
    column = shown(group)
    emit_text(f"{workload} by {column}: {profile.queries} queries, profile {profile.digest[:19]}")
    for name, one in by_way.items():
        emit_text("\n" + audit_text(name, one, column, confidence))
    if without:
        who = "1 query has" if without == 1 else f"{without} queries have"
        emit_text(f"\nnote: {who} no {column} and no place here")


def _sorted(
    plan_path: Path | None, policy_path: Path | None, rung: int, classes: Path | None, workload: str
) -> _Sorted:
    from planner.plan import read_plan
    from policies.file import read_policy

    if sum(path is not None for path in (plan_path, policy_path, classes)) > 1:
        raise InputError(
            "give one of them: a plan and a policy sort requests in their own way",
            where="--plan, --policy, --classes",
        )
    if plan_path:
        plan = read_plan(plan_path)
        _refuse_other_workload(plan.workload, workload, plan_path)
        shares = [one.allocation for one in plan.rungs]
        digest, names = plan.classes.estimator_digest, plan.classes.names
        return _Sorted(digest, names, _rung(shares, rung, plan_path))
    if policy_path:
        policy = read_policy(policy_path)
        _refuse_other_workload(policy.workload, workload, policy_path)
        shares = [one.shares for one in policy.rungs]
        digest, names = policy.provenance.estimator, policy.classes.names
        return _Sorted(digest, names, _rung(shares, rung, policy_path))
    if classes:
        from profiles.difficulty.graph import read_facts

        facts = read_facts(classes)
        return _Sorted(facts.digest, facts.class_names, None)
    return _Sorted(None, None, None)


def _rung(shares: Sequence[Shares], rung: int, path: Path) -> Shares:
    if rung >= len(shares):
        raise InputError(
            "there is no such rung",
            where=f"--rung {rung}",
            expected=f"0 to {len(shares) - 1}, the rungs of {path}",
        )
    return shares[rung]


def _refuse_other_workload(own: str, asked: str, path: Path) -> None:
    if own != asked:
        raise InputError(
            "this is about another workload", where=str(path), expected=repr(asked), got=repr(own)
        )


def _profile(
    store_path: Path, workload: str, group: str, asked: _Sorted, prices: Path | None
) -> Profile:
    from profiles.cells.by_group import with_groups
    from profiles.pricing.prices import rates_of, read_dated_card
    from profiles.store.store import Store

    card = read_dated_card(prices) if prices else None
    with Store.open(store_path, read_only=True) as store, store.reading() as execute:
        rates = rates_of(store, workload, card)
        profile = store.profile(
            workload, estimator_digest=asked.estimator_digest, class_names=asked.names, rates=rates
        )
        return with_groups(execute, profile, (group,), rates=rates)


def audit_text(name: str, audit: Audit, group: str, confidence: float) -> str:
    """One audit as people read it."""
    interval = f"{100 * confidence:g} % interval"
    header = [group, "queries", "share of grouped", "accuracy", interval, "USD/request", interval]
    compute = [
        (label, field)
        for label, field in (("tokens in", "tokens_in"), ("out", "tokens_out"), ("GPU s", "gpu_s"))
        if any(getattr(one, field) is not None for one in audit.groups)
    ]
    blind = any(one.unmeasured for one in audit.groups)
    header += [label for label, _ in compute] + (["unmeasured"] if blind else [])
    rows = [
        (
            *_main(one),
            *(_number(getattr(one, field)) for _, field in compute),
            *([share(one.unmeasured)] if blind else []),
        )
        for one in audit.groups
    ]
    return "\n".join([name, table(rows, header), *_gap_lines(audit, confidence)])


def _main(one: GroupFigure) -> tuple[Any, ...]:
    low, high = one.accuracy_interval
    cost = one.cost_interval
    return (
        shown(one.value),
        one.queries,
        share(one.share),
        share(one.accuracy),
        f"{share(low)} .. {share(high)}",
        usd(one.cost_usd),
        f"{usd(cost[0])} .. {usd(cost[1])}" if cost else "n/a",
    )


def _gap_lines(audit: Audit, confidence: float) -> list[str]:
    gap = audit.gap
    if gap is None:
        return ["fewer than two groups were measured: there is no gap to judge"]
    low, high = gap.interval
    pairs = f", all {gap.pairs} pairs together" if gap.pairs > 1 else ""
    together = f"{100 * confidence:g} %{pairs}"
    lines = [
        f"{gap_words(gap.difference, gap.best, gap.worst)}; truly "
        f"{points(low)} .. {points(high)} between the best and the worst ({together})"
    ]
    if gap.certain:
        better, worse = map(shown, gap.certain)
        lines.append(
            f"warning: {better} is served better than {worse} beyond noise, by at least "
            f"{points(low)} points"
        )
    else:
        lines.append("no group is served better than another beyond noise")
    return lines


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3g}"
