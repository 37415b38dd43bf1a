"""`inferbudget ledger audit`: the store against the audit log, to the unit."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from app.cli.ledger.address import (
    TAKES_MORE,
    Address,
    address_of,
    config_option,
    opened,
    refuse_more,
)
from app.cli.ledger.amounts import amount_text, unit_of, unit_text
from app.cli.ledger.books import Judged, Store, Verdict, ended, judge
from app.cli.ledger.standings import matches, since
from app.cli.options import emit_json, emit_text, format_option, table
from profiles.errors import ExitCode, InputError
from profiles.visible import quoted
from runtime.audit_sums import Sums, read_sums
from runtime.reconciliation import FORGOTTEN, ReplicaPart

_HEAD = (
    "account", "since", "unit", "spent", "told", "proven", "unproven", "unlogged", "adjusted",
    "difference", "verdict",
)  # fmt: skip
_MOST_GAPS = 5


@click.command("audit", context_settings=TAKES_MORE)
@click.argument("store", required=False)
@config_option
@click.option(
    "--log",
    "folder",
    type=click.Path(exists=True, path_type=Path),
    help="Folder of the audit logs of all replicas; where absent that of --config.",
)
@click.option("--scope", help="Only accounts like this, e.g. 'org:acme*'.")
@click.option(
    "--ended", "only_ended", is_flag=True, help="Only windows that are over: traffic may go on."
)
@format_option
@click.pass_context
def audit_command(
    ctx: click.Context,
    store: str | None,
    config: Path | None,
    folder: Path | None,
    scope: str | None,
    only_ended: bool,
    output_format: str,
) -> None:
    """Hold what the store says is spent against the audit logs of all gateways.

    Ends with 1 where the books do not balance, and names every account, replica and line. What
    running gateways have in flight differs: audit when they are still, or --ended windows.
    """
    refuse_more(ctx)
    address = address_of(store, config)
    folder = folder or address.audit
    if folder is None:
        raise InputError(
            "it is not clear where the audit log is",
            where="--log",
            next_step="name its folder, or a gateway.yaml with an `audit` part",
        )
    sums = _sums(folder)
    found = asyncio.run(_read(address))
    judged = [one for one in judge(sums, found) if matches(one.epoch.account, scope)]
    if only_ended:
        judged = list(ended(judged, found))
    if output_format == "json":
        emit_json(_result(address, folder, sums, found, judged))
    else:
        emit_text(_text(address, folder, sums, found, judged))
    if any(one.verdict.is_finding for one in judged):
        ctx.exit(ExitCode.FINDING)


async def _read(address: Address) -> Store:
    async with opened(address) as store:
        return Store(await store.accounts(), await store.log(), await store.now())


def _sums(folder: Path) -> Sums:
    """What the log adds up to, with a bar on a terminal and nothing elsewhere."""
    hidden = not sys.stderr.isatty()
    # click's, since the bar of the other commands comes with an extra that gateways do without
    with click.progressbar(
        length=1, label="reading the audit log", file=sys.stderr, hidden=hidden
    ) as bar:

        def advance(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        return read_sums(folder, advance)


def _text(
    address: Address, folder: Path, sums: Sums, store: Store, judged: Sequence[Judged]
) -> str:
    lines = [f"{quoted(address.shown)} against {quoted(str(folder))}"]
    entries = sum(log.entries for log in sums.replicas.values())
    logs = _count(len(sums.replicas), "replica", "replicas")
    lines.append(f"{_count(entries, 'entry', 'entries')} of {logs}")
    compared = [one for one in judged if one.verdict is not Verdict.FORGOTTEN]
    lines += ["", table(map(_row, compared), _HEAD), ""]
    findings = [one for one in compared if one.verdict.is_finding]
    windows = _count(len(compared), "window", "windows")
    if not compared:
        lines.append("nothing to audit: neither the store nor the log has such a window")
    elif not findings:
        lines.append(f"the books balance: {windows}")
    else:
        lines.append(f"the books do not balance: {len(findings)} of {windows}")
    for one in findings:
        lines += _finding_lines(one)
    return "\n".join([*lines, *_notes(sums, store, judged)])


def _row(one: Judged) -> tuple[str, ...]:
    epoch, unit = one.epoch, unit_of(one.epoch.account)
    sums = (epoch.told, epoch.proven, epoch.unproven, epoch.unlogged, epoch.adjusted)
    return (
        epoch.account,
        since(epoch.epoch),
        unit_text(unit),
        "unknown" if epoch.spent is None else amount_text(epoch.spent, unit),
        *(amount_text(amount, unit) for amount in sums),
        amount_text(epoch.difference, unit),
        one.verdict.value,
    )


def _finding_lines(one: Judged) -> Iterator[str]:
    epoch, unit = one.epoch, unit_of(one.epoch.account)
    when = f" since {since(epoch.epoch)}" if epoch.epoch else ""
    yield f"{quoted(epoch.account)}{when}:"
    if one.verdict is Verdict.UNKNOWN:
        yield "  the store does not know this window: it was emptied, or is another one"
    for part in epoch.parts:
        if part.difference or epoch.spent is None:
            yield f"  {_part_words(part, f' {unit_text(unit)}' if unit else '', one)}"


def _part_words(part: ReplicaPart, unit: str, one: Judged) -> str:
    kind = unit_of(one.epoch.account)
    settled, apart = amount_text(part.settled, kind), amount_text(abs(part.difference), kind)
    who, whose = f"replica {quoted(part.replica)}", "its log"
    if part.replica == FORGOTTEN:
        who, whose = "replicas that the store does not know, or no longer", "their logs"
    said = f"{who}: {whose} settled {settled}{unit}"
    if part.difference > 0:
        said += f", the store has {apart}{unit} more"
    elif part.difference:
        said += f", the store lacks {apart}{unit} of it"
    if part.missing_entries:
        said += f"; {_count(part.missing_entries, 'entry', 'entries')} of {whose} are missing"
    return said


def _notes(sums: Sums, store: Store, judged: Iterable[Judged]) -> Iterator[str]:
    verdicts = [one.verdict for one in judged]
    if old := verdicts.count(Verdict.FORGOTTEN):
        windows = _count(old, "window is", "windows are")
        yield f"note: {windows} over for longer than the store keeps them, and not compared"
    if verdicts.count(Verdict.COUNTED):
        yield (
            "note: of accounts without a limit, lost replicas had not told all: their logs alone "
            "have it"
        )
    if store.holding:
        who = _count(store.holding, "replica holds", "replicas hold")
        yield f"note: {who} leases, at work or lost and not charged yet: what is in flight differs"
    if sums.torn:
        yield f"note: {_count(sums.torn, 'last line was', 'last lines were')} cut off by a kill"
    for where in sums.unreadable:
        yield f"warning: {quoted(where)}: this line is no entry"
    if sums.unreadable_lines > len(sums.unreadable):
        yield f"warning: {sums.unreadable_lines:,} lines are no entries"
    for name, log in sums.replicas.items():
        if log.missing:
            yield f"warning: the log of replica {quoted(name)} lacks {_gaps(log.gaps)}"


def _gaps(gaps: Sequence[tuple[int, int]]) -> str:
    named = [f"{first}" if first == last else f"{first} to {last}" for first, last in gaps]
    more = len(named) - _MOST_GAPS
    return "entries " + ", ".join(named[:_MOST_GAPS]) + (f" and {more} more" if more > 0 else "")


def _result(
    address: Address, folder: Path, sums: Sums, store: Store, judged: Iterable[Judged]
) -> dict[str, Any]:
    found = [_window_json(one) for one in judged]
    return {
        "store": address.shown,
        "log": str(folder),
        "now_s": store.now_s,
        "balances": not any(Verdict(one["verdict"]).is_finding for one in found),
        "windows": found,
        "replicas_holding": store.holding,
        "logs": {
            name: {"entries": log.entries, "gaps": log.gaps, "repeated": log.repeated}
            for name, log in sums.replicas.items()
        },
        "torn_lines": sums.torn,
        "unreadable_lines": sums.unreadable_lines,
        "unreadable": sums.unreadable,
    }


def _window_json(one: Judged) -> dict[str, Any]:
    epoch = one.epoch
    return {
        **asdict(epoch),
        "unit": unit_of(epoch.account),
        "told": epoch.told,
        "proven": epoch.proven,
        "unproven": epoch.unproven,
        "unlogged": epoch.unlogged,
        "difference": epoch.difference,
        "verdict": one.verdict.value,
    }


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
