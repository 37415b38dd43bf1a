"""What a policy must mean, whatever its digests say: shares, costs, prices and budgets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

from policies.caps import NO_PRICES
from policies.decimals import exact
from policies.findings import Finding, Severity
from policies.policy import Budget, Policy
from policies.source import Source
from profiles.errors import InputError
from profiles.strategy import parse

# Costs are written with six digits, means of budgets with twelve.
COST_TOLERANCE = 1e-5
BUDGET_TOLERANCE = Decimal("1e-9")
_COMPILE = "run 'inferbudget compile' again; a policy is never edited by hand"


@dataclass(frozen=True, slots=True)
class _Reader:
    policy: Policy
    source: Source

    def error(self, code: str, message: str, *keys: str | int) -> Finding:
        return Finding(Severity.ERROR, code, self.source.where(*keys), message, _COMPILE)

    def warning(self, code: str, message: str, next_step: str, *keys: str | int) -> Finding:
        return Finding(Severity.WARNING, code, self.source.where(*keys), message, next_step)


def semantic_findings(policy: Policy, source: Source) -> list[Finding]:
    """Everything in a policy that does not make sense together."""
    reader = _Reader(policy, source)
    parts = (_classes, _strategies, _shares, _ladder, _prices, _budgets, _caps)
    return [finding for part in parts for finding in part(reader)]


def _classes(reader: _Reader) -> Iterator[Finding]:
    classes = reader.policy.classes
    if len(set(classes.names)) != len(classes.names):
        yield reader.error("class-twice", "a class stands twice", "classes", "names")
    if classes.weights is not None and len(classes.weights) != len(classes.names):
        message = f"expected a weight for each of the {len(classes.names)} classes"
        yield reader.error("class-weights", message, "classes", "weights")


def _strategies(reader: _Reader) -> Iterator[Finding]:
    policy = reader.policy
    texts = policy.strategy_texts()
    used = {s for rung in policy.rungs for shares in rung.shares.values() for s in shares}
    for index, entry in enumerate(policy.strategies):
        keys = ("strategies", index, "text")
        yield from _spelling(reader, entry.text, keys)
        if entry.text in texts[:index]:
            yield reader.error("strategy-twice", f"{entry.text} stands twice", *keys)
        if entry.text not in used:
            yield reader.error("strategy-unused", f"no rung uses {entry.text}", *keys)
        for name, cell in entry.by_class.items():
            where = ("strategies", index, "by_class", name)
            if name not in policy.classes.names:
                message = f"{name!r} is not a class of this policy"
                yield reader.error("class-unknown", message, *where)
            mean, bound = cell.cost_usd, cell.cost_max_usd
            if mean is not None and bound is not None and bound < mean * (1 - COST_TOLERANCE):
                message = f"the dearest request ({bound} USD) is cheaper than the mean ({mean} USD)"
                yield reader.error("cost-bound", message, *where, "cost_max_usd")


def _spelling(reader: _Reader, text: str, keys: tuple[str | int, ...]) -> Iterator[Finding]:
    try:
        spelled = str(parse(text))
    except InputError as error:
        yield reader.error("strategy-text", str(error), *keys)
        return
    if spelled != text:
        yield reader.error("strategy-text", f"expected the spelling {spelled}; got {text}", *keys)


def _shares(reader: _Reader) -> Iterator[Finding]:
    texts, names = reader.policy.strategy_texts(), reader.policy.classes.names
    for index, rung in enumerate(reader.policy.rungs):
        keys = ("rungs", index, "shares")
        for name in names:
            if name not in rung.shares:
                yield reader.error("class-missing", f"class {name!r} has no shares", *keys)
        for name, shares in rung.shares.items():
            if name not in names:
                message = f"{name!r} is not a class of this policy"
                yield reader.error("class-unknown", message, *keys, name)
            total = sum(map(exact, shares.values()))
            if total != 1:
                message = f"expected shares that sum to exactly 1; got {total}"
                yield reader.error("share-sum", message, *keys, name)
            for text in shares:
                if text not in texts:
                    message = f"{text} is not among this policy's strategies"
                    yield reader.error("strategy-unknown", message, *keys, name, text)


def _ladder(reader: _Reader) -> Iterator[Finding]:
    for index, (dearer, cheaper) in enumerate(pairwise(reader.policy.rungs), start=1):
        if cheaper.budget_fraction >= dearer.budget_fraction:
            message = (
                f"expected less than rung {index - 1}'s {dearer.budget_fraction}; "
                f"got {cheaper.budget_fraction}"
            )
            yield reader.error("rung-order", message, "rungs", index, "budget_fraction")
        before = dearer.expected.cost_usd_per_request
        after = cheaper.expected.cost_usd_per_request
        if before is not None and after is not None and after > before * (1 + COST_TOLERANCE):
            message = f"a lower rung costs more: {after} USD per request after {before}"
            yield reader.error("rung-order", message, "rungs", index, "expected")


def _prices(reader: _Reader) -> Iterator[Finding]:
    priced = reader.policy.prices.models
    if not priced:
        add = "add a price card to the spec, plan and compile again"
        yield reader.warning("prices-none", NO_PRICES, add, "prices")
        return
    for index, entry in enumerate(reader.policy.strategies):
        try:
            models = parse(entry.text).models()
        except InputError:
            continue  # reported as strategy-text
        for model in models:
            if model not in priced:
                message = f"{model} has no price, but {entry.text} calls it"
                yield reader.error("price-missing", message, "strategies", index, "text")


def _budgets(reader: _Reader) -> Iterator[Finding]:
    policy = reader.policy
    if bool(policy.budgets) != (policy.limits.spend is not None):
        message = "the budgets and limits.spend do not say the same"
        yield reader.error("budget-limit", message, "budgets")
    for index, budget in enumerate(policy.budgets):
        if problem := _budget_problem(budget, policy):
            yield reader.error("budget-arithmetic", problem, "budgets", index)


def _caps(reader: _Reader) -> Iterator[Finding]:
    """Caps cut nothing that was measured: else promises speak of answers that nobody gets."""
    caps = reader.policy.caps
    if caps is None:
        return
    for index, entry in enumerate(reader.policy.strategies):
        keys = ("strategies", index)
        if caps.tokens and (entry.max_tokens is None or entry.max_tokens > caps.tokens):
            message = (
                f"expected at most caps.tokens, {caps.tokens}; got {entry.max_tokens or 'none'}"
            )
            yield reader.error("cap-tokens", message, *keys, "max_tokens")
        for name, cell in entry.by_class.items():
            measured = {
                "usd": ("cost_max_usd", cell.cost_max_usd, caps.usd),
                "wall_s": ("latency_p95_s", cell.latency_p95_s, caps.wall_s),
            }
            for cap, (key, most, allowed) in measured.items():
                if most and allowed and most > allowed * (1 + COST_TOLERANCE):
                    message = f"caps.{cap}, {allowed:g}, would cut measured requests of {most:g}"
                    yield reader.error("cap-cuts", message, *keys, "by_class", name, key)


def _budget_problem(budget: Budget, policy: Policy) -> str | None:
    spend = policy.limits.spend
    if budget.limit_usd is None or budget.requests is None:
        if (budget.limit_usd is None) != (budget.requests is None):
            return "limit_usd and requests belong together"
    else:
        limit, product = exact(budget.limit_usd), exact(budget.usd_per_request) * budget.requests
        if abs(product - limit) > limit * BUDGET_TOLERANCE:
            return f"usd_per_request x requests is {product:f}, but limit_usd is {limit:f}"
    if spend and spend.usd is not None:
        if (budget.limit_usd, budget.window) != (spend.usd, spend.per):
            return f"limits.spend gives {spend.usd} USD per {spend.per}"
    elif spend and budget.usd_per_request != spend.usd_per_request:
        return f"limits.spend gives {spend.usd_per_request} USD per request"
    return None
