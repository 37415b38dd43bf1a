"""JSON Schema of every file format, so that editors complete and explain the files."""

from __future__ import annotations

import json
from functools import cache
from pkgutil import resolve_name
from typing import Any

from pydantic import BaseModel

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


FORMATS = {
    "cases": ("policies.case_file:CaseFile", "inferbudget cases"),
    "fleet": ("planner.fleet.question:FleetQuestion", "inferbudget fleet"),
    "plan": ("planner.plan:Plan", "inferbudget plan"),
    "policy": ("policies.policy:Policy", "inferbudget policy"),
    "spec": ("planner.spec:Spec", "inferbudget spec"),
}
"""Model and title; imported only when asked for, as reading a policy needs none of the others."""


def schemas() -> dict[str, dict[str, Any]]:
    """JSON Schema by format name: cases, fleet, plan, policy, spec."""
    return {name: _schema(*about) for name, about in FORMATS.items()}


@cache
def schema_text(name: str) -> str:
    """One schema as a file's text; the same version gives the same bytes."""
    return text_of(*FORMATS[name])


def text_of(model: str, title: str) -> str:
    """The schema of a model, named ``module:Class``, as a file's text."""
    return json.dumps(_schema(model, title), indent=2, ensure_ascii=False) + "\n"


def _schema(model: str, title: str) -> dict[str, Any]:
    read: type[BaseModel] = resolve_name(model)
    return {"$schema": _DIALECT, **read.model_json_schema(), "title": title}
