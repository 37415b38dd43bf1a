"""Sums of a policy: totals match their parts, promises their limits, dollars their budgets.

Compiled figures are rounded, and shares of less than a request in ten thousand are left out, which
moves dollars a little: what differs by less than that is the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from planner.limit_names import (
    AT_LEAST,
    AT_MOST,
    CARBON,
    ENERGY,
    GPU,
    PER_REQUEST,
    SHARES,
    SPEND,
    in_words,
    is_floor,
    is_share,
)
from planner.limits import accuracies, latencies
from planner.plan import Figures, LimitFigures
from planner.spec import Limits
from policies.findings import Finding, Severity
from policies.policy import Policy, PolicyRung
from policies.source import Source

WEIGHT_TOLERANCE = 1e-6
"""Of the sum of the weights."""
ACCURACY_TOLERANCE = 3e-6
"""Accuracies are stated to a millionth, and weighted sums of them are compared."""
COST_TOLERANCE = 1e-5
"""Relative: dollars are stated to six digits, and weighted sums of them are compared."""
CRUMBS = 1e-3
"""Relative: what leaving out tiny shares may add to a rung's dollars."""
LIMIT_TOLERANCE = 1e-6
"""Relative: how near to a limit a promise counts both as kept and as missed."""
_COMPILE = "run 'inferbudget compile' again; a policy is never edited by hand"
_PLAN = "plan and compile again, or change the limit in the spec"


@dataclass(frozen=True, slots=True)
class _Reader:
    policy: Policy
    source: Source

    def error(self, code: str, message: str, *keys: str | int) -> Finding:
        return Finding(Severity.ERROR, code, self.source.where(*keys), message, _COMPILE)

    def weights(self) -> dict[str, float]:
        """By class; empty where the file does not record them."""
        classes = self.policy.classes
        if classes.weights is None or len(classes.weights) != len(classes.names):
            return {}
        return dict(zip(classes.names, classes.weights, strict=True))


def arithmetic_findings(policy: Policy, source: Source) -> list[Finding]:
    """Every figure of a policy that does not follow from its others, with its place.

    What a file of an older format does not record is not checked.
    """
    reader = _Reader(policy, source)
    parts = (_weights, _cells, _class_figures, _totals, _promises, _limits, _said, _dollars)
    return [finding for part in parts for finding in part(reader)]


def _weights(reader: _Reader) -> Iterator[Finding]:
    total = math.fsum(reader.policy.classes.weights or (1.0,))
    if abs(total - 1) > WEIGHT_TOLERANCE:
        message = f"expected weights that sum to 1; got {total:.9g}"
        yield reader.error("weight-sum", message, "classes", "weights")


def _cells(reader: _Reader) -> Iterator[Finding]:
    """Every strategy was measured in every class that it answers."""
    entries = {entry.text: entry for entry in reader.policy.strategies}
    for index, rung in enumerate(reader.policy.rungs):
        for name, shares in rung.shares.items():
            for text, share in shares.items():
                if share and text in entries and name not in entries[text].by_class:
                    message = f"{text} answers class {name!r}, but no figures of it there are given"
                    keys = ("rungs", index, "shares", name, text)
                    yield reader.error("cell-missing", message, *keys)


def _class_figures(reader: _Reader) -> Iterator[Finding]:
    """A class's figures are its strategies' by their shares."""
    entries = {entry.text: entry.by_class for entry in reader.policy.strategies}
    for index, rung in enumerate(reader.policy.rungs):
        for name, figures in (rung.by_class or {}).items():
            shares = {text: part for text, part in rung.shares.get(name, {}).items() if part}
            cells = {text: entries.get(text, {}).get(name) for text in shares}
            keys = ("rungs", index, "by_class", name)
            accuracies = {text: cell.accuracy if cell else None for text, cell in cells.items()}
            costs = {text: cell.cost_usd if cell else None for text, cell in cells.items()}
            yield from _sums(reader, figures, shares, accuracies, costs, *keys)


def _totals(reader: _Reader) -> Iterator[Finding]:
    """A rung's figures are its classes' by their weights."""
    weights = reader.weights()
    for index, rung in enumerate(reader.policy.rungs):
        by_class = rung.by_class or {}
        if not weights or set(by_class) != set(weights):
            continue
        used = {name: weight for name, weight in weights.items() if weight}
        accuracies = {name: by_class[name].accuracy for name in used}
        costs = {name: by_class[name].cost_usd_per_request for name in used}
        keys = ("rungs", index, "expected")
        yield from _sums(reader, rung.expected, used, accuracies, costs, *keys)


