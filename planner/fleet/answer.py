"""A fleet as it was found: who runs in every hour, on which GPUs, for how much."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ReplicaSet:
    """Replicas of one shape in one hour.

    Attributes:
        pool: Name.
        server: Index into the pool's servers.
        gpu: Type.
        replicas: How many.
        gpus: GPUs that they take together.
        slots: Requests that they serve at once.
        share: Share of the pool's requests that comes here.
        requests: Expected in this hour.
        service_s: Mean seconds that a request occupies a slot.
        utilisation: Mean load per slot, 0..1.
        late_share: Share of requests that wait too long in the hour's busiest stretch, by Erlang C.
    """

    pool: str
    server: int
    gpu: str
    replicas: int
    gpus: int
    slots: int
    share: float
    requests: float
    service_s: float
    utilisation: float
    late_share: float


@dataclass(frozen=True, slots=True)
class FleetHour:
    """One hour.

    Attributes:
        hour: Place in the shape, from 0.
        requests: Expected.
        plan: Name of the certified plan that answers.
        promised_accuracy: What its certificate says.
        reserved: GPUs held by reservation, by type.
        on_demand: GPUs beyond them, by type.
        sets: What runs.
        usd: On demand and bought by the request in this hour, and its part of reservations.
    """

    hour: int
    requests: float
    plan: str
    promised_accuracy: float
    reserved: Mapping[str, int]
    on_demand: Mapping[str, int]
    sets: tuple[ReplicaSet, ...]
    usd: float

    @property
    def late_share(self) -> float:
        """Planned share of requests that wait too long, at most: some visit two pools."""
        if not self.requests:
            return 0.0
        return min(1.0, sum(one.requests * one.late_share for one in self.sets) / self.requests)


@dataclass(frozen=True, slots=True)
class Fleet:
    """The answer to a fleet question.

    Attributes:
        hours: Every hour of the shape.
        promised_accuracy: What the hours' plans together promise over all requests.
        reserved_usd: Dollars of reservations over the shape.
        on_demand_usd: Likewise of GPUs on demand.
        by_request_usd: Likewise of what is bought by the request.
        bound_usd: No fleet of whole GPUs costs less; proven.
        fractional_usd: No fleet costs less even if GPUs could be rented in parts.
        rounded_up_usd: What rounding that fractional fleet up would cost; None where it would
            need more GPUs than there are, or break the accuracy.
        proven: Whether the search ended before its time did.
        solver: Name and version.
    """

    hours: tuple[FleetHour, ...]
    promised_accuracy: float
    reserved_usd: float
    on_demand_usd: float
    by_request_usd: float
    bound_usd: float
    fractional_usd: float
    rounded_up_usd: float | None
    proven: bool
    solver: str

    @property
    def usd(self) -> float:
        """Dollars over the whole shape."""
        return self.reserved_usd + self.on_demand_usd + self.by_request_usd

    @property
    def gap(self) -> float:
        """Share of the cost by which a cheaper fleet could still exist, 0..1."""
        return max(0.0, 1 - self.bound_usd / self.usd) if self.usd else 0.0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        found = asdict(self)
        late = [{"late_share": hour.late_share} for hour in self.hours]
        found["hours"] = [row | extra for row, extra in zip(found["hours"], late, strict=True)]
        return {"usd": self.usd, "gap": self.gap, **found}
