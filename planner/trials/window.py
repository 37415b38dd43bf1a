"""One window of a trace: what its requests got, and which promises that keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from planner.limit_names import (
    BY_CLASS,
    BY_GROUP,
    LATENCY,
    MAX_GAP,
    SPEND,
    TENANTS,
    class_of_latency,
    is_latency,
    tail_of_limit,
)
from planner.sorting.cells_of_outcomes import Indices
from planner.trials.drawn import Drawn
from planner.trials.resplit import OWN_ACCURACY, OWN_BILL, OWN_P95

if TYPE_CHECKING:
    from planner.spec import Spec

ACCURACY = "accuracy."
_ROUNDED = 1e-9


@dataclass(frozen=True, slots=True)
class TraceWindow:
    """One window of the trace.

    Attributes:
        requests: That came.
        refused: Of these, because no money was left.
        on_lower_rungs: Of these, answered by a lower rung.
        accuracy: Mean score of answers, None without any.
        usd: Dollars spent, None where some cost is unknown.
        latency_p95_s: Of answers, None where some latency is unknown.
        kept: By promise, whether it held.
    """

    requests: int
    refused: int
    on_lower_rungs: int
    accuracy: float | None
    usd: float | None
    latency_p95_s: float | None
    kept: dict[str, bool]


def window_of(
    drawn: Drawn, rung: Indices, promised: Mapping[str, float], spec: Spec
) -> TraceWindow:
    """What requests got on their rungs (-1 where refused), and which promises that keeps."""
    got = drawn.under(rung)
    known = bool(np.isfinite(got.costs).all())
    timed = len(got.latencies_s) > 0 and bool(np.isfinite(got.latencies_s).all())
    verdicts = {name: _keeps(got, name, limit, spec) for name, limit in promised.items()}
    return TraceWindow(
        requests=len(rung),
        refused=int(np.count_nonzero(rung < 0)),
        on_lower_rungs=int(np.count_nonzero(rung > 0)),
        accuracy=float(got.scores.mean()) if len(got.scores) else None,
        usd=float(got.costs.sum()) if known else None,
        latency_p95_s=(
            float(np.quantile(got.latencies_s, 0.95, method="inverted_cdf")) if timed else None
        ),
        kept={name: kept for name, kept in verdicts.items() if kept is not None},
    )


def _keeps(got: Drawn, name: str, limit: float, spec: Spec) -> bool | None:
    """Whether a window's answers keep a promise; None where they do not tell."""
    if name.startswith(TENANTS):
        return None
    if name.startswith(MAX_GAP):
        groups = got.groups(name.removeprefix(MAX_GAP))
        means = [float(got.scores[own].mean()) for own in groups if own.any()]
        return max(means) - min(means) <= limit + _ROUNDED if len(means) > 1 else None
    if name == OWN_ACCURACY or name.startswith(ACCURACY):
        scores = got.scores[_about(got, name)]
        return float(scores.mean()) >= limit - _ROUNDED if len(scores) else None
    if name in {SPEND, OWN_BILL}:
        return _affordable(got, limit, spec if name == SPEND else None)
    if name == OWN_P95 or is_latency(name):
        tail = tail_of_limit(LATENCY if name == OWN_P95 else name)
        seconds = got.latencies_s[_about(got, name)]
        known = len(seconds) > 0 and np.isfinite(seconds).all()
        return float(np.mean(seconds > limit)) <= tail + _ROUNDED if known else None
    return None


def _about(got: Drawn, name: str) -> NDArray[np.bool_]:
    """The requests that a promise is about."""
    if name.startswith(BY_CLASS):
        return got.in_class(name.removeprefix(BY_CLASS))
    if name.startswith(BY_GROUP):
        return got.in_group(name.removeprefix(BY_GROUP))
    one = class_of_latency(name) if is_latency(name) else None
    return np.ones(len(got.scores), dtype=bool) if one is None else got.in_class(one)


def _affordable(got: Drawn, usd_per_request: float, spec: Spec | None) -> bool | None:
    """Whether dollars stay within a sum where the spec gives one, else within a mean."""
    if not len(got.costs) or not np.isfinite(got.costs).all():
        return None
    requests = len(got.costs)
    if spec and spec.traffic and spec.limits.spend and spec.limits.spend.usd is not None:
        requests = spec.traffic.most
    return float(got.costs.sum()) <= usd_per_request * requests * (1 + _ROUNDED)
