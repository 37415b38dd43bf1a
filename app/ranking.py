"""Budgets in the order in which they need a look, and sums of those that are not listed."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from app.cli.ledger.amounts import scope_of
from app.cli.ledger.standings import Standing, by_tree
from runtime.ledger import Unit
from runtime.ledger.outlook import Outlook

_KINDS = {"org", "team", "key", "user", "tag", "class", "global"}
_OTHER = "other"


class Order(StrEnum):
    """What comes first."""

    SPENT = "largest share spent"
    RUNS_OUT = "runs out first"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class Rest:
    """Budgets of one kind, unit and window, whose money can be added up: no request is in two.

    But that a request with several tags is in all of theirs.

    Attributes:
        kind: Whose they are, e.g. ``org/user``.
        unit: What they count; None where their names do not say.
        window: E.g. ``day``; empty where their names do not say.
        is_current: Whether their windows run.
        budgets: How many.
        limit: Of all, inheritance included; None where one has none.
        spent: Charged.
        held: Reserved.
        requests: Holds granted.
    """

    kind: str
    unit: Unit | None
    window: str
    is_current: bool
    budgets: int
    limit: int | None
    spent: int
    held: int
    requests: int


def ranked(found: Iterable[Standing], order: Order) -> list[Standing]:
    """Running windows first; those alike as a tree."""
    by = {Order.SPENT: _by_share, Order.RUNS_OUT: _by_moment, Order.NAME: _by_nothing}[order]
    return sorted(found, key=lambda one: (not one.is_current, by(one), by_tree(one)))


def summed(found: Iterable[Standing]) -> list[Rest]:
    """Sums of budgets that are alike, the most numerous first."""
    groups: defaultdict[tuple[str, Unit | None, str, bool], list[Standing]] = defaultdict(list)
    for one in found:
        groups[_kind(one), one.unit, _window(one), one.is_current].append(one)
    rests = [_rest(key, group) for key, group in groups.items()]
    return sorted(rests, key=lambda rest: (-rest.budgets, rest.kind, rest.unit or "", rest.window))


def _rest(key: tuple[str, Unit | None, str, bool], group: list[Standing]) -> Rest:
    limits = [one.limit for one in group if one.limit is not None]
    inherited = sum(one.carried or 0 for one in group)
    return Rest(
        *key,
        budgets=len(group),
        limit=sum(limits) + inherited if len(limits) == len(group) else None,
        spent=sum(one.spent for one in group),
        held=sum(one.held for one in group),
        requests=sum(one.requests for one in group),
    )


def _by_share(one: Standing) -> float:
    share = one.share_spent
    return math.inf if share is None else -share


def _by_moment(one: Standing) -> tuple[float, float]:
    """What is spent, then what runs out, then the rest."""
    if one.projection.outlook is Outlook.SPENT:
        return -math.inf, _by_share(one)
    at_s = one.projection.runs_out_s
    return (math.inf if at_s is None else at_s), _by_share(one)


def _by_nothing(_: Standing) -> float:
    return 0.0


def _kind(one: Standing) -> str:
    """The words of a scope's path without its names: these are its tenants' business."""
    words = [part.partition(":")[0] for part in scope_of(one.account).split("/")]
    if words[0] == "global":
        return "global"
    return "/".join(words) if set(words) <= _KINDS else _OTHER


def _window(one: Standing) -> str:
    return one.account.rpartition("|")[2] if "|" in one.account and one.unit else ""
