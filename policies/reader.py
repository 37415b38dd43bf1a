"""A policy with the place of every key, as checks of its meaning read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from policies.findings import Finding, Severity
from policies.policy import CellFigures, Policy
from policies.source import Source
from profiles.errors import InputError

COMPILE = "run 'inferbudget compile' again; a policy is never edited by hand"
PLAN = "plan and compile again, or change the limit in the spec"


@dataclass(frozen=True, slots=True)
class Reader:
    """Makes findings about a policy.

    Attributes:
        policy: What the file says.
        source: Where it says so.
        classes: Names of the policy's classes.
        weights: Their shares of requests; empty where the file does not record them.
        entries: Figures by strategy and class.
    """

    policy: Policy
    source: Source
    classes: frozenset[str]
    weights: Mapping[str, float]
    entries: Mapping[str, Mapping[str, CellFigures]]

    @classmethod
    def of(cls, policy: Policy, source: Source) -> Reader:
        """A reader of a policy and its file."""
        names, weights = policy.classes.names, policy.classes.weights or ()
        recorded = dict(zip(names, weights, strict=True)) if len(names) == len(weights) else {}
        entries = {entry.text: entry.by_class for entry in policy.strategies}
        return cls(policy, source, frozenset(names), recorded, entries)

    def cell(self, strategy: str, class_name: str) -> CellFigures | None:
        """What the file says of a strategy in a class."""
        return self.entries.get(strategy, {}).get(class_name)

    def error(self, code: str, message: str, *keys: str | int, next_step: str = COMPILE) -> Finding:
        """What is wrong at a key. Names that others wrote stand quoted in the message."""
        return Finding(Severity.ERROR, code, self.source.where(*keys), message, next_step)

    def warning(self, code: str, message: str, *keys: str | int, next_step: str = PLAN) -> Finding:
        """What a reader must know, at a key."""
        return Finding(Severity.WARNING, code, self.source.where(*keys), message, next_step)


def in_a_clause(error: InputError) -> str:
    """What an error says, without its place and next step."""
    parts = [error.what]
    parts += [f"expected {error.expected}"] if error.expected else []
    parts += [f"got {error.got}"] if error.got else []
    return "; ".join(parts)
