from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from event_streams import spoken, streams
from fake_upstream import PRICES, FakeUpstream, InMemory, reply, served
from small_encoders import encoder_folder
from small_policies import BY_TEXT_AND_LABEL, CHEAP, DEAR, budget, by_vectors, policy, written

import runtime
from policies.file import CompiledPolicy
from policies.policy import Policy
from profiles.difficulty.reading.encoder import Encoder
from profiles.errors import BudgetRefusedError, InputError, UnknownValueError
from runtime import Envelope, Executor, Prepared, Upstream, run_strategy, tools_of
from runtime.caller import AbandonedError
from runtime.service import LONG_TEXT
from runtime.upstream import ChatCall, Completion, Message

pytestmark = pytest.mark.asyncio
VERIFIERS = {"checker": lambda _, answer: float(answer == "right")}


def right(_: int, call: ChatCall) -> Completion:
    return reply(*["right"] * call.n)


def executor(folder: Path, upstream: Any, found: Policy | None = None, **more: Any) -> Executor:
    path = written(found or policy(budgets=(budget(1.0),)), folder)
    return Executor(path, upstream, verifiers=VERIFIERS, **more)


async def test_a_policy_answers_a_question_and_charges_it(tmp_path: Path) -> None:
    async with (
        served(FakeUpstream()) as fake,
        executor(tmp_path, fake.url, api_key="k") as at,
    ):
        found = await at.answer("two and two", label="hard", max_tokens=3)
        spent = at.ledger.state("global").spent
        assert spent == fake.bill_nano_usd == found.outcome.cost_nano_usd > 0
    assert (found.class_name, found.strategy, found.outcome.text) == ("hard", CHEAP, "fou")
    assert fake.calls[0]["messages"] == [{"role": "user", "content": "two and two"}]


async def test_a_compiled_policy_needs_no_file_and_an_upstream_may_be_anything(
    tmp_path: Path,
) -> None:
    rules = policy(rungs=((DEAR, 0.1),))
    graph = rules.graph_path(written(rules, tmp_path)).read_bytes()
    upstream = InMemory(right)
    async with Executor(CompiledPolicy(rules, graph), upstream, verifiers=VERIFIERS) as at:
        found = await at.answer([{"role": "user", "content": "why"}], label="easy", seed=7)
    assert (found.strategy, found.outcome.text) == (DEAR, "right")
    assert upstream.calls[0].messages == (Message("user", "why"),)
    with pytest.raises(InputError, match="not the decision graph"):
        Executor(CompiledPolicy(rules, graph + b"x"), upstream, verifiers=VERIFIERS)


async def test_a_chat_is_sorted_by_its_last_question(tmp_path: Path) -> None:
    chat = (
        Message("system", "be brief"),
        {"role": "user", "content": "one two three four five six seven eight nine"},
        Message("assistant", "yes"),
    )
    by_text = policy(sorting=BY_TEXT_AND_LABEL)
    upstream = InMemory(right)
    async with executor(tmp_path, upstream, by_text) as at:
        assert (await at.answer(chat, label="law")).class_name == "law/hard"
        assert (await at.answer("short", label="law")).class_name == "law/easy"
        assert (await at.answer("short" * LONG_TEXT, label="law")).class_name == "law/easy"
        assert (await at.answer([Message("system", "short")], label="law")).class_name == "law/easy"
        for odd in ([], [{"role": "user"}], [{"role": "user", "content": 7}], [7]):
            with pytest.raises(InputError, match="chat"):
                await at.answer(odd)
    assert [message.role for message in upstream.calls[0].messages] == [
        "system",
        "user",
        "assistant",
    ]


async def test_the_text_is_heard_as_it_comes(tmp_path: Path) -> None:
    heard: list[str] = []
    fake = FakeUpstream(behaviour=streams(spoken("fo", "ur")))
    async with served(fake), executor(tmp_path, fake.url) as at:
        found = await at.answer("two and two", label="hard", on_text=heard.append)
    assert (heard, found.outcome.text) == (["fo", "ur"], "four")


async def test_a_caller_who_leaves_still_pays_what_his_call_cost(tmp_path: Path) -> None:
    async with served(FakeUpstream(delay_s=0.2)) as fake:
        async with executor(tmp_path, fake.url) as at:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(at.answer("question", label="easy"), 0.05)
            assert at.ledger.snapshot().open_holds == 1
        state = at.ledger.state("global")
    assert state.spent == fake.bill_nano_usd > 0
    assert state.held == 0


async def test_who_waits_longer_than_the_executor_is_told(tmp_path: Path) -> None:
    async with served(FakeUpstream(delay_s=0.5)) as fake:
        async with executor(tmp_path, fake.url, drain_s=0.0) as at:
            asked = asyncio.create_task(at.answer("question", label="easy"))
            await asyncio.sleep(0.05)
        with pytest.raises(AbandonedError, match="closed before the answer"):
            await asked
    assert at.ledger.snapshot().open_holds == 0


async def test_only_an_open_executor_answers(tmp_path: Path) -> None:
    async with served(FakeUpstream()) as fake:
        at = executor(tmp_path, fake.url)
        for _ in range(2):
            with pytest.raises(AbandonedError, match="not open"):
                await at.answer("question", label="easy")
            async with at:
                await at.answer("question", label="easy")
        assert len(fake.calls) == 2
    assert at.ledger.state("global").spent == fake.bill_nano_usd


