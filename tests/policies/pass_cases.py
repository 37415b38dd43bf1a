"""Cases of the compiler's passes: `PASS/CASE.in.yaml` is what a small plan says other than
`base.yaml`, `PASS/CASE.out.yaml` what the pass then changes of the draft, or why it refuses.

Run as a script to write the outputs anew, for review.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from planner.plan import CellFacts, Classes, Figures, LimitFigures, Plan, Rung, TokenLine
from planner.spec import Caps, Limits, Traffic
from policies.compile import PASSES
from policies.draft import Draft
from profiles.errors import InputError
from profiles.money import PriceCard

FOLDER = Path(__file__).parent / "fixtures" / "passes"
CASES = tuple(sorted(FOLDER.glob("*/*.in.yaml")))
Pass = Callable[[Draft], Draft]


def passes_before(case: Path) -> Iterator[Pass]:
    """Every pass up to that of the case, which is the last one."""
    for one in PASSES:
        yield one
        if one.__name__ == case.parent.name:
            return
    raise ValueError(f"no pass is called {case.parent.name}")


def draft_of(case: Path) -> Draft:
    """The draft that a case starts from."""
    said = _read(FOLDER / "base.yaml") | _read(case)
    plan = _plan(said)
    if "digest" in said:
        plan = plan.model_copy(update={"digest": said["digest"]})
    return Draft(plan=plan, estimator=None, warnings=plan.warnings)


def outcome(case: Path) -> str:
    """What the pass changes, as the text of the case's output."""
    *before, last = passes_before(case)
    start = draft_of(case)
    for one in before:
        start = one(start)
    try:
        return _changes(start, last(start))
    except InputError as error:
        return "refused: |\n" + textwrap.indent(f"{error}\n", "  ")


def _changes(before: Draft, after: Draft) -> str:
    names = [field.name for field in fields(Draft)]
    changed = [name for name in names if getattr(before, name) != getattr(after, name)]
    return _text({name: _plain(getattr(after, name)) for name in changed})


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return {k: v for k, v in value.model_dump(mode="json").items() if v not in ({}, None)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _text(value: Mapping[str, Any]) -> str:
    if not value:
        return "{} # nothing changes\n"
    text: str = yaml.safe_dump(value, sort_keys=False, width=100, default_flow_style=None)
    return text


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text()) or {}
    return found


def _plan(said: dict[str, Any]) -> Plan:
    cells = {
        name: {strategy: _cell(**facts) for strategy, facts in own.items()}
        for name, own in said["cells"].items()
    }
    weights = said["classes"]
    return Plan(
        status="optimal",
        workload=said["workload"],
        confidence=0.95,
        warnings=tuple(said.get("warnings", ())),
        classes=Classes(source="label", names=tuple(weights), weights=tuple(weights.values())),
        traffic=said["traffic"] and Traffic.model_validate(said["traffic"]),
        limits=Limits.model_validate(said["limits"]),
        caps=Caps.model_validate(said["caps"]) if "caps" in said else None,
        prices=PriceCard.model_validate(said["prices"]),
        cells=cells,
        rungs=tuple(_rung(rung, cells, weights) for rung in said["rungs"]),
        best_single_strategy=None,
        spec_digest="sha256:5bec",
        profile_digest="sha256:9f0f",
        solver="HiGHS",
    ).sealed()


def _cell(
    accuracy: float,
    cost_usd: float | None,
    tokens: int | None,
    line: dict[str, float] | None = None,
) -> CellFacts:
    return CellFacts(
        queries=1000,
        accuracy=accuracy,
        planned_accuracy=accuracy,
        accuracy_se=0.01,
        cost_usd=cost_usd,
        cost_se_usd=None,
        cost_max_usd=None if cost_usd is None else 3 * cost_usd,
        latency_p95_s=2.0,
        tokens_out_max=tokens,
        evidence=("measured",),
        cap_line=line and TokenLine.model_validate(line),
    )


def _rung(
    said: dict[str, Any], cells: dict[str, dict[str, CellFacts]], weights: Mapping[str, float]
) -> Rung:
    by_class = {name: _of_class(shares, cells[name]) for name, shares in said["shares"].items()}
    costs = [figures.cost_usd_per_request for figures in by_class.values()]
    expected = Figures(
        accuracy=math.fsum(weights[name] * part.accuracy for name, part in by_class.items()),
        cost_usd_per_request=None
        if None in costs
        else math.fsum(weights[n] * (p.cost_usd_per_request or 0) for n, p in by_class.items()),
        latency_p95_s=4.0,
    )
    return Rung(
        budget_fraction=said.get("budget_fraction", 1.0),
        objective="minimize cost",
        allocation=said["shares"],
        expected=expected,
        promised=expected,
        by_class=by_class,
        shadow_prices={},
        limits={
            name: LimitFigures(**{"asked": part["allowed"], "kept": True, **part})
            for name, part in said.get("limits", {}).items()
        },
    )


def _of_class(shares: Mapping[str, float], cells: Mapping[str, CellFacts]) -> Figures:
    known = [(share, cells[text]) for text, share in shares.items() if text in cells]
    costs = [share * cell.cost_usd for share, cell in known if cell.cost_usd is not None]
    return Figures(
        accuracy=math.fsum(share * cell.planned_accuracy for share, cell in known),
        cost_usd_per_request=math.fsum(costs) if len(costs) == len(known) else None,
        latency_p95_s=4.0,
    )


if __name__ == "__main__":
    for path in CASES:
        path.with_name(path.name.replace(".in.", ".out.")).write_text(outcome(path))
