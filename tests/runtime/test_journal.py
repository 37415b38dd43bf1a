from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_upstream import PRICES, InMemory, reply
from msgspec.structs import replace

from profiles.errors import InputError, UpstreamError
from profiles.measuring.gpu import GpuMeter, Reading
from profiles.measuring.jobs import Job
from runtime import journal as module
from runtime.answering import make_answerer
from runtime.journal import Journal, journal_of
from runtime.spending import Spending
from runtime.upstream import ChatCall, Completion, Message

pytestmark = pytest.mark.asyncio
KEY = ("q1", "small/single", 0, 4)
CALL = ChatCall("small", (Message("user", "two and two"),), 8, seed=7)
VOTE = "small/self_consistency(k=3,max_tokens=8)"


def opened(path: Path, workload: str = "w", endpoint: str = "http://one/v1") -> Journal:
    return Journal(path, workload=workload, endpoint=endpoint)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return journal_of(tmp_path / "store.duckdb")


def numbered() -> InMemory:
    return InMemory(lambda number, _: reply(f"reply {number}"))


async def test_a_call_is_paid_for_once_and_takes_as_long_as_it_took(path: Path) -> None:
    slow = InMemory(lambda _, __: Completion(("four",), 10, 4, ("stop",), 0.05, 2, 1))
    with opened(path) as journal:
        first = await journal.outcome(KEY, slow.chat).chat(CALL)
    with opened(path) as journal:
        started = asyncio.get_running_loop().time()
        again = await journal.outcome(KEY, slow.chat).chat(CALL)
        assert asyncio.get_running_loop().time() - started >= 0.045
        assert journal.replayed == 1
    assert first == again
    assert len(slow.calls) == 1


async def test_other_outcomes_servers_words_and_workloads_have_calls_of_their_own(
    path: Path,
) -> None:
    upstream = numbered()
    with opened(path) as journal:
        await journal.outcome(KEY, upstream.chat).chat(CALL)
        await journal.outcome((*KEY[:3], 8), upstream.chat).chat(CALL)
        other = ChatCall("small", CALL.messages, 8, seed=8)
        await journal.outcome(KEY, upstream.chat).chat(other)
    with opened(path, workload="another") as journal:
        await journal.outcome(KEY, upstream.chat).chat(CALL)
    with opened(path, endpoint="http://two/v1") as journal:
        await journal.outcome(KEY, upstream.chat).chat(CALL)
    assert len(upstream.calls) == 5


async def test_the_same_words_twice_in_one_outcome_are_two_calls(path: Path) -> None:
    upstream = numbered()
    with opened(path) as journal:
        calls = journal.outcome(KEY, upstream.chat)
        texts = [(await calls.chat(CALL)).texts for _ in range(2)]
    with opened(path) as journal:
        calls = journal.outcome(KEY, upstream.chat)
        assert [(await calls.chat(CALL)).texts for _ in range(2)] == texts
        assert (await calls.chat(CALL)).texts == ("reply 2",)
    assert texts == [("reply 0",), ("reply 1",)]


async def test_repeatable_calls_are_paid_for_once_until_they_are_forgotten(path: Path) -> None:
    upstream = numbered()
    with opened(path) as journal:
        for _ in range(3):
            assert (await journal.repeatable(upstream.chat).chat(CALL)).texts == ("reply 0",)
        journal.forget_repeatable()
        assert (await journal.repeatable(upstream.chat).chat(CALL)).texts == ("reply 1",)


async def test_errors_are_not_kept(path: Path) -> None:
    def flaky(number: int, _: ChatCall) -> Completion:
        if number == 0:
            raise UpstreamError("broken", status=500)
        return reply("four")

    upstream = InMemory(flaky)
    with opened(path) as journal:
        with pytest.raises(UpstreamError):
            await journal.outcome(KEY, upstream.chat).chat(CALL)
        assert path.stat().st_size == 0
        assert (await journal.outcome(KEY, upstream.chat).chat(CALL)).texts == ("four",)


