"""What would become of a request: its class, what may answer it, and what has room for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from profiles.errors import BudgetRefusedError, InputError
from profiles.money import to_usd
from runtime.caller import CapRefusedError
from runtime.decision import Vector
from runtime.offers import Offer
from runtime.service import Ask, Service


@dataclass(frozen=True, slots=True)
class OfferedStrategy:
    """One strategy that may answer, in the order of trying.

    Attributes:
        strategy: Its canonical text.
        max_tokens: Cap on completion tokens of every call.
        bound_usd: The most that it can cost, which is what it would hold.
        fits: Whether this process has room for it now; with a shared store more may be had there.
        refused_by: Why it has none.
    """

    strategy: str
    max_tokens: int | None
    bound_usd: float
    fits: bool
    refused_by: str | None


@dataclass(frozen=True, slots=True)
class PossibleDraw:
    """A strategy that the policy may draw, and what answers where it does not fit.

    Attributes:
        strategy: Its canonical text.
        share: Of such requests, at this rung; 0..1.
        expected_cost_usd: Mean measured dollars, None where unknown.
        offers: It, then its substitutes.
        refused: Why nothing may answer, whatever money is left.
    """

    strategy: str
    share: float
    expected_cost_usd: float | None
    offers: tuple[OfferedStrategy, ...]
    refused: str | None


@dataclass(frozen=True, slots=True)
class DryRun:
    """What would become of a request now.

    Attributes:
        policy: Digest of the policy.
        class_name: Difficulty class.
        rung: Step of the ladder.
        budget_fraction: Of the first rung's spend, that this step spends.
        prompt_tokens_bound: As its hold counts them.
        draws: All strategies that may be drawn, most frequent first.
        budgets: Names of the budgets that it would hold on.
    """

    policy: str
    class_name: str
    rung: int
    budget_fraction: float
    prompt_tokens_bound: int
    draws: tuple[PossibleDraw, ...]
    budgets: tuple[str, ...]


async def dry_run(service: Service, ask: Ask, vector: Vector | None = None) -> DryRun:
    """Decide a request as if it were served; nothing is held and nobody is called.

    Raises:
        InputError: The class label is missing or unknown.
    """
    policy = service.policy
    decision = await service.decide(ask, vector)
    request, scopes = service.prepared(ask, decision.class_name)
    rung = policy.rungs[decision.rung]
    shares = rung.shares.get(decision.class_name, {})
    entries = {entry.text: entry for entry in policy.strategies}
    drawn = sorted(((share, text) for text, share in shares.items() if share > 0), reverse=True)
    draws = []
    for share, text in drawn:
        offers: list[OfferedStrategy] = []
        refused = None
        try:
            found = service.offers(ask, decision.class_name, text, request.prompt_tokens_bound)
            offers.extend(_judged(service, scopes, found))
        except (CapRefusedError, InputError) as error:
            refused = str(error)
        cost_usd = entries[text].cost_usd(decision.class_name)
        draws.append(PossibleDraw(text, share, cost_usd, tuple(offers), refused))
    return DryRun(
        policy=policy.digest,
        class_name=decision.class_name,
        rung=decision.rung,
        budget_fraction=rung.budget_fraction,
        prompt_tokens_bound=request.prompt_tokens_bound,
        draws=tuple(draws),
        budgets=scopes,
    )


def _judged(
    service: Service, scopes: tuple[str, ...], offers: Iterator[Offer]
) -> Iterator[OfferedStrategy]:
    for offer in offers:
        refused_by = None
        try:
            service.ledger.require_room(
                offer.bound_nano_usd,
                scopes,
                tokens=offer.bound_tokens,
                nano_gpu_s=offer.bound_nano_gpu_s,
            )
        except BudgetRefusedError as error:
            refused_by = str(error)
        yield OfferedStrategy(
            offer.strategy,
            offer.max_tokens,
            to_usd(offer.bound_nano_usd),
            refused_by is None,
            refused_by,
        )
