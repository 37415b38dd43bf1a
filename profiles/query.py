"""A request as it is asked: its text and, where somebody gave one, its class."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Query:
    """One request of a workload.

    Attributes:
        query_id: Identifies the request within its workload.
        prompt: What the model is asked, None where only outcomes are known.
        class_label: A class that came with the data, None where none did.
    """

    query_id: str
    prompt: str | None = None
    class_label: str | None = None
