"""Replay: recorded requests through the real decision, the real pacing and the real ledger.

The budget is scaled to the trace: the policy's dollars per request times its requests, as one
window. Every request holds the largest cost that its strategy was measured at in its class, or its
own recorded cost where that is larger: a replay knows it, so even then ``spent + held`` stays
within the limit. It is then charged its recorded cost, or, where none was recorded, all that it
held. Without a budget a cost may be unknown: the spend is then unknown too.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from itertools import repeat
from pathlib import Path
from typing import Any

from policies.fallbacks import fallbacks
from policies.policy import Policy, StrategyEntry
from policies.verify import read_enforceable
from profiles.difficulty.reading.encoder import Encoder
from profiles.errors import BudgetRefusedError, InputError, UnknownValueError
from profiles.money import to_nano_usd, to_usd
from runtime import pacing
from runtime.decision import UNIFORM_BITS, Decision, DecisionSession, Vector
from runtime.embedding import embed_all, open_encoder
from runtime.ledger import Ledger, Scope, limit_nano_usd

Recorded = tuple[float | None, float | None, float | None]
Outcomes = Mapping[str, Mapping[str, Recorded]]

_TRACE = "trace"
_READ_AT_ONCE = 256  # prompts whose vectors memory holds


@dataclass(frozen=True, slots=True)
class Part:
    """Figures of a class or a strategy.

    Attributes:
        requests: Requests of this class; for a strategy, those that it answered.
        answered: Requests that got an answer.
        accuracy: Mean score of the answers, None without any.
        spend_usd: Dollars charged; None where a cost is unknown and no budget asks for it.
        cost_usd_per_request: Dollars per answered request, None without any.
    """

    requests: int
    answered: int
    accuracy: float | None
    spend_usd: float | None
    cost_usd_per_request: float | None


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What the policy would have done with a recorded trace.

    Attributes:
        policy_digest: The policy.
        seed: Of the random draws.
        requests: Requests of the trace.
        answered: Requests with an answer.
        refused: Requests that no strategy could answer within the money left.
        missing: Requests without a recorded outcome of the drawn strategy or any substitute.
        substituted: Answered by the next strategy in line, since the drawn one has no record.
        downgraded: Answered by a substitute, since the drawn one did not fit the money.
        unknown_cost: Without a recorded cost; under a budget charged all that was held.
        unread: Prompts that the encoder could not read; they took the last class.
        above_bound: Charged more than their strategy was ever measured at in their class.
        accuracy: Mean score over answered requests, None without any.
        accuracy_of_all: Mean score over all requests; what got no answer counts 0.
        cost_usd_per_request: Dollars per answered request, None without any.
        spend_usd: Dollars charged; None where a cost is unknown and no budget asks for it.
        budget_usd: Dollars of the scaled budget, None where the policy has none.
        latency_p95_s: At most 5 % of the answers took longer; None where a latency is missing.
        rungs: Requests decided by each step of the ladder.
        by_class: Figures per class.
        by_strategy: Figures per strategy that answered.
    """

    policy_digest: str
    seed: int
    requests: int
    answered: int
    refused: int
    missing: int
    substituted: int
    downgraded: int
    unknown_cost: int
    unread: int
    above_bound: int
    accuracy: float | None
    accuracy_of_all: float
    cost_usd_per_request: float | None
    spend_usd: float | None
    budget_usd: float | None
    latency_p95_s: float | None
    rungs: tuple[int, ...]
    by_class: dict[str, Part]
    by_strategy: dict[str, Part]

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        return {"format_version": "1.0", **asdict(self), "rungs": list(self.rungs)}


def replay(
    policy_path: Path,
    outcomes: Outcomes,
    requests: Mapping[str, str],
    *,
    labels: Mapping[str, str] | None = None,
    seed: int = 0,
    encoder: Path | None = None,
) -> ReplayReport:
    """Send a recorded trace through a policy.

    Args:
        policy_path: The policy; its graph lies beside it.
        outcomes: By query id and canonical strategy text: score in 0..1, dollars and seconds, None
            where not recorded; an outcome without a score counts as none. The order of query ids
            is the trace's.
        requests: By query id the prompt, or the class label for a policy that sorts by labels.
        labels: By query id the label beside the prompt, for a policy that sorts by both.
        seed: Of the random draws; the same seed gives the same report.
        encoder: Folder of the encoder that the policy names.

    Raises:
        InputError: An unusable policy or encoder, an empty trace, or a request without prompt or
            label.
        UnknownValueError: A cost that is neither recorded nor bounded, under a budget.
    """
    policy = read_enforceable(policy_path)
    decider = DecisionSession(policy, policy.graph_path(policy_path))
    if not outcomes:
        raise InputError("the trace holds no outcomes", next_step="pass a file with outcomes")
    opened = open_encoder(policy, encoder, threads=0)
    texts = [_sorted_by(policy, query_id, requests, labels) for query_id in outcomes]
    trace = _Trace(policy, decider, len(outcomes), seed)
    vectors = _vectors(opened, [text for text, _ in texts])
    for (query_id, recorded), (text, label), vector in zip(
        outcomes.items(), texts, vectors, strict=True
    ):
        trace.send(query_id, text, recorded, label, vector)
    return trace.report()