async def test_a_prompt_that_is_still_read_when_the_executor_closes_sends_nothing(
    tmp_path: Path,
) -> None:
    upstream = InMemory(right)
    async with executor(tmp_path, upstream, policy(sorting=BY_TEXT_AND_LABEL)) as at:
        asked = asyncio.create_task(at.answer("short" * LONG_TEXT, label="law"))
        await asyncio.sleep(0)
    with pytest.raises(AbandonedError, match="closed before the answer"):
        await asked
    assert not upstream.calls
    state = at.ledger.state("global")
    assert (state.spent, state.held) == (0, 0)


@pytest.mark.parametrize("cap", [0, -1, -5])
async def test_a_cap_below_one_token_would_hold_less_than_a_call_costs(
    cap: int, tmp_path: Path
) -> None:
    upstream = InMemory(right)
    async with executor(tmp_path, upstream) as at:
        with pytest.raises(InputError, match="max_tokens"):
            await at.answer("question", label="easy", max_tokens=cap)
    with pytest.raises(InputError, match="max_tokens"):
        await run_strategy("small/single", "question", upstream, PRICES, max_tokens=cap)
    assert not upstream.calls


@pytest.mark.parametrize(
    "prompt",
    [
        "caf\udce9",
        [{"role": "user", "content": "\ud800"}],
        [{"role": "user", "content": "why", "name": "\ud800"}],
        [Message("\ud800", "why")],
    ],
)
async def test_half_a_character_is_no_text(prompt: Any, tmp_path: Path) -> None:
    upstream = InMemory(right)
    async with executor(tmp_path, upstream) as at:
        with pytest.raises(InputError, match="half a character"):
            await at.answer(prompt, label="easy")
        with pytest.raises(InputError, match="half a character"):
            await at.answer("why", label="easy", stop=("\udce9",))
    with pytest.raises(InputError, match="half a character"):
        Prepared("small/single", prompt, PRICES, max_tokens=20)
    assert not upstream.calls
    assert at.ledger.state("global").spent == 0


async def test_money_that_is_gone_is_an_error(tmp_path: Path) -> None:
    async with executor(tmp_path, InMemory(right), policy(budgets=(budget(1e-9),))) as at:
        with pytest.raises(BudgetRefusedError):
            await at.answer("question", label="easy")


async def test_an_encoder_reads_what_a_policy_sorts_by_vectors(tmp_path: Path) -> None:
    folder = encoder_folder(tmp_path / "encoder")
    rules = policy(sorting=by_vectors(Encoder.open(folder)))
    async with executor(tmp_path, InMemory(right), rules, encoder=folder) as at:
        assert (await at.answer("near")).class_name == "easy"
        assert (await at.answer("far")).class_name == "hard"
    with pytest.raises(InputError, match="encoder"):
        executor(tmp_path, InMemory(right), rules)


async def test_one_strategy_runs_without_a_policy() -> None:
    upstream = InMemory(right)
    found = await run_strategy(
        "large/best_of_n(n=4,verifier=checker)",
        "question",
        upstream,
        PRICES,
        max_tokens=20,
        tools=tools_of(VERIFIERS),
        seed=5,
    )
    assert (found.text, found.finished, found.cost_nano_usd) == (
        "right",
        True,
        upstream.bill_nano_usd,
    )
    assert upstream.calls[0].seed == 5
    assert [step.what for step in found.steps] == ["answer", "verify"]


async def test_seeds_are_drawn_where_nobody_gives_one() -> None:
    upstream = InMemory(right)
    for _ in range(2):
        await run_strategy("small/single", "question", upstream, PRICES, max_tokens=20)
    assert upstream.calls[0].seed != upstream.calls[1].seed


async def test_what_it_can_cost_is_known_before() -> None:
    text = "small/self_consistency( k=3 )"
    prepared = Prepared(text, "question", PRICES, max_tokens=20)
    bound = 100 * (128 + 32 + 8) + 400 * 3 * 20
    assert prepared.strategy == "small/self_consistency(k=3)"
    assert (prepared.bound_nano_usd, prepared.most_usd) == (bound, bound / 1e9)
    within = Prepared(text, "question", PRICES, max_tokens=20, envelope=Envelope(usd=1e-5))
    assert within.most_usd == 1e-5
    roomy = Prepared(text, "question", PRICES, max_tokens=20, envelope=Envelope(usd=1.0))
    assert roomy.most_usd == bound / 1e9
    with pytest.raises(UnknownValueError, match="nothing caps"):
        Prepared(text, "question", PRICES)
    with pytest.raises(UnknownValueError, match="no price"):
        Prepared("huge/single", "question", PRICES, max_tokens=20)
    with pytest.raises(InputError, match="did you mean"):
        Prepared("small/singel", "question", PRICES, max_tokens=20)


async def test_names_are_imported_when_they_are_asked_for() -> None:
    code = (
        "import runtime, sys; assert 'aiohttp' not in sys.modules; "
        "runtime.Upstream; assert 'aiohttp' in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == 0
    assert {name: getattr(runtime, name).__name__ for name in runtime.__all__} == {
        name: name for name in runtime.__all__
    }
    with pytest.raises(AttributeError, match="no attribute 'executer'"):
        runtime.executer  # noqa: B018
    assert Upstream("http://localhost:8000")
