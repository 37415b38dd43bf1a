"""What a policy must mean, whatever its digests say: shares, ladder, prices, budgets, caps.

Files of others are checked, which may be large: every check is linear in the file's length.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

from planner.spec import own_token_cap
from policies.bounds import said_if_never_used
from policies.budget_checks import budget_problems
from policies.decimals import exact
from policies.findings import Finding
from policies.policy import Policy, StrategyEntry
from policies.reader import Reader, in_a_clause
from policies.source import Source
from profiles.errors import InputError
from profiles.money import TokenPrice
from profiles.strategy import Strategy, parse
from profiles.visible import quoted

COST_TOLERANCE = 1e-5
"""Relative: costs are written with six digits."""
LONG_PROMPT = 100_000
"""Tokens of a prompt that a line by prompt length must let be answered."""


def semantic_findings(policy: Policy, source: Source) -> list[Finding]:
    """Everything in a policy that does not make sense together."""
    reader = Reader.of(policy, source)
    parts = (_classes, _strategies, _shares, _ladder, _prices, _budgets, _caps)
    return [finding for part in parts for finding in part(reader)]


def _classes(reader: Reader) -> Iterator[Finding]:
    classes = reader.policy.classes
    if len(set(classes.names)) != len(classes.names):
        yield reader.error("class-twice", "a class stands twice", "classes", "names")
    if classes.weights is not None and len(classes.weights) != len(classes.names):
        message = f"expected a weight for each of the {len(classes.names)} classes"
        yield reader.error("class-weights", message, "classes", "weights")


def _strategies(reader: Reader) -> Iterator[Finding]:
    policy = reader.policy
    known = set[str]()
    used = {s for rung in policy.rungs for shares in rung.shares.values() for s in shares}
    for index, entry in enumerate(policy.strategies):
        keys = ("strategies", index, "text")
        yield from _spelling(reader, entry.text, keys)
        if entry.text in known:
            yield reader.error("strategy-twice", f"{quoted(entry.text)} stands twice", *keys)
        known.add(entry.text)
        if entry.text not in used:
            yield reader.error("strategy-unused", f"no rung uses {quoted(entry.text)}", *keys)
        for name, cell in entry.by_class.items():
            where = ("strategies", index, "by_class", name)
            if name not in reader.classes:
                yield _unknown_class(reader, name, *where)
            mean, bound = cell.cost_usd, cell.cost_max_usd
            if mean is not None and bound is not None and bound < mean * (1 - COST_TOLERANCE):
                message = f"the dearest request ({bound} USD) is cheaper than the mean ({mean} USD)"
                yield reader.error("cost-bound", message, *where, "cost_max_usd")


def _unknown_class(reader: Reader, name: str, *keys: str | int) -> Finding:
    message = f"{quoted(repr(name))} is not a class of this policy"
    return reader.error("class-unknown", message, *keys)


def _spelling(reader: Reader, text: str, keys: tuple[str | int, ...]) -> Iterator[Finding]:
    try:
        spelled = str(parse(text))
    except InputError as error:
        yield reader.error("strategy-text", quoted(in_a_clause(error)), *keys)
        return
    if spelled != text:
        message = f"expected the spelling {quoted(spelled)}; got {quoted(text)}"
        yield reader.error("strategy-text", message, *keys)


def _shares(reader: Reader) -> Iterator[Finding]:
    policy = reader.policy
    texts = set(policy.strategy_texts())
    for index, rung in enumerate(policy.rungs):
        yield from _of_every_class(reader, rung.shares, "shares", index)
        if rung.by_class is not None:
            yield from _of_every_class(reader, rung.by_class, "figures", index)
        for name, shares in rung.shares.items():
            keys = ("rungs", index, "shares", name)
            total = sum(map(exact, shares.values()))
            if total != 1:
                message = f"expected shares that sum to exactly 1; got {quoted(str(total))}"
                yield reader.error("share-sum", message, *keys)
            for text in shares:
                if text not in texts:
                    message = f"{quoted(text)} is not among this policy's strategies"
                    yield reader.error("strategy-unknown", message, *keys, text)


def _of_every_class(
    reader: Reader, given: Mapping[str, object], what: str, index: int
) -> Iterator[Finding]:
    """What a rung gives by class it gives for all of the policy's classes, and for no other."""
    names, known = reader.policy.classes.names, reader.classes
    keys = ("rungs", index, "shares" if what == "shares" else "by_class")
    missing = len(known) - sum(name in known for name in given)
    if missing:
        first = next(name for name in names if name not in given)
        more = f", as have {missing - 1} more" if missing > 1 else ""
        message = f"class {quoted(repr(first))} has no {what}{more}"
        yield reader.error("class-missing", message, *keys)
    for name in given:
        if name not in known:
            yield _unknown_class(reader, name, *keys, name)


