"""`inferbudget keys`: virtual keys of tenants, and the hashes that the operator keeps of them."""

from __future__ import annotations

import sys
from datetime import datetime

import click

from app.cli.options import emit_json, emit_text, format_option
from app.cli.policy.passphrase import is_terminal
from profiles.errors import InputError

_MOST_BYTES = 4096


@click.group("keys")
def keys() -> None:
    """Make virtual keys of tenants."""


@keys.command("new")
@click.option("--name", required=True, help="What the key is called.")
@click.option(
    "--expires",
    type=click.DateTime(["%Y-%m-%d"]),
    help="Day (UTC, e.g. 2027-01-31) from which it opens no more; never where absent.",
)
@format_option
def new_command(name: str, expires: datetime | None, output_format: str) -> None:
    """Make a key: its secret for the client, its entry for tenants.yaml.

    The secret is shown this once and kept nowhere. The entry holds only its hash; paste it below
    `keys` of an organisation or a team.
    """
    from policies.yaml_values import block_key, flow
    from runtime.tenants.virtual_keys import new_key

    entry = block_key(_plain(name), 2)
    made = new_key()
    day = expires and expires.date().isoformat()
    if output_format == "json":
        emit_json({"name": name, "secret": made.secret, "hash": made.hash, "expires": day})
        return
    until = f", expires: {day}" if day else ""
    emit_text("secret, shown this once:")
    emit_text(f"  {made.secret}")
    emit_text("entry below `keys` in tenants.yaml:")
    emit_text(f"  {entry}: {{hash: {flow(made.hash)}{until}}}")


@keys.command("hash")
@format_option
def hash_command(output_format: str) -> None:
    """Print the hash of a key's secret, which comes from standard input.

    In a terminal it is asked for and not shown. What is no key of ours is refused, and no message
    quotes it.
    """
    from runtime.tenants.virtual_keys import hash_of

    found = hash_of(_secret())
    if output_format == "json":
        emit_json({"hash": found})
    else:
        emit_text(found)


def _secret() -> str:
    if is_terminal():
        typed: str = click.prompt("Secret", hide_input=True, err=True)
        return typed
    return sys.stdin.buffer.read(_MOST_BYTES).decode("utf-8", "replace").strip()


def _plain(name: str) -> str:
    from runtime.tenants.scope_names import plain_name

    try:
        return plain_name(name)
    except ValueError as error:
        raise InputError(str(error), where="--name", got=repr(name)) from error
