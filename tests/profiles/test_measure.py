import asyncio
import signal
import subprocess
import sys
from collections import Counter

import pytest
from small_worlds import WORKLOAD

from profiles import measure as module
from profiles.errors import InputError, UpstreamError
from profiles.measure import Answered, Query, measure, seed_of
from profiles.store import Store

PROBLEMS = [Query(f"q{i:03}", f"prompt {i}") for i in range(30)]
STRATEGIES = ["a/single", "b/best_of_n( n = 2 )"]


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "store.duckdb") as opened:
        yield opened


class Upstream:
    """Answers after a moment; fails on what it is told to."""

    def __init__(self, fails=lambda strategy, prompt: False, cost=5):
        self.fails, self.cost = fails, cost
        self.calls, self.flying, self.most = [], 0, 0

    async def __call__(self, strategy, prompt, seed):
        self.calls.append((strategy, prompt, seed))
        self.flying += 1
        self.most = max(self.most, self.flying)
        await asyncio.sleep(0)
        self.flying -= 1
        if self.fails(strategy, prompt):
            raise UpstreamError("it failed", status=503)
        return Answered("yes", self.cost, 0.25, 3, 4, 2)


def go(store, upstream, score=lambda prompt, text: text == "yes", **more):
    options = {"problems": PROBLEMS, "strategies": STRATEGIES, "concurrency": 4, **more}
    return asyncio.run(measure(store, workload=WORKLOAD, answer=upstream, score=score, **options))


def test_every_pair_is_measured_once_with_its_cost_and_latency(store):
    upstream, seen = Upstream(), []
    report = go(store, upstream, progress=lambda done, total: seen.append((done, total)))
    assert (report.planned, report.measured, report.failed) == (60, 60, 0)
    assert seen[-1] == (60, 60)
    assert upstream.most == 4
    cell = store.profile(WORKLOAD).cell("all", "b/best_of_n(n=2)")
    assert (cell.queries, cell.accuracy, cell.cost_max_usd, cell.calls) == (30, 1.0, 5e-9, 2.0)
    assert (cell.latency_p95_s, cell.evidence) == (0.25, ("measured",))
    assert len(store.prompts(WORKLOAD)) == 30


def test_what_is_stored_is_not_paid_for_again(store):
    go(store, Upstream(), problems=PROBLEMS[:10])
    upstream = Upstream()
    report = go(store, upstream, samples=2)
    assert (report.planned, report.resumed, report.measured) == (120, 20, 100)
    assert len(upstream.calls) == 100
    assert go(store, Upstream(), samples=2).measured == 0


def test_strategies_take_turns(store):
    upstream = Upstream()
    go(store, upstream, concurrency=1)
    assert all(count == 5 for count in Counter(s for s, _, _ in upstream.calls[:10]).values())
    assert upstream.calls[0][0] != upstream.calls[2][0]


def test_seeds_depend_on_query_strategy_and_sample_alone(store):
    upstream = Upstream()
    go(store, upstream, samples=2)
    seeds = {seed for _, _, seed in upstream.calls}
    assert len(seeds) == 120
    assert seed_of("q000", "a/single", 1) in seeds
    assert seed_of("q000", "a/single", 0) == 1027072307


def test_a_failed_call_is_counted_and_is_no_observation(store):
    report = go(store, Upstream(fails=lambda s, prompt: prompt.endswith("7")))
    assert (report.measured, report.failed) == (54, 6)
    assert str(report.failures[0]).startswith(
        "6 x HTTP 503 (e.g. q007, b/best_of_n(n=2): it failed"
    )
    assert store.profile(WORKLOAD).cell("all", "a/single").accuracy == 1.0
    assert go(store, Upstream()).measured == 6


def test_when_every_call_fails_the_run_stops_early(store):
    upstream = Upstream(fails=lambda s, p: True)
    with pytest.raises(UpstreamError, match="all of the first 10 calls failed"):
        go(store, upstream)
    assert len(upstream.calls) < 20
    with pytest.raises(UpstreamError, match="all of the first 2 calls failed"):
        go(store, upstream, problems=PROBLEMS[:1])
    assert store.workloads() == []


