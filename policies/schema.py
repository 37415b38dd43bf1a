"""JSON Schema of every file format, so that editors complete and explain the files."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from pydantic import BaseModel

from planner.fleet.question import FleetQuestion
from planner.plan import Plan
from planner.spec import Spec
from policies.policy import Policy

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_FORMATS: dict[str, tuple[type[BaseModel], str]] = {
    "fleet": (FleetQuestion, "inferbudget fleet"),
    "plan": (Plan, "inferbudget plan"),
    "policy": (Policy, "inferbudget policy"),
    "spec": (Spec, "inferbudget spec"),
}


def schemas() -> dict[str, dict[str, Any]]:
    """JSON Schema by format name: fleet, plan, policy, spec."""
    return {
        name: {"$schema": _DIALECT, **model.model_json_schema(), "title": title}
        for name, (model, title) in _FORMATS.items()
    }


@cache
def schema_text(name: str) -> str:
    """One schema as a file's text; the same version gives the same bytes."""
    return json.dumps(schemas()[name], indent=2, ensure_ascii=False) + "\n"
