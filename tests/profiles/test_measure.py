import asyncio
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest
from small_worlds import WORKLOAD

from profiles.errors import BudgetRefusedError, InputError, UpstreamError
from profiles.measuring import measuring as module
from profiles.measuring.measure import Answered, Scored, Task, measure, seed_of
from profiles.measuring.outlook import Paid
from profiles.measuring.scorers import Function, UnscoredError
from profiles.store.store import Store

PROBLEMS = [Task(f"q{i:03}", f"prompt {i}") for i in range(30)]
STRATEGIES = ["a/single", "b/best_of_n( n = 2 )"]


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "store.duckdb") as opened:
        yield opened


class Upstream:
    """Answers after a moment; fails on what it is told to."""

    def __init__(self, fails=lambda strategy, prompt: False, cost=5, money=None):
        self.fails, self.cost, self.money = fails, cost, money
        self.spent = 0
        self.calls, self.flying, self.most = [], 0, 0

    async def __call__(self, job):
        strategy, prompt = job.strategy, job.prompt
        if self.money is not None and self.spent + (self.flying + 1) * self.cost > self.money:
            fits_later = self.spent + self.cost <= self.money
            raise BudgetRefusedError("no room", retry_after_s=1.0 if fits_later else None)
        self.calls.append((strategy, prompt, job.seed))
        self.flying += 1
        self.most = max(self.most, self.flying)
        await asyncio.sleep(0)
        self.flying -= 1
        self.spent += self.cost or 0
        if self.fails(strategy, prompt):
            raise UpstreamError("it failed", status=503)
        return Answered("yes", self.cost, 0.25, 3, 4, 2)


async def right(task, text):
    return Scored(1.0)


def go(store, upstream, score=lambda prompt, text: text == "yes", **more):
    options = {"problems": PROBLEMS, "strategies": STRATEGIES, "concurrency": 4, **more}
    scoring = {"answer": upstream, "score": Function(score).score}
    return asyncio.run(measure(store, workload=WORKLOAD, **scoring, **options))


def test_every_pair_is_measured_once_with_its_cost_and_latency(store):
    upstream, seen = Upstream(), []
    report = go(store, upstream, progress=seen.append)
    assert (report.planned, report.measured, report.failed) == (60, 60, 0)
    assert (seen[-1].done, seen[-1].total) == (60, 60)
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
    assert all(count == 5 for count in Counter(s for s, *_ in upstream.calls[:10]).values())
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
    with pytest.raises(UpstreamError, match="all of the first 10 outcomes failed"):
        go(store, upstream)
    assert len(upstream.calls) < 20
    with pytest.raises(UpstreamError, match="all of the first 2 outcomes failed"):
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
                score=right,
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

    async def slowly(job):
        await asyncio.sleep(0.03)
        return Answered("yes", 1, 0.03, 1, 1, 1)

    go(store, slowly, problems=PROBLEMS[:3], concurrency=1)
    assert len(sizes) > 1


def test_another_prompt_under_a_stored_id_is_refused(store):
    go(store, Upstream(), problems=PROBLEMS[:2])
    with pytest.raises(InputError, match="1 query ids stand for other prompts"):
        go(store, Upstream(), problems=[Task("q000", "something else"), Task("new", "x")])
    assert "new" not in store.prompts(WORKLOAD)


def test_no_concurrency_is_refused(store):
    with pytest.raises(InputError, match="at least 1"):
        go(store, Upstream(), concurrency=0)


def test_a_scorer_that_raises_names_the_task_and_keeps_what_was_measured(store):
    def score(prompt, text):
        return {}[prompt] if prompt == "prompt 7" else 1.0

    message = r"task q007: the scorer failed; got KeyError: 'prompt 7'"
    with pytest.raises(InputError, match=message):
        go(store, Upstream(), score=score, concurrency=3)
    assert len(store.measured(WORKLOAD)) >= 14
    with pytest.raises(InputError, match="the scorer failed; got TypeError"):
        go(store, Upstream(), score=lambda prompt, text: None)


def go_scored(store, upstream, score, **more):
    options = {"workload": WORKLOAD, "problems": PROBLEMS, "strategies": STRATEGIES, **more}
    return asyncio.run(measure(store, answer=upstream, score=score, **{"concurrency": 4} | options))


