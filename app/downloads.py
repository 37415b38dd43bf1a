"""A view as the files that the command line writes."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.views import View
    from planner.plan import Plan
    from policies.file import CompiledPolicy

_POLICY = "policy.yaml"
_NEVER = (1980, 1, 1, 0, 0, 0)
"""The same view gives the same bytes: no times."""


def plan_bytes(view: View) -> bytes:
    """plan.json as `inferbudget plan` writes it."""
    return _plan(view)[0].to_json().encode()


def policy_bytes(view: View) -> bytes:
    """Policy, graph and schema as `inferbudget compile` writes them, and the plan: one archive."""
    from policies.schema import schema_text
    from policies.text import SCHEMA_FILE, policy_text

    plan, compiled = compiled_plan(view)
    files = {
        _POLICY: policy_text(compiled.policy).encode(),
        compiled.policy.graph.file: compiled.graph,
        SCHEMA_FILE: schema_text("policy").encode(),
        "plan.json": plan.to_json().encode(),
    }
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in files.items():
            opened.writestr(zipfile.ZipInfo(name, _NEVER), content, zipfile.ZIP_DEFLATED)
    return archive.getvalue()


def compiled_plan(view: View) -> tuple[Plan, CompiledPolicy]:
    """A view's plan, and the policy with its graph that `inferbudget compile` makes of it.

    Raises:
        InferbudgetError: As the commands say it.
    """
    from policies.compile import compile_plan
    from policies.file import graph_file_name

    plan, estimator = _plan(view)
    name = graph_file_name(Path(_POLICY))
    return plan, compile_plan(plan, estimator=estimator, graph_file=name)


def _plan(view: View) -> tuple[Plan, bytes | None]:
    """The plan, and the difficulty graph that it names."""
    from planner.solve import solve
    from profiles.difficulty.sorting.combined import reads_labels

    question = view.ask()
    graph = question.estimator.read_bytes() if question.estimator else None
    plan = solve(
        question.profile,
        question.spec,
        prices=question.prices,
        estimator=question.estimator.name if question.estimator else None,
        reads_labels=bool(graph and reads_labels(graph)),
    )
    return plan, graph
