"""A request of recorded traffic: when it came and how long it was, not how well it was answered."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request of a trace.

    Attributes:
        workload: Name of the traffic.
        request_id: Identifies the request within the trace.
        arrived_at: When it came, UTC.
        tokens_in: Prompt tokens.
        tokens_out: Completion tokens.
        source: The file.
    """

    workload: str
    request_id: str
    arrived_at: datetime
    tokens_in: int | None
    tokens_out: int | None
    source: str = ""
