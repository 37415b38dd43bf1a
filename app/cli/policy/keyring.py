"""Public keys whose signatures count, as options name them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from policies.keys import PublicKey


def read_keys(paths: Iterable[Path]) -> list[PublicKey]:
    """The keys of some files; without any, nothing that reads keys has to be installed.

    Raises:
        InputError: One is no Ed25519 public key.
    """
    found = []
    for path in paths:
        from policies.keys import read_public_key

        found.append(read_public_key(path))
    return found
