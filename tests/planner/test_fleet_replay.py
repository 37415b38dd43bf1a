"""Replays of a fleet: against Erlang where he is exact, and against a trace's own bursts."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from fleet_worlds import CHEAP, DEAR, FIRST, TAIL, day, fleet_question, wave

from planner.fleet.certified import CertifiedPlan
from planner.fleet.fleet import plan_fleet
from planner.fleet.replay import replay_fleet
from planner.fleet.traffic import Trace, played, poisson_trace, trace_of
from profiles.arrival import Arrival
from profiles.errors import InputError

START = dt.datetime(2023, 11, 16, tzinfo=dt.UTC)


def requests_at(*seconds: float, tokens: int | None = 100) -> list[Arrival]:
    return [
        Arrival("w", str(i), START + dt.timedelta(seconds=at), tokens, tokens)
        for i, at in enumerate(seconds)
    ]


def test_every_hour_has_its_requests() -> None:
    asked = [0.0, 3000.0, 1000.0, 0.0, 500.0]
    requests = played(poisson_trace(700, 1), asked)
    at, places = requests.arrivals_s, requests.places
    by_hour = np.histogram(at, np.arange(6) * 3600.0)[0]
    # a trace with exponential gaps varies like Poisson's
    assert np.all(np.abs(by_hour - asked) <= 4 * np.sqrt(np.maximum(asked, 1)))
    assert by_hour[0] == by_hour[3] == 0
    assert list(places[:702])[-3:] == [699, 0, 1]
    assert np.all(np.diff(at) >= 0)


def test_a_trace_at_its_own_speed_is_itself() -> None:
    recorded = trace_of(requests_at(0, 10, 40, 45))
    at = played(recorded, [3600 / 15]).arrivals_s
    assert at[:6] == pytest.approx([0, 10, 40, 45, 60, 70])


def test_two_requests_at_one_time_are_no_trace() -> None:
    with pytest.raises(InputError, match="different times"):
        trace_of(requests_at(5, 5))


def test_a_missing_length_leaves_all_lengths_unknown() -> None:
    assert not trace_of([*requests_at(0, 1), *requests_at(2, tokens=None)]).has_tokens


def test_the_planned_tail_is_the_replayed_one_where_erlang_is_exact() -> None:
    question = fleet_question([1_500.0] * 24, [FIRST | {"slots": 1}], headroom=TAIL)
    fleet = plan_fleet(question, (CHEAP,))
    planned = fleet.hours[0].late_share
    assert 0.001 < planned <= 0.01
    by_seed = [
        replay_fleet(question, fleet, (CHEAP,), poisson_trace(36_000, seed), seed=seed).late_share
        for seed in range(10)
    ]
    error = np.std(by_seed, ddof=1) / np.sqrt(len(by_seed))
    assert abs(np.mean(by_seed) - planned) < 4 * error


def test_the_same_seed_gives_the_same_replay() -> None:
    question = fleet_question(wave(3000), headroom=TAIL)
    fleet = plan_fleet(question, (DEAR,))
    first, second = (
        replay_fleet(question, fleet, (DEAR,), poisson_trace(500, 1), seed=5) for _ in range(2)
    )
    assert first == second


def test_bursts_that_the_plan_does_not_know_make_requests_late() -> None:
    question = fleet_question([5_000.0] * 24, headroom=TAIL)
    fleet = plan_fleet(question, (CHEAP,))
    bursts = Trace(np.array(([0.2] * 500 + [1.8] * 500) * 5))
    found = replay_fleet(question, fleet, (CHEAP,), bursts)
    assert found.late_share > 0.1
    assert max(hour.busiest_minute or 0 for hour in found.hours) > 1.5
    ready = fleet_question([5_000.0] * 24, headroom=TAIL | {"peak_factor": 5})
    calm = replay_fleet(ready, plan_fleet(ready, (CHEAP,)), (CHEAP,), bursts)
    assert calm.late_share <= 0.01


def test_lengths_follow_the_tokens_of_the_trace() -> None:
    server = FIRST | {"seconds_per_token": {"input": 0.0, "output": 0.01}}
    question = fleet_question(day(h3=2000), [server], headroom=TAIL)
    fleet = plan_fleet(question, (CHEAP,))
    even = replay_fleet(question, fleet, (CHEAP,), trace_of(requests_at(*range(100))))
    assert even.lengths == "tokens"
    assert even.service_scv == pytest.approx(0, abs=1e-12)
    assert even.hours[4].late_share is None


def test_work_in_two_pools_is_done_in_both() -> None:
    cascade = CertifiedPlan("cascade", 0.9, {"c": 1.0}, {"c": {"cascade": 1.0}}, {})
    pools = {
        name: {"strategies": ["cascade"], "servers": [FIRST | {"gpu_s": {"cascade": gpu_s}}]}
        for name, gpu_s in (("small", 0.5), ("large", 2.0))
    }
    question = fleet_question(wave(6000), headroom=TAIL, pools=pools)
    fleet = plan_fleet(question, (cascade,))
    assert {one.pool for one in fleet.hours[14].sets} == {"small", "large"}
    found = replay_fleet(question, fleet, (cascade,), poisson_trace(20_000, 3))
    assert found.late_share < fleet.hours[14].late_share + 0.02


def test_more_requests_than_memory_holds_are_refused() -> None:
    question = fleet_question([300_000.0] * 24)
    fleet = plan_fleet(question, (CHEAP,))
    with pytest.raises(InputError, match="busiest day"):
        replay_fleet(question, fleet, (CHEAP,), poisson_trace(10, 1))
