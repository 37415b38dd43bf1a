"""What every part of a spec is made of: strict records and numbers."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from profiles.visible import LONGEST_NAME


def _no_truth_value(value: Any) -> Any:
    """YAML reads yes, on and true as a truth value, which would count as 1."""
    if isinstance(value, bool):
        raise ValueError("a number is needed; yes, no, on, off, true and false are not numbers")
    return value


Number = Annotated[float, BeforeValidator(_no_truth_value)]
Share = Annotated[Number, Field(ge=0, le=1)]
Positive = Annotated[Number, Field(gt=0)]
Count = Annotated[int, Field(gt=0), BeforeValidator(_no_truth_value)]
Name = Annotated[str, Field(min_length=1)]
Names = Annotated[tuple[Name, ...], Field(min_length=1)]


class Part(BaseModel):
    """A record of a spec; unknown keys and infinite numbers are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


class Window(StrEnum):
    """A span of time that a budget or a traffic volume is counted over.

    Calendar windows are in UTC. `total` is one window without end: a batch of known size.
    """

    TOTAL = "total"
    SECOND = "second"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"

    @property
    def seconds(self) -> float | None:
        """Its length; of a month the shortest, None for `total`."""
        return _SECONDS.get(self)


_SECONDS = {
    Window.SECOND: 1.0,
    Window.MINUTE: 60.0,
    Window.HOUR: 3600.0,
    Window.DAY: 86400.0,
    Window.WEEK: 7 * 86400.0,
    Window.MONTH: 28 * 86400.0,
}


def without(written: dict[str, Any], newer: Collection[str]) -> dict[str, Any]:
    """A record less those of these keys that say nothing.

    So it reads, and is digested, as before they existed.
    """
    return {k: v for k, v in written.items() if k not in newer or not _says_nothing(v)}


def _says_nothing(value: Any) -> bool:
    if isinstance(value, dict | list | tuple):
        return not value
    return value is None or value is False


def meant(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'word'?`` where one is near, else nothing."""
    from difflib import get_close_matches  # noqa: PLC0415 - slow, and only mistakes need it

    if len(word) > LONGEST_NAME:
        return ""
    near = get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
