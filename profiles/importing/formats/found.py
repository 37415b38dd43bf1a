"""What a reader of a tool's own format found in one file."""

from __future__ import annotations

from dataclasses import dataclass

from profiles.aggregate import Aggregate
from profiles.arrival import Arrival
from profiles.observation import Observation
from profiles.query import Query
from profiles.serving import ServingPoint


@dataclass(frozen=True, slots=True)
class SetAside:
    """One entry that could not be used.

    Attributes:
        line: Line of the file from 1; where a file is one JSON document, the entry's number from 1.
        reason: Why.
        content: The entry, shortened.
    """

    line: int
    reason: str
    content: str


@dataclass(frozen=True, slots=True)
class Found:
    """Records of every kind that one file held.

    Attributes:
        observations: Measured outcomes.
        queries: The requests' texts, labels and classes, where the file has them.
        aggregates: Published cells.
        serving: Serving measurements.
        arrivals: Recorded traffic.
        rows: Entries read, those set aside included.
        set_aside: Entries that could not be used, with the reason.
    """

    observations: tuple[Observation, ...] = ()
    queries: tuple[Query, ...] = ()
    aggregates: tuple[Aggregate, ...] = ()
    serving: tuple[ServingPoint, ...] = ()
    arrivals: tuple[Arrival, ...] = ()
    rows: int = 0
    set_aside: tuple[SetAside, ...] = ()
