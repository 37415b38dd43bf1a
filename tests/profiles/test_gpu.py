"""GPU-seconds and joules by fair share."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiles.measuring.gpu import FairShares, GpuMeter, Reading, gpu_meter, read_devices

TICKS = 60


def simulated(readings, requests):
    """Brute force: walk through all moments and hand out each one's use."""
    gpu, joules = [0.0] * len(requests), [0.0] * len(requests)
    for tick in range(TICKS):
        current = [reading for at, reading in readings if at <= tick]
        present = [i for i, (start, end) in enumerate(requests) if start <= tick < end]
        for i in present:
            gpu[i] += current[-1].gpus / len(present)
            joules[i] += current[-1].watts / len(present)
    return list(zip(gpu, joules, strict=True))


def metered(readings, requests):
    shares, marks, found = FairShares(), {}, {}
    events = [(at, 0, lambda at, r=reading: shares.read(at, r)) for at, reading in readings]
    for i, (start, end) in enumerate(requests):
        events.append((start, 1, lambda at, i=i: marks.update({i: shares.begin(at)})))
        events.append((end, 2, lambda at, i=i: found.update({i: shares.end(at, marks[i])})))
    for at, _, happen in sorted(events, key=lambda event: event[:2]):
        happen(float(at))
    return [found[i] for i in range(len(requests))]


READING = st.builds(Reading, st.integers(0, 8).map(float), st.floats(0, 5000))
READINGS = st.lists(st.tuples(st.integers(1, TICKS), READING), max_size=8).map(
    lambda later: sorted(later, key=lambda item: item[0])
)
REQUEST = st.tuples(st.integers(0, TICKS - 1), st.integers(1, TICKS)).map(
    lambda item: (item[0], min(TICKS, item[0] + item[1]))
)


@settings(deadline=None)
@given(READING, READINGS, st.lists(REQUEST, min_size=1, max_size=12))
def test_shares_agree_with_a_simulation_moment_by_moment(first, later, requests):
    readings = [(0, first), *later]
    for share, (gpu_s, energy_j) in zip(
        metered(readings, requests), simulated(readings, requests), strict=True
    ):
        assert share.gpu_s == pytest.approx(gpu_s, abs=1e-9)
        assert share.energy_j == pytest.approx(energy_j, abs=1e-6)


def test_two_requests_side_by_side_bear_half_each_and_idling_belongs_to_none():
    readings = [(0, Reading(2.0, 600.0))]
    first, second, late = metered(readings, [(0, 10), (0, 10), (30, 40)])
    assert (first.gpu_s, second.gpu_s, late.gpu_s) == (10.0, 10.0, 20.0)
    assert first.energy_j == 3000.0


def test_a_request_over_a_missing_reading_is_unknown_and_the_next_one_is_known():
    shares = FairShares()
    shares.read(0, Reading(1.0, 100.0))
    mark = shares.begin(1)
    shares.read(2, None)
    without = shares.begin(2.5)
    shares.read(3, Reading(1.0, 100.0))
    assert shares.end(4, mark) is None
    later = shares.begin(4)
    assert shares.end(5, without) is None
    assert shares.end(6, later).gpu_s == pytest.approx(1.5)


def test_before_the_first_reading_nothing_is_known():
    shares = FairShares()
    mark = shares.begin(0)
    shares.read(1, Reading(1.0, 1.0))
    assert shares.end(2, mark) is None


def test_a_clock_that_goes_back_takes_nothing_back():
    shares = FairShares()
    shares.read(10, Reading(1.0, 1.0))
    mark = shares.begin(10)
    shares.read(9, Reading(1.0, 1.0))
    assert shares.end(11, mark).gpu_s == 1.0


def test_the_meter_reads_in_a_thread_until_it_is_closed():
    taken = []

    def take():
        taken.append(1)
        return Reading(2.0, 300.0)

    meter = GpuMeter(take, period_s=0.001)
    mark = meter.begin()
    while len(taken) < 5:
        time.sleep(0.001)
    share = meter.end(mark)
    meter.close()
    assert share.gpu_s > 0
    assert share.energy_j == pytest.approx(150 * share.gpu_s)
    count = len(taken)
    time.sleep(0.01)
    assert len(taken) == count


def test_a_meter_whose_gpus_fall_silent_says_so_once_and_knows_nothing(caplog):
    def take():
        raise RuntimeError("GPU is lost")

    meter = GpuMeter(take, period_s=0.001)
    mark = meter.begin()
    time.sleep(0.01)
    assert meter.end(mark) is None
    meter.close()
    assert [record.getMessage() for record in caplog.records] == [
        "GPUs cannot be read: RuntimeError: GPU is lost"
    ]


def test_devices_that_compute_or_hold_a_process_are_in_use():
    gpus = {"busy": (90, [], 400_000), "held": (0, [1], 100_000), "idle": (0, [], 60_000)}
    nvml = SimpleNamespace(
        nvmlDeviceGetUtilizationRates=lambda device: SimpleNamespace(gpu=gpus[device][0]),
        nvmlDeviceGetComputeRunningProcesses=lambda device: gpus[device][1],
        nvmlDeviceGetPowerUsage=lambda device: gpus[device][2],
    )
    assert read_devices(nvml, list(gpus)) == Reading(2.0, 500.0)


def test_without_nvml_there_is_no_meter_and_the_log_says_why(monkeypatch, caplog):
    monkeypatch.setitem(__import__("sys").modules, "pynvml", None)
    with caplog.at_level("INFO", "profiles.measuring.gpu"):
        assert gpu_meter() is None
    assert "no GPU-seconds and joules" in caplog.text
