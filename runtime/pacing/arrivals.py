"""Arrivals: how many requests still share a window's money, by the clock and by what came."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

from planner.spec import Window
from runtime.ledger import ScopeState

FORECAST_WORTH = 0.1
"""Windows of counted requests that a forecast is worth."""
RECENT = 0.05
"""Share of a window over which the recent rate of arrivals is averaged."""
FEW_REQUESTS = 10
"""Both are at least so many requests of the forecast: fewer say little but chance."""
ROLLING_HORIZON = 1 / 16
"""Share of a rolling window for which the money left has to last; more comes back by then."""

_TOTAL = Window.TOTAL
_DAY_S = 86_400
_MONDAY_S = 4 * _DAY_S  # Unix time began on a Thursday
_PARTS_OF_A_WEEK = 7
_BORDERS = 64  # of the windows that run now
_ALL = 1 - 1e-9  # of a window's load, by sums of floats


class Shape:
    """The relative load of equal parts of a day or a week, in UTC; every one is like the last.

    Args:
        parts: Loads, none negative and at least one positive. A week from Monday where their
            number is a multiple of seven, as 168 hours are, else a day.
    """

    def __init__(self, parts: Sequence[float]) -> None:
        weekly = len(parts) % _PARTS_OF_A_WEEK == 0
        self._period_s = float(_PARTS_OF_A_WEEK * _DAY_S if weekly else _DAY_S)
        self._offset_s = float(_MONDAY_S if weekly else 0)
        self._parts = tuple(part / max(parts) for part in parts)
        self._before = (0.0, *accumulate(self._parts))
        self._border = lru_cache(_BORDERS)(self._load)

    def share_gone(self, start_s: float, end_s: float, now_s: float) -> float:
        """Share of a window's load that lies before a moment, 0..1.

        By the clock alone where the shape has no load in the window at all.
        """
        start, end = self._border(start_s), self._border(end_s)
        if end <= start:
            return _share(start_s, end_s, now_s)
        return _share(start, end, self._load(now_s))

    def _load(self, moment_s: float) -> float:
        """Load from Unix time zero to a moment, in parts of full load."""
        periods, into_s = divmod(moment_s - self._offset_s, self._period_s)
        place = into_s / self._period_s * len(self._parts)
        part = min(int(place), len(self._parts) - 1)
        within = self._parts[part] * (place - part)
        return periods * self._before[-1] + self._before[part] + within


def _share(start: float, end: float, at: float) -> float:
    if at <= start:
        return 0.0
    return (at - start) / (end - start) if at < end else 1.0


def requests_left(
    forecast: float | None,
    state: ScopeState,
    now_s: float,
    *,
    shape: Shape | None = None,
    recent: dict[str, Recent] | None = None,
) -> float | None:
    """Requests that still share the window's money, this one included.

    In a calendar window the requests that came correct the forecast: with `n` of them in the share
    `g` of the window, `(k forecast + n) / (k + g)` are expected in all, and `1 - g` of these are
    still to come, at least 1; `k` is `FORECAST_WORTH` unless `FEW_REQUESTS` are more. After the
    last load of a shape nobody is expected any more: who comes all the same is expected to go on as
    lately by the clock.

    For `total`, which has no end, the forecast less the requests that were admitted; 0 once it is
    used up. For a rolling window those of `ROLLING_HORIZON`.

    Args:
        forecast: Requests per window; None where nobody forecast them.
        state: How the budget stands.
        now_s: Unix time in seconds.
        shape: When requests come; evenly where absent.
        recent: By budget how fast requests came lately, kept up to date here; where they come
            faster than the window so far says, they count. None to go by the window alone.
    """
    if forecast is None:
        return None
    if state.window is _TOTAL:
        return max(forecast - state.requests, 0.0)
    arrivals = Arrivals(state, now_s, shape)
    if recent is None:
        return arrivals.left(forecast)
    rate = recent.get(state.name)
    if rate is None:
        rate = recent[state.name] = arrivals.recent(forecast)
    return arrivals.left_lately(forecast, rate)


class Arrivals:
    """What the clock and the count say of a window that renews.

    Args:
        state: How its budget stands.
        now_s: Unix time in seconds.
        shape: When requests come; evenly where absent.

    Attributes:
        at: Share of the window's requests that lie before this moment, as forecast, 0..1; of a
            rolling window the windows since Unix time 0.
    """

    __slots__ = ("_came", "_clock", "_epoch_start_s", "_rolling", "at")

    def __init__(self, state: ScopeState, now_s: float, shape: Shape | None) -> None:
        start_s, end_s = state.epoch_start_s, state.epoch_end_s
        self._came = state.requests
        self._rolling = end_s is None
        if end_s is None:
            self._epoch_start_s = 0
            self._clock = self.at = now_s / (state.window.seconds or 1.0)
            return
        self._epoch_start_s = start_s
        self._clock = _share(start_s, end_s, now_s)
        self.at = self._clock if shape is None else shape.share_gone(start_s, end_s, now_s)

    def left(self, forecast: float) -> float:
        """Requests still to come by the window so far, at least 1."""
        if self._rolling:
            return max(forecast * ROLLING_HORIZON, 1.0)
        worth = max(FORECAST_WORTH * forecast, FEW_REQUESTS)
        expected = forecast * (worth + self._came) / (worth + self.at * forecast)
        left = expected * (1 - self.at)
        return left if left > 1 else 1.0

    def left_lately(self, forecast: float, recent: Recent) -> float:
        """The same, or more where requests lately came faster; a rolling window knows no other."""
        if not self._rolling and self._clock < _ALL < self.at:  # nobody was to come any more
            late = recent.of_late(self._epoch_start_s, self._clock, self._came)
            return max(late * (1 - self._clock), 1.0)
        lately = recent.rate_at(self._epoch_start_s, self.at, self._came)
        if self._rolling:
            return max(lately * ROLLING_HORIZON, 1.0)
        left = self.left(forecast)
        lately *= 1 - self.at
        return lately if lately > left else left

    def recent(self, forecast: float) -> Recent:
        """A rate that begins with the forecast, at the first look at a budget."""
        over = max(RECENT, FEW_REQUESTS / forecast if forecast else math.inf)
        return Recent(forecast, over, self._epoch_start_s, self.at, self._came)


@dataclass(slots=True)
class Recent:
    """The rate at which a budget's requests came lately, in requests per window.

    An average that forgets with time, not with requests. It is read off the ledger's count of all
    replicas, so they agree.

    Attributes:
        rate: Requests per window.
        over: Windows after which a rate counts a third of what it did.
        epoch_start_s: Window of the last look; 0 for a rolling one.
        at: As of `Arrivals`, at the last look.
        came: Requests at the last look.
        late: Of those after a shape's last load in a window, by the clock; None before any came.
    """

    rate: float
    over: float
    epoch_start_s: int
    at: float
    came: int
    late: Recent | None = None

    def of_late(self, epoch_start_s: int, clock: float, came: int) -> float:
        """The rate since the shape's last load, where `clock` is the share of the window gone."""
        if self.late is None or self.late.epoch_start_s != epoch_start_s:
            self.late = Recent(0.0, RECENT, epoch_start_s, clock, came)
        return self.late.rate_at(epoch_start_s, clock, came)

    def rate_at(self, epoch_start_s: int, at: float, came: int) -> float:
        """The rate by a further look."""
        if epoch_start_s > self.epoch_start_s:  # the rate outlives its window
            self.epoch_start_s, self.at, self.came = epoch_start_s, self.at - 1, 0
        passed = at - self.at
        if passed < 0 or epoch_start_s < self.epoch_start_s:
            return self.rate  # the clock stepped back
        forgotten = -math.expm1(-passed / self.over)
        more = (came - self.came) * (forgotten / passed if passed else 1 / self.over)
        self.rate = self.rate * (1 - forgotten) + more
        self.at, self.came = at, came
        return self.rate
