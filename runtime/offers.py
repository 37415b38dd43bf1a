"""What may answer a request, in order, each with the bound that its money is held at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from policies.bounds import refuse_if_never_used, token_cap
from policies.fallbacks import fallbacks
from policies.policy import Policy
from profiles.errors import BudgetRefusedError, InputError
from profiles.methods.counting import EMPTY_PROMPT
from profiles.methods.passing import passes_through
from profiles.money import PriceCard, TokenPrice, to_usd
from runtime.caller import CapRefusedError
from runtime.ledger import Hold, Ledger, limit_nano_usd
from runtime.strategies import StrategyExecutor, Tools, build


@dataclass(frozen=True, slots=True)
class Offer:
    """A strategy that may answer a request.

    Attributes:
        strategy: Its canonical text.
        max_tokens: Cap of policy and client on completion tokens of every call.
        bound_nano_usd: Upper bound of everything it can cost.
        bound_tokens: Upper bound of the tokens in and out of all its calls; None where no budget
            counts them.
        bound_nano_gpu_s: Likewise of the GPU-seconds.
    """

    strategy: str
    max_tokens: int | None
    bound_nano_usd: int
    bound_tokens: int | None = None
    bound_nano_gpu_s: int | None = None


class Offers:
    """Strategies of a policy with their bounds by prices and caps.

    A strategy whose bound is above the cap on the dollars of one request is not offered.

    Args:
        policy: Every model in it needs a price and every strategy a cap.
        tools: Verifiers and extractor that the strategies name.
        counts_tokens: Whether offers say how many tokens they can use.
        gpu_seconds: GPU-seconds per million tokens of every model, where offers say how many they
            can use; a card like that of prices.

    Attributes:
        executors: By strategy.

    Raises:
        InputError: A strategy cannot be executed, or never within the cap on dollars.
        UnknownValueError: A price or a cap on completion tokens is missing.
    """

    def __init__(
        self,
        policy: Policy,
        tools: Tools,
        *,
        counts_tokens: bool = False,
        gpu_seconds: PriceCard | None = None,
    ) -> None:
        self.executors = _executors(policy, tools)
        self._policy = policy
        self._token_card = _one_per_token(policy) if counts_tokens else None
        self._gpu_card = gpu_seconds
        self._most_nano_usd = _most_nano_usd(policy)
        self._entries = {entry.text: entry for entry in policy.strategies}
        self._fallbacks: dict[tuple[str, str], tuple[str, ...]] = {}

    def of(
        self,
        class_name: str,
        strategy: str,
        prompt_tokens: int,
        max_tokens: int | None = None,
        *,
        passing: bool = False,
    ) -> Iterator[Offer]:
        """The drawn strategy, then its substitutes, without those that the client's cap rules out.

        Args:
            class_name: Of the request.
            strategy: That was drawn.
            prompt_tokens: See `Request.prompt_tokens_bound`.
            max_tokens: The client's cap; it only ever lowers the policy's.
            passing: Only those that hand one model's reply back as it is, for requests with tools
                or with a format of the reply.

        Raises:
            CapRefusedError: All of them may cost more than one request may; after the last one.
            InputError: The client's cap leaves none of them room, such as one that thinks longer
                before it answers; or none of them hands a reply back; after the last one.
        """
        most, offered = self._most_nano_usd, False
        unfit: InputError | None = None
        for text in self._candidates(class_name, strategy):
            if passing and not passes_through(text):
                unfit = unfit or _none_passes()
                continue
            cap = token_cap(self._entries[text], self._policy.caps, prompt_tokens, max_tokens)
            executor = self.executors[text]
            try:
                bound = executor.bound_nano_usd(prompt_tokens, cap, self._policy.prices)
            except InputError as error:
                unfit = unfit or error
                continue
            if most is None or bound <= most:
                offered = True
                tokens, gpu = (
                    None if card is None else executor.bound_nano_usd(prompt_tokens, cap, card)
                    for card in (self._token_card, self._gpu_card)
                )
                yield Offer(text, cap, bound, tokens, gpu)
        if not offered and unfit is not None:
            raise unfit
        if not offered and most is not None:
            raise CapRefusedError(f"every strategy may cost more than caps.usd, {to_usd(most):g}")

    def _candidates(self, class_name: str, strategy: str) -> tuple[str, ...]:
        key = class_name, strategy
        found = self._fallbacks.get(key)
        if found is None:
            found = self._fallbacks[key] = fallbacks(self._policy.strategies, *key)
        return found


def hold_first(ledger: Ledger, request_id: str, offers: Iterable[Offer]) -> tuple[Offer, Hold]:
    """Hold the money of the first offer that fits.

    Raises:
        BudgetRefusedError: None fits; says when the first of them may.
    """
    refusals: list[BudgetRefusedError] = []
    for offer in offers:
        try:
            return offer, ledger.hold(request_id, offer.bound_nano_usd)
        except BudgetRefusedError as error:
            refusals.append(error)
    raise _none_fits(refusals)


async def admit_first(
    ledger: Ledger, request_id: str, offers: Iterable[Offer], scopes: Sequence[str] | None = None
) -> tuple[Offer, Hold]:
    """Likewise, by a ledger that may have to ask for room.

    Raises:
        BudgetRefusedError: None fits; says when the first of them may.
        StoreError: The ledger could not ask.
    """
    refusals: list[BudgetRefusedError] = []
    for offer in offers:
        try:
            hold = await ledger.admit(
                request_id,
                offer.bound_nano_usd,
                scopes,
                tokens=offer.bound_tokens,
                nano_gpu_s=offer.bound_nano_gpu_s,
                patient=not refusals,  # a request waits once, whatever may answer it
            )
        except BudgetRefusedError as error:
            refusals.append(error)
        else:
            return offer, hold
    raise _none_fits(refusals)


def _none_fits(refusals: Sequence[BudgetRefusedError]) -> BudgetRefusedError:
    waits = [error.retry_after_s for error in refusals if error.retry_after_s is not None]
    return BudgetRefusedError(str(refusals[-1]), retry_after_s=min(waits, default=None))


def _none_passes() -> InputError:
    return InputError(
        "no strategy of this policy can answer a request with tools or a response format here",
        expected="a request for plain text",
        next_step="leave tools and response_format out, or plan with a strategy of one call",
    )


def _one_per_token(policy: Policy) -> PriceCard:
    """Each model's tokens at one nano-dollar: what a strategy costs by it are its tokens."""
    one = TokenPrice(input=1e-3, output=1e-3)
    return PriceCard(models=dict.fromkeys(policy.prices.models, one))


def _executors(policy: Policy, tools: Tools) -> dict[str, StrategyExecutor[Any]]:
    """One executor per strategy; what has no bound is found here and not on live traffic."""
    found: dict[str, StrategyExecutor[Any]] = {}
    for entry in policy.strategies:
        executor = found[entry.text] = build(entry.text, tools)
        cap = token_cap(entry, policy.caps, EMPTY_PROMPT)
        executor.bound_nano_usd(EMPTY_PROMPT, cap, policy.prices)
        refuse_if_never_used(entry, policy.caps, policy.prices, tools.answers_per_call)
    return found


def _most_nano_usd(policy: Policy) -> int | None:
    """What one request may cost, None without a cap."""
    usd = policy.caps.usd if policy.caps else None
    return None if usd is None else limit_nano_usd(usd)
