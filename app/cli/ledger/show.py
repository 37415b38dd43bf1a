"""`inferbudget ledger show`: how every budget stands."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass
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
from app.cli.ledger.standings import (
    Standing,
    accounts_table,
    by_tree,
    leases_table,
    log_table,
    matches,
    moment,
    standing,
)
from app.cli.markdown import Written, piped
from app.cli.options import emit_json, emit_text, report_format_option, table
from profiles.visible import escaped
from runtime.ledger.store import LogEntry


@click.command("show", context_settings=TAKES_MORE)
@click.argument("store", required=False)
@config_option
@click.option("--url", help="Ask a running gateway, e.g. http://host:8080, in place of a store.")
@click.option(
    "--scope", help="Only accounts like this, e.g. 'org:acme*'; * and ? stand for anything."
)
@click.option("--all", "every", is_flag=True, help="Windows that are over, too.")
@click.option("--log", "with_log", is_flag=True, help="Corrections and charged leases, too.")
@report_format_option
@click.pass_context
def show_command(
    ctx: click.Context,
    store: str | None,
    config: Path | None,
    url: str | None,
    scope: str | None,
    every: bool,
    with_log: bool,
    output_format: str,
) -> None:
    """Show what every account has spent, holds and has left.

    STORE is an address such as sqlite:///ledger.db or redis://host:6379/0; a variable ${NAME} in it
    stands for its value in the environment. INFERBUDGET_OPERATOR_KEY opens a gateway's page.
    """
    refuse_more(ctx)
    written = piped if output_format == "markdown" else table
    if url is not None:
        if store is not None or config is not None or every or with_log:
            raise click.UsageError("--url asks one process: it knows no STORE, --all or --log")
        text, result = _of_gateway(url, scope, written)
    else:
        looked = look(address_of(store, config), scope, every=every, with_log=with_log)
        seen = asyncio.run(looked)
        text = seen.text(written, scope, with_log=with_log)
        result = seen.result(with_log=with_log)
    if output_format == "json":
        emit_json(result)
    else:
        emit_text(text)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a store said at one moment.

    Attributes:
        address: Of the store.
        now_s: The store's clock, Unix seconds.
        standings: As a tree.
        log: Empty where nobody asked for it.
    """

    address: Address
    now_s: float
    standings: tuple[Standing, ...]
    log: tuple[LogEntry, ...]

    def text(self, written: Written, scope: str | None, *, with_log: bool) -> str:
        """For people."""
        parts = [f"{escaped(self.address.shown)} at {moment(self.now_s)}"]
        parts.append(_accounts(self.standings, scope, written))
        leases = leases_table(self.standings, written)
        if leases:
            parts += ["leases of replicas that hold something or were lost", leases]
        if with_log:
            parts += ["log", log_table(self.log, written) if self.log else "nothing was corrected"]
        return "\n\n".join(parts)

    def result(self, *, with_log: bool) -> Mapping[str, Any]:
        """For scripts."""
        log = {"log": [asdict(entry) for entry in self.log]} if with_log else {}
        return {
            "store": self.address.shown,
            "now_s": self.now_s,
            "accounts": [account_json(one) for one in self.standings],
            **log,
        }


async def look(
    address: Address, scope: str | None = None, *, every: bool = False, with_log: bool = False
) -> Seen:
    """How the accounts of a store stand.

    Args:
        address: Of the store.
        scope: Only accounts like this, as `matches` has it.
        every: Windows that are over, too.
        with_log: Read the log, too.

    Raises:
        StoreError: The store does not answer.
        InputError: It is no store.
    """
    async with opened(address) as store:
        records = await store.accounts(latest=not every)
        log = await store.log() if with_log else ()
        now_s = await store.now()
    found = (standing(record, now_s) for record in records if matches(record.account, scope))
    return Seen(
        address,
        now_s,
        tuple(sorted(found, key=by_tree)),
        tuple(entry for entry in log if matches(entry.account, scope)),
    )


def account_json(one: Standing) -> dict[str, Any]:
    """An account for scripts: whole numbers of its unit."""
    whole = asdict(one)
    projection = whole.pop("projection")
    return {**whole, "share_spent": one.share_spent, **projection}


def _accounts(found: tuple[Standing, ...], scope: str | None, written: Written) -> str:
    if found:
        return accounts_table(found, written)
    if scope is not None:
        return f"no account is like {escaped(scope)}"
    return "no account: no gateway has used this store yet"


def _of_gateway(url: str, scope: str | None, written: Written) -> tuple[str, Mapping[str, Any]]:
    from app.cli.ledger.live import ask

    answered = asyncio.run(ask(url))
    chosen = (one for one in answered.standings if matches(one.account, scope))
    found = tuple(sorted(chosen, key=by_tree))
    result = {
        "accounts": [
            {**account_json(one), "refusals": answered.refusals[one.account]} for one in found
        ],
        "open_holds": answered.open_holds,
        "alarms": answered.alarms,
        "overrun_nano_usd": answered.overrun_nano_usd,
    }
    tail = answered.in_words(one.account for one in found)
    return f"{_accounts(found, scope, written)}\n\n{tail}", result
