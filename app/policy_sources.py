"""Policies that can be compared: files, and what a view's plan compiles to."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from policies.alone import parse_alone, read_alone
from profiles.errors import InputError
from profiles.yaml_characters import decoded

if TYPE_CHECKING:
    from app.views import View
    from policies.policy import Policy

MOST_MIB = 1
"""Of a dropped file; a policy with 80 strategies in 50 classes has less."""


@dataclass(frozen=True, slots=True)
class Source:
    """A policy and where it comes from.

    Attributes:
        policy: In today's format.
        origin: Its file as a command takes it, or the view that it was compiled from.
    """

    policy: Policy
    origin: str | View

    @property
    def made_by(self) -> str | None:
        """The command line that prints it; None for a file."""
        if isinstance(self.origin, str):
            return None
        return f"{self.origin.command('plan')} -o - | inferbudget compile - -o -"


def of_view(view: View) -> Source:
    """What a view's plan compiles to.

    Raises:
        InferbudgetError: There is no plan, or no policy can be made of it.
    """
    from app.downloads import compiled_plan

    return Source(compiled_plan(view)[1].policy, view)


def of_file(path: Path, name: str) -> Source:
    """A policy file, under the name that a command takes; its graph is not read.

    Raises:
        InputError: As `inferbudget diff` says it.
    """
    policy = read_alone(path)
    if policy is None:
        raise InputError("this is no policy", where=name, next_step="name a policy.yaml")
    return Source(policy, name)


def of_bytes(content: bytes, name: str) -> Source:
    """A file that was dropped in, under the name that it came with; nothing is written.

    Raises:
        InputError: Too large, or no policy.
    """
    if len(content) > MOST_MIB * 2**20:
        raise InputError(
            "the file is too large for a policy",
            where=name,
            expected=f"at most {MOST_MIB} MiB",
            got=f"{len(content):,} bytes",
            next_step="drop policy.yaml alone; a larger one can be opened with 'inferbudget app "
            "--policy FILE'",
        )
    return Source(parse_alone(decoded(content, name), name), name)


def commands(before: Source, after: Source) -> str:
    """The command lines that print the difference as a comment on a pull request."""
    old, new = _name(before), _name(after)
    first, second = before.made_by, after.made_by
    lines = []
    if first and second:
        old = "before.yaml"
        lines = [f"{first} > {old}"]
    compare = f"inferbudget diff {old} {new} --format markdown"
    piped = second or first
    return "\n".join([*lines, f"{piped} | {compare}" if piped else compare])


def _name(source: Source) -> str:
    if not isinstance(source.origin, str):
        return "-"
    return shlex.quote(f"./{source.origin}" if source.origin[:1] == "-" else source.origin)
