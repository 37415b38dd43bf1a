from __future__ import annotations

import asyncio
import math
import random
import sys
from collections.abc import Callable

import pytest
from fake_upstream import PRICES, InMemory, reply
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from profiles.errors import InputError, UnknownValueError, UpstreamError
from runtime.caller import HeldCaller
from runtime.checkers import Extractor, as_verifiers, final_answer, load_verifier
from runtime.ledger import Ledger, Scope
from runtime.strategies import Outcome, Request, Tools, build
from runtime.upstream import ChatCall, Completion, Message, UpstreamRejectedError

Script = Callable[[int, ChatCall], Completion]


def check(_: str, answer: str) -> float:
    return {"right": 1.0, "near": 0.5}.get(answer, 0.0)


def explode(_: str, __: str) -> float:
    raise RuntimeError("no")


def leave(_: str, __: str) -> float:
    sys.exit("no")


TOOLS = Tools(
    as_verifiers({"checker": check, "bomb": explode, "wild": lambda _, __: 7.0, "exit": leave})
)
ONE_EACH = Tools(TOOLS.verifiers, answers_per_call=1)
REQUEST = Request((Message("user", "question"),), "question", seed=5, max_tokens=50)


def run(
    text: str, script: Script, tools: Tools = TOOLS, request: Request = REQUEST
) -> tuple[Outcome, InMemory, Ledger]:
    executor = build(text, tools)
    upstream = InMemory(script)
    ledger = Ledger([Scope("all", 10**12)])
    bound = executor.bound_nano_usd(request.prompt_tokens_bound, request.max_tokens, PRICES)
    hold = ledger.hold("r", bound)
    try:
        found = asyncio.run(executor.answer(request, HeldCaller(upstream, PRICES, hold)))
    finally:
        hold.close()
    assert ledger.state("all").spent <= bound
    return found, upstream, ledger


def of(*texts: str) -> Script:
    """Answers come from this list, as many per call as it asks for."""
    left = list(texts)

    def script(_: int, call: ChatCall) -> Completion:
        return reply(*(left.pop(0) for _ in range(call.n)))

    return script


def test_single_asks_once_and_its_own_parameters_win() -> None:
    request = Request(
        REQUEST.messages, "question", seed=5, max_tokens=50, temperature=1.5, top_p=0.9, stop=("#",)
    )
    found, upstream, ledger = run(
        "small/single(max_tokens=9,temperature=0)", of("a"), request=request
    )
    (call,) = upstream.calls
    assert (call.max_tokens, call.temperature, call.top_p, call.stop) == (9, 0, 0.9, ("#",))
    assert (found.text, found.calls, found.tokens_in, found.tokens_out) == ("a", 1, 10, 1)
    assert found.cost_nano_usd == upstream.bill_nano_usd == ledger.state("all").spent


def test_chain_of_thought_puts_an_instruction_in_front() -> None:
    _, upstream, _ = run("small/chain_of_thought", of("a"))
    first, second = upstream.calls[0].messages
    assert (first.role, second) == ("system", REQUEST.messages[0])
    assert "step by step" in first.content


def test_a_vote_takes_the_majority_and_ties_go_to_the_first_seen() -> None:
    found, upstream, _ = run("small/self_consistency(k=3)", of("x\n7", "y\n8", "z\n8"))
    assert found.text == "y\n8"
    assert [call.n for call in upstream.calls] == [3]
    assert run("small/self_consistency(k=4)", of("7", "8", "8", "7"))[0].text == "7"


def test_upstreams_without_n_are_asked_several_times_with_seeds_of_their_own() -> None:
    found, upstream, _ = run("small/self_consistency(k=3)", of("7", "8", "8"), ONE_EACH)
    assert found.text == "8"
    assert [call.n for call in upstream.calls] == [1, 1, 1]
    assert len({call.seed for call in upstream.calls}) == 3
    assert upstream.calls[0].seed == 5


def test_a_vote_counts_the_answers_that_arrived() -> None:
    def script(number: int, _: ChatCall) -> Completion:
        if number == 1:
            raise UpstreamError("broken")
        return reply("8")

    found, _, _ = run("small/self_consistency(k=3)", script, ONE_EACH)
    assert (found.text, found.finished, found.usage_known, found.calls) == ("8", False, False, 3)


def test_best_of_n_takes_the_first_right_answer_else_the_best() -> None:
    text = "small/best_of_n(n=4,verifier=checker)"
    assert run(text, of("bad", "right", "right", "near"))[0].text == "right"
    assert run(text, of("bad", "near", "near", "bad"))[0].text == "near"
    assert run(text, of("first", "bad", "bad", "bad"))[0].text == "first"


def test_best_of_n_in_rounds_stops_at_a_right_answer() -> None:
    text = "small/best_of_n(batch=2,n=5,verifier=checker)"
    _, upstream, _ = run(text, of("bad", "right"))
    assert [call.n for call in upstream.calls] == [2]
    _, upstream, _ = run(text, of("bad", "bad", "bad", "bad", "bad"))
    assert [call.n for call in upstream.calls] == [2, 2, 1]
    assert len({call.seed for call in upstream.calls}) == 3


