"""No search over steps ever costs more than its bound."""

from __future__ import annotations

import asyncio
import random

from fake_upstream import PRICES, InMemory
from hypothesis import given, settings
from hypothesis import strategies as st
from step_scripts import TOOLS, replied

from profiles.errors import UpstreamError
from runtime.caller import HeldCaller
from runtime.ledger import Ledger, Scope
from runtime.strategies import Outcome, Request, Tools, build
from runtime.upstream import ChatCall, Completion, Message, UpstreamRejectedError

verifiers = st.sampled_from(
    ["table", "confidence", "self_evaluation", "odd/judge(max_tokens=3)", "small/reward"]
)
steps = st.builds(
    "depth={},step_tokens={},verifier={}{}".format,
    st.integers(1, 5),
    st.integers(1, 9),
    verifiers,
    st.one_of(st.just(""), verifiers.map(",outcome={}".format)),
)
few = st.integers(1, 4)
searches = st.one_of(
    st.builds("small/beam_search({},width={},expand={})".format, steps, few, few),
    st.builds("odd/tree_of_thoughts({},width={},breadth={})".format, steps, few, few),
    st.builds(
        "large/pruned_search({},n={},survivors={},expand={})".format,
        steps,
        st.integers(4, 9),
        few,
        few,
    ),
    st.builds(
        "odd/mcts({},simulations={},expand={},exploration={})".format,
        steps,
        st.integers(1, 9),
        st.integers(2, 24),
        st.sampled_from([0, 0.5, 2, 100]),
    ),
)


@settings(max_examples=200, deadline=None)
@given(
    text=searches,
    content=st.text(max_size=40),
    cap=st.one_of(st.none(), st.integers(1, 40)),
    seed=st.integers(0, 2**31),
    per_call=st.sampled_from([1, 3, 128]),
)
def test_no_search_ever_costs_more_than_its_bound(
    text: str, content: str, cap: int | None, seed: int, per_call: int
) -> None:
    rng = random.Random(seed)
    trouble = rng.choice([0.0, 0.05, 0.3])

    def said(call: ChatCall) -> str:
        most = call.max_tokens * rng.choice([0, 1, 8, 9])
        return rng.choice(["y" * most, "é" * (most // 2), "a", "a ", "", "7", "10", "\ud800"])

    def script(_: int, call: ChatCall) -> Completion:
        if rng.random() < trouble:
            raise UpstreamError("broken", sent=rng.random() < 0.5)
        if rng.random() < trouble:
            raise UpstreamRejectedError("busy", status=429)
        if rng.random() < trouble:
            return replied("near", tokens_in=None)
        count = call.n + rng.choice([0, 0, 1, 1 - call.n])
        reasons = tuple(rng.choice(["length", "length", "length", "stop"]) for _ in range(count))
        # The dearest that a provider which honours its caps can bill for these messages.
        size = 128 + sum(len(message.content.encode()) + 32 for message in call.messages)
        if call.reward:
            return Completion(("0.3",), size, 0, ("stop",), 0.0)
        return Completion(
            tuple(said(call) for _ in range(count)), size, call.n * call.max_tokens, reasons, 0.0
        )

    request = Request((Message("user", content),), content, seed, cap)
    executor = build(text, Tools(TOOLS.verifiers, answers_per_call=per_call))
    bound = executor.bound_nano_usd(request.prompt_tokens_bound, cap, PRICES)
    ledger = Ledger([Scope("exactly", bound)])
    hold = ledger.hold("r", bound)
    upstream = InMemory(script)
    caller = HeldCaller(upstream, PRICES, hold)

    async def asked() -> Outcome:
        try:
            return await executor.answer(request, caller)
        finally:
            assert len(asyncio.all_tasks()) == 1

    try:
        outcome = asyncio.run(asked())
        assert outcome.cost_nano_usd == hold.charged.nano_usd
    except UpstreamError:
        pass
    hold.close()
    seeds = [call.seed for call in upstream.calls if call.purpose == "step"]
    assert len(set(seeds)) == len(seeds)
    snapshot = ledger.snapshot()
    assert snapshot.scopes[0].refusals == 0
    assert snapshot.alarms == 0
    assert upstream.bill_nano_usd <= snapshot.scopes[0].spent <= bound
