"""Requests that are sorted with an encoder's vector of their prompt."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from click.testing import CliRunner
from fake_upstream import FakeUpstream, InMemory, served
from running_gateway import Running, running
from small_encoders import encoder_folder
from small_policies import BY_TEXT_AND_LABEL, CHEAP, budget, by_vectors, policy, service, written

from app.cli.main import cli
from policies.policy import Policy
from profiles.difficulty.reading.encoder import Encoder
from profiles.errors import InputError
from runtime.decision import DecisionSession
from runtime.embedding import Embedder
from runtime.gateway import Gateway
from runtime.replay import replay
from runtime.serve import serve
from runtime.service import Ask
from runtime.upstream import Message

ROOT = Path(__file__).parents[2]
LONG_S = 60.0
NINE_WORDS = "near " * 9
SCRIPT = """
import sys
from pathlib import Path
from runtime.serve import serve
serve(Path(sys.argv[1]), upstream=sys.argv[2], port=0, encoder=Path(sys.argv[3]),
      encoder_timeout_s=60.0, verifiers={"checker": lambda prompt, answer: 1.0})
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encoder_folder(tmp_path_factory.mktemp("slow"), slow=True)


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Encoder:
    return Encoder.open(folder)


def small(encoder: Encoder, *, labels: bool = False) -> Policy:
    return policy(budgets=(budget(1.0),), sorting=by_vectors(encoder, labels=labels))


def decider(found: Policy, folder: Path) -> DecisionSession:
    return DecisionSession(found, written(found, folder).with_suffix(".onnx"))


