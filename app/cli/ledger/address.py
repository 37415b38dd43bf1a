"""Which ledger store is meant, and the way to it. Passwords in an address are never printed."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import parse_qsl, urlsplit

import click

from profiles.errors import InputError

if TYPE_CHECKING:
    from runtime.ledger.store import Store

Command = TypeVar("Command", bound=Callable[..., object])

TAKES_MORE = {"allow_extra_args": True}
"""Settings of a command that calls `refuse_more`: click would quote what it refuses."""
_EXPECTED = "sqlite:///path/ledger.db, redis://host:6379/0, rediss://... or unix:///path/socket"
_SERVERS = ("redis", "rediss", "unix")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a store is.

    Attributes:
        url: With its password, where it has one.
        shown: Without.
        audit: Folder of the audit log that gateway.yaml names; None without one.
    """

    url: str
    shown: str
    audit: Path | None = None


class _Config(click.Path):
    """A file; an address in its place is not quoted."""

    def __init__(self) -> None:
        super().__init__(exists=True, dir_okay=False, path_type=Path)

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> str | bytes | os.PathLike[str]:
        """Refuse what is no file."""
        if "://" in str(value):
            self.fail("this is an address; --config takes a file", param, ctx)
        return super().convert(value, param, ctx)


def refuse_more(ctx: click.Context) -> None:
    """Refuse words beyond STORE without quoting them: one of them may be an address."""
    if ctx.args:
        raise click.UsageError("one STORE, please, and nothing behind it")


def config_option(command: Command) -> Command:
    """`--config`: the gateway's own file names the store."""
    return click.option(
        "--config", type=_Config(), help="gateway.yaml, which names the store; in place of STORE."
    )(command)


def address_of(store: str | None, config: Path | None) -> Address:
    """The one store that is meant.

    Raises:
        InputError: None or two are named, or this is no address of one.
    """
    if (store is None) == (config is None):
        raise InputError(
            "it is not clear which store is meant",
            where="STORE, --config",
            expected="one of them",
            got="neither" if store is None else "both",
        )
    if config is None:
        return address_at(store or "", where="STORE")
    from runtime.settings import read_settings

    settings = read_settings(config)
    if settings.ledger is None:
        raise InputError(
            "this gateway shares no budgets: each of its processes keeps its own in memory",
            where=f"{config}: ledger",
            next_step="inferbudget ledger show --url asks such a process",
        )
    folder = settings.audit.folder if settings.audit else None
    return address_at(settings.ledger.store, where=f"{config}: ledger.store", audit=folder)


@asynccontextmanager
async def opened(address: Address) -> AsyncIterator[Store]:
    """The store itself, closed in the end.

    Raises:
        InputError: No store can be at such an address.
    """
    from runtime.ledger.store import open_store

    try:
        store = open_store(address.url)
    except ValueError as error:
        raise _refused("STORE") from error
    try:
        yield store
    finally:
        await store.close()


def address_at(text: str, *, where: str, audit: Path | None = None) -> Address:
    """The store at an address.

    Args:
        text: The address; ``${NAME}`` in it stands for its value in the environment.
        where: Who named it, for the error.
        audit: Folder of its audit log.

    Raises:
        InputError: It is no such address, or nothing is there.
    """
    from runtime.settings import expanded

    url = expanded(text, os.environ, where=where)
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise _refused(where) from error
    if parts.scheme == "sqlite" and not parts.netloc:
        return Address(url, _there(url), audit)
    host = parts.netloc.rpartition("@")[2]
    # A slash, '?' or '#' in a password that is not encoded would end the host, and be printed.
    is_cut = host if parts.scheme == "unix" else "@" in f"{parts.path}{parts.query}{parts.fragment}"
    if parts.scheme not in _SERVERS or is_cut:
        raise _refused(where)
    namespace = dict(parse_qsl(parts.query)).get("namespace", "inferbudget")
    return Address(url, f"{parts.scheme}://{host}{parts.path}?namespace={namespace}", audit)


def _there(url: str) -> str:
    """A file that is there: opening another one would begin an empty ledger."""
    from runtime.ledger.sqlite_store import sqlite_options

    path = Path(sqlite_options(url)[0])
    try:
        size = path.stat().st_size if path.is_file() else 0
    except (OSError, ValueError):
        size = 0
    if not size:
        raise InputError(
            "there is no ledger store",
            where=str(path),
            expected="the file that the gateways use",
            next_step="sqlite:///ledger.db is below the working directory, "
            "sqlite:////var/lib/ledger.db is not",
        )
    return f"sqlite:///{path}"


def _refused(where: str) -> InputError:
    return InputError(
        "this is no address of a ledger store",
        where=where,
        expected=f"{_EXPECTED}; in a password write %2F for /, %3F for ?, %23 for # and %40 for @",
    )
