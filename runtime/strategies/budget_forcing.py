"""A thought that is cut at a budget, or made longer where it ends early (Muennighoff et al. 2025).

The thought is written into the assistant's message, which the server continues. It has to give
the thought back as text: a server that sorts thoughts out of its replies leaves nothing to go on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from msgspec.structs import replace

from profiles.errors import UpstreamError
from profiles.methods.budget_forcing import (
    END_OF_THOUGHT,
    THINK,
    WAIT,
    BudgetForcingParams,
    answer_cap,
    think_cap,
    thought_bytes,
)
from runtime.strategies.attempt import Attempt, Bill, derived_seed
from runtime.strategies.base import StrategyExecutor, executes
from runtime.strategies.sampling import Sampling, answers_of
from runtime.upstream import ChatCall, Completion, Message, UpstreamRejectedError


@dataclass(slots=True)
class _Thought:
    """What is thought so far.

    Attributes:
        tokens_left: Of the budget.
        bytes_left: Of what may be written into the message, waits aside.
        text: With its waits.
        goes_on: It ended early and could be continued.
    """

    tokens_left: int
    bytes_left: int
    text: str = ""
    goes_on: bool = True

    def add(self, reply: Completion, asked: int) -> None:
        """What a call brought. Unknown usage counts as all that was asked for."""
        said = reply.texts[0].partition(END_OF_THOUGHT)[0]
        content = said.encode("utf-8", "replace")
        fits = len(content) <= self.bytes_left
        self.text += content[: self.bytes_left].decode("utf-8", "ignore")
        self.bytes_left -= min(len(content), self.bytes_left)
        self.tokens_left -= max(1, asked if reply.tokens_out is None else reply.tokens_out)
        cut = reply.finish_reasons[0] == "length" or self.tokens_left <= 0
        self.goes_on = fits and not cut and bool(said.strip())


@executes("budget_forcing")
class BudgetForcing(StrategyExecutor[BudgetForcingParams]):
    """``model/budget_forcing(answer_tokens=64,think_tokens=1024,waits=2)``.

    All calls that think share `think_tokens`. Only the answer's text is returned.
    """

    async def solve(self, attempt: Attempt) -> None:
        """Think up to the budget, then answer."""
        request, room = attempt.request, self.room(attempt.request)
        budget = think_cap(self.params, room)
        how = Sampling(self.model, self.params, self.tools.answers_per_call)
        call = replace(how.call(request, answer_cap(self.params, room)), continues=True)
        thought = _Thought(budget, thought_bytes(budget))
        await self._think(attempt, call, thought)
        written = (*request.messages, _assistant(f"{thought.text}{END_OF_THOUGHT}"))
        call = replace(call, messages=written, seed=derived_seed(request.seed, 0))
        if request.on_text is not None:
            call = replace(call, on_text=_from_the_first_word(request.on_text))
        answer = answers_of(await attempt.caller(call))[0]
        attempt.keep(replace(answer, text=answer.text.lstrip()))

    async def _think(self, attempt: Attempt, call: ChatCall, thought: _Thought) -> None:
        request = attempt.request
        waited = 0
        while True:
            asked = thought.tokens_left
            thinks = replace(
                call,
                messages=(*request.messages, _assistant(thought.text)),
                max_tokens=asked,
                stop=(END_OF_THOUGHT,),
                seed=derived_seed(request.seed, 1 + waited),
                purpose="think",
            )
            try:
                reply = await attempt.caller(thinks)
            except UpstreamError as error:
                # what was thought before is enough to answer
                if not waited or isinstance(error, UpstreamRejectedError):
                    raise
                thought.text = thought.text.removesuffix(WAIT)
                attempt.complete = False
                attempt.note("thinking failed", str(error))
                return
            _count_as_reasoning(attempt.caller.bill, reply)
            thought.add(reply, asked)
            if not thought.goes_on or waited == self.params.waits:
                return
            waited += 1
            thought.text += WAIT
            attempt.note("wait", f"{waited} of {self.params.waits}")


def _assistant(thought: str) -> Message:
    return Message("assistant", f"{THINK}{thought}")


def _count_as_reasoning(bill: Bill, reply: Completion) -> None:
    """All of the reply is a thought, whatever part of it the server took for one."""
    known = reply.tokens_out is not None and reply.tokens_reasoning is not None
    if known and bill.tokens_reasoning is not None:
        bill.tokens_reasoning += (reply.tokens_out or 0) - (reply.tokens_reasoning or 0)


def _from_the_first_word(on_text: Callable[[str], None]) -> Callable[[str], None]:
    """Leaves out the white space before the answer, as its text does."""
    begun = False

    def pass_on(piece: str) -> None:
        nonlocal begun
        piece = piece if begun else piece.lstrip()
        if piece:
            begun = True
            on_text(piece)

    return pass_on
