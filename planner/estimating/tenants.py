"""Tenants of a plan: their shares, their mixes, and what may be promised to each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from planner.estimating.allocation import Accounts
from planner.estimating.estimates import Estimates, estimate
from planner.estimating.groups import groups_of
from planner.estimating.limit_rows import LimitRows, refuse_unknown
from planner.estimating.segments import Segments
from planner.limit_names import SPEND, is_latency, of_tenant, whose
from planner.limits import LimitSet
from planner.programme.limit_row import LimitRow
from planner.programme.margin import Array, Margin
from planner.spec import AccuracyLimit, Limits, Spec, SpendLimit, Tenant
from profiles.errors import InputError
from profiles.profile import Profile


class Tenants:
    """Numbers, margins and rows of every tenant.

    What is promised to the tenants holds for all of them together: each has ``alpha`` over their
    number (Bonferroni).

    Args:
        profile: What was measured.
        spec: The question, with tenants.
        base: Estimates of the measured columns.
        unit: Dollars that one unit of the model's costs stands for.

    Raises:
        InputError: A mix names a class that the profile lacks, or does not add up to 1.
    """

    def __init__(self, profile: Profile, spec: Spec, base: Estimates, unit: float) -> None:
        tenants = spec.tenants
        for name, tenant in tenants.items():
            _refuse_unknown_classes(base, name, tenant)
        mixes = np.array([_mix(base, name, tenant) for name, tenant in tenants.items()])
        shares = np.array([tenant.share for tenant in tenants.values()])
        stated = all(tenant.mix is not None for tenant in tenants.values())
        together = replace(
            base,
            weights=np.asarray(shares @ mixes / shares.sum()),
            mix_queries=None if stated else base.mix_queries,
        )
        if spec.groups:
            together = replace(together, groups=groups_of(together, profile, spec))
        self.segments = Segments(tuple(tenants), shares / shares.sum(), mixes, together)
        self._unit = unit
        self._rows: list[LimitRows] = []
        self.accounts: list[Accounts] = []
        self._limits: list[LimitSet] = []
        self.limits: dict[str, Limits] = {}
        measured: dict[tuple[str, ...], Estimates] = {}
        for number, name in enumerate(tenants):
            own = _spec_of(spec, name)
            floored = tuple(own.limits.accuracy.by_class)  # the rest differs in weights alone
            if floored not in measured:
                measured[floored] = estimate(profile, own)
            estimates = replace(
                measured[floored],
                weights=mixes[number],
                mix_queries=None if tenants[name].mix is not None else base.mix_queries,
            )
            judged = own.traffic.fewest if own.traffic and base.level else None
            accounts = Accounts(estimates, judged)
            limits = LimitSet.of(own)
            margin = self._spend_margin(accounts, limits.usd_per_request)
            self._rows.append(LimitRows(accounts, own, unit, margin))
            self.accounts.append(accounts)
            self._limits.append(limits)
            self.limits[name] = own.limits.model_copy(update={"spend": tenants[name].spend})

    def lasting(self) -> list[LimitRow]:
        """Rows about tenants that stay as they are, wherever limits move."""
        return [
            self.segments.about_tenant(row, number, of_tenant(name, row.limit))
            for number, name in enumerate(self.segments.names)
            for row in self._rows[number].lasting
            if row.limit in self._limits[number].values
        ]

    def of_latency(self, limits_s: list[tuple[str, float]]) -> list[LimitRow]:
        """Rows of tenants' latency limits, given by name and seconds.

        Raises:
            UnknownValueError: A tail is unknown, or a limit lies below the profile's grid.
            InputError: A limit is about a class that there is not.
        """
        found: list[LimitRow] = []
        for limit, limit_s in limits_s:
            tenant, inner = whose(limit)
            number = self.segments.names.index(tenant or "")
            rows = self._rows[number].of_latency([(inner, limit_s)])
            found += (self.segments.about_tenant(row, number, limit) for row in rows)
        return found

    def accounts_of(self, tenant: str) -> Accounts:
        """Figures and margins of one tenant, at its share of the confidence."""
        return self.accounts[self.segments.names.index(tenant)]

    def spend_missed(self, limit: str, x: Array, usd: float) -> float:
        """By how many units of cost a tenant's promised bill exceeds its limit."""
        tenant, _ = whose(limit)
        number = self.segments.names.index(tenant or "")
        bill = self.accounts[number].bill
        return (bill.promised(self.segments.of_tenant(x, number)) - usd) / self._unit

    def _spend_margin(self, accounts: Accounts, usd: float | None) -> Margin:
        """The margin of a tenant's spend row: never too small, near to exact at its limit."""
        bill, e = accounts.bill, accounts.estimates
        if usd is None or not np.isfinite(e.cost_usd).all():
            return Margin(bill.margin.z, bill.margin.matrix.scaled(1 / self._unit))
        around = bill.margin_around(_costing(e, usd))
        return Margin(around.z, around.matrix.scaled(1 / self._unit))


