"""Latency limits that rest on few timed queries are named, whichever they are."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from worlds import make_profile, make_spec

from planner.explain import LimitsClashError
from planner.planner import Planner
from planner.thin import thin_spreads, thin_tails
from profiles.profile import Profile

TENANTS = {"a": {"share": 0.5}, "b": {"share": 0.5}}


def _fast(queries: int) -> Profile:
    """Two classes, one strategy, nothing slower than a second."""
    slow = np.zeros((1, 2, 1))
    return make_profile([[0.9], [0.8]], [[1e-4], [1e-4]], queries=queries, slow=slow, grid_s=(1.0,))


def _warned(queries: int, **keys: Any) -> list[str]:
    planner = Planner(_fast(queries), make_spec(confidence="none", **keys))
    return thin_tails(planner, planner.solve())


@pytest.mark.parametrize(
    ("percentile", "least"), [("p50_s", 20), ("p90_s", 100), ("p95_s", 200), ("p99_s", 1000)]
)
def test_a_percentile_needs_ten_timed_queries_beyond_it(percentile: str, least: int) -> None:
    limits = {"latency": {percentile: 1.0}}
    assert _warned(least, limits=limits) == []
    found = _warned(least - 1, limits=limits)
    assert [line.split(" in ")[1] for line in found] == [
        f"class c0; measure at least {least}",
        f"class c1; measure at least {least}",
    ]
    assert found[0].startswith(f"latency.{percentile} rests on {least - 1} timed queries of m00")


def test_a_limit_of_one_class_needs_the_queries_of_that_class() -> None:
    limits = {"latency": {"by_class": {"c1": {"p95_s": 1.0}}}}
    (line,) = _warned(50, limits=limits)
    assert "latency.by_class.c1.p95_s rests on 50" in line


def test_a_tenants_limit_is_named_as_its_own() -> None:
    tenants = {**TENANTS, "a": {"share": 0.5, "latency": {"p90_s": 1.0}}}
    found = _warned(50, tenants=tenants)
    assert len(found) == 2
    assert found[0].startswith("tenants.a.latency.p90_s rests on 50")


def test_no_limit_on_latency_needs_no_latencies() -> None:
    assert _warned(5) == []


def _more(profile: Profile, **keys: Any) -> int:
    """How many more timed queries the message asks for."""
    with pytest.raises(LimitsClashError, match="timed queries it cannot be promised") as raised:
        Planner(profile, make_spec(**keys)).solve()
    asked = re.search(r"about (\d+) more", str(raised.value))
    assert asked
    return int(asked[1])


def _enough(queries: int, **keys: Any) -> bool:
    try:
        Planner(_fast(queries), make_spec(**keys)).solve()
    except LimitsClashError:
        return False
    return True


@pytest.mark.parametrize(
    ("keys", "cells"),
    [
        ({"limits": {"latency": {"p95_s": 1.0}}}, 2),
        ({"limits": {"latency": {"p99_s": 1.0}}}, 2),
        ({"limits": {"latency": {"by_class": {"c1": {"p90_s": 1.0}}}}}, 1),
        ({"tenants": {**TENANTS, "a": {"share": 0.5, "latency": {"p95_s": 1.0}}}}, 2),
        (
            {
                "tenants": {
                    **TENANTS,
                    "b": {"share": 0.5, "latency": {"by_class": {"c0": {"p99_s": 1.0}}}},
                }
            },
            1,
        ),
    ],
)
def test_as_many_more_latencies_as_are_asked_for_make_the_promise_and_much_fewer_do_not(
    keys: dict[str, Any], cells: int
) -> None:
    """The factors that are tried lie 3.5 % apart."""
    queries = 20
    needed = queries + _more(_fast(queries), **keys) / cells
    assert _enough(int(np.ceil(1.02 * needed)), **keys)
    assert not _enough(int(0.94 * needed), **keys)


def _straying(times: float, queries: int) -> Profile:
    """The same two cells; single requests stray so many means."""
    profile = _fast(queries)
    cells = {
        key: replace(
            cell,
            cost_sd_usd=times * 1e-4,
            gpu_s=1.0,
            gpu_sd_s=times,
            metered_queries=queries,
            calls=2.0,
            calls_sd=2.0 * times,
        )
        for key, cell in profile.cells.items()
    }
    return replace(profile, cells=cells)


def _straying_warned(times: float, queries: int, **keys: Any) -> list[str]:
    planner = Planner(_straying(times, queries), make_spec(**keys))
    return thin_spreads(planner, planner.solve())


ON_USE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("spend.usd_per_request", {"limits": {"spend": {"usd_per_request": 1.0}}}),
    ("gpu.a", {"limits": {"gpu": {"a": {"gpu_s_per_request": 9e9}}}}),
    ("per_request.calls", {"limits": {"per_request": {"calls": 1e9}}}),
    (
        "tenants.a.spend.usd_per_request",
        {"tenants": {**TENANTS, "a": {"share": 0.5, "spend": {"usd_per_request": 1.0}}}},
    ),
)


@pytest.mark.parametrize(("limit", "keys"), ON_USE)
def test_few_queries_with_dear_ones_among_them_are_named_once_per_limit(
    limit: str, keys: dict[str, Any]
) -> None:
    (line,) = _straying_warned(2.0, 399, **keys)
    assert line.startswith(f"{limit} may be broken more often than promised")
    assert "stray 2 times their mean and 399 queries" in line
    assert "measure about 400" in line
    assert _straying_warned(2.0, 400, **keys) == []
    assert _straying_warned(1.0, 10, **keys) == []
    assert _straying_warned(2.0, 10, confidence="none", **keys) == []


def test_limits_on_scores_and_shares_rest_on_no_dear_requests() -> None:
    limits = {"accuracy": {"overall": 0.2}, "latency": {"p50_s": 1.0}}
    assert _straying_warned(3.0, 100, limits=limits) == []
