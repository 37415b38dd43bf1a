"""The first pass: a plan that cannot be enforced as it stands is refused, not repaired."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping

from planner.plan import Plan
from policies.draft import Draft
from policies.estimator import known_labels, pinned_encoder
from profiles.digest import digest_bytes
from profiles.errors import InputError
from profiles.strategy import canonical

SHARE_TOLERANCE = 1e-6
_PLAN_AGAIN = "run 'inferbudget plan' again; a plan is never edited by hand"


def admit(draft: Draft) -> Draft:
    """The draft as it came, when everything in it can be enforced.

    Raises:
        InputError: The plan was edited, its classes, shares or strategy texts do not fit, or the
            difficulty graph is not the one that it was made with.
    """
    plan = draft.plan
    if plan.digest not in ("", plan.content_digest()):
        raise InputError(
            "the plan was changed after it was solved",
            where="plan: digest",
            expected=plan.content_digest(),
            got=plan.digest,
            next_step=_PLAN_AGAIN,
        )
    _classes(plan)
    for index, rung in enumerate(plan.rungs):
        _allocation(plan.classes.names, rung.allocation, f"rungs.{index}.allocation")
    _estimator(plan, draft.estimator)
    return draft


def check_estimator_names(metadata: Mapping[str, str], names: Iterable[str]) -> None:
    """Hold the class names that a difficulty graph carries against the plan's.

    Raises:
        InputError: They differ, or the graph carries none.
    """
    expected = list(names)
    try:
        found = json.loads(metadata.get("class_names", "null"))
    except ValueError:
        found = metadata["class_names"]
    if found != expected:
        raise InputError(
            "the difficulty graph sorts into other classes than the plan",
            where="difficulty graph: metadata class_names",
            expected=json.dumps(expected, ensure_ascii=False),
            got=json.dumps(found, ensure_ascii=False),
            next_step="pass the graph that the plan was made with, or plan again",
        )


def _classes(plan: Plan) -> None:
    names, weights = plan.classes.names, plan.classes.weights
    if not names or len(set(names)) != len(names) or "" in names:
        raise InputError(
            "class names are not distinct words",
            where="classes.names",
            got=repr(list(names)),
            next_step=_PLAN_AGAIN,
        )
    if len(weights) != len(names):
        raise InputError(
            "classes and their weights differ in number",
            where="classes.weights",
            expected=f"{len(names)} numbers",
            got=f"{len(weights)}",
            next_step=_PLAN_AGAIN,
        )


def _allocation(
    names: tuple[str, ...], allocation: Mapping[str, Mapping[str, float]], where: str
) -> None:
    if set(allocation) != set(names):
        raise InputError(
            "a rung does not say what every class gets",
            where=where,
            expected=", ".join(names),
            got=", ".join(allocation) or "no class",
            next_step=_PLAN_AGAIN,
        )
    for class_name, shares in allocation.items():
        for strategy in shares:
            _strategy_text(strategy, f"{where}.{class_name}")
        total = math.fsum(shares.values())
        if abs(total - 1) > SHARE_TOLERANCE or min(shares.values()) < -SHARE_TOLERANCE:
            raise InputError(
                "shares are not a division of the class",
                where=f"{where}.{class_name}",
                expected="shares of 0..1 that sum to 1",
                got=f"a sum of {total!r}, smallest share {min(shares.values(), default=0.0)!r}",
                next_step=_PLAN_AGAIN,
            )


def _strategy_text(text: str, where: str) -> None:
    if (spelled := canonical(text)) != text:
        raise InputError(
            "a strategy is not in its canonical spelling",
            where=where,
            expected=spelled,
            got=text,
            next_step="import the observations again with this version, then plan again",
        )


def _estimator(plan: Plan, estimator: bytes | None) -> None:
    classes = plan.classes
    if classes.source == "label":
        if estimator is not None:
            raise InputError(
                "this plan sorts by label and takes no difficulty graph",
                where="classes.source",
                next_step="leave the difficulty graph out",
            )
        return
    if estimator is None:
        raise InputError(
            "this plan sorts by text and its difficulty graph is not here",
            where="classes.estimator",
            expected=f"{classes.estimator or 'a graph'} with digest {classes.estimator_digest}",
            next_step="put the graph beside the plan or name it with --estimator",
        )
    if (found := digest_bytes(estimator)) != classes.estimator_digest:
        raise InputError(
            "this is not the difficulty graph that the plan was made with",
            where="classes.estimator_digest",
            expected=str(classes.estimator_digest),
            got=found,
            next_step="pass the graph that the plan was made with, or plan again with this one",
        )
    known_labels(estimator, classes.source)
    pinned_encoder(estimator)
