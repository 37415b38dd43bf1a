"""Sums of a policy: totals match their parts, and dollars their budgets.

Compiled figures are rounded, and shares of less than a request in ten thousand are left out, which
moves dollars a little: what differs by less than that is the same. Every check is linear in the
file's length.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from planner.figures import Figures
from policies.findings import Finding
from policies.policy import Policy
from policies.reader import Reader
from policies.source import Source
from profiles.visible import quoted

WEIGHT_TOLERANCE = 1e-6
"""Of the sum of the weights."""
ACCURACY_TOLERANCE = 3e-6
"""Accuracies are stated to a millionth, and weighted sums of them are compared."""
COST_TOLERANCE = 1e-5
"""Relative: dollars are stated to six digits, and weighted sums of them are compared."""
CRUMBS = 1e-3
"""Relative: what leaving out tiny shares may add to a rung's dollars."""


def arithmetic_findings(policy: Policy, source: Source) -> list[Finding]:
    """Every figure of a policy that does not follow from its others, with its place.

    What a file of an older format does not record is not checked.
    """
    reader = Reader.of(policy, source)
    parts = (_recorded, _weights, _cells, _class_figures, _totals, _better, _dollars)
    return [finding for part in parts for finding in part(reader)]


def _recorded(reader: Reader) -> Iterator[Finding]:
    """All figures are there, or none of those that format 1.0 did not record."""
    policy = reader.policy
    places = list(_not_recorded(policy))
    if policy.classes.weights is not None:
        for keys in places:
            message = "null, where the rest of the file is recorded: nothing can be held against it"
            yield reader.error("not-recorded", message, *keys)
    elif len(places) < len(policy.rungs) * len(_OF_RUNGS) + len(_OF_CELLS) * sum(
        len(entry.by_class) for entry in policy.strategies
    ):
        message = "null, where other figures are recorded: nothing can be held against them"
        yield reader.error("not-recorded", message, "classes", "weights")
    else:
        message = (
            "the file comes from format 1.0, which recorded no weights, figures of classes and "
            "promises of limits: they are not checked"
        )
        step = "plan and compile again"
        yield reader.warning("not-recorded", message, "classes", "weights", next_step=step)


_OF_RUNGS = ("objective", "by_class", "limits", "shadow_prices")
_OF_CELLS = ("queries", "accuracy", "accuracy_se")


def _not_recorded(policy: Policy) -> Iterator[tuple[str | int, ...]]:
    """Places of nulls that only a file of format 1.0 has."""
    for index, entry in enumerate(policy.strategies):
        for name, cell in entry.by_class.items():
            for key in _OF_CELLS:
                if getattr(cell, key) is None:
                    yield "strategies", index, "by_class", name, key
    for index, rung in enumerate(policy.rungs):
        for key in _OF_RUNGS:
            if getattr(rung, key) is None:
                yield "rungs", index, key


def _weights(reader: Reader) -> Iterator[Finding]:
    total = math.fsum(reader.policy.classes.weights or (1.0,))
    if abs(total - 1) > WEIGHT_TOLERANCE:
        message = f"expected weights that sum to 1; got {total:.9g}"
        yield reader.error("weight-sum", message, "classes", "weights")


def _cells(reader: Reader) -> Iterator[Finding]:
    """Every strategy was measured in every class that it answers."""
    for index, rung in enumerate(reader.policy.rungs):
        for name, shares in rung.shares.items():
            for text, share in shares.items():
                if share and text in reader.entries and not reader.cell(text, name):
                    message = (
                        f"{quoted(text)} answers class {quoted(repr(name))}, but no figures of it "
                        "there are given"
                    )
                    keys = ("rungs", index, "shares", name, text)
                    yield reader.error("cell-missing", message, *keys)


def _class_figures(reader: Reader) -> Iterator[Finding]:
    """A class's figures are its strategies' by their shares."""
    for index, rung in enumerate(reader.policy.rungs):
        for name, figures in (rung.by_class or {}).items():
            shares = {text: part for text, part in rung.shares.get(name, {}).items() if part}
            cells = {text: reader.cell(text, name) for text in shares}
            keys = ("rungs", index, "by_class", name)
            accuracies = {text: cell.accuracy if cell else None for text, cell in cells.items()}
            costs = {text: cell.cost_usd if cell else None for text, cell in cells.items()}
            yield from _sums(reader, figures, shares, accuracies, costs, *keys)