def _sorted_by(
    policy: Policy,
    query_id: str,
    requests: Mapping[str, str],
    labels: Mapping[str, str] | None,
) -> tuple[str, str | None]:
    """What a request is sorted by: its prompt or class, and the label beside a prompt."""
    inputs = policy.classes.inputs
    text = requests.get(query_id)
    if text is None:
        raise _not_sortable(query_id, "prompt" if "text" in inputs else "class", policy)
    label = (labels or {}).get(query_id)
    if len(inputs) > 1 and label is None:
        raise _not_sortable(query_id, "class label", policy)
    return text, label


def _vectors(encoder: Encoder | None, texts: Sequence[str]) -> Iterator[Vector | None]:
    """Of every prompt as a gateway with all the time it needs reads it; None without an encoder."""
    if encoder is None:
        yield from repeat(None, len(texts))
        return
    for start in range(0, len(texts), _READ_AT_ONCE):
        yield from embed_all(encoder, texts[start : start + _READ_AT_ONCE])


def _not_sortable(query_id: str, lacking: str, policy: Policy) -> InputError:
    return InputError(
        f"this request has no {lacking}",
        where=f"query {query_id}",
        expected=f"what the policy sorts requests by: {policy.classes.source}",
    )


@dataclass(slots=True)
class _Answer:
    class_name: str
    strategy: str
    score: float
    cost_nano_usd: int | None
    latency_s: float | None


class _Trace:
    """One replay in progress."""

    def __init__(self, policy: Policy, decider: DecisionSession, length: int, seed: int) -> None:
        self._policy = policy
        self._decider = decider
        self._length = length
        self._seed = seed
        self._random = random.Random(seed)
        self._limit = _scaled_limit(policy, length)
        self._ledger = Ledger([Scope(_TRACE, self._limit)], clock=lambda: 0.0)
        self._costs = pacing.rung_costs_nano_usd(policy)
        self._bounds = MeasuredBounds(policy.strategies)
        self._reserve = self._bounds.reserve(policy)
        self._sent = 0
        self._answers: list[_Answer] = []
        self._counts: Counter[str] = Counter()
        self._class_counts: Counter[str] = Counter()
        self._rung_counts: Counter[int] = Counter()

    def send(
        self,
        query_id: str,
        text: str,
        recorded: Mapping[str, Recorded],
        label: str | None = None,
        vector: Vector | None = None,
    ) -> None:
        """One request: decide, hold, charge."""
        decision = self._decider.decide(text, self._rung(), self._uniform(), label, vector)
        self._sent += 1
        self._counts["unread"] += vector is None and self._policy.classes.encoder is not None
        self._rung_counts[decision.rung] += 1
        self._class_counts[decision.class_name] += 1
        options = fallbacks(self._policy.strategies, decision.class_name, decision.strategy)
        known = [strategy for strategy in options if _scored(recorded, strategy)]
        if not known:
            self._counts["missing"] += 1
            return
        for strategy in known:
            if self._answer(query_id, decision.class_name, strategy, recorded[strategy]):
                self._count_change(decision, strategy, known[0])
                return
        self._counts["refused"] += 1

    def report(self) -> ReplayReport:
        """The figures of everything sent."""
        whole = _part(self._length, self._answers)
        counts = self._counts
        return ReplayReport(
            policy_digest=self._policy.digest,
            seed=self._seed,
            requests=self._length,
            answered=whole.answered,
            refused=counts["refused"],
            missing=counts["missing"],
            substituted=counts["substituted"],
            downgraded=counts["downgraded"],
            unknown_cost=counts["unknown_cost"],
            unread=counts["unread"],
            above_bound=counts["above_bound"],
            accuracy=whole.accuracy,
            accuracy_of_all=math.fsum(answer.score for answer in self._answers) / self._length,
            cost_usd_per_request=whole.cost_usd_per_request,
            spend_usd=whole.spend_usd,
            budget_usd=None if self._limit is None else to_usd(self._limit),
            latency_p95_s=_p95([answer.latency_s for answer in self._answers]),
            rungs=tuple(self._rung_counts[step] for step in range(len(self._policy.rungs))),
            by_class={
                name: _part(
                    self._class_counts[name],
                    [answer for answer in self._answers if answer.class_name == name],
                )
                for name in self._policy.classes.names
            },
            by_strategy=self._by_strategy(),
        )

    def _by_strategy(self) -> dict[str, Part]:
        groups: dict[str, list[_Answer]] = {}
        for answer in self._answers:
            groups.setdefault(answer.strategy, []).append(answer)
        return {
            text: _part(len(groups[text]), groups[text])
            for text in self._policy.strategy_texts()
            if text in groups
        }

    def _uniform(self) -> float:
        return float(self._random.getrandbits(UNIFORM_BITS) / 2**UNIFORM_BITS)

    def _rung(self) -> int:
        state = self._ledger.state(_TRACE)
        return pacing.rung(
            self._costs,
            remaining_nano_usd=state.remaining,
            requests_left=float(self._length - self._sent),
            uniform=self._uniform(),
            reserve_nano_usd=self._reserve,
        )

    def _answer(self, query_id: str, class_name: str, strategy: str, recorded: Recorded) -> bool:
        """Charge and keep an answer; False where its hold does not fit."""
        score, cost_usd, latency_s = recorded
        bound = self._bounds.of(strategy, class_name)
        cost = None if cost_usd is None else to_nano_usd(cost_usd)
        amounts = [amount for amount in (bound, cost) if amount is not None]
        if not amounts and self._limit is None:
            self._counts["unknown_cost"] += 1
            self._answers.append(_Answer(class_name, strategy, score or 0.0, None, latency_s))
            return True
        if not amounts:
            raise UnknownValueError(
                "this cost is neither recorded nor bounded",
                where=f"query {query_id}, strategy {strategy}",
                next_step="record cost_usd, or measure the strategy's cost and compile again",
            )
        try:
            hold = self._ledger.hold(query_id, max(amounts))
        except BudgetRefusedError:
            return False
        call = hold.call(max(amounts))
        if cost is None:
            call.unknown()
            self._counts["unknown_cost"] += 1
        else:
            call.settle(cost)
            self._counts["above_bound"] += bound is not None and cost > bound
        hold.close()
        charged = hold.charged.nano_usd
        self._answers.append(_Answer(class_name, strategy, score or 0.0, charged, latency_s))
        return True

    def _count_change(self, decision: Decision, strategy: str, first_known: str) -> None:
        if strategy != first_known:
            self._counts["downgraded"] += 1
        elif strategy != decision.strategy:
            self._counts["substituted"] += 1


