"""What another gateway can run of a policy, what is lost on the way, and what that costs.

The neighbours send one call per request and hand on its answer. So of the first rung only the
strategies of the method `single` can be expressed. A class that needs more is refused, unless the
caller asks for an approximation: then a single pass of the same policy takes its place, and the
loss says what that does to accuracy and dollars by the policy's own cells.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from planner.spec import Window
from policies.decimals import nearest
from policies.neighbours.expressed import DIGITS, Expressed, Part, SpendLimit
from policies.neighbours.losses import Loss, common_losses
from policies.neighbours.outcome import Outcome, outcome
from policies.neighbours.single_pass import SAMPLING, Shares, is_single, planned, runnable
from policies.neighbours.writing import yaml_text
from policies.policy import Policy
from profiles.strategy import Strategy, parse


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another gateway.

    Attributes:
        name: Its name for people.
        format: The format that is written, with the version that was tried.
        splits: Whether it deals the requests of a class to several models by share.
        samples: Whether it sets temperature and top_p.
        spends: Whether it limits spend.
        write: The content of a file that calls an upstream's address.
        read: What a file says, given its text and its name for errors.
        losses: What this neighbour alone loses of a policy, given what is expressed.
    """

    name: str
    format: str
    splits: bool
    samples: bool
    spends: bool
    write: Callable[[Expressed, str], dict[str, Any]]
    read: Callable[[str, str], Expressed]
    losses: Callable[[Policy, Expressed], Iterable[Loss]]


@dataclass(frozen=True, slots=True)
class Export:
    """A policy as a neighbour runs it.

    Attributes:
        neighbour: Which.
        digest: The policy's.
        expressed: What is written.
        losses: What is not.
        exact_share: Share of planned requests that get the strategy that the first rung gives
            them, with all its parameters; None where the policy records no weights of classes.
        before: The first rung by the policy's cells.
        after: What is written, by the same cells.
    """

    neighbour: Neighbour
    digest: str
    expressed: Expressed
    losses: tuple[Loss, ...]
    exact_share: float | None
    before: Outcome
    after: Outcome

    def text(self, upstream: str) -> str:
        """The file: what is lost as comments at its head, then what is expressed."""
        comments = [
            f"Written by 'inferbudget export' for {self.neighbour.name}, {self.neighbour.format}.",
            f"Policy {self.digest}.",
            f"Of what the policy says, {len(self.losses)} things are not here:",
            *(line for loss in self.losses for line in loss.lines(loss.path)),
        ]
        return yaml_text(comments, self.neighbour.write(self.expressed, upstream))


def export(
    policy: Policy, neighbour: Neighbour, where: Callable[..., str], *, approximate: bool
) -> Export:
    """What a neighbour can run of the first rung, and all that it cannot.

    Args:
        policy: A policy that passes its checks.
        neighbour: For whom.
        where: The place of keys in the policy file, for errors.
        approximate: Whether a single pass may take the place of what cannot be run.

    Raises:
        InputError: A class needs what the neighbour cannot run, and no approximation is asked for
            or no single pass is there.
    """
    first = {name: planned(policy, name) for name in policy.classes.names}
    dealt: dict[str, Shares] = {}
    losses: list[Loss] = []
    for name in first:
        dealt[name], lost = runnable(
            policy,
            name,
            neighbour.name,
            splits=neighbour.splits,
            approximate=approximate,
            where=where("rungs", 0, "shares", name),
        )
        losses += lost
    expressed = Expressed(
        classes={name: _parts(policy, shares, neighbour) for name, shares in dealt.items()},
        spend=_spend(policy) if neighbour.spends else (),
        wall_s=policy.caps.wall_s if policy.caps else None,
    )
    losses += _sampling(dealt, neighbour)
    losses += common_losses(policy, neighbour.name, spends=neighbour.spends)
    return Export(
        neighbour=neighbour,
        digest=policy.digest,
        expressed=expressed,
        losses=(*losses, *neighbour.losses(policy, expressed)),
        exact_share=_exact_share(policy, first, dealt, neighbour),
        before=outcome(policy, first),
        after=outcome(policy, dealt),
    )


def _sampling(dealt: Mapping[str, Shares], neighbour: Neighbour) -> Iterator[Loss]:
    sampled = {text for shares in dealt.values() for text in shares if _samples(text)}
    if sampled and not neighbour.samples:
        yield Loss(
            "sampling",
            ("strategies",),
            f"temperature and top_p of {' and '.join(sorted(sampled))}",
            f"{neighbour.name} sets neither",
            "accuracies are as planned only for requests that bring these themselves",
        )


def _parts(policy: Policy, shares: Shares, neighbour: Neighbour) -> tuple[Part, ...]:
    """Equal calls are one part: a neighbour could take two for the same."""
    merged: dict[Part, list[float]] = {}
    for text, share in shares.items():
        merged.setdefault(_part(policy, text, neighbour), []).append(share)
    return tuple(
        replace(part, share=nearest(math.fsum(found), DIGITS)) for part, found in merged.items()
    )


def _part(policy: Policy, text: str, neighbour: Neighbour) -> Part:
    strategy = parse(text)
    (entry,) = [entry for entry in policy.strategies if entry.text == text]
    caps = (entry.max_tokens, strategy.param("max_tokens"), policy.caps and policy.caps.tokens)
    price = policy.prices.models.get(strategy.model or "")
    return Part(
        model=strategy.model or "",
        share=1.0,
        max_tokens=min((cap for cap in caps if isinstance(cap, int)), default=None),
        temperature=_number(strategy, "temperature") if neighbour.samples else None,
        top_p=_number(strategy, "top_p") if neighbour.samples else None,
        input_usd=None if price is None else _dearest(price.input, price.cached),
        output_usd=None if price is None else _dearest(price.output, price.reasoning),
    )


def _dearest(price: float, other: float | None) -> float:
    """As the runtime charges: nothing is understated where kinds of tokens are not told apart."""
    return nearest(max(price, other or 0.0), DIGITS)


def _number(strategy: Strategy, key: str) -> float | None:
    value = strategy.param(key)
    return float(value) if isinstance(value, (int, float)) else None


def _spend(policy: Policy) -> tuple[SpendLimit, ...]:
    """The limit over the longest window: a neighbour holds one."""
    limits = [budget for budget in policy.budgets if budget.limit_usd is not None]
    order = [*(window for window in Window if window is not Window.TOTAL), Window.TOTAL]
    longest = max(limits, key=lambda budget: order.index(budget.window), default=None)
    if longest is None or longest.limit_usd is None:
        return ()
    return (SpendLimit(longest.limit_usd, longest.window.value),)


def _exact_share(
    policy: Policy, first: Mapping[str, Shares], dealt: Mapping[str, Shares], to: Neighbour
) -> float | None:
    if policy.classes.weights is None:
        return None
    kept = [
        weight * min(share, dealt[name].get(text, 0.0))
        for weight, name in zip(policy.classes.weights, policy.classes.names, strict=True)
        for text, share in first[name].items()
        if is_single(text) and (to.samples or not _samples(text))
    ]
    return math.fsum(kept)


def _samples(text: str) -> bool:
    return any(parse(text).param(key) is not None for key in SAMPLING)
