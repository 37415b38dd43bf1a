"""GPU-seconds and joules of single requests that share GPUs: each bears its part of what runs.

While n requests are in flight on G GPUs that draw P watts, each of them uses G/n GPU-seconds and
P/n joules per second. Readings hold until the next one. What GPUs use while nothing is in flight
belongs to no request.
"""

from __future__ import annotations

import importlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_log = logging.getLogger(__name__)
_PERIOD_S = 0.1


@dataclass(frozen=True, slots=True)
class Reading:
    """What all GPUs did at one moment.

    Attributes:
        gpus: GPUs in use.
        watts: What these draw together.
    """

    gpus: float
    watts: float


@dataclass(frozen=True, slots=True)
class Share:
    """What one request used.

    Attributes:
        gpu_s: Seconds of one GPU.
        energy_j: Joules.
    """

    gpu_s: float
    energy_j: float


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a request began; `FairShares.end` wants it back."""

    gpu_s: float
    energy_j: float
    known_since: int


class FairShares:
    """The arithmetic: readings and requests in the order in which they happen.

    It keeps two running integrals, of ``gpus / in flight`` and ``watts / in flight``: a request
    used what they grew by while it was there. Times never go back; one that does counts as now.
    """

    def __init__(self) -> None:
        self._reading: Reading | None = None
        self._at_s = float("-inf")
        self._in_flight = 0
        self._gpu_s = 0.0
        self._energy_j = 0.0
        self._gaps = 0

    def read(self, at_s: float, reading: Reading | None) -> None:
        """Take a reading; None says that there is none, and nothing in flight can be known."""
        self._advance(at_s)
        self._reading = reading
        if reading is None:
            self._gaps += 1

    def begin(self, at_s: float) -> Mark:
        """A request begins."""
        self._advance(at_s)
        self._in_flight += 1
        known_since = self._gaps if self._reading is not None else -1
        return Mark(self._gpu_s, self._energy_j, known_since)

    def end(self, at_s: float, mark: Mark) -> Share | None:
        """A request ends: its share, None where a reading was missing while it ran."""
        self._advance(at_s)
        self._in_flight -= 1
        if mark.known_since != self._gaps:
            return None
        return Share(self._gpu_s - mark.gpu_s, self._energy_j - mark.energy_j)

    def _advance(self, at_s: float) -> None:
        passed = max(at_s - self._at_s, 0.0)
        self._at_s = max(at_s, self._at_s)
        if self._in_flight and self._reading is not None:
            self._gpu_s += passed * self._reading.gpus / self._in_flight
            self._energy_j += passed * self._reading.watts / self._in_flight


class GpuMeter:
    """Reads GPUs in a thread and gives requests their shares. Safe to use from any thread.

    Args:
        take: Reads all GPUs once; what it raises counts as a missing reading.
        period_s: Seconds between readings.
    """

    def __init__(self, take: Callable[[], Reading], *, period_s: float = _PERIOD_S) -> None:
        self._take = take
        self._period_s = period_s
        self._shares = FairShares()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._complained = False
        self._read()
        self._thread = threading.Thread(target=self._run, name="gpu-meter", daemon=True)
        self._thread.start()

    def begin(self) -> Mark:
        """A request begins."""
        with self._lock:
            return self._shares.begin(time.monotonic())

    def end(self, mark: Mark) -> Share | None:
        """A request ends: what it used, None where that is not known."""
        with self._lock:
            return self._shares.end(time.monotonic(), mark)

    def close(self) -> None:
        """Stop reading."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._period_s):
            self._read()

    def _read(self) -> None:
        reading: Reading | None = None
        try:
            reading = self._take()
        except Exception as error:  # NVML's errors are a class per code
            if not self._complained:
                _log.warning("GPUs cannot be read: %s: %s", type(error).__name__, error)
            self._complained = True
        with self._lock:
            self._shares.read(time.monotonic(), reading)


def gpu_meter() -> GpuMeter | None:
    """A meter of this machine's NVIDIA GPUs; None, with one line in the log, where there are none.

    Needs the package ``nvidia-ml-py``. It sees this machine only: an endpoint elsewhere must be
    metered there.
    """
    try:
        nvml = importlib.import_module("pynvml")
        nvml.nvmlInit()
        count = int(nvml.nvmlDeviceGetCount())
        devices = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
    except Exception as error:  # a missing package, driver or library, each its own way
        _log.info("no GPU-seconds and joules: %s: %s", type(error).__name__, error)
        return None
    if not devices:
        _log.info("no GPU-seconds and joules: this machine has no NVIDIA GPU")
        return None
    return GpuMeter(lambda: read_devices(nvml, devices))


def read_devices(nvml: Any, devices: list[Any]) -> Reading:
    """GPUs that compute or hold a process, and what these draw; NVML counts in milliwatts."""
    used = [device for device in devices if _in_use(nvml, device)]
    milliwatts = sum(float(nvml.nvmlDeviceGetPowerUsage(device)) for device in used)
    return Reading(float(len(used)), milliwatts / 1000)


def _in_use(nvml: Any, device: Any) -> bool:
    busy = nvml.nvmlDeviceGetUtilizationRates(device).gpu > 0
    return busy or bool(nvml.nvmlDeviceGetComputeRunningProcesses(device))
