"""Budgets as people write them in tenants.yaml."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from planner.spec import Window
from profiles.money import MOST_USD
from profiles.visible import quoted
from runtime.ledger import Unit
from runtime.tenants.scope_names import suffix

MOST_COUNT = 2**53 - 1
"""Of tokens and requests; what every shared store can count."""
USERS_AT_MOST = 10_000
_LEAST = 1e-9
_CALENDAR = (Window.DAY, Window.WEEK, Window.MONTH)


class Part(BaseModel):
    """A record of tenants.yaml; unknown keys and infinite numbers are refused."""

    # Inputs stay out of pydantic's own texts: a secret may stand where its hash should be.
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        defer_build=True,
        hide_input_in_errors=True,
    )


Dollars = Annotated[float, Field(ge=_LEAST, le=MOST_USD)]
GpuSeconds = Annotated[float, Field(ge=_LEAST, le=1e9)]
Count = Annotated[int, Field(ge=1, le=MOST_COUNT)]

_LIMITS = {
    "limit_usd": Unit.NANO_USD,
    "limit_tokens": Unit.TOKENS,
    "limit_requests": Unit.REQUESTS,
    "limit_gpu_s": Unit.NANO_GPU_S,
    "in_flight": Unit.IN_FLIGHT,
}


class TenantBudget(Part):
    """One limit of one scope in one unit and window: exactly one of the limits is given."""

    limit_usd: Dollars | None = Field(default=None, description="Dollars per window.")
    limit_tokens: Count | None = Field(default=None, description="Tokens in and out per window.")
    limit_requests: Count | None = Field(default=None, description="Admitted requests per window.")
    limit_gpu_s: GpuSeconds | None = Field(
        default=None, description="GPU-seconds per window, by `gpu_s_per_million_tokens`."
    )
    in_flight: Count | None = Field(
        default=None, description="Requests at work at once; has no window."
    )
    window: Window | None = Field(
        default=None, description="When it renews; `total` never does. Not with `in_flight`."
    )
    timezone: str | None = Field(
        default=None,
        description="IANA name of whose midnight days, weeks and months begin at; UTC if absent.",
    )
    rolling: bool = Field(
        default=False,
        description="The last second, minute, ... at any moment (a month is 28 days), not the "
        "calendar's.",
    )
    carry_over_usd: Dollars | None = Field(
        default=None, description="Most that a window inherits of what the one before it left."
    )
    carry_over_tokens: Count | None = Field(default=None, description="The same of tokens.")
    carry_over_requests: Count | None = Field(default=None, description="The same of requests.")
    carry_over_gpu_s: GpuSeconds | None = Field(
        default=None, description="The same of GPU-seconds."
    )

    @cached_property
    def limit_key(self) -> str:
        """The key of its limit."""
        return next(key for key in _LIMITS if getattr(self, key) is not None)

    @property
    def unit(self) -> Unit:
        """What it counts."""
        return _LIMITS[self.limit_key]

    @property
    def limit(self) -> float:
        """The limit, in the words of its key."""
        found: float = getattr(self, self.limit_key)
        return found

    @property
    def carry_over(self) -> float:
        """Most that is inherited, as the limit is measured; 0 for nothing."""
        return next((value for _, value in self._carried()), 0.0)

    @property
    def suffix(self) -> str:
        """What tells its account from others of its scope."""
        return suffix(self.unit, self.window or Window.TOTAL, rolling=self.rolling)

    def _carried(self) -> Iterator[tuple[str, float]]:
        for key in ("usd", "tokens", "requests", "gpu_s"):
            value = getattr(self, f"carry_over_{key}")
            if value is not None:
                yield key, value

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        given = [key for key in _LIMITS if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(f"a budget has one of {', '.join(_LIMITS)}, this has {len(given)}")
        if self.in_flight is not None:
            if self.window or self.timezone or self.rolling or any(self._carried()):
                raise ValueError("in_flight counts what is at work now: it has no window")
        elif self.window is None:
            words = ", ".join(Window)
            raise ValueError(f"window is missing: when does this budget renew? One of {words}")
        return self

    @model_validator(mode="after")
    def _window_can_do_it(self) -> Self:
        if self.timezone is not None:
            if self.rolling or self.window not in _CALENDAR:
                raise ValueError("a timezone is for days, weeks and months that do not roll")
            _refuse_timezone(self.timezone)
        if self.rolling and self.window is Window.TOTAL:
            raise ValueError("the total has no end, so it cannot roll")
        for key, _ in self._carried():
            if self.limit_key != f"limit_{key}":
                raise ValueError(f"carry_over_{key} does not belong to {self.limit_key}")
            if self.rolling or self.window is Window.TOTAL:
                raise ValueError("only a calendar window has one before it to inherit from")
        return self


def _refuse_timezone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"unknown time zone {quoted(name)!r}; an IANA name such as Europe/Berlin is needed"
        ) from None


def _each_once(budgets: tuple[TenantBudget, ...]) -> tuple[TenantBudget, ...]:
    seen = set()
    for budget in budgets:
        if budget.suffix in seen:
            per = f"per {'rolling ' if budget.rolling else ''}{budget.window}"
            what = budget.limit_key if budget.window is None else f"{budget.limit_key} {per}"
            raise ValueError(f"two budgets of one scope are {what}: keep one of them")
        seen.add(budget.suffix)
    return budgets


Budgets = Annotated[tuple[TenantBudget, ...], AfterValidator(_each_once)]


class EachUserBudgets(Part):
    """Budgets that every user has alone, of keys that may say who their user is."""

    budgets: Annotated[Budgets, Field(min_length=1)] = Field(description="Of every single user.")
    at_most: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=USERS_AT_MOST,
        description="Users with something spent or held at one time; further ones are refused "
        "until a window of the others is over.",
    )

    @model_validator(mode="after")
    def _nothing_carried(self) -> Self:
        if any(budget.carry_over for budget in self.budgets):
            raise ValueError("users inherit nothing: an idle user's accounts are forgotten")
        return self
