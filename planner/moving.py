"""Settings over a spec that move one of its limits, as `--set` takes them."""

from __future__ import annotations

from typing import Any

from planner.limit_names import (
    BY_GROUP,
    CARBON,
    ENERGY,
    GPU,
    LATENCIES,
    PER_REQUEST,
    SHARES,
    SPEND,
    whose,
)
from planner.limits import LimitSet
from planner.spec import Spec
from planner.spec.traffic import MOST_REQUESTS
from profiles.errors import InputError
from profiles.yaml_settings import setting


def moved(spec: Spec, limit: str, value: float | None) -> tuple[str, ...]:
    """The settings under which a spec has one limit at another value, all else as it is.

    Args:
        spec: Whose limits they are.
        limit: Its name (`planner.limit_names`). A floor on all traffic, a percentile of all
            requests and the spend may be new to the spec.
        value: In the unit that the name says; None takes the limit away.

    Raises:
        InputError: The spec has no such limit.
    """
    known = LimitSet.of(spec).values
    if known.get(limit) == value:
        return ()
    tenant, name = whose(limit)
    if limit not in known and not (name.startswith(("accuracy.", LATENCIES)) or name == SPEND):
        raise InputError(
            "the spec has no such limit",
            where=limit,
            expected=f"one of {', '.join(known) or 'none'}",
        )
    owner = spec.limits if tenant is None else spec.tenants[tenant]
    base = ["limits"] if tenant is None else ["tenants", tenant]
    part, *keys = _keys(spec, name)
    written: Any = owner.model_dump(mode="json", exclude_none=True).get(part)
    if part == "shares":
        return (setting([*base, part], _shares(written, keys[0], keys[1], value)),)
    if part in _MEANS:
        return (setting([*base, part], _mean(part, written, value)),)
    if part == "gpu":
        models = {key: held for key, held in written[keys[0]].items() if key == "models"}
        pool = None if value is None else {**models, "gpu_s_per_request": value}
        return (setting([*base, part, *keys], pool),)
    if value is not None:
        return (setting([*base, part, *keys], value),)
    return (setting([*base, part], _without(written or {}, keys)),)


def of_one_class(spec: Spec, class_name: str) -> tuple[str, ...]:
    """The settings under which all traffic is of one class.

    A spec that says no traffic gets the most that a spec may say: promises are then about means,
    as they were.
    """
    mix = {class_name: 1.0}
    if spec.traffic is None:
        return (setting(["traffic"], {"requests": MOST_REQUESTS, "mix": mix}),)
    return (setting(["traffic", "mix"], mix),)


_MEANS = {
    "spend": "usd_per_request",
    "energy": "joules_per_request",
    "carbon": "g_per_request",
}
"""Parts that say a sum of a window or a mean: whoever moves them says the mean."""


def _keys(spec: Spec, name: str) -> list[str]:
    """Where a limit stands: names of classes, groups, pools and units may have dots."""
    if name in {SPEND, ENERGY, CARBON}:
        return [name.partition(".")[0]]
    if name.startswith(LATENCIES):
        head, _, percentile = name.rpartition(".")
        in_class = head.removeprefix("latency").removeprefix(".by_class.")
        return ["latency", *(["by_class", in_class] if in_class else []), percentile]
    if name.startswith(SHARES):
        share, _, ending = name.removeprefix(SHARES).rpartition(".")
        return ["shares", share, ending]
    if name.startswith(BY_GROUP):
        for column, groups in spec.limits.accuracy.by_group.items():
            for group in groups:
                if name == f"{BY_GROUP}{column}.{group}":
                    return ["accuracy", "by_group", column, group]
    for kind in (GPU, "accuracy.by_class.", "accuracy.max_gap.", f"{PER_REQUEST}compute."):
        if name.startswith(kind):
            return [*kind.rstrip(".").split("."), name.removeprefix(kind)]
    return name.split(".")


def _mean(part: str, written: dict[str, Any] | None, value: float | None) -> Any:
    if value is None:
        return None
    kept = {"g_per_kwh": written["g_per_kwh"]} if part == "carbon" and written else {}
    return {**kept, _MEANS[part]: value}


def _shares(written: list[dict[str, Any]], name: str, ending: str, value: float | None) -> Any:
    """A list is set as a whole; a part that asks for nothing goes."""
    parts = []
    for part in written:
        rest = {key: held for key, held in part.items() if (part["name"], key) != (name, ending)}
        if part["name"] == name and value is not None:
            rest[ending] = value
        if {"at_least", "at_most"} & rest.keys():
            parts.append(rest)
    return parts or None


def _without(written: dict[str, Any], keys: list[str]) -> dict[str, Any] | None:
    """A part less one of its values, and less what is empty then."""
    key, *below = keys
    rest = {name: held for name, held in written.items() if name != key and held != {}}
    if below and (kept := _without(written.get(key, {}), below)):
        rest[key] = kept
    return rest or None