def is_tenants_spend(limit: str) -> bool:
    """Whether a limit is what one tenant may spend."""
    tenant, inner = whose(limit)
    return tenant is not None and inner == SPEND


def is_tenants_latency(limit: str) -> bool:
    """Whether it bounds one tenant's latency."""
    return whose(limit)[0] is not None and is_latency(limit)


def _refuse_unknown_classes(base: Estimates, name: str, tenant: Tenant) -> None:
    by_latency = tenant.latency.by_class if tenant.latency else {}
    for key, named in (("accuracy", tenant.accuracy.by_class), ("latency", by_latency)):
        for one in named:
            refuse_unknown(one, base.classes, f"tenants.{name}.{key}.by_class", "class")


def _mix(base: Estimates, name: str, tenant: Tenant) -> Array:
    if tenant.mix is None:
        return base.weights
    where = f"tenants.{name}.mix"
    for one in tenant.mix:
        refuse_unknown(one, base.classes, where, "class")
    mix = np.array([tenant.mix.get(one, 0.0) for one in base.classes])
    if abs(mix.sum() - 1) > 1e-6:
        raise InputError(
            "the shares of the classes do not add up",
            where=where,
            expected="a sum of 1",
            got=f"{mix.sum():g}",
        )
    return np.asarray(mix / mix.sum())


def _spec_of(spec: Spec, name: str) -> Spec:
    """The question as one tenant would ask it alone, at its share of the confidence."""
    tenant = spec.tenants[name]
    usd = spec.usd_of(tenant.spend, tenant.share)
    traffic = spec.traffic
    if traffic is not None:
        requests = max(round(traffic.requests * tenant.share), 1)
        traffic = traffic.model_copy(update={"requests": requests, "mix": None})
    level = spec.level
    return spec.model_copy(
        update={
            "tenants": {},
            "traffic": traffic,
            "confidence": "none" if level is None else 1 - (1 - level) / len(spec.tenants),
            "limits": Limits(
                accuracy=AccuracyLimit(
                    overall=tenant.accuracy.overall, by_class=tenant.accuracy.by_class
                ),
                latency=tenant.latency,
                spend=None if usd is None else SpendLimit(usd_per_request=usd),
            ),
        }
    )


def _costing(e: Estimates, usd: float) -> Array:
    """An allocation of about this cost: each class's cheapest cell mixed with its dearest one."""
    low, high = np.zeros(e.columns), np.zeros(e.columns)
    for d in range(len(e.classes)):
        own = np.flatnonzero(e.class_of == d)
        low[own[np.argmin(e.cost_usd[own])]] = 1.0
        high[own[np.argmax(e.cost_usd[own])]] = 1.0
    least = float(e.traffic_share * low @ e.cost_usd)
    most = float(e.traffic_share * high @ e.cost_usd)
    part = min(max((usd - least) / (most - least), 0.0), 1.0) if most > least else 0.0
    return np.asarray((1 - part) * low + part * high)
