"""A policy file without the graph beside it: what a version of long ago is mostly found as."""

from __future__ import annotations

import os
from pathlib import Path

from policies.policy import Policy
from policies.versions import parse_policy, require_digest
from profiles.yaml_input import read_text


def read_alone(path: Path) -> Policy | None:
    """Read a policy file, or standard input for ``-``, and hold it against its digest.

    Git gives the empty device for a file that is not there: that is no policy, None.

    Raises:
        InputError: Unreadable, unknown or missing keys, or changed since it was compiled.
    """
    if str(path) == os.devnull:
        return None
    return parse_alone(read_text(path), str(path))


def parse_alone(text: str, name: str) -> Policy:
    """The policy that a file's text holds, held against its digest.

    Args:
        text: YAML.
        name: The file's name in errors.

    Raises:
        InputError: As of `read_alone`.
    """
    reading = parse_policy(text, name)
    require_digest(reading.policy, reading.source)
    return reading.policy