def _ladder(reader: Reader) -> Iterator[Finding]:
    rungs = reader.policy.rungs
    if rungs[0].budget_fraction != 1:
        message = f"expected 1: the first rung is the plan as asked; got {rungs[0].budget_fraction}"
        yield reader.error("rung-order", message, "rungs", 0, "budget_fraction")
    for index, (dearer, cheaper) in enumerate(pairwise(rungs), start=1):
        if cheaper.budget_fraction >= dearer.budget_fraction:
            message = (
                f"expected less than rung {index - 1}'s {dearer.budget_fraction}; "
                f"got {cheaper.budget_fraction}"
            )
            yield reader.error("rung-order", message, "rungs", index, "budget_fraction")
        before = dearer.expected.cost_usd_per_request
        after = cheaper.expected.cost_usd_per_request
        if before is None or after is None:
            message = "nothing says that this rung is cheaper than the one above"
            yield reader.error("rung-order", message, "rungs", index, "expected")
        elif after > before * (1 + COST_TOLERANCE):
            message = f"a lower rung costs more: {after} USD per request after {before}"
            yield reader.error("rung-order", message, "rungs", index, "expected")


def _prices(reader: Reader) -> Iterator[Finding]:
    priced = reader.policy.prices.models
    if not priced:
        from policies.caps import NO_PRICES  # noqa: PLC0415 - a compiler, for one word

        add = "add a price card to the spec, plan and compile again"
        yield reader.warning("prices-none", NO_PRICES, "prices", next_step=add)
        return
    for index, entry in enumerate(reader.policy.strategies):
        strategy = _parsed(entry)
        models = strategy.models() if strategy else ()
        for model in models:
            if model not in priced:
                message = f"{quoted(model)} has no price, but {quoted(entry.text)} calls it"
                yield reader.error("price-missing", message, "strategies", index, "text")
        dearest = max((cell.cost_usd or 0.0 for cell in entry.by_class.values()), default=0.0)
        if dearest and models and all(m in priced and _is_free(priced[m]) for m in models):
            message = (
                f"{quoted(', '.join(models))}: every price is 0, but requests of "
                f"{quoted(entry.text)} were counted with up to {dearest:g} USD: the runtime holds "
                "and charges nothing for them"
            )
            step = "where these models are not free, mend the price card, plan and compile again"
            yield reader.warning("price-free", message, "prices", "models", next_step=step)


def _is_free(price: TokenPrice) -> bool:
    return not any((price.input, price.output, price.cached, price.reasoning))


def _budgets(reader: Reader) -> Iterator[Finding]:
    policy = reader.policy
    if bool(policy.budgets) != (policy.limits.spend is not None):
        message = "the budgets and limits.spend do not say the same"
        yield reader.error("budget-limit", message, "budgets")
    for index, budget in enumerate(policy.budgets):
        for problem in budget_problems(budget, policy):
            yield reader.error("budget-arithmetic", problem, "budgets", index)


def _caps(reader: Reader) -> Iterator[Finding]:
    """Caps cut nothing that was measured: else promises speak of answers that nobody gets."""
    caps = reader.policy.caps
    for index, entry in enumerate(reader.policy.strategies):
        keys = ("strategies", index)
        yield from _token_caps(reader, entry, index)
        if said := said_if_never_used(entry, caps, reader.policy.prices):
            yield reader.error("cap-never-used", said, *keys, "text")
        for name, cell in entry.by_class.items() if caps else ():
            measured = {
                "usd": ("cost_max_usd", cell.cost_max_usd, caps and caps.usd),
                "wall_s": ("latency_p95_s", cell.latency_p95_s, caps and caps.wall_s),
            }
            for cap, (key, most, allowed) in measured.items():
                if most and allowed and most > allowed * (1 + COST_TOLERANCE):
                    message = f"caps.{cap}, {allowed:g}, would cut measured requests of {most:g}"
                    yield reader.error("cap-cuts", message, *keys, "by_class", name, key)


def _token_caps(reader: Reader, entry: StrategyEntry, index: int) -> Iterator[Finding]:
    keys = ("strategies", index)
    asked = reader.policy.caps and reader.policy.caps.tokens
    if asked and (entry.max_tokens is None or entry.max_tokens > asked):
        message = f"expected at most caps.tokens, {asked}; got {entry.max_tokens or 'none'}"
        yield reader.error("cap-tokens", message, *keys, "max_tokens")
    try:
        strategy = _parsed(entry)
        own = strategy and own_token_cap(strategy)
    except InputError as error:
        yield reader.error("cap-tokens", quoted(in_a_clause(error)), *keys, "text")
        own = None
    if own and (entry.max_tokens is None or entry.max_tokens > own):
        message = f"expected at most the strategy's own, {own}; got {entry.max_tokens or 'none'}"
        yield reader.error("cap-tokens", message, *keys, "max_tokens")
    line = entry.max_tokens_by_prompt
    if line is not None and line.at(LONG_PROMPT) <= 1:
        message = f"no answer is longer than one token, even to a prompt of {LONG_PROMPT:,} tokens"
        yield reader.error("cap-tokens", message, *keys, "max_tokens_by_prompt")


def _parsed(entry: StrategyEntry) -> Strategy | None:
    try:
        return parse(entry.text)
    except InputError:
        return None  # reported as strategy-text
