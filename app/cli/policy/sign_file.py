"""`inferbudget sign POLICY`: what was reviewed, signed byte for byte."""

from __future__ import annotations

from pathlib import Path

import click

from app.cli.options import FILE, emit_json, emit_text, format_option
from app.cli.policy.passphrase import passphrase_of


@click.command("sign")
@click.argument("policy", type=FILE)
@click.option("--key", type=FILE, required=True, help="Private key of 'inferbudget sign keygen'.")
@format_option
def sign_command(policy: Path, key: Path, output_format: str) -> None:
    """Sign POLICY and its decision graph, byte for byte, into POLICY.sig beside them.

    An encrypted key is opened with INFERBUDGET_KEY_PASSPHRASE, else with what you type. A policy
    that was changed after it was compiled is not signed.
    """
    from policies.keys import read_private_key, readable_by_others
    from policies.signing import sign_policy, signature_path

    if readable_by_others(key):
        emit_text(f"note: {key} can be read by others: chmod 600", err=True)
    signed = sign_policy(policy, read_private_key(key, lambda: passphrase_of(ask=True) or b""))
    path = signature_path(policy)
    if output_format == "json":
        emit_json({"signature_file": str(path), **signed.model_dump(exclude={"format_version"})})
    else:
        emit_text(f"wrote {path}, signed by {signed.key_id}")
