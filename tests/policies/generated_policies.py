"""Policies made up by hypothesis: any that the format can hold, and sound ones."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import strategies as st

from planner.figures import MOST_S, MOST_VALUE, Figures, LimitFigures
from planner.spec import Limits, Traffic, Window
from policies.decimals import millionths
from policies.policy import (
    Budget,
    CellFigures,
    Graph,
    Policy,
    PolicyClasses,
    PolicyEncoder,
    PolicyRung,
    Provenance,
    StrategyEntry,
)
from profiles.money import MOST_USD, PriceCard

finite = st.floats(allow_nan=False, allow_infinity=False)
dollars = st.floats(0, MOST_USD)
positive = st.floats(0, MOST_USD, exclude_min=True)
seconds = st.floats(0, MOST_S)
shares = st.floats(0, 1)
any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
tricky = st.sampled_from(
    [
        "yes",
        "null",
        "~",
        "1e5",
        "1e-05",
        "0x1f",
        "12:30:00",
        "a: b",
        "#",
        "- a",
        "é",
        "y",
        "2026-01-01",
        "\u2028",
        "\x85",
        "\ufeff",
        "\x00",
        "\\",
        '"',
        "a #b",
        " a",
        "a ",
        "a:",
        "=",
        "<<",
        "\U0001f600",
    ]
)
texts = st.one_of(any_text, tricky, st.just("k" * 1500))
"""Every text that a file can hold, those that YAML takes for something else before all."""

_figures = st.builds(
    Figures,
    accuracy=shares,
    cost_usd_per_request=st.none() | dollars,
    latency_p95_s=st.none() | seconds,
)
_cells = st.builds(
    CellFigures,
    queries=st.none() | st.integers(1, 10**9),
    accuracy=st.none() | shares,
    accuracy_se=st.none() | st.floats(0, MOST_VALUE),
    cost_usd=st.none() | dollars,
    cost_se_usd=st.none() | dollars,
    cost_max_usd=st.none() | dollars,
    latency_p95_s=st.none() | seconds,
)
_values = st.floats(0, MOST_VALUE)
_limit_figures = st.builds(
    LimitFigures, asked=_values, allowed=_values, promised=_values, kept=st.booleans()
)
_limit_names = st.one_of(
    st.sampled_from(["accuracy.overall", "spend.usd_per_request", "latency.by_class.a.p99_s"]),
    st.builds("accuracy.by_class.{}".format, texts),
    st.builds("tenants.a.accuracy.max_gap.{}".format, texts),
)
_encoders = st.builds(
    PolicyEncoder,
    digest=st.just("sha256:e0c0"),
    width=st.integers(1, 4096),
    max_tokens=st.integers(1, 10**6),
    pooling=st.sampled_from(["mean", "cls"]),
)


@st.composite
def _classes(draw: st.DrawFn) -> PolicyClasses:
    source = draw(st.sampled_from(["text", "label", "text+label"]))
    labels = st.lists(texts, min_size=1, max_size=3, unique=True).map(tuple)
    return PolicyClasses(
        source=source,
        names=draw(st.lists(texts, min_size=1, max_size=4).map(tuple)),
        weights=draw(st.none() | st.lists(shares, min_size=1, max_size=4).map(tuple)),
        labels=draw(labels) if source == "text+label" else (),
        encoder=None if source == "label" else draw(st.none() | _encoders),
    )


_entries = st.builds(
    StrategyEntry,
    text=texts,
    max_tokens=st.none() | st.integers(1, 10**9),
    by_class=st.dictionaries(texts, _cells, max_size=3),
)
_rungs = st.builds(
    PolicyRung,
    budget_fraction=st.sampled_from([1.0, 0.5, 0.25]) | st.floats(0, 1, exclude_min=True),
    shares=st.dictionaries(texts, st.dictionaries(texts, shares, max_size=3), max_size=3),
    expected=_figures,
    promised=_figures,
    objective=st.none() | texts,
    by_class=st.none() | st.dictionaries(texts, _figures, max_size=3),
    limits=st.none() | st.dictionaries(_limit_names, _limit_figures, max_size=3),
    shadow_prices=st.none() | st.dictionaries(texts, finite, max_size=3),
)
_limits: st.SearchStrategy[Limits] = st.builds(
    Limits.model_validate,
    st.fixed_dictionaries(
        {},
        optional={
            "accuracy": st.fixed_dictionaries(
                {"by_class": st.dictionaries(texts, shares, max_size=2)},
                optional={"overall": shares},
            ),
            "latency": st.fixed_dictionaries({"p95_s": positive}),
            "spend": st.one_of(
                st.fixed_dictionaries({"usd_per_request": positive}),
                st.fixed_dictionaries({"usd": positive, "per": st.sampled_from(Window)}),
            ),
        },
    ),
)
_parts: dict[str, st.SearchStrategy[Any]] = {
    "workload": texts,
    "confidence": st.none() | st.floats(0.5, 1, exclude_max=True),
    "warnings": st.lists(texts, max_size=3).map(tuple),
    "classes": _classes(),
    "graph": st.builds(Graph, file=texts, sha256=texts),
    "strategies": st.lists(_entries, min_size=1, max_size=3).map(tuple),
    "rungs": st.lists(_rungs, min_size=1, max_size=3).map(tuple),
    "traffic": st.none()
    | st.builds(Traffic, requests=st.integers(1, 10**12), per=st.sampled_from(Window)),
    "limits": _limits,
    "budgets": st.lists(
        st.builds(
            Budget,
            limit_usd=st.none() | positive,
            usd_per_request=positive,
            window=st.sampled_from(Window),
            requests=st.none() | st.integers(1, 10**12),
        ),
        max_size=2,
        unique_by=lambda budget: budget.window,
    ).map(tuple),
    "prices": st.builds(
        PriceCard.model_validate,
        st.fixed_dictionaries(
            {
                "models": st.dictionaries(
                    texts,
                    st.fixed_dictionaries({"input": positive, "output": positive}),
                    max_size=2,
                )
            }
        ),
    ),
    "provenance": st.builds(
        Provenance,
        plan=texts,
        spec=texts,
        profile=texts,
        estimator=st.none() | texts,
        solver=texts,
        evidence=st.lists(texts, max_size=2).map(tuple),
    ),
}

any_policies: st.SearchStrategy[Policy] = st.builds(Policy, **_parts)
"""Whatever the format can hold, unsealed: most of it makes no sense, and checks find that."""


def _share_out(draw: st.DrawFn, keys: list[str]) -> dict[str, float]:
    """Positive shares of some of the keys, in millionths that sum to 1."""
    used = draw(st.lists(st.sampled_from(keys), min_size=1, unique=True))
    parts = {key: draw(st.integers(1, 9)) for key in keys if key in used}
    return millionths({key: float(part) for key, part in parts.items()})


@st.composite
def sound_policies(draw: st.DrawFn) -> Policy:
    """A sealed policy whose numbers fit together: checks of its meaning find nothing.

    The graph that it names does not exist. Classes, strategies and rungs come from small sets, so
    two such policies have much in common.
    """
    names = draw(st.lists(st.sampled_from(["easy", "mid", "hard", "odd"]), min_size=1, unique=True))
    pool = [f"m{i}/single" for i in range(5)]
    listed = draw(st.lists(st.sampled_from(pool), min_size=1, max_size=4, unique=True))
    cells = {(text, name): _sound_cell(draw) for text in sorted(listed) for name in names}
    weights = millionths({name: float(draw(st.integers(1, 9))) for name in names})
    fractions = sorted(draw(st.sets(st.sampled_from([0.25, 0.5, 0.75]))), reverse=True)
    spread = [{name: _share_out(draw, sorted(listed)) for name in names} for _ in [1.0, *fractions]]
    rungs = sorted(
        (_sound_rung(draw, rung, weights, cells) for rung in spread), key=_usd, reverse=True
    )
    rungs = [
        rung.model_copy(update={"budget_fraction": fraction})
        for rung, fraction in zip(rungs, [1.0, *fractions], strict=True)
    ]
    used = sorted({text for rung in rungs for part in rung.shares.values() for text in part})
    requests = draw(st.sampled_from([1000, 1_000_000]))
    budgeted = draw(st.booleans())
    limits: dict[str, Any] = {"accuracy": {"overall": 0.25}}
    limits |= {"spend": {"usd": requests / 4, "per": "month"}} if budgeted else {}
    return Policy(
        workload="mixed",
        confidence=draw(st.sampled_from([None, 0.9, 0.95])),
        warnings=tuple(draw(st.lists(st.sampled_from(["few queries", "no prices"]), unique=True))),
        classes=PolicyClasses(source="label", names=tuple(names), weights=tuple(weights.values())),
        graph=Graph(file="policy.onnx", sha256="sha256:0"),
        strategies=tuple(
            StrategyEntry(
                text=text,
                max_tokens=draw(st.sampled_from([256, 1024])),
                by_class={name: cells[text, name] for name in names},
            )
            for text in used
        ),
        rungs=tuple(rungs),
        traffic=Traffic(requests=requests, per=Window.MONTH),
        limits=Limits.model_validate(limits),
        budgets=(
            Budget(
                limit_usd=requests / 4, usd_per_request=0.25, window=Window.MONTH, requests=requests
            ),
        )
        if budgeted
        else (),
        prices=PriceCard.model_validate(
            {"models": {text.split("/")[0]: {"input": 1.0, "output": 2.0} for text in used}}
        ),
        provenance=Provenance(
            plan="sha256:1",
            spec="sha256:2",
            profile=draw(st.sampled_from(["sha256:3", "sha256:4"])),
            solver="HiGHS 1.12.0",
            evidence=("measured",),
        ),
    ).sealed()


def _sound_cell(draw: st.DrawFn) -> CellFigures:
    cost_usd = draw(st.integers(1, 200)) / 1000
    return CellFigures(
        queries=draw(st.sampled_from([50, 200])),
        accuracy=draw(st.integers(0, 100)) / 100,
        accuracy_se=draw(st.sampled_from([0.01, 0.03])),
        cost_usd=cost_usd,
        cost_se_usd=draw(st.none() | st.just(cost_usd / 20)),
        cost_max_usd=cost_usd * 4,
        latency_p95_s=draw(st.none() | st.sampled_from([0.5, 2.0])),
    )


def _sound_rung(
    draw: st.DrawFn,
    shared: dict[str, dict[str, float]],
    weights: dict[str, float],
    cells: dict[tuple[str, str], CellFigures],
) -> PolicyRung:
    by_class = {
        name: Figures(
            accuracy=_mean([(part, cells[text, name].accuracy) for text, part in row.items()]),
            cost_usd_per_request=_mean(
                [(part, cells[text, name].cost_usd or 0.0) for text, part in row.items()]
            ),
            latency_p95_s=draw(st.none() | st.sampled_from([1.0, 4.0])),
        )
        for name, row in shared.items()
    }
    expected = Figures(
        accuracy=_mean([(weights[name], found.accuracy) for name, found in by_class.items()]),
        cost_usd_per_request=_mean(
            [(weights[name], found.cost_usd_per_request or 0.0) for name, found in by_class.items()]
        ),
        latency_p95_s=draw(st.none() | st.sampled_from([1.0, 2.0, 4.0])),
    )
    floor = draw(st.integers(20, 30)) / 100
    return PolicyRung(
        budget_fraction=1.0,
        objective="minimize cost",
        shares=shared,
        expected=expected,
        promised=expected,
        by_class=by_class,
        limits={
            "accuracy.overall": LimitFigures(
                asked=0.25, allowed=0.25, promised=floor, kept=floor >= 0.25
            )
        },
        shadow_prices={"accuracy.overall": 0.5},
    )


def _mean(parts: list[tuple[float, float]]) -> float:
    return math.fsum(weight * value for weight, value in parts)


def _usd(rung: PolicyRung) -> float:
    return rung.expected.cost_usd_per_request or 0.0


@st.composite
def related_policies(draw: st.DrawFn) -> tuple[Policy, Policy]:
    """Two policies, sealed or not, the second with some parts of the first."""
    old = draw(any_policies | sound_policies())
    new = draw(any_policies | sound_policies())
    kept = draw(st.sets(st.sampled_from(sorted(_parts))))
    new = new.model_copy(update={name: getattr(old, name) for name in kept})
    return old, new.sealed() if draw(st.booleans()) else new