@pytest.mark.parametrize("cut", [1, 20, 100])
async def test_a_torn_last_line_is_dropped_and_its_call_is_asked_again(
    path: Path, cut: int
) -> None:
    upstream = numbered()
    with opened(path) as journal:
        calls = journal.outcome(KEY, upstream.chat)
        await calls.chat(CALL)
        await calls.chat(CALL)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    with opened(path) as journal:
        calls = journal.outcome(KEY, upstream.chat)
        assert (await calls.chat(CALL)).texts == ("reply 0",)
        assert (await calls.chat(CALL)).texts == ("reply 2",)
    assert len(path.read_text().splitlines()) == 2
    assert all(map(json.loads, path.read_text().splitlines()))


async def test_a_damaged_line_is_refused_with_its_number(path: Path) -> None:
    path.write_bytes(b'{"workload": 7}\n')
    with pytest.raises(InputError, match=r"calls:1: this line is no paid call; .*\n  next: remove"):
        opened(path)


async def test_what_the_store_holds_is_dropped_and_an_empty_journal_leaves_no_file(
    path: Path,
) -> None:
    upstream = numbered()
    with opened(path) as journal:
        await journal.outcome(KEY, upstream.chat).chat(CALL)
        journal.forget([KEY, ("never", "seen", 0, None)])
        await journal.outcome(KEY, upstream.chat).chat(CALL)
    assert len(upstream.calls) == 2
    with opened(path) as journal:
        journal.forget([KEY])
    assert not path.exists()


async def test_the_file_stays_in_proportion_to_what_is_unfinished(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_COMPACT_BYTES", 2000)
    upstream, sizes = numbered(), []
    with opened(path) as journal:
        await journal.outcome(("open", "s", 0, 1), upstream.chat).chat(CALL)
        for number in range(60):
            key = (f"q{number}", "s", 0, 1)
            await journal.outcome(key, upstream.chat).chat(CALL)
            journal.forget([key])
            sizes.append(path.stat().st_size)
    assert max(sizes) < 2500
    assert not path.with_name(path.name + ".new").exists()
    with opened(path) as journal:
        kept = await journal.outcome(("open", "s", 0, 1), upstream.chat).chat(CALL)
        assert kept.texts == ("reply 0",)
        await journal.outcome(("more", "s", 0, 1), upstream.chat).chat(CALL)


async def test_two_processes_do_not_share_a_journal(path: Path) -> None:
    with opened(path) as journal:
        with pytest.raises(InputError, match="another process is measuring into this store"):
            opened(path)
        await journal.outcome(KEY, numbered().chat).chat(CALL)


async def test_a_file_that_cannot_be_written_is_refused_before_anything_is_paid(
    tmp_path: Path,
) -> None:
    with pytest.raises(InputError, match="cannot keep a call that was paid for"):
        opened(tmp_path / "missing" / "store.calls")


async def test_a_full_disk_stops_everything_before_more_is_paid(path: Path) -> None:
    upstream = numbered()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with opened(path) as journal:
        spending = Spending(None, journal)
        answer = make_answerer(upstream, PRICES, answers_per_call=1, spending=spending)
        resource.setrlimit(resource.RLIMIT_FSIZE, (450, limits[1]))
        try:
            # the first calls fit; the strategy alone would answer from them
            with pytest.raises(InputError, match="cannot keep a call that was paid for"):
                await answer(Job("q1", "x", VOTE, 0, 1))
            paid = len(upstream.calls)
            for number in range(3):
                with pytest.raises(InputError, match="cannot keep a call"):
                    await answer(Job(f"q{number}", "x", VOTE, 1, 1))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, before)
    assert paid == len(upstream.calls) == 3
    with opened(path) as journal:
        answer = make_answerer(
            upstream, PRICES, answers_per_call=1, spending=Spending(None, journal)
        )
        await answer(Job("q1", "x", VOTE, 0, 1))
        assert journal.replayed >= 1
    assert len(upstream.calls) == 6 - journal.replayed


