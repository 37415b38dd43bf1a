"""Partial answers of one request: continued, scored, and the best of them kept.

A step is a call that continues a partial answer by prefill. Steps are cut by the tokens of a call,
never by a stop text: replies do not say whether an answer ended by itself or at such a text.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeVar

from msgspec.structs import replace

from profiles.errors import InferbudgetError
from profiles.methods.counting import quoted_bytes
from profiles.methods.instructions import EVALUATE_PARTIAL
from profiles.methods.stepping import Stepped, step_caps
from profiles.strategy import Strategy
from runtime.strategies.attempt import Answer, Attempt
from runtime.strategies.base import StrategyExecutor, Tools
from runtime.strategies.sampling import Sampling, draw
from runtime.strategies.scoring import Scorer, scorer_of
from runtime.upstream import ChatCall, Message

_CUT = "length"


@dataclass(frozen=True, slots=True)
class Partial:
    """An answer after some steps.

    Attributes:
        answer: What the steps say together. Its confidence is the geometric mean of the steps'.
        steps: How many it took.
        ended: It cannot be continued: it ended by itself, took all its steps, or has more bytes
            than the bound of the next prompt counts.
        score: Of the verifier, 0..1.
    """

    answer: Answer
    steps: int
    ended: bool
    score: float = 0.0

    @property
    def state(self) -> tuple[str, bool]:
        """Equal for partial answers that differ only in how much white space is where."""
        text = self.answer.text
        return " ".join(text.split()) + " " * text[-1:].isspace(), self.ended


ROOT = Partial(Answer("", _CUT), steps=0, ended=False)
"""Nothing said yet."""


def distinct(partials: Iterable[Partial]) -> dict[tuple[str, bool], Partial]:
    """By their states, of equals the first."""
    found: dict[tuple[str, bool], Partial] = {}
    for partial in partials:
        found.setdefault(partial.state, partial)
    return found


class Growth:
    """The partial answers of one request.

    Args:
        attempt: The request.
        how: The model that continues them.
        caps: Cap on the tokens of each step.
        whole: Scores answers that ended.
        unfinished: Scores the others.
    """

    def __init__(
        self,
        attempt: Attempt,
        how: Sampling,
        caps: tuple[int, ...],
        *,
        whole: Scorer,
        unfinished: Scorer,
    ) -> None:
        self._attempt = attempt
        self._how = how
        self._caps = caps
        self._reached = (0, *accumulate(caps))
        self._whole = whole
        self._unfinished = unfinished
        self._sent = 0
        self._best = ROOT

    @property
    def best(self) -> Partial:
        """The best that was offered."""
        return self._best

    async def grow(self, parents: Sequence[Partial], draws: int) -> list[Partial]:
        """Continue each by one step, so many times, all at once.

        Returns:
            What arrived, at least one, in the order of the parents.

        Raises:
            InferbudgetError: Every call failed: the first error.
        """
        asked = []
        for parent in parents:
            asked.append(self._steps(parent, draws, self._sent))
            self._sent += -(-draws // self._how.answers_per_call)
        results = await asyncio.gather(*asked, return_exceptions=True)
        errors = [result for result in results if isinstance(result, BaseException)]
        for error in errors:
            if not isinstance(error, InferbudgetError):
                raise error
        if len(errors) == len(results):
            raise errors[0]
        self._attempt.complete = self._attempt.complete and not errors
        grown = [step for result in results if isinstance(result, list) for step in result]
        if self._attempt.best is None:
            self._attempt.keep(grown[0].answer)
        return grown

    async def scored(self, partials: Sequence[Partial]) -> list[Partial]:
        """The same with their scores: each state is scored once, as a whole answer if it ended."""
        groups: dict[Scorer, list[Partial]] = {}
        for partial in distinct(partials).values():
            scorer = self._whole if partial.ended else self._unfinished
            groups.setdefault(scorer, []).append(partial)
        asked = [self._scores(scorer, group) for scorer, group in groups.items()]
        found: dict[tuple[str, bool], float] = {}
        for result in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result
            found |= result
        return [dataclasses.replace(partial, score=found[partial.state]) for partial in partials]

    def offer(self, partials: Iterable[Partial]) -> None:
        """Keep the best: one that ended before others, then by score, whole before cut, by steps.

        Steps count because a step verifier finds nothing wrong with an answer that ended too early.
        While none has ended, the best that was offered last stands.
        """
        best = max(partials, key=_rank)
        if not self._best.ended or _rank(best) > _rank(self._best):
            self._best = best
            self._attempt.keep(best.answer)

    async def complete(self) -> None:
        """Let the best say all the rest in one call."""
        call = self._call(self._best, sum(self._caps[self._best.steps :]))
        drawn = await draw(self._how, self._attempt, call, answers=1, first=self._sent)
        self._attempt.keep(_joined(self._best, drawn[0]))

    async def _steps(self, parent: Partial, draws: int, first: int) -> list[Partial]:
        call = self._call(parent, self._caps[parent.steps])
        drawn = await draw(self._how, self._attempt, call, answers=draws, first=first)
        return [self._step(parent, said) for said in drawn]

    def _call(self, parent: Partial, max_tokens: int) -> ChatCall:
        asked = self._how.call(self._attempt.request, max_tokens)
        asked = replace(asked, purpose="step")
        text = parent.answer.text
        if not text:
            return asked
        messages = (*asked.messages, Message("assistant", text))
        return replace(asked, messages=messages, continues=True)

    def _step(self, parent: Partial, said: Answer) -> Partial:
        answer, steps = _joined(parent, said), parent.steps + 1
        ended = (
            said.finish_reason != _CUT
            or steps == len(self._caps)
            or len(answer.text.encode()) > quoted_bytes(self._reached[steps])
        )
        return Partial(answer, steps, ended)

    async def _scores(
        self, scorer: Scorer, partials: Sequence[Partial]
    ) -> dict[tuple[str, bool], float]:
        most = self._reached[max(partial.steps for partial in partials)]
        answers = [partial.answer for partial in partials]
        scores = await scorer.scores(self._attempt, answers, most)
        return {partial.state: score for partial, score in zip(partials, scores, strict=True)}


def _rank(partial: Partial) -> tuple[bool, float, int, int]:
    return partial.ended, partial.score, partial.answer.wholeness, partial.steps


def _joined(parent: Partial, said: Answer) -> Answer:
    # characters that are no text (lone surrogates) cannot be sent; they count as a question mark
    text = said.text.encode("utf-8", "replace").decode()
    before, now, steps = parent.answer.confidence, said.confidence, parent.steps
    if steps and before is not None and now is not None:
        now = before ** (steps / (steps + 1)) * now ** (1 / (steps + 1))
    elif steps:
        now = None
    return Answer(parent.answer.text + text, said.finish_reason, now)


S = TypeVar("S", bound=Stepped)


class StepSearch(StrategyExecutor[S]):
    """A strategy that searches over steps."""

    def __init__(self, strategy: Strategy, params: S, tools: Tools) -> None:
        super().__init__(strategy, params, tools)
        self._unfinished = scorer_of(
            params.verifier, strategy, tools, "verifier", said=EVALUATE_PARTIAL
        )
        self._whole = scorer_of(params.outcome or params.verifier, strategy, tools, "outcome")
        confidence = self._whole.needs_confidence or self._unfinished.needs_confidence
        self._how = Sampling(self.model, params, tools.answers_per_call, confidence)

    def satisfied(self, growth: Growth) -> bool:
        """Nothing better can be found. A step verifier alone cannot know that."""
        best = growth.best
        return self.params.outcome is not None and best.ended and best.score >= 1.0

    def growth(self, attempt: Attempt) -> Growth:
        """Where an attempt begins."""
        caps = step_caps(self.params, self.room(attempt.request))
        return Growth(attempt, self._how, caps, whole=self._whole, unfinished=self._unfinished)
