"""A request under way: what is asked, what its calls came to, the best answer so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Protocol

import msgspec

from runtime.chat import PLAIN, ReplyForm
from runtime.prompt_bound import prompt_tokens_bound
from runtime.upstream import ChatCall, Completion, Message

MAX_SEED = 2**31


class Request(msgspec.Struct, frozen=True):
    """What is to be answered.

    Attributes:
        messages: The chat so far.
        prompt_text: The question itself, for verifiers.
        seed: The same seed asks for the same samples.
        max_tokens: Cap of policy and client on completion tokens of every call.
        temperature: The client's wish; counts where the strategy sets none.
        top_p: The client's wish; counts where the strategy sets none.
        stop: Texts that end an answer.
        wall_s: Seconds until the best answer so far is returned; None for no limit.
        on_text: Is given the answer's text piece by piece where one call's text is the answer.
        draw_seed: Draws among strategies; None: `seed` does. Where the seed is a client's, this is
            not: who chose it would choose the dearest strategy.
        form: What the reply is to be. One that is not plain is only for strategies that
            `profiles.methods.passing.passes_through`.
    """

    messages: tuple[Message, ...]
    prompt_text: str
    seed: int
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    wall_s: float | None = None
    on_text: Callable[[str], None] | None = None
    draw_seed: int | None = None
    form: ReplyForm = PLAIN

    @property
    def prompt_tokens_bound(self) -> int:
        """No byte-level tokenizer makes more prompt tokens of it than this."""
        return prompt_tokens_bound(self.messages, self.form)


class Step(msgspec.Struct, frozen=True):
    """One thing that happened on the way to an answer.

    Attributes:
        what: Purpose of a call (``answer``, ``judge``, ``critique``, ...) or what was found out.
        model: That was called, None where nothing was.
        detail: In words, e.g. scores.
        tokens_in: Billed, None where unknown or nothing was called.
        tokens_out: Likewise.
        cost_nano_usd: Charged.
        latency_s: Seconds of the call.
    """

    what: str
    model: str | None = None
    detail: str = ""
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost_nano_usd: int = 0
    latency_s: float | None = None


@dataclass(slots=True)
class Bill:
    """What the calls of one request came to.

    Attributes:
        calls: Calls that were begun, those that failed or never left included.
        tokens_in: Prompt tokens billed, as far as known.
        tokens_out: Completion tokens billed, as far as known.
        cost_nano_usd: Charged, unknown calls at their bound.
        usage_known: False once a call's usage is unknown.
        tokens_reasoning: Of `tokens_out`, hidden reasoning; None once a reply did not say.
        tokens_cached: Of `tokens_in`, from a cache; None once a reply did not say.
        steps: The calls as they ended, and what strategies noted between them.
    """

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost_nano_usd: int = 0
    usage_known: bool = True
    tokens_reasoning: int | None = 0
    tokens_cached: int | None = 0
    steps: list[Step] = field(default_factory=list)


class Caller(Protocol):
    """Sends calls and charges each as it ends."""

    @property
    def bill(self) -> Bill:
        """What the calls so far came to."""

    async def __call__(self, call: ChatCall) -> Completion:
        """Send one call.

        Raises:
            UpstreamError: It failed; it is charged already.
            BudgetRefusedError: No money for it; nothing was sent.
        """


class Answer(msgspec.Struct, frozen=True):
    """A text that could be returned.

    Attributes:
        text: The text.
        finish_reason: Why it ended: ``stop`` or ``length``.
        confidence: Mean probability of its tokens in 0..1, None where nobody asked or said.
        agreement: Share of the answers drawn that agree with it, None where there was no vote.
        tool_calls: That it asks for, in OpenAI's form.
    """

    text: str
    finish_reason: str = "stop"
    confidence: float | None = None
    agreement: float | None = None
    tool_calls: tuple[Mapping[str, Any], ...] = ()

    @property
    def wholeness(self) -> int:
        """2 of an answer that ended by itself, 1 of one that was cut, 0 of one without a word."""
        if not (self.text.strip() or self.tool_calls):
            return 0
        return 1 if self.finish_reason == "length" else 2


class Outcome(msgspec.Struct, frozen=True):
    """An answer and what the whole request came to.

    Attributes:
        text: The answer.
        calls: Calls that were begun, those that failed or never left included.
        tokens_in: Prompt tokens billed, as far as known.
        tokens_out: Completion tokens billed, as far as known.
        cost_nano_usd: Charged, unknown calls at their bound.
        usage_known: False where a call's usage is unknown, so the cost is a bound.
        finished: False where an error, missing money or the time cut the strategy short: the answer
            is the best until then.
        finish_reason: Why the chosen answer ended: ``stop``, ``length`` or ``tool_calls``.
        tokens_reasoning: Of `tokens_out`, hidden reasoning; None where a reply did not say.
        tokens_cached: Of `tokens_in`, from a cache; None where a reply did not say.
        steps: What happened, in order.
        tool_calls: That the chosen answer asks for, in OpenAI's form.
    """

    text: str
    calls: int
    tokens_in: int
    tokens_out: int
    cost_nano_usd: int
    usage_known: bool
    finished: bool
    finish_reason: str
    tokens_reasoning: int | None = None
    tokens_cached: int | None = None
    steps: tuple[Step, ...] = ()
    tool_calls: tuple[Mapping[str, Any], ...] = ()


@dataclass(slots=True)
class Attempt:
    """One request under way: what is asked, who calls, and the best answer so far.

    Attributes:
        request: What is asked.
        caller: Sends the calls.
        parent: The attempt that this is a part of. While it has chosen no answer itself, the best
            one of this part is its best too.
        best: What would be returned now; None until there is an answer.
        complete: False once something that the strategy wanted is missing from its answer.
        lent: The best answer is a part's.
    """

    request: Request
    caller: Caller
    parent: Attempt | None = None
    best: Answer | None = None
    complete: bool = True
    lent: bool = False

    def keep(self, answer: Answer) -> None:
        """This is the best answer now."""
        self.best, self.lent = answer, False
        above = self.parent
        while above is not None and (above.best is None or above.lent):
            above.best, above.lent = answer, True
            above = above.parent

    def part(self, request: Request) -> Attempt:
        """An attempt within this one, with the same calls."""
        return Attempt(request, self.caller, parent=self)

    def note(self, what: str, detail: str = "") -> None:
        """Something that people who read the steps want to know."""
        self.caller.bill.steps.append(Step(what, detail=detail))

    def outcome(self) -> Outcome:
        """The best answer with the caller's bill."""
        best, bill = self.best, self.caller.bill
        if best is None:
            raise AssertionError("a strategy ended without an answer and without an error")
        return Outcome(
            text=best.text,
            calls=bill.calls,
            tokens_in=bill.tokens_in,
            tokens_out=bill.tokens_out,
            cost_nano_usd=bill.cost_nano_usd,
            usage_known=bill.usage_known,
            finished=self.complete,
            finish_reason=best.finish_reason,
            tokens_reasoning=bill.tokens_reasoning,
            tokens_cached=bill.tokens_cached,
            steps=tuple(bill.steps),
            tool_calls=best.tool_calls,
        )


def derived_seed(seed: int, index: int) -> int:
    """The seed of one of several calls; call 0 keeps the request's own."""
    return (seed + index * 0x9E3779B1) % MAX_SEED


def stage_seed(seed: int, index: int) -> int:
    """The seed of one of several stages, hashed so that no two calls of them share one."""
    return int.from_bytes(blake2b(f"{seed}/{index}".encode(), digest_size=8).digest()) % MAX_SEED
