"""A circuit breaker: a server that fails gets no calls for a while, then a few to try."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from enum import StrEnum

from runtime.upstreams.failure_share import FailureShare
from runtime.upstreams.settings import BreakerSettings

_log = logging.getLogger(__name__)


class BreakerState(StrEnum):
    """What a breaker lets through: all, nothing, or a few calls on trial."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """Knows of calls only what they tell it: that one begins, and how it ended.

    A call counts for the state that it began in, so one that began long ago says nothing about a
    server that has been tried since.

    Args:
        name: Whose it is, for the log.
        settings: When it opens, and for how long.
        clock: Seconds that never go back.
        failed_probes: Failed probes in a row that open it.
    """

    def __init__(
        self,
        name: str,
        settings: BreakerSettings,
        clock: Callable[[], float],
        *,
        failed_probes: int = 2,
    ) -> None:
        self._name = name
        self._settings = settings
        self._clock = clock
        self._failed_probes = failed_probes
        self._state = BreakerState.CLOSED
        self._share = FailureShare(settings.window_s)
        self._era = 0
        self._changed_s = clock()
        self._open_until_s = -math.inf
        self._times_open = 0
        self._failures = self._probe_failures = 0
        self._trials = self._good_trials = 0
        self._down = False

    @property
    def state(self) -> BreakerState:
        """As of now: an open one is half open when its time is over."""
        if self._state is BreakerState.OPEN and self._clock() >= self._open_until_s:
            self._enter(BreakerState.HALF_OPEN)
        return self._state

    @property
    def for_s(self) -> float:
        """Seconds since it came into its state."""
        return self._clock() - self._changed_s

    @property
    def opens_in_s(self) -> float:
        """Seconds until it lets a call through by itself; 0 unless it is open."""
        left = self._open_until_s - self._clock()
        return max(left, 0.0) if self.state is BreakerState.OPEN else 0.0

    def admits(self) -> bool:
        """Whether a call may begin now."""
        state = self._state
        if state is BreakerState.CLOSED:
            return True
        if state is BreakerState.OPEN:
            state = self.state
        return state is BreakerState.HALF_OPEN and self._trials < self._settings.trials

    def begin(self) -> int:
        """A call that was admitted begins; what it is given, `end` wants back."""
        if self._state is BreakerState.HALF_OPEN:
            self._trials += 1
        return self._era

    def end(self, era: int, *, good: bool | None) -> None:
        """A call ended.

        Args:
            era: From `begin`.
            good: The server did its work, or failed; None says nothing about it.
        """
        if era != self._era:
            return
        if self._state is BreakerState.HALF_OPEN:
            self._trials -= 1
            if good is not None:
                self._tried(good=good)
        elif good is not None:
            self._counted(good=good)

    def probed(self, *, good: bool) -> None:
        """A probe ended."""
        self._probe_failures = 0 if good else self._probe_failures + 1
        state = self.state
        if state is BreakerState.OPEN:
            self._probed_while_open(good=good)
        elif not good and (
            state is BreakerState.HALF_OPEN or self._probe_failures >= self._failed_probes
        ):
            self._open()
            self._down = True

    def _probed_while_open(self, *, good: bool) -> None:
        """A server that was seen down and is up again need not wait for its time."""
        if not good:
            self._down = True
            self._open_until_s = max(self._open_until_s, self._clock() + self._settings.open_s)
        elif self._down:
            self._enter(BreakerState.HALF_OPEN)

    def _counted(self, *, good: bool) -> None:
        self._share.add(self._clock(), failed=not good)
        self._failures = 0 if good else self._failures + 1
        if good:
            return
        calls, failed = self._share.counts()
        settings = self._settings
        if self._failures >= settings.failures or (
            calls >= settings.least_calls and failed >= settings.share * calls
        ):
            self._open()

    def _tried(self, *, good: bool) -> None:
        if not good:
            self._open()
            return
        self._good_trials += 1
        if self._good_trials >= self._settings.trials:
            self._enter(BreakerState.CLOSED)

    def _open(self) -> None:
        settings = self._settings
        # A server that fails again as soon as it is trusted again is not trusted as soon.
        again = self._state is BreakerState.HALF_OPEN or self.for_s < settings.window_s
        self._times_open = self._times_open + 1 if again and self._times_open else 1
        longer = settings.open_s * 2.0 ** min(self._times_open - 1, 60)
        self._enter(BreakerState.OPEN)
        self._open_until_s = self._changed_s + min(longer, settings.most_open_s)

    def _enter(self, state: BreakerState) -> None:
        _log.warning("the breaker of upstream %s is %s", self._name, state)
        self._state = state
        self._era += 1
        self._changed_s = self._clock()
        self._failures = self._probe_failures = 0
        self._trials = self._good_trials = 0
        self._down = False
        self._share.clear()
