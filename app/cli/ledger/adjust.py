"""`inferbudget ledger adjust`: an operator's correction of what was spent."""

from __future__ import annotations

import asyncio
import re
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.cli.ledger.address import Address, address_of, config_option, opened
from app.cli.ledger.amounts import amount_text, read_amount, unit_of, unit_text
from app.cli.ledger.standings import ACCOUNT_HEAD, Standing, since, standing
from app.cli.options import emit_json, emit_text, format_option, table
from app.cli.policy.passphrase import is_terminal
from profiles.errors import InputError
from profiles.visible import escaped, quoted
from runtime.ledger import Unit
from runtime.ledger.store import StoreLostError

if TYPE_CHECKING:
    from runtime.ledger.store import Store

_OPTIONS = {
    Unit.NANO_USD: "--usd",
    Unit.TOKENS: "--tokens",
    Unit.REQUESTS: "--requests",
    Unit.NANO_GPU_S: "--gpu-s",
}
_MOST_REASON = 500
_SECONDS = re.compile(r"-?[0-9]{1,15}", re.ASCII)


@click.command("adjust")
@click.argument("words", nargs=-1, required=True, metavar="[STORE] ACCOUNT")
@config_option
@click.option("--usd", help="Dollars, e.g. -3.20: added to what was spent; below 0 gives back.")
@click.option("--tokens", help="The same in tokens.")
@click.option("--requests", help="The same in requests.")
@click.option("--gpu-s", help="The same in GPU-seconds.")
@click.option(
    "--epoch", help="Start of the window, as `ledger show` has it; the running one where absent."
)
@click.option("--reason", required=True, help="Why, for the store's log.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@format_option
def adjust_command(
    words: tuple[str, ...],
    config: Path | None,
    usd: str | None,
    tokens: str | None,
    requests: str | None,
    gpu_s: str | None,
    epoch: str | None,
    reason: str,
    yes: bool,
    output_format: str,
) -> None:
    """Correct what ACCOUNT of a store has spent, and write it to the store's log.

    Which option fits is said by the account's unit. On a terminal it asks first; elsewhere it needs
    --yes.
    """
    *stores, account = words
    if len(stores) > 1:
        raise click.UsageError("one STORE and one ACCOUNT, please")
    address = address_of(stores[0] if stores else None, config)
    if "://" in account:
        raise click.UsageError("this is the address of a store; ACCOUNT stands behind it")
    given = {"--usd": usd, "--tokens": tokens, "--requests": requests, "--gpu-s": gpu_s}
    amount = _amount(account, {name: text for name, text in given.items() if text is not None})
    _require_reason(reason)
    start_s = None if epoch is None else _epoch(epoch)
    before, after = asyncio.run(_adjusted(address, account, start_s, amount, reason, yes=yes))
    if output_format == "json":
        emit_json(_result(before, after, amount, reason))
    else:
        emit_text(_text(before, after))


async def _adjusted(
    address: Address, account: str, epoch: int | None, amount: int, reason: str, *, yes: bool
) -> tuple[Standing, Standing]:
    async with opened(address) as store:
        before = await _found(store, account, epoch)
        if -amount > before.spent:
            raise InputError(
                "more would be given back than was spent",
                where=f"account {account!r}",
                expected=f"at least -{_with_unit(before.spent, before)}",
                got=_with_unit(amount, before),
            )
        if not yes:
            _ask(before, amount)
        try:
            await store.adjust(account, before.epoch, amount, reason)
        except StoreLostError as error:
            raise _unsure(error, "it is not known whether the correction was made") from error
        try:
            return before, await _found(store, account, before.epoch)
        except StoreLostError as error:
            raise _unsure(error, "the correction was made") from error


def _unsure(error: StoreLostError, what: str) -> StoreLostError:
    return StoreLostError(
        f"{error}\n  {what}\n  next: look at `inferbudget ledger show --log` before you repeat it"
    )


async def _found(store: Store, account: str, epoch: int | None) -> Standing:
    """The epoch of that account, or its running one.

    Raises:
        InputError: There is none.
    """
    records = [record for record in await store.accounts() if record.account == account]
    now_s = await store.now()
    standings = [standing(record, now_s) for record in records]
    chosen = [one for one in standings if (one.is_current if epoch is None else one.epoch == epoch)]
    if not chosen:
        known = ", ".join(f"{one.epoch} ({since(one.epoch)})" for one in standings[-3:])
        raise InputError(
            "the store has no such account"
            if not standings
            else "the running window of this account has not begun"
            if epoch is None
            else "the store has no such window of this account",
            where=f"account {account!r}",
            expected=f"--epoch with one of the last, {known}" if standings else None,
            next_step="inferbudget ledger show --all lists accounts and windows",
        )
    return chosen[-1]


def _amount(account: str, given: dict[str, str]) -> int:
    """What is to be added, in the account's unit.

    Raises:
        InputError: The option does not fit the account.
    """
    unit = unit_of(account)
    if unit is Unit.IN_FLIGHT:
        raise InputError(
            "requests in flight are never spent, so there is nothing to correct",
            where=f"account {account!r}",
        )
    if unit is None:
        raise InputError(
            "the name of this account does not say what it counts",
            where=f"account {account!r}",
            expected="a name such as 'org:acme|nano_usd|month', or 'global'",
            next_step="inferbudget ledger show lists them",
        )
    option = _OPTIONS[unit]
    if list(given) != [option]:
        raise InputError(
            f"this account counts {unit_text(unit)}",
            where=f"account {account!r}",
            expected=option,
            got=", ".join(given) or "no amount",
        )
    amount = read_amount(given[option], unit, where=option)
    if not amount:
        raise InputError("there is nothing to correct", where=option, got=repr(given[option]))
    return amount


def _require_reason(reason: str) -> None:
    plain = reason.strip() and len(reason) <= _MOST_REASON and escaped(reason) == reason
    if not plain:
        raise InputError(
            "this is no reason for a log",
            where="--reason",
            expected=f"1 to {_MOST_REASON} characters that can be seen, on one line",
            got=repr(reason),
        )


def _epoch(text: str) -> int:
    """Unix seconds of a window's start.

    Raises:
        InputError: It is neither whole seconds nor a day or time.
    """
    if _SECONDS.fullmatch(text):
        return int(text)
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(
            "this is no start of a window",
            where="--epoch",
            expected="Unix seconds, a day such as 2026-11-01 or a time (UTC where it says none)",
            got=repr(text),
        ) from error
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())


