"""Queueing formulas against independent computations and a simulation of single events."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.fleet.question import Headroom
from planner.fleet.queueing import late_share, slots_needed, usable_load, waiting_share
from planner.fleet.simulation import Stop, simulate

slots = st.integers(1, 200)
part = st.floats(0.05, 0.98)


def by_recursion(servers: int, load: float) -> float:
    """Erlang B by its recursion, then C from B."""
    blocked = 1.0
    for k in range(1, servers + 1):
        blocked = load * blocked / (k + load * blocked)
    return blocked / (1 - load / servers * (1 - blocked))


def room(**keys: object) -> Headroom:
    return Headroom.model_validate({"wait_s": 1.0, **keys})


@given(slots, part)
def test_the_share_that_waits_is_that_of_the_recursion(c: int, utilisation: float) -> None:
    load = c * utilisation
    assert waiting_share(c, load) == pytest.approx(by_recursion(c, load), rel=1e-9)


def test_one_slot_is_the_textbook_queue() -> None:
    assert late_share(1, 0.5, service_s=2.0, wait_s=3.0) == pytest.approx(
        0.5 * math.exp(-(0.5 - 0.25) * 3.0)
    )


def test_a_full_queue_keeps_nobody_from_waiting() -> None:
    assert late_share(4, 4.0, 1.0, 100.0) == 1.0


@settings(deadline=None)
@given(slots, st.floats(0.001, 0.2), st.floats(0.05, 20), st.floats(0, 5))
def test_the_usable_load_is_the_most_that_keeps_the_tail(
    c: int, allowed: float, service_s: float, wait_s: float
) -> None:
    headroom = room(late_share=allowed, wait_s=wait_s)
    load = usable_load(c, service_s, headroom)
    assert late_share(c, load, service_s, wait_s) <= allowed
    assert load > 0.999998 * c or late_share(c, load * 1.0001, service_s, wait_s) > allowed


@settings(deadline=None)
@given(
    st.integers(1, 100),
    st.sampled_from([{"late_share": 0.01}, {"rule": "square root"},
                     {"rule": "utilisation", "utilisation": 0.6}]),
)  # fmt: skip
def test_more_slots_carry_more_load_each(c: int, rule: dict[str, object]) -> None:
    headroom = room(**rule)
    fewer, more = (usable_load(n, 2.0, headroom) / n for n in (c, c + 1))
    assert more >= fewer - 1e-9


@settings(deadline=None)
@given(st.floats(0.01, 60), st.integers(1, 8))
def test_the_slots_needed_are_the_fewest(load: float, step: int) -> None:
    headroom = room(late_share=0.02)
    found = slots_needed(load, 1.5, headroom, step)
    enough = next(n for n in range(step, 1000, step) if usable_load(n, 1.5, headroom) >= load)
    assert found == enough


def test_no_load_needs_no_slots() -> None:
    assert slots_needed(0.0, 1.0, room(late_share=0.01)) == 0


def test_the_square_root_rule_lets_few_wait_as_long_as_they_are_served() -> None:
    late = [late_share(c, c - math.sqrt(c), 1.0, 1.0) for c in range(2, 500)]
    assert max(late) < 0.05


@pytest.mark.parametrize(("c", "utilisation"), [(1, 0.5), (4, 0.8), (16, 0.9)])
def test_events_agree_with_erlang_where_he_is_exact(c: int, utilisation: float) -> None:
    rng = np.random.default_rng(17)
    shares = []
    for _ in range(10):
        n = 20_000
        at = np.cumsum(rng.exponential(1 / (c * utilisation), n))
        work = [[Stop(0, float(s))] for s in rng.exponential(1.0, n)]
        waits = np.array(simulate(at, work, [(0.0, 0, c)], 1))
        shares.append(float((waits > 0.5).mean()))
    error = np.std(shares, ddof=1) / math.sqrt(len(shares))
    expected = late_share(c, c * utilisation, 1.0, 0.5)
    assert abs(np.mean(shares) - expected) < 4 * error, (np.mean(shares), expected, error)


def test_a_queue_in_numbers() -> None:
    work = [[Stop(0, 10.0)], [Stop(0, 10.0)], [Stop(0, 1.0)]]
    assert simulate([0.0, 1.0, 2.0], work, [(0.0, 0, 1)], 1) == [0.0, 9.0, 18.0]


def test_slots_that_open_take_who_waits() -> None:
    work = [[Stop(0, 10.0)], [Stop(0, 10.0)]]
    assert simulate([0.0, 1.0], work, [(0.0, 0, 1), (5.0, 0, 2)], 1) == [0.0, 4.0]


def test_slots_that_close_finish_and_take_nobody() -> None:
    work = [[Stop(0, 10.0)], [Stop(0, 10.0)], [Stop(0, 1.0)]]
    sizes = [(0.0, 0, 2), (5.0, 0, 1)]
    assert simulate([0.0, 0.0, 6.0], work, sizes, 1) == [0.0, 0.0, 4.0]


def test_a_queue_that_closes_serves_who_waits_there() -> None:
    work = [[Stop(0, 10.0)], [Stop(0, 10.0)]]
    assert simulate([0.0, 1.0], work, [(0.0, 0, 1), (5.0, 0, 0)], 1) == [0.0, 9.0]


def test_waits_of_two_stops_add_up() -> None:
    work = [[Stop(0, 4.0), Stop(1, 5.0)], [Stop(0, 4.0), Stop(1, 5.0)]]
    sizes = [(0.0, 0, 1), (0.0, 1, 1)]
    assert simulate([0.0, 0.0], work, sizes, 2) == [0.0, 5.0]


def test_nothing_varies_nobody_waits() -> None:
    assert waiting_share(3, 0.0) == 0.0
    assert late_share(4, 3.0, 1.0, 0.5, variability=0.0) == 0.0
    assert late_share(4, 3.0, 1.0, 0.0, variability=0.0) == waiting_share(4, 3.0)


def test_no_slots_carry_nothing() -> None:
    assert usable_load(0, 1.0, room(late_share=0.01)) == 0.0


def test_a_patient_crowd_may_fill_every_slot() -> None:
    assert usable_load(4, 1.0, room(late_share=0.1, wait_s=1e12)) == pytest.approx(4.0)
