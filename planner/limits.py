"""Limits by name, as a question moves them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from planner.limit_names import (
    AT_LEAST,
    AT_MOST,
    BY_CLASS,
    BY_GROUP,
    CARBON,
    ENERGY,
    GPU,
    LATENCIES,
    LATENCY,
    MAX_GAP,
    OVERALL,
    PER_REQUEST,
    SHARES,
    SPEND,
    of_tenant,
)
from planner.spec import AccuracyLimit, CarbonLimit, EnergyLimit, LatencyLimit

if TYPE_CHECKING:
    from planner.spec import Spec, Tenant, TenantAccuracy

JOULES_PER_KWH = 3.6e6


class Keep(Enum):
    """A limit that stays as the spec has it."""

    SPEC = "as in the spec"


@dataclass(frozen=True)
class LimitSet:
    """Limits by name (`planner.limit_names`), in people's units.

    Attributes:
        values: Shares in 0..1, seconds, dollars, GPU-seconds, joules, grams, calls or tokens per
            request.
    """

    values: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, spec: Spec) -> LimitSet:
        """The limits of a spec; sums of a window are shared out among its requests."""
        return cls(dict(_named(spec)))

    @property
    def usd_per_request(self) -> float | None:
        """Mean dollars per request, None without a limit."""
        return self.values.get(SPEND)

    @property
    def p95_s(self) -> float | None:
        """Limit of the 95th percentile over all requests in seconds, None without."""
        return self.values.get(LATENCY)

    def alone(self) -> dict[str, LimitSet]:
        """Every limit by itself, by name."""
        return {name: LimitSet({name: value}) for name, value in self.values.items()}

    def only(self, *prefixes: str) -> LimitSet:
        """Those whose names start so."""
        return LimitSet({k: v for k, v in self.values.items() if k.startswith(prefixes)})

    def without(self, *names: str) -> LimitSet:
        """The same limits less some."""
        return LimitSet({key: v for key, v in self.values.items() if key not in names})

    def moved(self, name: str, value: float) -> LimitSet:
        """The same limits with one at another value."""
        return LimitSet({**self.values, name: value})


def _named(spec: Spec) -> Iterator[tuple[str, float]]:
    limits = spec.limits
    yield from accuracies(limits.accuracy)
    if limits.latency is not None:
        yield from latencies(limits.latency)
    usd = spec.usd_per_request()
    if usd is not None:
        yield SPEND, usd
    yield from _resources(spec)
    for part in limits.shares:
        for ending, value in ((AT_LEAST, part.at_least), (AT_MOST, part.at_most)):
            if value is not None:
                yield SHARES + part.name + ending, value
    for name, tenant in spec.tenants.items():
        for limit, value in _of_tenant(spec, tenant):
            yield of_tenant(name, limit), value


def _of_tenant(spec: Spec, tenant: Tenant) -> Iterator[tuple[str, float]]:
    yield from accuracies(tenant.accuracy)
    if tenant.latency is not None:
        yield from latencies(tenant.latency)
    usd = spec.usd_of(tenant.spend, tenant.share)
    if usd is not None:
        yield SPEND, usd


def _resources(spec: Spec) -> Iterator[tuple[str, float]]:
    limits = spec.limits
    yield from _pools(spec)
    if limits.energy is not None:
        yield ENERGY, _joules(limits.energy, spec)
    if limits.carbon is not None:
        yield CARBON, _grams(limits.carbon, spec)
    for name, most in limits.per_request or ():
        if most is not None:
            yield PER_REQUEST + name, most


def accuracies(accuracy: AccuracyLimit | TenantAccuracy) -> Iterator[tuple[str, float]]:
    """Floors and caps on gaps by name."""
    if accuracy.overall is not None:
        yield OVERALL, accuracy.overall
    for name, floor in accuracy.by_class.items():
        yield BY_CLASS + name, floor
    if isinstance(accuracy, AccuracyLimit):
        yield from _groups(accuracy)


def _groups(accuracy: AccuracyLimit) -> Iterator[tuple[str, float]]:
    for column, by_value in accuracy.by_group.items():
        for name, floor in by_value.items():
            yield f"{BY_GROUP}{column}.{name}", floor
    for column, gap in accuracy.max_gap.items():
        yield MAX_GAP + column, gap


def latencies(latency: LatencyLimit) -> Iterator[tuple[str, float]]:
    """Seconds by name."""
    for name, limit_s in latency.given():
        yield LATENCIES + name, limit_s
    for class_name, part in latency.by_class.items():
        for name, limit_s in part.given():
            yield f"{LATENCIES}by_class.{class_name}.{name}", limit_s


def _pools(spec: Spec) -> Iterator[tuple[str, float]]:
    """GPU-seconds per request of every pool, at the fullest time of the fullest window."""
    for name, pool in spec.limits.gpu.items():
        if pool.gpu_s_per_request is not None:
            yield GPU + name, pool.gpu_s_per_request
        elif pool.gpus is not None and spec.traffic is not None:
            per_s = spec.traffic.peak_requests_per_s()
            if per_s is not None:
                yield GPU + name, pool.utilization * pool.gpus / per_s


def _joules(limit: EnergyLimit, spec: Spec) -> float:
    if limit.joules_per_request is not None:
        return limit.joules_per_request
    return (limit.kwh or 0.0) * JOULES_PER_KWH / _most(spec)


def _grams(limit: CarbonLimit, spec: Spec) -> float:
    if limit.g_per_request is not None:
        return limit.g_per_request
    return (limit.kg or 0.0) * 1e3 / _most(spec)


def _most(spec: Spec) -> int:
    """Requests of the fullest window; a spec with a sum has traffic."""
    return spec.traffic.most if spec.traffic else 1
