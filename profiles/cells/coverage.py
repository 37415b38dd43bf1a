"""What a profile rests on, pair by pair: measured, derived, published, stale or missing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from profiles.observation import Evidence
from profiles.profile import Cell, Profile
from profiles.strategy import parse

_WORDS = {
    Evidence.MEASURED: "measured",
    Evidence.LIVE: "measured",
    Evidence.REPLAYED: "derived",
    Evidence.PUBLISHED: "published",
    Evidence.SIMULATED: "simulated",
}
_WEAKEST_FIRST = ("simulated", "published", "derived", "measured")


def coverage_rows(
    profile: Profile, *, stale_after_days: float | None = None, now: datetime | None = None
) -> list[dict[str, Any]]:
    """One row per class and strategy: class, strategy, state, queries, observed_until.

    Queries are None where nobody says how many there were. A cell of several kinds of evidence has
    the weakest one's state. It is stale where its newest row is more than `stale_after_days` old at
    `now`; rows without a time never say that.
    """
    at = now or datetime.now(UTC)
    oldest = None if stale_after_days is None else at - timedelta(days=stale_after_days)
    return [
        _row(class_name, strategy, profile.cells.get((class_name, strategy)), oldest)
        for class_name in profile.classes
        for strategy in profile.strategies
    ]


def coverage_by_model(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """`coverage_rows` counted per class and models: class, models, strategies, known.

    `models` are all that a strategy may call. `known` counts the strategies that are neither
    missing nor stale. Models and classes keep the order of the rows.
    """
    counted: dict[tuple[str, str], list[bool]] = defaultdict(list)
    models: dict[str, str] = {}
    for row in rows:
        text = row["strategy"]
        if text not in models:
            models[text] = " + ".join(parse(text).models()) or "no model"
        counted[row["class"], models[text]].append(row["state"] not in {"missing", "stale"})
    return [
        {"class": class_name, "models": name, "strategies": len(known), "known": sum(known)}
        for (class_name, name), known in counted.items()
    ]


def _row(
    class_name: str, strategy: str, cell: Cell | None, oldest: datetime | None
) -> dict[str, Any]:
    until = cell.observed_until if cell else None
    return {
        "class": class_name,
        "strategy": strategy,
        "state": _state(cell, oldest),
        "queries": _queries(cell),
        "evidence": list(cell.evidence) if cell else [],
        "observed_until": until.isoformat() if until else None,
    }


def _queries(cell: Cell | None) -> int | None:
    if cell is None:
        return 0
    return cell.queries if cell.sized else None


def _state(cell: Cell | None, oldest: datetime | None) -> str:
    if cell is None:
        return "missing"
    if oldest and cell.observed_until and cell.observed_until < oldest:
        return "stale"
    words = {_WORDS[Evidence(kind)] for kind in cell.evidence}
    return next(word for word in _WEAKEST_FIRST if word in words)