def row(*numbers: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.array(numbers, dtype=np.float32)


NEAR, FAR = row(-1, 0, 0, 0), row(1, 0, 0, 0)
ODD_ROWS = [row(*[np.nan] * 4), row(-1, 0, 0, np.nan), row(-1, np.inf, 0, 0), None]


def test_text_and_vector_become_a_decision(encoder: Encoder, tmp_path: Path) -> None:
    found = decider(small(encoder), tmp_path)
    assert found.decide("two words", 0, 0.5, vector=NEAR).class_name == "easy"
    assert found.decide("two words", 0, 0.5, vector=FAR).class_name == "hard"
    assert found.decide(NINE_WORDS, 0, 0.5, vector=NEAR).class_name == "hard"
    many = found.decide_many(
        ["a", "a", NINE_WORDS], [0] * 3, [0.5] * 3, None, np.stack([NEAR, FAR, NEAR])
    )
    assert [one.class_name for one in many] == ["easy", "hard", "hard"]
    unread = found.decide_many(["a", NINE_WORDS], [0, 0], [0.5, 0.5])
    assert [one.class_name for one in unread] == ["hard", "hard"]


def test_many_rows_read_and_unread_are_decided_as_each_alone(
    encoder: Encoder, tmp_path: Path
) -> None:
    found, generator = decider(small(encoder, labels=True), tmp_path), np.random.default_rng(4)
    vectors = generator.standard_normal((300, 4)).astype(np.float32)
    vectors[generator.random((300, 4)) < 0.1] = np.nan
    texts = generator.choice(["two words", NINE_WORDS], 300).tolist()
    labels = generator.choice(["art", "law"], 300).tolist()
    uniforms = generator.random(300).tolist()
    many = found.decide_many(texts, [0] * 300, uniforms, labels, vectors)
    asked = zip(texts, [0] * 300, uniforms, labels, vectors, strict=True)
    assert many == [found.decide(*one) for one in asked]
    assert {one.class_name for one in many} == {"art/all", "law/easy", "law/hard"}


@pytest.mark.parametrize("vector", ODD_ROWS)
def test_what_was_not_read_is_in_the_last_class_of_its_label(
    encoder: Encoder, tmp_path: Path, vector: Any
) -> None:
    found = decider(small(encoder), tmp_path)
    assert found.decide("two words", 0, 0.5, vector=vector).class_name == "hard"
    found = decider(small(encoder, labels=True), tmp_path)
    assert found.decide("two words", 0, 0.5, "law", NEAR).class_name == "law/easy"
    assert found.decide("two words", 0, 0.5, "law", vector).class_name == "law/hard"
    assert found.decide("two words", 0, 0.5, "art", vector).class_name == "art/all"
    with pytest.raises(InputError, match="does not know the label"):
        found.decide("two words", 0, 0.5, "tax", vector)


def test_other_vectors_than_the_policys_are_refused(encoder: Encoder, tmp_path: Path) -> None:
    found = decider(small(encoder), tmp_path)
    with pytest.raises(InputError, match=r"expected shape \(1, 4\); got shape \(1, 3\)"):
        found.decide("a", 0, 0.5, vector=row(1, 0, 0))
    with pytest.raises(InputError, match=r"got shape \(1, 4\)"):
        found.decide_many(["a", "b"], [0, 0], [0.5, 0.5], None, NEAR[None])
    plain = decider(policy(sorting=BY_TEXT_AND_LABEL), tmp_path)
    with pytest.raises(InputError, match="it names no encoder"):
        plain.decide("a", 0, 0.5, "law", NEAR)


@pytest.mark.asyncio
async def test_a_service_takes_the_vector_beside_the_request(
    encoder: Encoder, tmp_path: Path
) -> None:
    for labels, names in ((False, ("easy", "hard")), (True, ("law/easy", "law/hard"))):
        found = service(small(encoder, labels=labels), tmp_path, InMemory(lambda *_: 1 / 0))
        ask = Ask((Message("user", "a b"),), "a b", "law" if labels else None)
        runs = [await found.start(ask, vector) for vector in (NEAR, FAR, None)]
        assert [run.class_name for run in runs] == [names[0], names[1], names[1]]
        await asyncio.wait([run.task for run in runs])


@asynccontextmanager
async def reading(
    encoder: Encoder,
    folder: Path,
    found: Policy | None = None,
    fake: FakeUpstream | None = None,
    **options: Any,
) -> AsyncIterator[tuple[Running, Embedder]]:
    """A gateway with an encoder."""
    embedder = Embedder(encoder, **{"timeout_s": LONG_S, **options})
    async with running(folder, found or small(encoder), fake, embedder=embedder) as at:
        yield at, embedder


async def class_of(at: Running, prompt: str, **fields: Any) -> str:
    messages = [{"role": "user", "content": prompt}]
    status, _, headers = await at.chat(messages=messages, **fields)
    assert status == 200
    return str(headers["x-inferbudget-class"])


async def metric(at: Running, name: str) -> float:
    _, page = await at.get("/metrics")
    (value,) = re.findall(rf"^{re.escape(name)} (\S+)$", page, re.MULTILINE)
    return float(value)


async def until_taken(embedder: Embedder) -> None:
    """Until the thread is reading and nothing waits."""
    while embedder._waiting or not embedder._busy:
        await asyncio.sleep(0.001)


@pytest.mark.asyncio
async def test_64_clients_at_once_get_what_each_gets_alone(
    encoder: Encoder, tmp_path: Path
) -> None:
    generator = random.Random(5)
    prompts = [
        " ".join(
            generator.choices(["near", "far", "odd", "word", "zebra"], k=generator.randint(1, 9))
        )
        for _ in range(128)
    ]
    async with reading(encoder, tmp_path) as (at, embedder):
        alone = [await class_of(at, prompt) for prompt in prompts]
        gate = asyncio.Semaphore(64)

        async def client(prompt: str) -> str:
            async with gate:
                return await class_of(at, prompt)

        assert await asyncio.gather(*map(client, prompts)) == alone
        assert await metric(at, "inferbudget_encoder_seconds_count") == 2 * len(prompts)
    assert set(alone) == {"easy", "hard"}
    assert not embedder.unread.total()


@pytest.mark.asyncio
async def test_a_prompt_as_long_as_a_body_is_sorted_by_its_beginning(
    encoder: Encoder, tmp_path: Path
) -> None:
    async with reading(encoder, tmp_path) as (at, _):
        assert await class_of(at, "near" + "\n" * 500_000) == "easy"
        assert await class_of(at, "far\n" + "near\n" * 160_000) == "easy"
        assert await class_of(at, "far\n" * 600 + "near\n" * 160_000) == "hard"


@pytest.mark.asyncio
async def test_a_prompt_that_is_not_read_in_time_gets_the_last_class(
    encoder: Encoder, tmp_path: Path
) -> None:
    async with reading(encoder, tmp_path, timeout_s=0.02) as (at, embedder):
        assert await class_of(at, "slow") == "hard"
        assert await metric(at, 'inferbudget_unread_prompts_total{reason="late"}') == 1
        embedder._timeout_s = LONG_S
        assert await class_of(at, "slow") == "easy"
        assert await class_of(at, "near") == "easy"
        assert await metric(at, 'inferbudget_unread_prompts_total{reason="late"}') == 1
        name = 'inferbudget_encoder_provider_info{provider="CPUExecutionProvider"}'
        assert await metric(at, name) == 1


@pytest.mark.asyncio
async def test_a_prompt_that_finds_the_queue_full_gets_the_last_class(
    encoder: Encoder, tmp_path: Path
) -> None:
    async with reading(encoder, tmp_path, most_waiting=1) as (at, embedder):
        busy = asyncio.ensure_future(class_of(at, "slow"))
        await until_taken(embedder)
        waiting = asyncio.ensure_future(class_of(at, "near"))
        while not embedder._waiting:
            await asyncio.sleep(0.001)
        assert await class_of(at, "near") == "hard"
        assert not busy.done()
        assert await asyncio.gather(busy, waiting) == ["easy", "easy"]
        assert await metric(at, 'inferbudget_unread_prompts_total{reason="full"}') == 1


@pytest.mark.asyncio
async def test_a_prompt_that_the_encoder_fails_on_gets_the_last_class(
    encoder: Encoder, tmp_path: Path
) -> None:
    labelled = small(encoder, labels=True)
    async with reading(encoder, tmp_path, labelled) as (at, _):
        prompts = ["near", "broken", "near broken", "near"]
        classes = await asyncio.gather(
            *(class_of(at, prompt, metadata={"class": "law"}) for prompt in prompts)
        )
        assert classes == ["law/easy", "law/hard", "law/hard", "law/easy"]
        assert await class_of(at, "broken", metadata={"class": "art"}) == "art/all"
        assert await metric(at, 'inferbudget_unread_prompts_total{reason="failed"}') == 3


@pytest.mark.asyncio
async def test_a_client_that_leaves_while_its_prompt_waits_costs_nothing_and_stalls_nobody(
    encoder: Encoder, tmp_path: Path
) -> None:
    async with reading(encoder, tmp_path) as (at, embedder):
        busy = asyncio.ensure_future(class_of(at, "slow"))
        await until_taken(embedder)
        leaving = [asyncio.ensure_future(class_of(at, "slow")) for _ in range(8)]
        while len(embedder._waiting) < len(leaving):
            await asyncio.sleep(0.001)
        for client in leaving:
            client.cancel()
        await asyncio.wait(leaving)
        assert await class_of(at, "near") == "easy"
        assert await busy == "easy"
        assert not embedder._waiting
        name = 'inferbudget_requests_total{class="",outcome="disconnected",strategy=""}'
        assert await metric(at, name) == len(leaving)
        state = at.service.ledger.state("global")
        assert len(at.fake.calls) == 2
        assert (state.spent, state.held) == (at.fake.bill_nano_usd, 0)
        assert not embedder.unread.total()


@pytest.mark.asyncio
async def test_no_money_is_held_before_the_prompt_is_read(encoder: Encoder, tmp_path: Path) -> None:
    async with reading(encoder, tmp_path) as (at, embedder):
        busy = asyncio.ensure_future(class_of(at, "slow"))
        await until_taken(embedder)
        assert at.service.ledger.state("global").held == 0
        assert await busy == "easy"


def test_a_gateway_has_an_embedder_where_its_policy_has_an_encoder(
    encoder: Encoder, tmp_path: Path
) -> None:
    upstream = InMemory(lambda *_: 1 / 0)
    with pytest.raises(InputError, match="expected an embedder"):
        Gateway(service(small(encoder), tmp_path, upstream))
    with pytest.raises(InputError, match="of no other; expected none"):
        Gateway(service(policy(), tmp_path, upstream), embedder=Embedder(encoder))


async def answer(client: aiohttp.ClientSession, prompt: str) -> tuple[int, str]:
    """Status and class."""
    body = {"messages": [{"role": "user", "content": prompt}]}
    async with client.post("/v1/chat/completions", json=body) as found:
        return found.status, found.headers.get("x-inferbudget-class", "")


async def is_ready(client: aiohttp.ClientSession) -> bool:
    async with client.get("/ready") as found:
        return found.status == 200


@pytest.mark.asyncio
async def test_a_stop_lets_prompts_be_read_and_answered(
    encoder: Encoder, folder: Path, tmp_path: Path
) -> None:
    async with served(FakeUpstream()) as fake:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SCRIPT, str(written(small(encoder), tmp_path)), fake.url,
            str(folder),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        try:
            assert process.stdout is not None
            ready = json.loads(await process.stdout.readline())
            assert ready["encoder_provider"] == "CPUExecutionProvider"
            async with aiohttp.ClientSession(ready["url"]) as client:
                asked = [asyncio.ensure_future(answer(client, "slow")) for _ in range(6)]
                await asyncio.sleep(0.2)  # one is being read and five wait
                process.send_signal(signal.SIGTERM)
                while await is_ready(client):
                    await asyncio.sleep(0.01)
                assert await asyncio.gather(*asked) == [(200, "easy")] * 6
            assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


def test_serving_without_the_encoder_or_with_another_is_refused_at_the_start(
    encoder: Encoder, tmp_path: Path
) -> None:
    url = "http://127.0.0.1:9/v1"
    path = written(small(encoder), tmp_path)
    with pytest.raises(InputError, match="reads prompts with an encoder, and none was given"):
        serve(path, upstream=url)
    other = encoder_folder(tmp_path / "other")
    with pytest.raises(InputError, match="another encoder"):
        serve(path, upstream=url, encoder=other)
    with pytest.raises(InputError, match="reads prompts without an encoder, and one was given"):
        serve(written(policy(), tmp_path), upstream=url, encoder=other)


def test_a_replay_reads_the_prompts_too(encoder: Encoder, folder: Path, tmp_path: Path) -> None:
    path = written(small(encoder, labels=True), tmp_path)
    prompts = {"q0": "near", "q1": "far", "q2": "broken", "q3": "near"}
    labels = {"q0": "law", "q1": "law", "q2": "law", "q3": "art"}
    outcomes = {query: {CHEAP: (1.0, 0.0001, 0.5)} for query in prompts}
    report = replay(path, outcomes, prompts, labels=labels, encoder=folder)
    assert {name: part.requests for name, part in report.by_class.items()} == {
        "art/all": 1,
        "law/easy": 1,
        "law/hard": 2,
    }
    assert report.unread == 1
    assert replay(path, outcomes, prompts, labels=labels, encoder=folder) == report
    with pytest.raises(InputError, match="none was given"):
        replay(path, outcomes, prompts, labels=labels)
    with pytest.raises(InputError, match="query q0: this request has no class label"):
        replay(path, outcomes, prompts, encoder=folder)


def test_the_replay_command_reads_the_prompts_and_says_which_it_could_not(
    encoder: Encoder, folder: Path, tmp_path: Path
) -> None:
    path = written(small(encoder), tmp_path)
    rows = ["query_id,model,method,score,cost_usd,prompt"]
    prompts = ["near", "broken", "far near", "near near"]
    rows += [f"q{place},small,single,1,0.0001,{prompt}" for place, prompt in enumerate(prompts)]
    outcomes = tmp_path / "outcomes.csv"
    outcomes.write_text("\n".join(rows) + "\n")
    words = ["replay", str(path), "--outcomes", str(outcomes)]
    done = CliRunner().invoke(cli, [*words, "--encoder", str(folder)])
    assert done.exit_code == 0, done.output
    assert "unread    1 prompts, which took the last class" in done.output
    read = CliRunner().invoke(cli, [*words, "--encoder", str(folder), "--format", "json"])
    assert json.loads(read.stdout)["unread"] == 1


def test_a_long_replay_decides_as_the_graph_does(
    encoder: Encoder, folder: Path, tmp_path: Path
) -> None:
    found = small(encoder)
    path = written(found, tmp_path)
    generator = random.Random(8)
    prompts = {
        f"q{number}": " ".join(generator.choices(["near", "far", "odd"], k=3))
        for number in range(600)
    }
    outcomes = {query: {CHEAP: (1.0, 0.0001, 0.5)} for query in prompts}
    report = replay(path, outcomes, prompts, encoder=folder)
    session = DecisionSession(found, path.with_suffix(".onnx"))
    expected = [
        session.decide(prompt, 0, 0.5, vector=encoder.encode([prompt])[0]).class_name
        for prompt in prompts.values()
    ]
    for name, part in report.by_class.items():
        assert part.requests == expected.count(name) > 0
    assert report.unread == 0
