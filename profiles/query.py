"""A request as it is asked, and what one strategy made of it."""

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


@dataclass(frozen=True, slots=True)
class QueryGroup:
    """One group that a query belongs to: its tenant, its language, its task.

    Attributes:
        query_id: The query.
        name: What the groups are about: the name of the column.
        value: The group.
    """

    query_id: str
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Answered:
    """What one strategy made of one prompt.

    Attributes:
        text: The answer.
        cost_nano_usd: Nano-dollars of all calls, None where a price or the usage is unknown.
        latency_s: Seconds from request to complete answer.
        tokens_in: Prompt tokens of all calls, None where unknown.
        tokens_out: Completion tokens of all calls, None where unknown.
        calls: Calls to models.
        tokens_reasoning: Of `tokens_out`, hidden reasoning; None where unknown.
        tokens_cached: Of `tokens_in`, from a cache; None where unknown.
        answer: The final answer in the text, what a vote counts; None where nobody looked.
        verdict: A verifier's score of the text in 0..1; None where none looked.
        gpu_s: Seconds of one GPU; None where nothing was metered.
        energy_j: Joules; likewise.
    """

    text: str
    cost_nano_usd: int | None
    latency_s: float
    tokens_in: int | None
    tokens_out: int | None
    calls: int
    tokens_reasoning: int | None = None
    tokens_cached: int | None = None
    answer: str | None = None
    verdict: float | None = None
    gpu_s: float | None = None
    energy_j: float | None = None
