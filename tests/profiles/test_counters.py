import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.importing.counters import differences


def test_a_counter_that_never_falls_has_no_restarts():
    assert differences([2, 5, 5, 9]) == ([2, 3, 0, 4], [])


def test_a_fall_is_a_restart_and_the_reading_after_it_counts_from_zero():
    assert differences([10, 14.5, 0.5, 3]) == ([10, 4.5, 0.5, 2.5], [2])


def test_no_readings_have_no_increments():
    assert differences([]) == ([], [])


@pytest.mark.parametrize("reading", [-1.0, float("nan"), float("inf")])
def test_what_no_counter_shows_is_refused(reading):
    with pytest.raises(ValueError, match="reading 1 of a counter is"):
        differences([1.0, reading])


@given(st.lists(st.lists(st.integers(1, 1000), min_size=1), min_size=1))
def test_increments_come_back_whole_over_every_restart_that_shows(runs):
    readings, expected_restarts = [], []
    for run in runs:
        total = 0
        for index, increment in enumerate(run):
            total += increment
            if index == 0 and readings and total < readings[-1]:
                expected_restarts.append(len(readings))
            readings.append(total)
    increments, restarts = differences(readings)
    assert restarts == expected_restarts
    edges = [0, *restarts, len(readings)]
    for start, end in itertools.pairwise(edges):
        assert sum(increments[start:end]) == readings[end - 1]
