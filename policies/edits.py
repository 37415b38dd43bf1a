"""The closed set of edits that lead from one policy to another; `policies.diff` makes them.

An edit says where it applies by the names that people use (a rung by its budget fraction, a class,
a strategy, a limit) and what stood there before and after; None stands for what is not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, get_args

from pydantic_core import to_jsonable_python

from planner.plan import Figures, LimitFigures
from policies.policy import (
    Budget,
    CellFigures,
    PolicyRung,
    StrategyEntry,
)
from profiles.money import TokenPrice

Place = tuple[Any, ...]
KEY = "*"
"""In a place: the name of an element, of which an edit says which."""


@dataclass(frozen=True, slots=True)
class ClassChanged:
    """A class appears or vanishes, or its planned share of requests changes."""

    PLACE: ClassVar[Place] = ("classes", "weights", KEY)
    class_name: str
    before: float | None
    after: float | None


@dataclass(frozen=True, slots=True)
class StrategyChanged:
    """A strategy appears or vanishes."""

    PLACE: ClassVar[Place] = ("strategies", KEY)
    strategy: str
    before: StrategyEntry | None
    after: StrategyEntry | None


@dataclass(frozen=True, slots=True)
class CellChanged:
    """What the plan counted on for a strategy in a class."""

    PLACE: ClassVar[Place] = ("strategies", KEY, "by_class", KEY)
    strategy: str
    class_name: str
    before: CellFigures | None
    after: CellFigures | None


@dataclass(frozen=True, slots=True)
class CapChanged:
    """A cap on every call of a strategy, such as `max_tokens`."""

    PLACE: ClassVar[Place] = ("strategies", KEY, KEY)
    strategy: str
    cap: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class RungChanged:
    """A rung appears or vanishes."""

    PLACE: ClassVar[Place] = ("rungs", KEY)
    rung: float
    before: PolicyRung | None
    after: PolicyRung | None


@dataclass(frozen=True, slots=True)
class SharesMoved:
    """Requests of a class go to other strategies: share by strategy, before and after."""

    PLACE: ClassVar[Place] = ("rungs", KEY, "shares", KEY)
    rung: float
    class_name: str
    before: Mapping[str, float] | None
    after: Mapping[str, float] | None


@dataclass(frozen=True, slots=True)
class ClassFiguresChanged:
    """What a rung expects for a class."""

    PLACE: ClassVar[Place] = ("rungs", KEY, "by_class", KEY)
    rung: float
    class_name: str
    before: Figures | None
    after: Figures | None


@dataclass(frozen=True, slots=True)
class PromiseChanged:
    """What a rung promises of a limit: see `policies.effects` for what that means."""

    PLACE: ClassVar[Place] = ("rungs", KEY, "limits", KEY)
    rung: float
    limit: str
    before: LimitFigures | None
    after: LimitFigures | None


@dataclass(frozen=True, slots=True)
class ShadowPriceChanged:
    """What the last unit of a limit costs on a rung."""

    PLACE: ClassVar[Place] = ("rungs", KEY, "shadow_prices", KEY)
    rung: float
    limit: str
    before: float | None
    after: float | None


@dataclass(frozen=True, slots=True)
class RungFactChanged:
    """Anything else of a rung: `objective`, `expected` or `promised`."""

    PLACE: ClassVar[Place] = ("rungs", KEY, KEY)
    rung: float
    key: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class LimitChanged:
    """What the spec asked of one thing: `accuracy`, `latency`, `spend` and so on."""

    PLACE: ClassVar[Place] = ("limits", KEY)
    limit: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class BudgetChanged:
    """Money that is never exceeded, e.g. `global per month`."""

    PLACE: ClassVar[Place] = ("budgets", KEY)
    budget: str
    before: Budget | None
    after: Budget | None


@dataclass(frozen=True, slots=True)
class PriceChanged:
    """What a model's tokens are charged at."""

    PLACE: ClassVar[Place] = ("prices", "models", KEY)
    model: str
    before: TokenPrice | None
    after: TokenPrice | None


@dataclass(frozen=True, slots=True)
class WarningChanged:
    """A warning appears (before is None) or vanishes."""

    PLACE: ClassVar[Place] = ("warnings", KEY)
    text: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class FactChanged:
    """Any other fact of the file by its dotted key, such as `confidence` or `graph.sha256`."""

    key: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class OrderChanged:
    """Elements stand in another order than those that stay, then those that are new.

    `of` is `classes`, `strategies`, `rungs`, `budgets` or `warnings`; both orders are by name.
    """

    of: str
    before: tuple[Any, ...]
    after: tuple[Any, ...]


Placed = (
    ClassChanged
    | StrategyChanged
    | CellChanged
    | CapChanged
    | RungChanged
    | SharesMoved
    | ClassFiguresChanged
    | PromiseChanged
    | ShadowPriceChanged
    | RungFactChanged
    | LimitChanged
    | BudgetChanged
    | PriceChanged
    | WarningChanged
)
Edit = Placed | FactChanged | OrderChanged
PLACED: tuple[type[Placed], ...] = get_args(Placed)


def as_dict(edit: Edit) -> dict[str, Any]:
    """The edit as plain values, ready for JSON."""
    content = {field.name: to_jsonable_python(getattr(edit, field.name)) for field in fields(edit)}
    return {"edit": type(edit).__name__, **content}