INTERRUPTED = """
import asyncio, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # else ignored in the background
from profiles.measuring.measure import Answered, Scored, Task, measure
from profiles.store.store import Store

async def right(task, text):
    return Scored(1.0)

async def answer(job):
    if job.prompt == "9":
        print("ready", flush=True)
        await asyncio.sleep(60)
    return Answered("yes", 1, 0.1, 1, 1, 1)

with Store.open(sys.argv[1]) as store:
    problems = [Task(str(n), str(n)) for n in range(10)]
    asyncio.run(measure(store, workload="w", problems=problems, strategies=["m/single"],
                        answer=answer, score=right, concurrency=2))
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
        assert len(store.measured("w")) >= 8  # the ninth may be waiting for its score


def test_levels_of_concurrency_follow_each_other_and_are_measured_apart(store):
    upstream, flying = Upstream(), []

    async def watched(job):
        flying.append((job.concurrency, upstream.flying))
        return await upstream(job)

    report = go(store, watched, concurrency=(1, 4), problems=PROBLEMS[:10])
    assert (report.planned, report.measured) == (40, 40)
    assert [level for level, _ in flying] == [1] * 20 + [4] * 20
    assert max(count for level, count in flying if level == 1) == 0
    assert {o.concurrency for o in store.observations(WORKLOAD)} == {1, 4}
    again = go(store, Upstream(), concurrency=(1, 4, 8), problems=PROBLEMS[:10])
    assert (again.resumed, again.measured) == (40, 20)


def test_the_thin_end_of_a_level_is_counted(store):
    assert go_scored(store, Upstream(), right, concurrency=4).below_level == 3
    assert go_scored(store, Upstream(), right, concurrency=1).below_level == 0


def test_an_outcome_at_an_unknown_level_counts_where_one_level_is_asked_for(store):
    go(store, Upstream(), problems=PROBLEMS[:1], strategies=STRATEGIES[:1])
    with Store.open(":memory:") as other:
        (known,) = store.observations(WORKLOAD)
        other.add([replace(known, concurrency=None)])
        options = {"problems": PROBLEMS[:1], "strategies": STRATEGIES[:1]}
        assert go(other, Upstream(), **options).measured == 0
        assert go(other, Upstream(), concurrency=(4, 8), **options).measured == 2


def test_a_run_out_of_money_stops_cleanly_and_says_what_is_left_and_what_it_would_cost(store):
    upstream = Upstream(money=52)
    report = go(store, upstream, paid=lambda: Paid(upstream.spent))
    assert (report.measured, report.left, report.failed) == (10, 50, 0)
    assert report.stopped == "no room"
    assert (report.spent_usd, report.left_usd) == (50e-9, pytest.approx(250e-9))
    assert len(store.measured(WORKLOAD)) == 10
    nothing = go(store, Upstream(money=0))
    assert (nothing.measured, nothing.left) == (0, 50)
    assert nothing.left_usd == pytest.approx(250e-9)  # from what the store holds
    assert go(store, Upstream(money=250)).stopped is None


def test_what_the_rest_would_cost_is_unknown_where_a_strategy_was_never_measured(store):
    report = go(store, Upstream(money=5), concurrency=1)
    assert (report.measured, report.left_usd) == (1, None)


def test_answers_in_flight_are_still_scored_when_the_money_ends(store):
    async def slow(task, text):
        await asyncio.sleep(0.01)
        return Scored(1.0)

    report = go_scored(store, Upstream(money=40), slow)
    assert (report.measured, report.left) == (8, 52)


def test_an_answer_that_could_not_be_scored_is_no_observation(store):
    async def unsure(task, text):
        if task.query_id == "q003":
            raise UnscoredError("the judge said nothing", cost_nano_usd=7)
        return Scored(0.5)

    report = go_scored(store, Upstream(), unsure)
    assert (report.measured, report.failed, report.left) == (58, 2, 2)
    assert str(report.failures[0]).startswith("2 x not scored (e.g. q003, ")


def test_a_slow_scorer_does_not_thin_out_the_load(store):
    async def slow(task, text):
        await asyncio.sleep(0.002)
        return Scored(1.0)

    upstream = Upstream()
    go_scored(store, upstream, slow)
    assert upstream.most == 4


def test_a_list_of_jobs_is_measured_instead_of_every_pair(store):
    jobs = [("q003", "a/single", 2), ("q001", "b/best_of_n(n=2)", 0), ("q003", "a/single", 2)]
    upstream = Upstream()
    report = go(store, upstream, strategies=(), jobs=iter(jobs))
    assert (report.planned, report.measured) == (2, 2)
    assert store.measured(WORKLOAD) == set(jobs)
    with pytest.raises(InputError, match="no problem of this id; got nobody"):
        go(store, upstream, jobs=[("nobody", "a/single", 0)])


def test_the_caller_hears_of_every_outcome_that_is_stored(store):
    heard = []
    go(store, Upstream(), stored=heard.extend)
    assert set(heard) == store.measured_at(WORKLOAD)
    again = []
    go(store, Upstream(), stored=again.extend)
    assert set(again) == set(heard)


def test_answers_verdicts_and_kinds_of_tokens_are_stored(store):
    async def answer(job):
        return Answered("yes", 1, 0.1, 10, 20, 1, 15, 4, "42", 0.75)

    go(store, answer, problems=PROBLEMS[:1], strategies=["a/single"], concurrency=2)
    (found,) = store.observations(WORKLOAD)
    assert (found.tokens_reasoning, found.tokens_cached, found.concurrency) == (15, 4, 2)
    assert (found.answer, found.verdict) == ("42", 0.75)


def test_outcomes_that_somebody_else_stored_meanwhile_are_counted_and_theirs_stand(store):
    class Late(Upstream):
        async def __call__(self, job):
            if len(self.calls) == 0:
                with Store.open(store._path) as other:
                    await measure_all(other)
            return await super().__call__(job)

    async def measure_all(other):
        scoring = {"answer": Upstream(cost=7), "score": right}
        await measure(
            other, workload=WORKLOAD, problems=PROBLEMS[:3], strategies=["a/single"], **scoring
        )

    report = go(store, Late(cost=5), problems=PROBLEMS[:5], strategies=["a/single"], concurrency=8)
    assert (report.measured, report.stored_elsewhere) == (5, 3)
    costs = Counter(row.cost_usd for row in store.observations(WORKLOAD))
    assert costs == {7e-9: 3, 5e-9: 2}