async def test_an_outcome_costs_the_same_from_the_journal_but_only_new_calls_are_paid(
    path: Path,
) -> None:
    upstream = InMemory(lambda _, call: Completion(("a",), 10, 4, ("stop",), 0.0))
    spent, costs = [], []
    for _ in range(2):
        with opened(path) as journal:
            spending = Spending(10**9, journal)
            answer = make_answerer(upstream, PRICES, answers_per_call=1, spending=spending)
            found = await answer(Job("q1", "x", VOTE, 0, 1))
            costs.append((found.cost_nano_usd, found.tokens_out, found.calls))
            spent.append(spending.paid_nano_usd)
    assert costs[0] == costs[1]
    assert spent == [upstream.bill_nano_usd, 0]


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from runtime.journal import Journal
from runtime.upstream import ChatCall, Completion, Message

async def send(call):
    print(call.seed, flush=True)
    return Completion((f"reply {call.seed}",), 1, 1, ("stop",), 0.0)

async def main():
    journal = Journal(Path(sys.argv[1]), workload="w", endpoint="http://one/v1")
    for seed in range(1000):
        call = ChatCall("small", (Message("user", "x"),), 8, seed=seed)
        await journal.outcome((f"q{seed}", "s", 0, 1), send).chat(call)
        if seed == 57:
            os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_a_killed_process_loses_no_reply_that_it_had(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(path)],
        stdout=subprocess.PIPE,
        check=False,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == -signal.SIGKILL
    sent = len(done.stdout.splitlines())
    upstream = numbered()
    with opened(path) as journal:
        for seed in range(sent):
            call = ChatCall("small", (Message("user", "x"),), 8, seed=seed)
            found = await journal.outcome((f"q{seed}", "s", 0, 1), upstream.chat).chat(call)
            assert found.texts == (f"reply {seed}",)
    assert upstream.calls == []


async def test_gpu_seconds_of_an_answer_from_the_journal_are_unknown(path: Path) -> None:
    upstream, found = numbered(), []
    meter = GpuMeter(lambda: Reading(1.0, 100.0))
    for _ in range(2):
        with opened(path) as journal:
            spending = Spending(None, journal)
            answer = make_answerer(upstream, PRICES, spending=spending, meter=meter)
            found.append(await answer(Job("q1", "x", "small/single(max_tokens=8)", 0, 1)))
    meter.close()
    assert found[0].gpu_s is not None
    assert found[0].energy_j == pytest.approx(100 * found[0].gpu_s)
    assert (found[1].gpu_s, found[1].energy_j) == (None, None)


async def test_a_store_behind_a_link_has_the_journal_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "store.duckdb")
    assert journal_of(tmp_path / "link") == journal_of(tmp_path / "store.duckdb")


async def written(path: Path, **change: object) -> None:
    with opened(path) as journal:
        await journal.outcome(KEY, numbered().chat).chat(CALL)
    entry = json.loads(path.read_text())
    entry["reply"].update(change)
    path.write_text(json.dumps(entry) + "\n")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latency_s": 5e9}, "no call takes 5e"),
        ({"latency_s": -1}, "no call takes -1 s"),
        ({"tokens_in": -1}, "no negative number of tokens"),
        ({"tokens_out": -(10**30)}, "no negative number of tokens"),
        ({"texts": [], "finish_reasons": []}, "at least one text"),
        ({"texts": ["a", "b"]}, "a finish reason for each"),
        ({"confidences": [0.5, 0.5]}, "a confidence for each text"),
        ({"confidences": [1.5]}, "a confidence is a probability"),
    ],
)
async def test_a_line_that_cannot_be_true_is_refused_with_its_number(
    path: Path, change: dict[str, object], message: str
) -> None:
    await written(path, **change)
    with pytest.raises(InputError, match=rf"calls:1: this line is no paid call; got .*{message}"):
        opened(path)