def test_a_round_that_fails_leaves_the_answers_before_it() -> None:
    def script(number: int, call: ChatCall) -> Completion:
        if number:
            raise UpstreamError("broken")
        return reply(*["near"] * call.n)

    found, _, _ = run("small/best_of_n(batch=2,n=4,verifier=checker)", script)
    assert (found.text, found.finished) == ("near", False)


CASCADE = "cascade(accept=checker,stages=[small/single,large/best_of_n(n=2,verifier=checker)])"


def test_a_cascade_climbs_until_an_answer_is_accepted() -> None:
    found, upstream, _ = run(CASCADE, of("right"))
    assert [call.model for call in upstream.calls] == ["small"]
    found, upstream, _ = run(CASCADE, of("bad", "right", "bad"))
    assert (found.text, [call.model for call in upstream.calls]) == ("right", ["small", "large"])
    assert found.cost_nano_usd == upstream.bill_nano_usd


def test_a_cascade_without_an_accepted_answer_keeps_the_best_and_of_equals_the_last() -> None:
    assert run(CASCADE, of("near", "bad", "bad"))[0].text == "near"
    assert run(CASCADE, of("bad", "worse", "other"))[0].text == "worse"
    lenient = CASCADE.replace("stages", "threshold=0.5,stages")
    assert run(lenient, of("near"))[0].calls == 1


def test_a_stage_that_fails_is_passed_over() -> None:
    def script(number: int, call: ChatCall) -> Completion:
        if number == 0:
            raise UpstreamError("broken")
        return reply(*["right"] * call.n)

    found, _, ledger = run(CASCADE, script)
    assert (found.text, found.finished) == ("right", False)
    assert ledger.state("all").spent == found.cost_nano_usd > 0


def test_a_rejection_costs_nothing_and_says_nothing_about_other_models() -> None:
    def never(_: int, __: ChatCall) -> Completion:
        raise UpstreamRejectedError("too long", status=400)

    upstream = InMemory(never)
    ledger = Ledger([Scope("all", 10**12)])
    hold = ledger.hold("r", 10**9)
    with pytest.raises(UpstreamRejectedError):
        asyncio.run(build(CASCADE, TOOLS).answer(REQUEST, HeldCaller(upstream, PRICES, hold)))
    hold.close()
    assert [call.model for call in upstream.calls] == ["small", "large"]
    assert ledger.state("all").spent == 0

    def later(number: int, call: ChatCall) -> Completion:
        return never(number, call) if number else reply("near")

    found, upstream, _ = run(CASCADE, later)
    assert (found.text, found.finished, found.usage_known) == ("near", False, True)
    assert found.cost_nano_usd == upstream.bill_nano_usd


def test_rounds_end_with_a_rejection() -> None:
    def script(number: int, call: ChatCall) -> Completion:
        if number:
            raise UpstreamRejectedError("busy", status=429)
        return reply(*["near"] * call.n)

    found, upstream, _ = run("small/best_of_n(batch=1,n=4,verifier=checker)", script)
    assert (found.text, found.finished, len(upstream.calls)) == ("near", False, 2)


def test_a_clients_temperature_of_zero_does_not_undo_a_vote() -> None:
    cold = replace(REQUEST, temperature=0.0)
    for text in ("small/self_consistency(k=2)", "small/best_of_n(n=2,verifier=checker)"):
        assert run(text, of("a", "b"), request=cold)[1].calls[0].temperature is None
        warm = replace(REQUEST, temperature=0.3)
        assert run(text, of("a", "b"), request=warm)[1].calls[0].temperature == 0.3
    assert run("small/single", of("a"), request=cold)[1].calls[0].temperature == 0


def test_every_call_of_a_nested_cascade_has_a_seed_of_its_own() -> None:
    inner = "cascade(accept=checker,stages=[small/single,small/self_consistency(k=3)])"
    text = f"cascade(accept=checker,stages=[{inner},{inner},small/single])"
    _, upstream, _ = run(text, of(*["bad"] * 9), ONE_EACH)
    seeds = [call.seed for call in upstream.calls]
    assert len(set(seeds)) == len(seeds) == 9
    assert [call.seed for call in run(text, of(*["bad"] * 9), ONE_EACH)[1].calls] == seeds


def test_verifiers_that_raise_or_return_rubbish_count_as_wrong() -> None:
    for name in ("bomb", "wild", "exit"):
        verifier = TOOLS.verifiers[name]
        before = verifier.failures
        found, _, _ = run(f"small/best_of_n(n=2,verifier={name})", of("a", "b"))
        assert found.text == "a"
        assert verifier.failures == before + 2


