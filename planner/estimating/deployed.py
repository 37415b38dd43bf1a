"""Who may answer: the strategies for which every fixed cost that they need is paid.

A fixed cost pays for models or for whole strategies. A strategy needs every fixed cost that names
it, a model that it may call, or a strategy that is a stage of it; a strategy that nothing names
is always there.

Estimates are made from all strategies and only then narrowed. So every set of fixed costs is
judged by the same numbers and pays for the choice among all strategies, also for the choice among
the sets; and more paid for can only make requests cheaper.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from planner.estimating.choices import choices_of
from planner.estimating.groups import GroupRow, Groups
from planner.spec import Spec
from profiles.errors import InfeasibleError, InputError
from profiles.profile import Profile
from profiles.strategy import Strategy, Value, parse

if TYPE_CHECKING:
    from planner.estimating.estimates import Estimates

Record = TypeVar("Record", bound="Any")
_PER_CLASS = {"weights", "mix"}
"""Arrays of estimates that have one entry per class; all others have one per column."""


def paid_for(estimates: Estimates, profile: Profile, spec: Spec) -> Estimates:
    """The columns that the fixed costs named in `spec.pay` allow; all of them where it is None.

    Raises:
        InputError: A fixed cost pays for something that the profile does not know.
        InfeasibleError: Nothing that is paid for answers some class, or what is paid leaves
            nothing of the limit on spend.
    """
    if not spec.fixed_costs:
        return estimates
    _refuse_unknown(profile, spec)
    if spec.pay is None:
        return estimates
    left = spec.usd_per_request()
    if left is not None and left <= 0:
        raise InfeasibleError(
            f"the fixed costs that are paid, {spec.fees_usd:,.2f} USD, leave nothing of "
            "limits.spend.usd"
        )
    unpaid = {fee.name for fee in spec.fixed_costs} - set(spec.pay)
    free = np.array([not fees_of(spec, text) & unpaid for text in estimates.strategies])
    keep = free[estimates.strategy_of]
    for d, name in enumerate(estimates.classes):
        if not keep[estimates.class_of == d].any():
            raise InfeasibleError(
                f"nothing that is paid for answers class {name}: without {_listed(unpaid)} no "
                "strategy is left"
            )
    return narrowed(estimates, keep)


def fees_of(spec: Spec, strategy: str) -> frozenset[str]:
    """Names of the fixed costs that a strategy needs."""
    used = set(_parts(parse(strategy)))
    return frozenset(
        fee.name for fee in spec.fixed_costs if any(used & _spellings(t) for t in fee.pays_for)
    )


def _spellings(text: str) -> set[str]:
    """A model as it is written, a strategy also in its one spelling."""
    try:
        return {text, str(parse(text))}
    except InputError:
        return {text}


def _parts(value: Value) -> Iterator[str]:
    """The model and the text of a strategy, and of all its stages."""
    if isinstance(value, Strategy):
        yield str(value)
        if value.model:
            yield value.model
        for _, inner in value.params:
            yield from _parts(inner)
    elif isinstance(value, tuple):
        for inner in value:
            yield from _parts(inner)


def _refuse_unknown(profile: Profile, spec: Spec) -> None:
    known = sorted({part for text in profile.strategies for part in _parts(parse(text))})
    for number, fee in enumerate(spec.fixed_costs):
        for text in fee.pays_for:
            if not _spellings(text) & set(known):
                near = get_close_matches(text, known, n=1)
                raise InputError(
                    f"nothing measured uses {text!r}",
                    where=f"fixed_costs.{number}.pays_for",
                    expected=f"a model or a strategy: one of {', '.join(known)}",
                    next_step=f"did you mean {near[0]!r}?" if near else "name one of those",
                )


def _listed(names: set[str]) -> str:
    return " and ".join(repr(name) for name in sorted(names))


def narrowed(e: Estimates, keep: NDArray[np.bool_]) -> Estimates:
    """The estimates of fewer columns, shape (columns,); what competed before still counts."""
    groups = Groups(
        tuple(_row(row, keep) for row in e.groups.rows),
        {name: tuple(_columns(one, keep) for one in of) for name, of in e.groups.of.items()},
    )
    cells = tuple(cell for cell, kept in zip(e.cells, keep, strict=True) if kept)
    competing = None if e.level is None else e.competing or choices_of(e)
    return replace(_columns(e, keep), cells=cells, groups=groups, competing=competing)


def _row(row: GroupRow, keep: NDArray[np.bool_]) -> GroupRow:
    groups = tuple(_columns(one, keep) for one in row.groups)
    return replace(row, body=row.body[keep], margin=row.margin.of_columns(keep), groups=groups)


def _columns(record: Record, keep: NDArray[np.bool_]) -> Record:
    """The record with fewer entries in every array that has one entry per column."""
    arrays = {field.name: getattr(record, field.name) for field in fields(record)}
    fewer = {
        name: array[..., keep]
        for name, array in arrays.items()
        if isinstance(array, np.ndarray) and name not in _PER_CLASS
    }
    return replace(record, **fewer)