def _sums(
    reader: _Reader,
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
    if usd is None or cost is None:
        return
    if abs(usd - cost) > COST_TOLERANCE * max(usd, cost):
        message = f"the parts come to {usd:.6g} USD per request, not {cost:.6g}"
        yield reader.error("cost-sum", message, *keys, "cost_usd_per_request")


def _mean(shares: Mapping[str, float], values: Mapping[str, float | None]) -> float | None:
    """Sum of shares times values, None where a value is unknown or there is none."""
    found = [(share, values.get(name)) for name, share in shares.items()]
    if not found or any(value is None for _, value in found):
        return None
    return math.fsum(share * value for share, value in found if value is not None)


def _promises(reader: _Reader) -> Iterator[Finding]:
    """What counts as kept is kept, and a promise is no better than the estimate."""
    for index, rung in enumerate(reader.policy.rungs):
        for name, found in (rung.limits or {}).items():
            if _says_otherwise(name, found):
                wanted = "at least" if is_floor(name) else "at most"
                message = (
                    f"{found.promised:.9g} is promised and {wanted} {found.allowed:.9g} allowed, "
                    f"but kept is {'true' if found.kept else 'false'}"
                )
                yield reader.error("promise-kept", message, "rungs", index, "limits", name, "kept")
        yield from _better_than_expected(reader, rung, index)


def _says_otherwise(name: str, found: LimitFigures) -> bool:
    missed = found.allowed - found.promised if is_floor(name) else found.promised - found.allowed
    near = LIMIT_TOLERANCE * abs(found.allowed) + (1e-9 if is_share(name) else 0.0)
    return missed > near if found.kept else missed < -near


def _better_than_expected(reader: _Reader, rung: PolicyRung, index: int) -> Iterator[Finding]:
    promised, expected = rung.promised, rung.expected
    if promised.accuracy > expected.accuracy + ACCURACY_TOLERANCE:
        message = f"an accuracy of {promised.accuracy} is promised, but only {expected.accuracy} "
        keys = ("rungs", index, "promised", "accuracy")
        yield reader.error("promise-better", message + "is expected", *keys)
    usd, cost = promised.cost_usd_per_request, expected.cost_usd_per_request
    if usd is not None and cost is not None and usd < cost * (1 - COST_TOLERANCE):
        message = f"{usd} USD per request are promised, but {cost} are expected"
        yield reader.error("promise-better", message, "rungs", index, "promised")


def _limits(reader: _Reader) -> Iterator[Finding]:
    """Every rung speaks about the file's limits, each at its value."""
    asked = asked_limits(reader.policy)
    traffic = reader.policy.traffic
    for index, rung in enumerate(reader.policy.rungs):
        if rung.limits is None:
            continue
        for name, value in asked.items():
            if name not in rung.limits:
                message = f"nothing is said of the limit {name}"
                yield reader.error("limit-missing", message, "rungs", index, "limits")
                continue
            # a tenant's part of the requests is rounded to whole ones
            near = 2 / traffic.most if name == SPEND and traffic else 0.0
            found = rung.limits[name].asked
            if value is not None and abs(found - value) > max(near, LIMIT_TOLERANCE) * abs(value):
                message = (
                    f"the limits above ask for {in_words(name, value)}, not {in_words(name, found)}"
                )
                yield reader.error("limit-asked", message, "rungs", index, "limits", name, "asked")
        for name in rung.limits:
            if name not in asked:
                message = f"the limits above do not ask for {name}"
                yield reader.error("limit-unknown", message, "rungs", index, "limits", name)


def asked_limits(policy: Policy) -> dict[str, float | None]:
    """Values of a policy's limits by name, in people's units.

    None where the value follows from more than the policy says, as for GPUs of a pool.
    """
    limits = policy.limits
    found: dict[str, float | None] = dict(_plain_limits(limits))
    if limits.spend:
        most = policy.traffic.most if policy.traffic else None
        usd = limits.spend.usd
        found[SPEND] = limits.spend.usd_per_request if usd is None else most and usd / most
    found |= {GPU + name: pool.gpu_s_per_request for name, pool in limits.gpu.items()}
    if limits.energy:
        found[ENERGY] = limits.energy.joules_per_request
    if limits.carbon:
        found[CARBON] = limits.carbon.g_per_request
    return found


def _plain_limits(limits: Limits) -> Iterator[tuple[str, float]]:
    yield from accuracies(limits.accuracy)
    if limits.latency:
        yield from latencies(limits.latency)
    for name, most in limits.per_request or ():
        if most is not None:
            yield PER_REQUEST + name, most
    for one in limits.shares:
        for ending, value in ((AT_LEAST, one.at_least), (AT_MOST, one.at_most)):
            if value is not None:
                yield SHARES + one.name + ending, value


def _said(reader: _Reader) -> Iterator[Finding]:
    """A limit that is not kept is said to be given up, on the first rung above all."""
    said = "\n".join(reader.policy.warnings)
    for index, rung in enumerate(reader.policy.rungs):
        for name, found in (rung.limits or {}).items():
            if found.kept or name in said:
                continue
            message = f"rung {index} does not keep {name}, and no warning says so"
            where = reader.source.where("rungs", index, "limits", name)
            severity = Severity.WARNING if index else Severity.ERROR
            yield Finding(severity, "limit-given-up", where, message, _PLAN)


def _dollars(reader: _Reader) -> Iterator[Finding]:
    """The first rung fits the budgets, and each lower one its part of the first."""
    rungs = reader.policy.rungs
    first = rungs[0].expected.cost_usd_per_request
    if first is None:
        return
    for budget in reader.policy.budgets:
        if first > budget.usd_per_request * (1 + CRUMBS):
            message = (
                f"the first rung is expected to cost {first} USD per request, but the budget of "
                f"a {budget.window} has {budget.usd_per_request}"
            )
            yield reader.error("rung-dollars", message, "rungs", 0, "expected")
    for index, rung in enumerate(rungs[1:], start=1):
        usd, most = rung.expected.cost_usd_per_request, rung.budget_fraction * first
        if usd is not None and usd > most * (1 + CRUMBS):
            message = (
                f"expected to cost {usd} USD per request, more than {rung.budget_fraction:g} of "
                f"the first rung's {first}"
            )
            yield reader.error("rung-dollars", message, "rungs", index, "expected")