class MeasuredBounds:
    """The dearest measured request of each strategy, in nano-dollars."""

    def __init__(self, entries: Iterable[StrategyEntry]) -> None:
        self._by_class = {
            entry.text: {
                name: to_nano_usd(cell.cost_max_usd)
                for name, cell in entry.by_class.items()
                if cell.cost_max_usd is not None
            }
            for entry in entries
        }
        every = [bound for bounds in self._by_class.values() for bound in bounds.values()]
        self._largest = max(every, default=None)

    def of(self, strategy: str, class_name: str) -> int | None:
        """In this class; else the strategy's largest anywhere; else the policy's; else None."""
        own = self._by_class[strategy]
        return own.get(class_name, max(own.values(), default=self._largest))

    def reserve(self, policy: Policy) -> int:
        """What the last request needs to find room for the cheapest strategy of any class."""
        found = 0
        for name in policy.classes.names:
            known = [self.of(text, name) for text in policy.strategy_texts()]
            found = max(found, min((bound for bound in known if bound is not None), default=0))
        return found


def _scored(recorded: Mapping[str, Recorded], strategy: str) -> bool:
    return strategy in recorded and recorded[strategy][0] is not None


def _scaled_limit(policy: Policy, requests: int) -> int | None:
    means = [Decimal(str(budget.usd_per_request)) for budget in policy.budgets]
    return limit_nano_usd(min(means) * requests) if means else None


def _part(requests: int, answers: Sequence[_Answer]) -> Part:
    answered = len(answers)
    costs = [answer.cost_nano_usd for answer in answers if answer.cost_nano_usd is not None]
    spend_usd = to_usd(sum(costs)) if len(costs) == answered else None
    score = math.fsum(answer.score for answer in answers)
    return Part(
        requests=requests,
        answered=answered,
        accuracy=score / answered if answered else None,
        spend_usd=spend_usd,
        cost_usd_per_request=spend_usd / answered if answered and spend_usd is not None else None,
    )


def _p95(latencies_s: Sequence[float | None]) -> float | None:
    known = sorted(latency for latency in latencies_s if latency is not None)
    if not known or len(known) < len(latencies_s):
        return None
    return known[math.ceil(0.95 * len(known)) - 1]
