"""Whose money, tokens, requests or GPU-seconds are limited, and how they stand."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from enum import StrEnum
from functools import cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from planner.spec import Window
from profiles.errors import InputError
from profiles.money import NANO_PER_USD


class Unit(StrEnum):
    """What an account counts, in whole numbers."""

    NANO_USD = "nano_usd"
    """1e-9 dollars."""
    TOKENS = "tokens"
    """In and out."""
    NANO_GPU_S = "nano_gpu_s"
    """1e-9 GPU-seconds, as a rate card prices tokens in them."""
    REQUESTS = "requests"
    """Admitted requests: one is spent as soon as it holds."""
    IN_FLIGHT = "in_flight"
    """Requests at work: one is held until its request ends, and none is ever spent."""


class Amounts(NamedTuple):
    """What a call or a request uses of each unit that its calls use; the order is that of `USED`.

    Attributes:
        nano_usd: Nano-dollars.
        tokens: In and out.
        nano_gpu_s: Nano-GPU-seconds.
    """

    nano_usd: int
    tokens: int = 0
    nano_gpu_s: int = 0


NOTHING: Final = Amounts(0)
USED: Final = (Unit.NANO_USD, Unit.TOKENS, Unit.NANO_GPU_S)
"""Units that calls use; of the others a request takes one."""


def limit_nano_usd(usd: float | Decimal) -> int:
    """A limit in whole nano-dollars, rounded down so that it is never stretched."""
    return int((Decimal(str(usd)) * NANO_PER_USD).to_integral_value(ROUND_FLOOR))


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose budget, how much of it, and when it renews.

    Attributes:
        name: Unique in one ledger.
        limit: Per window, in the unit; None to count without a limit.
        window: Calendar window, or `total`.
        unit: What is counted.
        timezone: IANA name; days, weeks and months begin at its midnight. Shorter windows are the
            same everywhere.
        rolling: The last second, minute, ... month (of 28 days) at any moment, not the calendar's.
        carry_over: Most that a window inherits of what the one before it left.

    Raises:
        InputError: A negative number, an unknown time zone, or a window that cannot roll or be
            inherited from.
    """

    name: str
    limit: int | None = None
    window: Window = Window.TOTAL
    unit: Unit = Unit.NANO_USD
    timezone: str = "UTC"
    rolling: bool = False
    carry_over: int = 0

    def __post_init__(self) -> None:
        if (self.limit is not None and self.limit < 0) or self.carry_over < 0:
            raise self._refused("a limit or carry-over is negative", "at least 0")
        if self.rolling and (self.window is Window.TOTAL or self.carry_over):
            raise self._refused(
                "this window cannot roll", "a second to a month, with nothing carried over"
            )
        if self.carry_over and self.window is Window.TOTAL:
            raise self._refused("the total has no window before it", "no carry-over")
        if not _is_timezone(self.timezone):
            raise self._refused(
                f"unknown time zone {self.timezone!r}", "an IANA name such as Europe/Berlin"
            )

    @property
    def rolling_s(self) -> int | None:
        """Seconds that a rolling window looks back, None for the calendar's."""
        seconds = self.window.seconds
        return int(seconds) if self.rolling and seconds is not None else None

    def _refused(self, message: str, expected: str) -> InputError:
        return InputError(message, where=f"scope {self.name!r}", expected=expected)


@cache
def _is_timezone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


class ScopeState(msgspec.Struct, frozen=True):
    """A scope as it stands; amounts are in its unit.

    Attributes:
        name: The scope.
        unit: What it counts.
        window: Its window.
        epoch_start_s: Start of the current window, Unix seconds.
        epoch_end_s: Its end, None for `total` and for rolling windows.
        limit: Of this window, with what it inherited; None without a limit.
        spent: Charged in this window.
        held: Reserved in this window by requests in flight.
        remaining: Limit less both, at least 0; None without a limit.
        requests: Holds granted in this window; for rolling windows since the start.
        refusals: Holds refused by this scope since the start.
        spent_ever: Charged since the start, over all windows.
    """

    name: str
    unit: Unit
    window: Window
    epoch_start_s: int
    epoch_end_s: int | None
    limit: int | None
    spent: int
    held: int
    remaining: int | None
    requests: int
    refusals: int
    spent_ever: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All scopes at one moment.

    Attributes:
        scopes: One state per scope, in order of definition.
        open_holds: Requests that hold money now.
        alarms: Calls with more tokens or dollars than they were allowed, since the start.
        overrun_nano_usd: Dollars charged that no hold covered, since the start: how far
            ``spent + held`` can be above a limit at most.
    """

    scopes: tuple[ScopeState, ...]
    open_holds: int
    alarms: int
    overrun_nano_usd: int
