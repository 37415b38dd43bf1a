"""Sees every request end, and tells metrics, recorder and traces how."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from policies.policy import Policy
from profiles.money import to_usd
from runtime.gateway.refused import after_charge, given_up, reply_to
from runtime.metrics import Metrics
from runtime.recording.record import Ending, Record
from runtime.recording.recorder import Recorder
from runtime.service import Ask, Run, Served
from runtime.shadow import Shadow, ShadowDecision
from runtime.upstream import UpstreamRejectedError

if TYPE_CHECKING:
    from runtime.tracing import RequestSpan

_OK, _LEFT = 200, 499


class Arrival(msgspec.Struct, frozen=True):
    """A request that has come.

    Attributes:
        at_s: Unix time.
        began_s: The same on a clock that never goes back.
        span: Its trace, None where nobody traces.
    """

    at_s: float
    began_s: float
    span: RequestSpan | None

    @classmethod
    def now(cls, span: RequestSpan | None) -> Arrival:
        """One that comes this moment."""
        return cls(time.time(), time.perf_counter(), span)


class Witness:
    """Of the requests that one policy answers.

    Args:
        metrics: Counts them.
        policy: Decides them.
        replica: Name of this process.
        recorder: Keeps them; None keeps nothing.
        shadow: Decides them too; None where no other policy is tried.
    """

    def __init__(
        self,
        metrics: Metrics,
        policy: Policy,
        replica: str,
        recorder: Recorder | None,
        shadow: Shadow | None = None,
    ) -> None:
        self.metrics = metrics
        self._policy = policy
        self._replica = replica
        self._recorder = recorder
        self._shadow = shadow
        self._keeps_words = recorder is not None and recorder.settings.prompts

    def not_begun(
        self, arrival: Arrival, outcome: Ending, error: Exception | None, ask: Ask | None = None
    ) -> None:
        """A request ended before anything was held for it."""
        self.metrics.request("", "", outcome)
        if arrival.span is not None:
            status = _LEFT if error is None else reply_to(error).status
            arrival.span.ended(outcome, status, error=error)
        if self._recorder is not None:
            self._recorder.put(
                Record(
                    workload=self._policy.workload,
                    query_id="",
                    observed_at_s=arrival.at_s,
                    outcome=outcome,
                    policy=self._policy.digest,
                    replica=self._replica,
                    latency_s=time.perf_counter() - arrival.began_s,
                    tenant=_tenant(ask),
                )
            )

    def begun(self, arrival: Arrival, run: Run, ask: Ask) -> None:
        """A request holds its money; how it ends is seen when it does."""
        if arrival.span is not None:
            arrival.span.begun(
                run.request_id,
                class_name=run.class_name,
                strategy=run.strategy,
                rung=run.rung,
                hold_nano_usd=run.held_nano_usd,
                policy=self._policy.digest,
                tenant=_tenant(ask),
            )
        shadow = self._shadow.watch(ask) if self._shadow else None
        if shadow is not None:
            shadow.add_done_callback(partial(self._shadowed, run))
        run.task.add_done_callback(partial(self._ended, arrival, run, ask, shadow))

    def _shadowed(self, run: Run, task: asyncio.Task[ShadowDecision]) -> None:
        if _has_decided(task):
            self.metrics.shadowed(task.result(), agrees=task.result().strategy == run.strategy)

    def left(self, run: Run) -> None:
        """The client of a request has left; it goes on without it."""
        self.metrics.request(run.class_name, run.strategy, "disconnected")

    def _ended(
        self,
        arrival: Arrival,
        run: Run,
        ask: Ask,
        shadow: asyncio.Task[ShadowDecision] | None,
        task: asyncio.Task[Served],
    ) -> None:
        """After the hold is closed."""
        error = None if task.cancelled() else task.exception()
        outcome = _outcome(run, task)
        if not run.left:
            self.metrics.request(run.class_name, run.strategy, outcome)
        self.metrics.took(outcome, time.perf_counter() - arrival.began_s)
        if arrival.span is not None:
            arrival.span.ended(
                outcome,
                _status(run, task, error),
                cost_nano_usd=run.charged_nano_usd,
                error=error,
            )
        if self._recorder is not None:
            record = self._record(arrival, run, ask, outcome)
            if shadow is not None and _has_decided(shadow):
                found = shadow.result()
                record = msgspec.structs.replace(
                    record, shadow_class=found.class_name, shadow_strategy=found.strategy
                )
            self._recorder.put(record)

    def _record(self, arrival: Arrival, run: Run, ask: Ask, outcome: Ending) -> Record:
        bill, known = run.bill, run.bill.usage_known
        answered = outcome in {"answered", "downgraded", "incomplete"}
        return Record(
            workload=self._policy.workload,
            query_id=run.request_id,
            observed_at_s=arrival.at_s,
            outcome=outcome,
            policy=self._policy.digest,
            replica=self._replica,
            strategy=run.strategy,
            class_name=run.class_name,
            rung=run.rung,
            cost_usd=to_usd(run.charged_nano_usd),
            latency_s=time.perf_counter() - arrival.began_s,
            tokens_in=bill.tokens_in if known else None,
            tokens_out=bill.tokens_out if known else None,
            tokens_reasoning=bill.tokens_reasoning,
            tokens_cached=bill.tokens_cached,
            calls=bill.calls,
            tenant=_tenant(ask),
            prompt=ask.prompt_text if self._keeps_words else None,
            reply=run.task.result().outcome.text if self._keeps_words and answered else None,
        )


def _has_decided(task: asyncio.Task[ShadowDecision]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def _outcome(run: Run, task: asyncio.Task[Served]) -> Ending:
    if run.left:
        return "disconnected"
    if task.cancelled():
        return "stopping"
    error = task.exception()
    if error is not None:
        return "rejected" if isinstance(error, UpstreamRejectedError) else "failed"
    return task.result().ending


def _status(run: Run, task: asyncio.Task[Served], error: BaseException | None) -> int:
    if run.left:
        return _LEFT
    charged = run.charged_nano_usd > 0
    if task.cancelled():
        return given_up(charged=charged).reply.status
    if not isinstance(error, Exception):
        return _OK
    return reply_to(after_charge(error) if charged else error).status


def _tenant(ask: Ask | None) -> str | None:
    identity = ask.identity if ask else None
    return None if identity is None else identity.key.path
