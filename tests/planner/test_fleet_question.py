"""fleet.yaml: what it refuses, and where speeds come from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from fleet_worlds import day, fleet_question, wave
from pydantic import ValidationError
from worlds import make_profile, make_spec

from planner.fleet.certified import CertifiedPlan, certified, turns_noise
from planner.fleet.question import FleetQuestion, read_fleet
from planner.fleet.work import work_of
from planner.plan import Plan
from planner.planner import Planner
from planner.solve import solve
from profiles.errors import InputError, UnknownValueError
from profiles.money import PriceCard
from profiles.profile import Profile

HALVES = CertifiedPlan("p", 0.9, {"c0": 1.0}, {"c0": {"m00/single": 1.0}}, {})


def measured(**cell: Any) -> Profile:
    profile = make_profile([[0.9]], [[0.001]])
    cells = {key: replace(one, **cell) for key, one in profile.cells.items()}
    return replace(profile, cells=cells)


def asked_of(server: dict[str, Any]) -> FleetQuestion:
    pools = {"chat": {"strategies": ["m00/single"], "servers": [server]}}
    return fleet_question(wave(100), pools=pools)


def solved(floor: float = 0.8) -> Plan:
    profile = make_profile([[0.7, 0.9], [0.6, 0.85]], [[1e-4, 1e-3], [1e-4, 1e-3]])
    spec = make_spec(limits={"accuracy": {"overall": floor}})
    return solve(profile, spec, prices=PriceCard(), estimator=None)


def test_a_file_is_read(tmp_path: Path) -> None:
    question = fleet_question(wave(100))
    (tmp_path / "fleet.yaml").write_text(yaml.safe_dump(question.model_dump(mode="json")))
    assert read_fleet(tmp_path / "fleet.yaml") == question


def test_an_unknown_key_names_its_line_and_the_nearest_word(tmp_path: Path) -> None:
    content = fleet_question(wave(100)).model_dump(mode="json") | {"growth": 2.0}
    (tmp_path / "fleet.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match="did you mean 'growth_factor'"):
        read_fleet(tmp_path / "fleet.yaml")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"requests_per_hour": [1.0] * 23}, "24 or 168 hours"),
        ({"requests_per_hour": day()}, "some hour has requests"),
        ({"reserved_hours": 7}, "do not fill 24 hours"),
        ({"by_request": ["small"]}, "choose one"),
        ({"headroom": {"wait_s": 1}}, "late_share belongs to"),
        ({"headroom": {"wait_s": 1, "rule": "utilisation"}}, "utilisation belongs to"),
        ({"gpus": {"a100": {"usd_per_hour": 1}}}, "runs on 'h200'"),
        ({"gpus": {"h200": {"usd_per_hour": 1, "reserved_usd_per_hour": 2}}}, "swap the prices"),
    ],
)
def test_what_cannot_be_is_refused(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        fleet_question(keys.pop("requests_per_hour", wave(100)), **keys)


def test_a_server_without_a_speed_is_refused() -> None:
    with pytest.raises(ValidationError, match="unknown is never fast"):
        asked_of({"gpu": "h200", "source": "nobody"})


def test_growth_multiplies_every_hour() -> None:
    assert fleet_question(wave(100), growth_factor=1.5).requests[14] == 150


def test_measured_gpu_seconds_are_latency_at_the_measured_load() -> None:
    question = asked_of({"gpu": "h200", "gpus": 2, "slots": 8, "gpu_s": "measured", "source": "p"})
    (work,) = work_of(question, [HALVES], measured(gpu_s=0.5))
    # 8 at once on 2 GPUs at 0.5 GPU-seconds each: a request is there for 2 seconds
    assert work.service_s(("chat", 0)) == 2.0


def test_tokens_and_seconds_per_token_make_a_latency() -> None:
    speed = {"input": 0.001, "output": 0.02}
    question = asked_of({"gpu": "h200", "slots": 8, "seconds_per_token": speed, "source": "p"})
    (work,) = work_of(question, [HALVES], measured(tokens_in=1000.0, tokens_out=200.0))
    assert work.service_s(("chat", 0)) == pytest.approx(5.0)


@pytest.mark.parametrize(
    "server",
    [
        {"gpu_s": "measured"},
        {"seconds_per_token": {"input": 0.1, "output": 0.1}},
        {"gpu_s": {"other": 1.0}},
    ],
)
def test_an_unknown_speed_is_refused(server: dict[str, Any]) -> None:
    question = asked_of({"gpu": "h200", "source": "p", **server})
    with pytest.raises(UnknownValueError, match="is unknown"):
        work_of(question, [HALVES], measured())


def test_a_speed_that_needs_a_profile_says_so() -> None:
    question = asked_of({"gpu": "h200", "gpu_s": "measured", "source": "p"})
    with pytest.raises(UnknownValueError, match="pass --profiles"):
        work_of(question, [HALVES], None)


def test_one_measured_figure_for_two_pools_is_refused() -> None:
    server = {"gpu": "h200", "gpu_s": "measured", "source": "p"}
    pools = {name: {"strategies": ["m00/single"], "servers": [server]} for name in "ab"}
    with pytest.raises(InputError, match="do not say how much in which"):
        work_of(fleet_question(wave(100), pools=pools), [HALVES], measured(gpu_s=0.5))


def test_rungs_of_a_plan_are_columns_with_their_promises() -> None:
    plan = solved()
    columns = certified({"plan.json": plan})
    assert [one.promised_accuracy for one in columns] == [
        rung.promised.accuracy for rung in plan.rungs
    ]
    assert certified({"plan.json": plan}, rungs=False) == columns[:1]
    assert sum(share for _, _, share in columns[0].shares()) == pytest.approx(1.0)


def test_plans_of_other_traffic_are_refused() -> None:
    other = solved().model_copy(update={"workload": "elsewhere"})
    with pytest.raises(InputError, match="have one workload"):
        certified({"a": solved(), "b": other})


def test_the_promise_of_plans_that_take_turns_is_at_least_their_mean_less_the_turns_noise() -> None:
    rng = np.random.default_rng(3)
    profile = make_profile(rng.uniform(0.5, 0.95, (4, 6)), rng.uniform(1e-4, 1e-3, (4, 6)))
    for judged in (None, 200, 5000):
        traffic = None if judged is None else {"requests": judged}
        planner = Planner(profile, make_spec(traffic=traffic))
        accounts, e = planner.accounts, planner.estimates
        for _ in range(100):
            both = [rng.dirichlet(np.full(6, 0.3), 4).ravel() for _ in range(2)]
            part = rng.uniform()
            means = [float(e.traffic_share * x @ e.accuracy_careful) for x in both]
            noises = [accounts.judged_offset(mean)[-1] for mean in means]
            promises = [accounts.promised(x).accuracy for x in both]
            x = part * both[0] + (1 - part) * both[1]
            # requests of different hours are drawn apart: their variances average
            offset = np.zeros(len(accounts.accuracy_margin.matrix))
            offset[-1] = np.sqrt(part * noises[0] ** 2 + (1 - part) * noises[1] ** 2)
            careful = float(e.traffic_share * x @ e.accuracy_careful)
            truth = careful - accounts.accuracy_margin.value(x, offset)
            scaled = [accounts.accuracy_margin.z * noise for noise in noises]
            mean = part * promises[0] + (1 - part) * promises[1]
            assert truth >= mean - turns_noise([(s, s) for s in scaled]) - 1e-8


def test_taking_turns_costs_nothing_without_judged_requests() -> None:
    assert turns_noise([(0.0, 0.0), (0.0, 0.0)]) == 0.0


def test_judged_noise_shrinks_with_the_requests_and_is_none_on_point_estimates() -> None:
    profile = make_profile([[0.7, 0.9], [0.6, 0.85]], [[1e-4, 1e-3], [1e-4, 1e-3]])

    def noise(**keys: Any) -> tuple[float, float]:
        spec = make_spec(limits={"accuracy": {"overall": 0.7}}, **keys)
        plan = solve(profile, spec, prices=PriceCard(), estimator=None)
        return certified({"plan.json": plan})[0].judged_noise

    few, many = (noise(traffic={"requests": n}) for n in (500, 50_000))
    assert 0 < many[0] <= many[1] < few[0] <= few[1]
    assert few[1] == pytest.approx(1.645 * np.sqrt(0.25 / 500), rel=0.2)
    assert noise(traffic={"requests": 500}, confidence="none") == (0.0, 0.0)
    assert noise() == (0.0, 0.0)


def test_no_plans_are_refused() -> None:
    with pytest.raises(InputError, match="no plan was given"):
        certified({})