def test_an_extractor_that_raises_leaves_the_whole_text() -> None:
    extractor = Extractor(lambda text: text[100])
    tools = Tools(extractor=extractor)
    assert run("small/self_consistency(k=3)", of("a", "b", "b"), tools)[0].text == "b"
    assert extractor.failures == 3


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{12} and \boxed{13}", "13"),
        ("work\n#### 42", "42"),
        ("The answer is 7.", "7"),
        ("Answer: yes\n", "yes"),
        ("first\n\n last ", "last"),
        ("", ""),
    ],
)
def test_the_usual_marks_of_a_final_answer_are_found(text: str, answer: str) -> None:
    assert final_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("small/singel", "did you mean 'single'"),
        ("small/single(temprature=1)", "did you mean 'temperature'"),
        ("small/single(temperature=9)", "less than or equal to 2"),
        ("small/single(temperature=warm)", "valid number"),
        ("single", "needs a model"),
        ("small/self_consistency", "missing"),
        ("small/self_consistency(k=3,temperature=0)", "greater than 0"),
        ("small/best_of_n(n=2,verifier=nobody)", "no verifier is called 'nobody'"),
        ("small/cascade(accept=checker,stages=[a/single,b/single])", "no model of its own"),
        ("cascade(accept=checker,stages=[a/single])", "at least 2 items"),
        ("cascade(accept=checker,stages=[a/single,word])", "stages"),
        ("cascade(accept=checker,stages=[a/single,b/nothing])", "unknown method"),
    ],
)
def test_what_is_wrong_with_a_strategy_is_said_before_it_runs(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(text, TOOLS)


def test_a_verifier_is_loaded_by_module_and_function() -> None:
    assert load_verifier("math:isclose") is math.isclose
    for text in ("math", "nothing_here:f", "math:isclos", ":b", ""):
        with pytest.raises(InputError):
            load_verifier(text)
    with pytest.raises(InputError, match="did you mean 'isclose'"):
        load_verifier("math:isclos")


def test_without_a_cap_or_a_price_there_is_no_bound() -> None:
    with pytest.raises(UnknownValueError, match="nothing caps"):
        build("small/single").bound_nano_usd(10, None, PRICES)
    with pytest.raises(UnknownValueError, match="no price"):
        build("huge/single").bound_nano_usd(10, 10, PRICES)


models = st.sampled_from(["small", "large", "odd"])
caps = st.integers(1, 40)
leaves = st.one_of(
    st.builds("{}/single(max_tokens={})".format, models, caps),
    st.builds("{}/chain_of_thought(max_tokens={})".format, models, caps),
    st.builds("{}/self_consistency(k={},max_tokens={})".format, models, st.integers(2, 6), caps),
    st.builds(
        "{}/best_of_n(batch={},n={},verifier=checker,max_tokens={})".format,
        models,
        st.integers(1, 4),
        st.integers(2, 6),
        caps,
    ),
)
trees = st.recursive(
    leaves,
    lambda inner: st.builds(
        lambda stages: f"cascade(accept=checker,stages=[{','.join(stages)}])",
        st.lists(inner, min_size=2, max_size=3),
    ),
    max_leaves=4,
)


@settings(max_examples=150, deadline=None)
@given(
    text=trees,
    content=st.text(max_size=40),
    cap=st.one_of(st.none(), caps),
    seed=st.integers(0, 2**31),
    per_call=st.sampled_from([1, 3, 128]),
)
def test_no_strategy_ever_costs_more_than_its_bound(
    text: str, content: str, cap: int | None, seed: int, per_call: int
) -> None:
    rng = random.Random(seed)
    answers = ["right", "near", "bad", ""]

    def script(_: int, call: ChatCall) -> Completion:
        if rng.random() < 0.1:
            raise UpstreamError("broken", sent=rng.random() < 0.5)
        if rng.random() < 0.1:
            return reply("near", tokens_in=None)
        # The dearest that a provider which honours its caps can bill for these messages.
        size = sum(len(message.content.encode()) + 20 for message in call.messages)
        drawn = [rng.choice(answers) for _ in range(call.n)]
        return reply(*drawn, tokens_in=size + 50, tokens_out=call.n * call.max_tokens)

    request = Request((Message("user", content),), content, seed, cap)
    tools = Tools(TOOLS.verifiers, answers_per_call=per_call)
    executor = build(text, tools)
    bound = executor.bound_nano_usd(request.prompt_tokens_bound, cap, PRICES)
    ledger = Ledger([Scope("exactly", bound)])
    hold = ledger.hold("r", bound)
    upstream = InMemory(script)
    caller = HeldCaller(upstream, PRICES, hold)
    try:
        outcome = asyncio.run(executor.answer(request, caller))
        assert outcome.cost_nano_usd == hold.charged.nano_usd
    except UpstreamError:
        pass
    hold.close()
    snapshot = ledger.snapshot()
    assert snapshot.scopes[0].refusals == 0
    assert snapshot.alarms == 0
    assert upstream.bill_nano_usd <= snapshot.scopes[0].spent <= bound
    assert caller.bill.cost_nano_usd == snapshot.scopes[0].spent
