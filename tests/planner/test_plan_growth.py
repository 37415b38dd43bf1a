"""The benchmark about growth runs every step and fits what it says."""

from __future__ import annotations

from benchmarks.plan_growth import STEPS, exponents, grown, summary_of


def test_every_step_of_a_small_size_is_timed() -> None:
    row = summary_of((3, 5), [grown((3, 5))])
    assert row["cells"] == 15
    assert all(row[step]["processor_s"] > 0 for step in STEPS)
    assert exponents([row]) == dict.fromkeys(STEPS)


def test_the_exponent_is_that_of_the_large_sizes() -> None:
    rows = [
        {"cells": cells, **{step: {"processor_s": cells**1.3} for step in STEPS}}
        for cells in (1_000, 10_000, 100_000)
    ]
    rows.append({"cells": 10, **{step: {"processor_s": 1.0} for step in STEPS}})
    assert exponents(rows) == dict.fromkeys(STEPS, 1.3)