async def test_confidences_are_kept_unknown_ones_too(path: Path) -> None:
    said = Completion(("a", "b"), 10, 4, ("stop", "stop"), 0.0, confidences=(0.1 + 0.2, None))
    call, upstream = replace(CALL, n=2, logprobs=True), InMemory(lambda _, __: said)
    for _ in range(2):
        with opened(path) as journal:
            assert await journal.outcome(KEY, upstream.chat).chat(call) == said
    assert len(upstream.calls) == 1


async def test_calls_that_differ_in_anything_that_is_sent_are_different_calls(path: Path) -> None:
    fields: list[dict[str, Any]] = [
        {},
        {"model": "large"},
        {"messages": (*CALL.messages, Message("assistant", "f"))},
        {"messages": (*CALL.messages, Message("assistant", "f")), "continues": True},
        {"max_tokens": 9},
        {"n": 2},
        {"temperature": 0.5},
        {"top_p": 0.5},
        {"seed": 8},
        {"stop": ("x",)},
        {"logprobs": True},
        {"extra": {"reasoning_effort": "high"}},
    ]
    with opened(path) as journal:
        digests = {journal.digest(replace(CALL, **field)) for field in fields}
        assert len(digests) == len(fields)
        assert journal.digest(replace(CALL, purpose="judge")) in digests  # none of it is sent


async def test_a_journal_of_an_older_version_answers(path: Path) -> None:
    reply = {
        "texts": ["paid before"],
        "tokens_in": 10,
        "tokens_out": 4,
        "finish_reasons": ["stop"],
        "latency_s": 0.0,
    }
    digest = "206cc197503c398b5cc5414f619fdd86"
    entry = {"workload": "w", "outcome": KEY, "call": digest, "occurrence": 0, "reply": reply}
    path.write_text(json.dumps(entry) + "\n")
    with opened(path) as journal:
        found = await journal.outcome(KEY, numbered().chat).chat(CALL)
    assert (found.texts, found.confidences) == (("paid before",), ())


async def test_absurd_usage_in_the_journal_is_unknown(path: Path) -> None:
    await written(path, tokens_out=10**30)
    with opened(path) as journal:
        found = await journal.outcome(KEY, numbered().chat).chat(CALL)
    assert (found.texts, found.tokens_in, found.tokens_out) == (("reply 0",), None, None)


async def test_a_reply_without_use_is_asked_for_again_even_where_it_was_kept(path: Path) -> None:
    upstream = numbered()
    with opened(path) as journal:
        await journal.repeatable(upstream.chat).chat(CALL)

        def useful(reply: Completion) -> bool:
            return reply.texts == ("reply 2",)

        for text in ("reply 1", "reply 2", "reply 2"):
            found = await journal.repeatable(upstream.chat, useful).chat(CALL)
            assert found.texts == (text,)


async def test_a_lock_on_a_removed_file_is_not_taken_for_the_journals(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, seen = Journal._lock, []

    def removed_meanwhile(journal: Journal, file: int) -> None:
        if not seen:
            path.unlink()
        seen.append(file)
        lock(journal, file)

    monkeypatch.setattr(Journal, "_lock", removed_meanwhile)
    with opened(path) as journal:
        assert len(seen) == 2
        await journal.outcome(KEY, numbered().chat).chat(CALL)
        with pytest.raises(InputError, match="another process"):
            opened(path)
    assert path.stat().st_size


async def test_a_compacted_journal_is_still_for_its_owner_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_COMPACT_BYTES", 0)
    path.with_name(path.name + ".new").write_text("left by a kill")
    with opened(path) as journal:
        inode = path.stat().st_ino
        for number in range(4):
            await journal.outcome((f"q{number}", "s", 0, 1), numbered().chat).chat(CALL)
        journal.forget([(f"q{number}", "s", 0, 1) for number in range(3)])
        assert path.stat().st_ino != inode
        assert path.stat().st_mode & 0o777 == 0o600
        with pytest.raises(InputError, match="another process"):
            opened(path)
