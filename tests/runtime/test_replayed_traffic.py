"""The benchmark of replayed traffic counts money, value and memory as it says it does."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest

from benchmarks.replayed_traffic import traffic
from benchmarks.replayed_traffic.answers import read_answers
from benchmarks.replayed_traffic.figures import Known, memory
from benchmarks.replayed_traffic.planned import DAY_S, PART_S, STRATEGIES, model_server
from benchmarks.replayed_traffic.traffic import Arm, Replay
from policies.file import read_policy

PROMPT, SMALL = "add 3 4", "demo-small"
MIDNIGHT = 20_000 * DAY_S


def line(prompt: str = PROMPT, answers: int = 1) -> str:
    choice = {"index": 0, "message": {"role": "assistant", "content": "7"}}
    usage = {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13}
    body = {"model": SMALL, "choices": [choice] * answers, "usage": usage}
    row = {"prompt": prompt, "model": SMALL, "n": answers, "latency_s": 0.001, "body": body}
    return json.dumps(row) + "\n"


@pytest.mark.asyncio
async def test_the_model_server_repeats_an_answer_and_bills_its_tokens(tmp_path: Path) -> None:
    (tmp_path / "answers.jsonl").write_text(line())
    asked = {"model": SMALL, "messages": [{"role": "user", "content": PROMPT}]}
    with model_server(tmp_path / "answers.jsonl") as url:
        async with aiohttp.ClientSession(url) as client:
            for _ in range(2):
                async with client.post("/v1/chat/completions", json=asked) as reply:
                    content = await reply.json()
            async with client.get("/bill") as reply:
                bill = await reply.json()
    assert content["choices"][0]["message"]["content"] == "7"
    # 0.10 and 0.40 dollars per million tokens in and out.
    assert bill["total_nano_usd"] == 2 * (10 * 100 + 3 * 400)


def test_a_recording_that_was_cut_short_keeps_its_whole_lines(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_text(line() + line("add 1 1")[:40])
    assert set(read_answers(file)) == {(PROMPT, SMALL, 1)}


def test_every_strategy_that_is_planned_makes_recorded_calls_only() -> None:
    assert len(STRATEGIES) == 8
    assert not [text for text in STRATEGIES if "self_consistency" in text]


def test_rounds_follow_each_other_at_the_speed_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(traffic, "_seconds", lambda folder, trace: np.array([0.0, 100.0, 900.0]))
    replay = Replay(minutes=5, speed=10, rounds=2)
    assert replay.span_s == 60
    assert replay.arrivals(tmp_path, "code").tolist() == [0.0, 10.0, 30.0, 40.0]


def test_a_run_that_would_pass_midnight_begins_there() -> None:
    replay = Replay(minutes=30, speed=10)
    assert replay.start_s(MIDNIGHT + 1, 10) == MIDNIGHT + PART_S
    assert replay.start_s(MIDNIGHT - 100, 10) == MIDNIGHT


def test_a_span_of_broken_parts_is_refused() -> None:
    with pytest.raises(SystemExit, match="expected a multiple of 30 s"):
        _ = Replay(minutes=1, speed=10).span_s


def test_every_arm_of_a_trace_asks_the_same_problems() -> None:
    replay = Replay(30, 10)
    one, other = Arm("code", 0.5, 1, replay), Arm("code", 0.9, 4, replay)
    assert (one.problems(50, 7) == other.problems(50, 7)).all()
    assert (one.problems(50, 7) != Arm("conversations", 0.5, 1, replay).problems(50, 7)).any()


def test_the_name_of_an_arm_says_all_of_it() -> None:
    arm = Arm("code", 0.5, 4, Replay(minutes=60, speed=10, rounds=2))
    assert Arm.named(arm.name) == arm


def test_hindsight_within_any_strategy_matches_a_search_of_all_divisions() -> None:
    policy = read_policy(Path("demo/policy/policy.yaml"))
    usd = np.tile(np.array([1.0, 3.0, 8.0, 2.0, 4.0, 7.0, 9.0]), (2, 1))
    known = Known(policy, np.array([0, 3]), usd)
    asked = np.array([1])
    accuracies = [entry.by_class["hard"].accuracy or 0.0 for entry in policy.strategies]
    # One request: the best spends all its money on a mixture of two strategies.
    best = max(
        share * accuracies[dear] + (1 - share) * accuracies[cheap]
        for cheap, dear in product(range(7), repeat=2)
        if usd[0, cheap] < 5.0 < usd[0, dear]
        for share in [(5.0 - usd[0, cheap]) / (usd[0, dear] - usd[0, cheap])]
    )
    assert known.optima(asked, 5.0)["strategies"] == pytest.approx(best, abs=1e-9)


def test_hindsight_within_the_rungs_never_beats_any_strategy() -> None:
    policy = read_policy(Path("demo/policy/policy.yaml"))
    rng = np.random.default_rng(3)
    known = Known(policy, rng.integers(5, size=40), rng.uniform(1e-5, 2e-4, (40, 7)))
    asked = rng.integers(40, size=200)
    for budget in (0.001, 0.01, 0.1):
        best = known.optima(asked, budget)
        assert best["rungs"] <= best["strategies"] + 1e-9


def test_without_pacing_requests_are_answered_until_the_money_is_gone() -> None:
    policy = read_policy(Path("demo/policy/policy.yaml"))
    known = Known(policy, np.zeros(1, dtype=int), np.full((1, 7), 1e-4))
    unpaced = known.unpaced(np.zeros(10, dtype=int), 4.5e-4)
    # The easiest class has an accuracy of 1 on the first rung.
    assert unpaced["first"] == pytest.approx(4.0, abs=1e-9)
    assert known.unpaced(np.zeros(10, dtype=int), 1.0)["first"] == pytest.approx(10.0, abs=1e-9)


def test_memory_tells_of_the_gateway_that_grew_most() -> None:
    seconds: list[dict[str, Any]] = [
        {"at_s": float(s), "rss_mb": (100.0, 90.0 + 0.5 * s)} for s in range(100)
    ]
    found = memory(seconds)
    assert found["grown_mb"] == pytest.approx(0.5 * 79, abs=0.01)
    assert (found["mb_at_first"], found["mb_at_last"], found["mb_most"]) == (100.0, 139.5, 139.5)