def test_an_unknown_cost_stays_unknown(store):
    go(store, Upstream(cost=None))
    assert store.profile(WORKLOAD).cell("all", "a/single").cost_usd is None


def test_a_score_outside_its_range_stops_the_run_and_keeps_what_was_measured(store):
    scores = iter([1.0] * 20 + [float("nan")])
    with pytest.raises(InputError, match="a score that is none"):
        go(store, Upstream(), score=lambda prompt, text: next(scores), concurrency=1)
    assert len(store.measured(WORKLOAD)) == 20


def test_a_run_that_is_cancelled_keeps_what_was_measured(store):
    async def cancelled():
        upstream = Upstream()
        task = asyncio.create_task(
            measure(
                store,
                workload=WORKLOAD,
                problems=PROBLEMS,
                strategies=STRATEGIES,
                answer=upstream,
                score=lambda p, t: 1.0,
                concurrency=1,
            )
        )
        while len(upstream.calls) < 8:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert len(store.measured(WORKLOAD)) >= 7


def test_observations_are_committed_while_the_run_goes_on(store, monkeypatch):
    monkeypatch.setattr(module, "BATCH", 5)
    sizes = []
    add = store.add
    monkeypatch.setattr(store, "add", lambda rows: sizes.append(len(rows)) or add(rows))
    go(store, Upstream(), concurrency=1)
    assert sum(sizes) == 60
    assert len(sizes) > 1


def test_slow_answers_are_committed_by_the_clock(store, monkeypatch):
    monkeypatch.setattr(module, "BATCH_S", 0.01)
    sizes = []
    add = store.add
    monkeypatch.setattr(store, "add", lambda rows: sizes.append(len(rows)) or add(rows))

    async def slowly(strategy, prompt, seed):
        await asyncio.sleep(0.03)
        return Answered("yes", 1, 0.03, 1, 1, 1)

    go(store, slowly, problems=PROBLEMS[:3], concurrency=1)
    assert len(sizes) > 2


def test_another_prompt_under_a_stored_id_is_refused(store):
    go(store, Upstream(), problems=PROBLEMS[:2])
    with pytest.raises(InputError, match="1 query ids stand for other prompts"):
        go(store, Upstream(), problems=[Query("q000", "something else"), Query("new", "x")])
    assert "new" not in store.prompts(WORKLOAD)


def test_a_problem_without_a_prompt_is_refused(store):
    with pytest.raises(InputError, match="this query has no prompt"):
        go(store, Upstream(), problems=[Query("q")])
    with pytest.raises(InputError, match="at least 1"):
        go(store, Upstream(), concurrency=0)


def test_a_scorer_that_raises_names_query_and_strategy_and_keeps_what_was_measured(store):
    def score(prompt, text):
        return {}[prompt] if prompt == "prompt 7" else 1.0

    message = r"query q007, strategy .*: the scorer failed; .* got KeyError: 'prompt 7'"
    with pytest.raises(InputError, match=message):
        go(store, Upstream(), score=score, concurrency=3)
    assert len(store.measured(WORKLOAD)) >= 14
    with pytest.raises(InputError, match=r"the scorer failed; .* got TypeError"):
        go(store, Upstream(), score=lambda prompt, text: None)


INTERRUPTED = """
import asyncio, sys
from profiles.measure import Answered, Query, measure
from profiles.store import Store

async def answer(strategy, prompt, seed):
    if prompt == "9":
        print("ready", flush=True)
        await asyncio.sleep(60)
    return Answered("yes", 1, 0.1, 1, 1, 1)

with Store.open(sys.argv[1]) as store:
    problems = [Query(str(n), str(n)) for n in range(10)]
    asyncio.run(measure(store, workload="w", problems=problems, strategies=["m/single"],
                        answer=answer, score=lambda p, t: 1.0, concurrency=2))
"""


def test_ctrl_c_keeps_what_was_measured_and_complains_of_nothing_else(tmp_path):
    path = tmp_path / "store.duckdb"
    command = [sys.executable, "-c", INTERRUPTED, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert errors.rstrip().endswith(b"KeyboardInterrupt")
    assert b"never retrieved" not in errors
    with Store.open(path) as store:
        assert len(store.measured("w")) == 9