def _totals(reader: Reader) -> Iterator[Finding]:
    """A rung's figures are its classes' by their weights."""
    used = {name: weight for name, weight in reader.weights.items() if weight}
    for index, rung in enumerate(reader.policy.rungs):
        by_class = rung.by_class or {}
        if len(by_class) != len(reader.weights) or set(by_class) != set(reader.weights):
            continue  # reported as class-missing or class-unknown
        accuracies = {name: by_class[name].accuracy for name in used}
        costs = {name: by_class[name].cost_usd_per_request for name in used}
        keys = ("rungs", index, "expected")
        yield from _sums(reader, rung.expected, used, accuracies, costs, *keys)


def _sums(
    reader: Reader,
    stated: Figures,
    shares: Mapping[str, float],
    accuracies: Mapping[str, float | None],
    costs: Mapping[str, float | None],
    *keys: str | int,
) -> Iterator[Finding]:
    accuracy = _mean(shares, accuracies)
    if accuracy is not None and abs(accuracy - stated.accuracy) > ACCURACY_TOLERANCE:
        message = f"the parts come to an accuracy of {accuracy:.6g}, not {stated.accuracy:.6g}"
        yield reader.error("accuracy-sum", message, *keys, "accuracy")
    usd, cost = _mean(shares, costs), stated.cost_usd_per_request
    if cost is None or not shares:
        return
    if usd is None:
        message = f"{cost:.6g} USD per request, although the dollars of a part are not known"
        yield reader.error("cost-sum", message, *keys, "cost_usd_per_request")
    elif abs(usd - cost) > COST_TOLERANCE * max(usd, cost):
        message = f"the parts come to {usd:.6g} USD per request, not {cost:.6g}"
        yield reader.error("cost-sum", message, *keys, "cost_usd_per_request")


def _mean(shares: Mapping[str, float], values: Mapping[str, float | None]) -> float | None:
    """Sum of shares times values, None where a value is unknown or there is none."""
    found = [(share, values.get(name)) for name, share in shares.items()]
    if not found or any(value is None for _, value in found):
        return None
    return math.fsum(share * value for share, value in found if value is not None)


def _better(reader: Reader) -> Iterator[Finding]:
    """A rung's promises are no better than its estimates."""
    for index, rung in enumerate(reader.policy.rungs):
        promised, expected = rung.promised, rung.expected
        keys = ("rungs", index, "promised")
        if promised.accuracy > expected.accuracy + ACCURACY_TOLERANCE:
            message = (
                f"an accuracy of {promised.accuracy} is promised, but only {expected.accuracy} is "
                "expected"
            )
            yield reader.error("promise-better", message, *keys, "accuracy")
        usd, cost = promised.cost_usd_per_request, expected.cost_usd_per_request
        if (usd is None) != (cost is None):
            message = "dollars are promised and expected, or neither"
            yield reader.error("promise-better", message, *keys, "cost_usd_per_request")
        elif usd is not None and cost is not None and usd < cost * (1 - COST_TOLERANCE):
            message = f"{usd} USD per request are promised, but {cost} are expected"
            yield reader.error("promise-better", message, *keys, "cost_usd_per_request")
        most_s, mean_s = promised.latency_p95_s, expected.latency_p95_s
        if most_s is not None and (mean_s is None or most_s < mean_s):
            expects = "nothing is" if mean_s is None else f"{mean_s} s are"
            message = f"a p95 of {most_s} s is promised, but {expects} expected"
            yield reader.error("promise-better", message, *keys, "latency_p95_s")


def _dollars(reader: Reader) -> Iterator[Finding]:
    """The first rung fits the budgets, and each lower one its part of the first."""
    policy = reader.policy
    first = policy.rungs[0].expected.cost_usd_per_request
    if first is None:
        if policy.budgets:
            message = "the dollars of the first rung are not known, but budgets limit them"
            yield reader.error("rung-dollars", message, "rungs", 0, "expected")
        return
    for budget in policy.budgets:
        if first > budget.usd_per_request * (1 + CRUMBS):
            message = (
                f"the first rung is expected to cost {first} USD per request, but the budget of "
                f"a {budget.window} has {budget.usd_per_request}"
            )
            yield reader.error("rung-dollars", message, "rungs", 0, "expected")
    for index, rung in enumerate(policy.rungs[1:], start=1):
        usd, most = rung.expected.cost_usd_per_request, rung.budget_fraction * first
        if usd is not None and usd > most * (1 + CRUMBS):
            message = (
                f"expected to cost {usd} USD per request, more than {rung.budget_fraction:g} of "
                f"the first rung's {first}"
            )
            yield reader.error("rung-dollars", message, "rungs", index, "expected")
