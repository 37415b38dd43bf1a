"""What differs between two policies, as edits that can be applied.

`apply(diff(a, b), a) == b`, digest included, and `diff(a, a) == ()`. A policy is walked as a tree.
Lists are told apart by their elements' names, so that an added strategy is one edit and not a shift
of all others; where a name stands twice, the list is one fact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from policies.edits import KEY, PLACED, Edit, FactChanged, OrderChanged, Place
from policies.policy import Budget, Policy, PolicyClasses, PolicyRung, StrategyEntry
from profiles.digest import canonical_json
from profiles.errors import InputError

_CLASSES: Place = ("classes", "weights")
"""Weights by class name: names and weights stand as two lists in the file."""

# What is compared part by part where both policies have it; anything else is one value.
_INSIDE: tuple[Place, ...] = (
    (),
    *((part,) for part in ("classes", "graph", "strategies", "rungs", "limits", "budgets")),
    *((part,) for part in ("caps", "prices", "provenance", "warnings")),
    _CLASSES,
    ("prices", "models"),
    ("strategies", KEY),
    ("strategies", KEY, "by_class"),
    ("rungs", KEY),
    *(("rungs", KEY, part) for part in ("shares", "by_class", "limits", "shadow_prices")),
)


def diff(before: Policy, after: Policy) -> tuple[Edit, ...]:
    """The edits that make one policy the other, in the order of the file; none where both agree."""
    return tuple(_differences((), before, after))


def apply(edits: Iterable[Edit], policy: Policy) -> Policy:
    """The policy after these edits.

    Raises:
        InputError: An edit is for another policy: what it changes is not there.
    """
    for edit in edits:
        policy = _put(policy, _place(edit), edit)
    return policy


def _differences(place: Place, old: Any, new: Any) -> Iterator[Edit]:
    if _same(old, new) and not (place == _CLASSES and _order(old) != _order(new)):
        return
    parts = _parts_of_both(place, old, new)
    if parts is None:
        yield _edit(place, old, new)
        return
    left, right = parts
    merged = [*left, *(key for key in right if key not in left)]
    for key in merged:
        yield from _differences((*place, key), left.get(key), right.get(key))
    ordered = place == _CLASSES or isinstance(old, tuple)
    if ordered and [key for key in merged if key in right] != list(right):
        yield OrderChanged(place[0], tuple(left), tuple(right))


def _order(node: Any) -> list[Any]:
    return list(node) if isinstance(node, Mapping) else []


def _parts_of_both(
    place: Place, old: Any, new: Any
) -> tuple[Mapping[Any, Any], Mapping[Any, Any]] | None:
    """What is to be compared part by part; None where it is one value."""
    if not any(_matches(inside, place) for inside in _INSIDE):
        return None
    if place == _CLASSES and not isinstance(old, Mapping):
        return None
    left, right = _parts(old), _parts(new)
    if left is None or right is None:
        return None
    if isinstance(old, PolicyClasses) and left.keys() != right.keys():
        return _fields(old), _fields(new)
    return left, right


def _parts(node: Any) -> Mapping[Any, Any] | None:
    """The parts of a node by name; None where it has none, or where a name stands twice."""
    if isinstance(node, PolicyClasses):
        named, weights = _fields(node), node.weights or ()
        if len(set(node.names)) == len(node.names) == len(weights):
            del named["names"]
            named["weights"] = dict(zip(node.names, weights, strict=True))
        return named
    if isinstance(node, BaseModel):
        return _fields(node)
    if isinstance(node, tuple):
        by_name = {_name(item): item for item in node}
        return by_name if len(by_name) == len(node) else None
    return node if isinstance(node, Mapping) else None


def _fields(node: BaseModel) -> dict[str, Any]:
    return {name: getattr(node, name) for name in type(node).model_fields}


def _name(item: Any) -> Any:
    """What an element of a list is called."""
    match item:
        case StrategyEntry():
            return item.text
        case PolicyRung():
            return item.budget_fraction
        case Budget():
            return f"{item.scope} per {item.window}"
    return item


def _edit(place: Place, old: Any, new: Any) -> Edit:
    for kind in PLACED:
        if _matches(kind.PLACE, place):
            make: Callable[..., Edit] = kind
            named = zip(kind.PLACE, place, strict=True)
            return make(*(key for part, key in named if part == KEY), old, new)
    return FactChanged(".".join(place), old, new)


def _matches(pattern: Place, place: Place) -> bool:
    pairs = zip(pattern, place, strict=False)
    return len(pattern) == len(place) and all(part in (KEY, key) for part, key in pairs)


def _place(edit: Edit) -> Place:
    match edit:
        case FactChanged():
            return tuple(edit.key.split("."))
        case OrderChanged():
            return _CLASSES if edit.of == "classes" else (edit.of,)
    keys = iter([getattr(edit, field.name) for field in fields(edit)])
    return tuple(next(keys) if part == KEY else part for part in edit.PLACE)


def _put(node: Any, place: Place, edit: Edit) -> Any:
    """The node with what the edit says at a place below it, or here."""
    if not place:
        return _here(node, edit)
    key, rest = place[0], place[1:]
    # Names and weights of classes are one mapping, unless an edit is about the whole of either.
    found = _fields(node) if isinstance(edit, FactChanged) else _parts(node)
    if found is None:
        raise _foreign(edit, node)
    parts = dict(found)
    part = _put(parts.get(key), rest, edit)
    if part is None and not isinstance(node, BaseModel):
        parts.pop(key, None)
    else:
        parts[key] = part
    return _rebuilt(node, parts)


def _here(node: Any, edit: Edit) -> Any:
    if isinstance(edit, OrderChanged):
        parts = _parts(node) or {}
        if set(parts) != set(edit.after):
            raise _foreign(edit, tuple(parts))
        return _rebuilt(node, {key: parts[key] for key in edit.after})
    if not _same(node, edit.before):
        raise _foreign(edit, node)
    return edit.after


def _rebuilt(node: Any, parts: dict[Any, Any]) -> Any:
    """The node with other parts."""
    if isinstance(node, PolicyClasses) and "names" not in parts:
        weights = parts["weights"]
        parts = {**parts, "names": tuple(weights), "weights": tuple(weights.values())}
    if isinstance(node, BaseModel):
        return node.model_copy(update=parts)
    return tuple(parts.values()) if isinstance(node, tuple) else parts


def _foreign(edit: Edit, found: Any) -> InputError:
    return InputError(
        "these edits are for another policy",
        where=".".join(map(str, _place(edit))),
        expected=_canonical(edit.before),
        got=_canonical(found),
        next_step="apply them to the policy that they were made from",
    )


def _same(old: Any, new: Any) -> bool:
    """Whether both are written, and so digested, alike: -0.0 is not 0.0."""
    return old is new or (old == new and _canonical(old) == _canonical(new))


def _canonical(value: Any) -> str:
    return canonical_json(to_jsonable_python(value))
