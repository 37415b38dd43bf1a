"""Where the passphrase of a private key comes from: never from an argument, which others see."""

from __future__ import annotations

import os
import sys

import click

from profiles.errors import InputError


def passphrase_of(*, ask: bool, confirm: bool = False) -> bytes | None:
    """INFERBUDGET_KEY_PASSPHRASE where it is set, else what is typed, else None.

    Args:
        ask: Whether to ask for it where the variable is not set.
        confirm: Whether it must be typed twice.

    Raises:
        InputError: The variable is empty, or there is nobody to ask.
    """
    from policies.keys import PASSPHRASE

    given = os.environ.get(PASSPHRASE)
    if given == "":
        raise InputError(
            "the passphrase is empty", where=PASSPHRASE, next_step="unset it, or give it a value"
        )
    if given is not None:
        return os.fsencode(given)
    if not ask:
        return None
    if not is_terminal():
        raise InputError(
            "a passphrase is needed, and nobody is there to type it",
            where=PASSPHRASE,
            next_step="set this variable, or run the command in a terminal",
        )
    typed: str = click.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm, err=True)
    return typed.encode()


def is_terminal() -> bool:
    """Whether somebody can type."""
    return sys.stdin.isatty()
