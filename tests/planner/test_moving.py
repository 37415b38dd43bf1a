"""Settings that move a limit, held against the limits that the planner moves itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.limit_names import OVERALL, SPEND, is_share
from planner.limits import LimitSet
from planner.moving import moved
from planner.spec import Spec
from profiles.errors import InputError
from profiles.yaml_input import parse_yaml

FULL = """
format_version: "1.0"
workload: w
traffic: {requests: 1000, per: day}
limits:
  accuracy:
    overall: 0.8
    by_class: {easy: 0.9, "v1.5": 0.4}
    by_group: {"a.b": {"c.d": 0.5, e: 0.6}}
    max_gap: {"a.b": 0.2}
  latency: {p95_s: 3, p99_s: 9, by_class: {"v1.5": {p50_s: 1}}}
  spend: {usd: 20, per: day}
  gpu:
    "h.200": {models: [m], gpus: 2, utilization: 0.5}
    all: {gpu_s_per_request: 3}
  energy: {kwh: 2, per: day}
  carbon: {g_per_kwh: 400, kg: 1, per: day}
  per_request: {calls: 4, compute: {"steps.of": 7}}
  shares:
    - {name: "big.ones", models: [m], at_least: 0.1, at_most: 0.5}
    - {name: other, strategies: [m/single], at_most: 0.9}
tenants:
  acme: {share: 0.6, accuracy: {overall: 0.7, by_class: {easy: 0.8}}, spend: {usd: 9, per: day}}
  rest: {share: 0.4, latency: {by_class: {easy: {p95_s: 2}}}}
"""
PLAIN = 'format_version: "1.0"\nworkload: w\n'


def spec_of(text: str, settings: tuple[str, ...] = ()) -> Spec:
    return parse_yaml(text, Spec, "spec.yaml", settings)


NAMES = list(LimitSet.of(spec_of(FULL)).values)


def values(settings: tuple[str, ...], text: str = FULL) -> dict[str, float]:
    return dict(LimitSet.of(spec_of(text, settings)).values)


@given(st.sampled_from(NAMES), st.integers(1, 99))
def test_a_moved_limit_is_moved_and_no_other(name: str, part: int) -> None:
    value = part / 100 if is_share(name) else part / 8
    if name.endswith("at_least"):
        value = min(value, 0.5)
    if name == "shares.big.ones.at_most":
        value = max(value, 0.1)
    expected = LimitSet.of(spec_of(FULL)).moved(name, value)
    assert values(moved(spec_of(FULL), name, value)) == expected.values


@pytest.mark.parametrize("name", NAMES)
def test_a_limit_that_is_taken_away_takes_no_other_with_it(name: str) -> None:
    expected = LimitSet.of(spec_of(FULL)).without(name)
    assert values(moved(spec_of(FULL), name, None)) == expected.values


@pytest.mark.parametrize("name", NAMES)
def test_a_limit_at_its_own_value_sets_nothing(name: str) -> None:
    assert moved(spec_of(FULL), name, LimitSet.of(spec_of(FULL)).values[name]) == ()


def test_all_limits_can_be_taken_away_one_after_the_other() -> None:
    settings: tuple[str, ...] = ()
    for name in NAMES:
        settings += moved(spec_of(FULL, settings), name, None)
    assert values(settings) == {}


@pytest.mark.parametrize("name", [OVERALL, SPEND, "latency.p95_s", "accuracy.by_class.hard"])
def test_what_a_spec_does_not_limit_can_be_limited(name: str) -> None:
    assert values(moved(spec_of(PLAIN), name, 0.25), PLAIN) == {name: 0.25}
    assert moved(spec_of(PLAIN), name, None) == ()


@pytest.mark.parametrize("name", ["gpu.none", "shares.none.at_most", "energy.joules_per_request"])
def test_what_a_spec_lacks_and_a_number_cannot_say_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="no such limit"):
        moved(spec_of(PLAIN), name, 0.5)
