"""An upstream that does whatever it may, and a bound that has to hold all the same."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, product

import numpy as np
from fake_upstream import PRICES, InMemory
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from profiles.errors import UpstreamError
from profiles.methods.method import Calls, Worst
from profiles.methods.worst import worst_calls
from runtime.caller import HeldCaller
from runtime.ledger import Ledger, Scope
from runtime.prompt_bound import prompt_tokens_bound
from runtime.strategies import Request, Tools, build
from runtime.upstream import ChatCall, Completion, UpstreamRejectedError


def withstand(text: str, request: Request, tools: Tools, texts: Sequence[str], seed: int) -> None:
    """Run a strategy against an upstream that fails, falls silent and bills all that it may.

    Its replies hold as many answers as were asked for, one more, or only one.

    The hold is exactly the bound, so a call beyond it would be refused; every call that is sent is
    matched with one that the worst case counts; nothing runs on afterwards.
    """
    rng = random.Random(seed)

    def script(_: int, call: ChatCall) -> Completion:
        luck = rng.random()
        if luck < 0.06:
            raise UpstreamError("broken", sent=rng.random() < 0.5)
        if luck < 0.1:
            raise UpstreamRejectedError("busy", status=429)
        count = 1 if call.reward else rng.choice((1, call.n, call.n, call.n + 1))
        answers = tuple(rng.choice(texts) for _ in range(count))
        reasons = tuple(rng.choice(("stop", "length")) for _ in answers)
        if luck < 0.2:
            return Completion(answers, None, None, reasons, 0.0)
        most_in, most_out = prompt_tokens_bound(call.messages), call.n * call.max_tokens
        out = most_out if rng.random() < 0.5 else rng.randint(0, most_out)
        thought = rng.choice((None, 0, out))
        return Completion(answers, most_in, out, reasons, 0.0, thought)

    asked = request.prompt_tokens_bound, request.max_tokens, tools.answers_per_call
    executor = build(text, tools)
    bound = executor.bound_nano_usd(*asked[:2], PRICES)
    ledger = Ledger([Scope("exactly", bound)])
    hold = ledger.hold("r", bound)
    upstream = InMemory(script)
    caller = HeldCaller(upstream, PRICES, hold)

    async def answer() -> None:
        outcome = await executor.answer(request, caller)
        assert outcome.cost_nano_usd == hold.charged.nano_usd
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with suppress(UpstreamError):
        asyncio.run(answer())
    hold.close()
    snapshot = ledger.snapshot()
    assert (snapshot.scopes[0].refusals, snapshot.alarms) == (0, 0)
    assert upstream.bill_nano_usd <= snapshot.scopes[0].spent <= bound
    ways = ways_through(worst_calls(executor.strategy, *asked))
    assert any(are_among(upstream.calls, way) for way in ways), (text, upstream.calls)


def ways_through(counted: Iterable[Worst]) -> Iterator[list[Calls]]:
    """Every way that a run could take, call by call."""
    choices = [
        [[each] * each.times]
        if isinstance(each, Calls)
        else [found for way in each.ways for found in ways_through(way)]
        for each in counted
    ]
    return (list(chain(*picked)) for picked in product(*choices))


def are_among(sent: Sequence[ChatCall], counted: Sequence[Calls]) -> bool:
    """Whether each call is one of those that were counted, and each of these at most once."""
    if not (sent and counted):
        return not sent
    allowed = [[_holds(most, call) for most in counted] for call in sent]
    partners = maximum_bipartite_matching(csr_array(np.array(allowed, int)), "column")
    return bool(min(partners) >= 0)


def _holds(most: Calls, call: ChatCall) -> bool:
    return (
        most.model == call.model
        and most.prompt_tokens >= prompt_tokens_bound(call.messages)
        and most.answers >= call.n
        and most.max_tokens >= call.max_tokens
    )
