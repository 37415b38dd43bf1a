"""`inferbudget sign keygen`: a pair of keys."""

from __future__ import annotations

from pathlib import Path

import click

from app.cli.options import OUTPUT, emit_json, emit_text, format_option
from app.cli.policy.passphrase import passphrase_of


@click.command("keygen")
@click.option(
    "-o", "--output", type=OUTPUT, required=True, help="The private key; KEY.pub is the public one."
)
@click.option("--passphrase", "ask", is_flag=True, help="Ask for a passphrase.")
@format_option
def keygen_command(output: Path, ask: bool, output_format: str) -> None:
    """Make a pair of Ed25519 keys: one to sign with, one to trust.

    The private key is readable to its owner alone. It is encrypted where INFERBUDGET_KEY_PASSPHRASE
    is set, or with --passphrase by what you type.
    """
    from policies.keys import public_path, write_key_pair

    word = passphrase_of(ask=ask, confirm=True)
    pair = write_key_pair(output, word)
    if output_format == "json":
        emit_json(
            {
                "private": str(output),
                "public": pair.name,
                "key_id": pair.id,
                "encrypted": word is not None,
            }
        )
        return
    emit_text(f"private key  {output}, {'encrypted' if word else 'not encrypted'}: keep it secret")
    emit_text(f"public key   {public_path(output)}")
    emit_text(f"key id       {pair.id}")