def _ask(before: Standing, amount: int) -> None:
    if not is_terminal():
        raise InputError(
            "nobody is there to confirm it", where="--yes", next_step="give --yes to go on"
        )
    after = replace(
        before,
        spent=before.spent + amount,
        remaining=None if before.remaining is None else before.remaining - amount,
    )
    emit_text(_text(before, after), err=True)
    click.confirm(f"Add {_with_unit(amount, before)} to what it has spent?", abort=True, err=True)


def _text(before: Standing, after: Standing) -> str:
    head = ("", *(name for name in ACCOUNT_HEAD if name in _SHOWN))
    rows = [(word, *_figures(one)) for word, one in (("before", before), ("after", after))]
    when = f", window since {since(before.epoch)}" if before.epoch else ""
    return f"{quoted(before.account)}{when}, {unit_text(before.unit)}\n{table(rows, head)}"


_SHOWN = ("limit", "carried", "spent", "held", "remaining")


def _figures(one: Standing) -> list[str]:
    return [amount_text(getattr(one, name), one.unit) for name in _SHOWN]


def _with_unit(amount: int, one: Standing) -> str:
    return f"{amount_text(amount, one.unit)} {unit_text(one.unit)}"


def _result(before: Standing, after: Standing, amount: int, reason: str) -> dict[str, Any]:
    parts = {"before": before, "after": after}
    return {
        "account": before.account,
        "epoch": before.epoch,
        "unit": before.unit,
        "amount": amount,
        "reason": reason,
        **{word: {name: asdict(one)[name] for name in _SHOWN} for word, one in parts.items()},
    }
