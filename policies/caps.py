"""Passes on money and tokens: caps and costs of each strategy, prices, budgets."""

from __future__ import annotations

from dataclasses import replace

from planner.plan import CellFacts
from planner.spec import Window
from planner.token_caps import cap_of
from policies.bounds import refuse_if_never_used
from policies.decimals import at_least, at_most, exact, nearest
from policies.draft import Draft
from policies.policy import Budget, CellFigures, StrategyEntry
from policies.shares import ACCURACY_DECIMALS, MONEY_DIGITS
from profiles.errors import InputError, UnknownValueError
from profiles.money import PriceCard
from profiles.strategy import parse

NO_PRICES = "No prices are known: this policy can be replayed, but not served."


def choose_caps(draft: Draft) -> Draft:
    """Give every strategy its cap on completion tokens and its measured costs per class.

    The cap is the strategy's own `max_tokens`, for combinations the largest of their stages; else
    the most completion tokens that a request was seen to take; else there is none. The spec's cap
    on tokens lowers it. Where the spec asks for it and every class has a line by prompt length, a
    line above them all lowers it for short prompts. Expected costs are rounded to the nearest,
    bounds up.
    """
    return replace(draft, entries=tuple(_entry(draft, text) for text in draft.order))


def choose_prices(draft: Draft) -> Draft:
    """Keep the prices of the models in use.

    Raises:
        UnknownValueError: The card has prices, but not for every model in use.
    """
    card = draft.plan.prices
    models = sorted({model for text in draft.order for model in parse(text).models()})
    if not card.models:
        return replace(draft, prices=PriceCard()).warned(NO_PRICES)
    missing = [model for model in models if model not in card.models]
    if missing:
        raise UnknownValueError(
            "the price card does not name every model that the plan uses",
            where=f"prices.models.{missing[0]}",
            expected=f"prices of {', '.join(models)}",
            got=f"none for {', '.join(missing)}",
            next_step="add USD per million input and output tokens to the price card and plan "
            "again; an empty card makes a policy that can be replayed but not served",
        )
    return replace(draft, prices=PriceCard(models={model: card.models[model] for model in models}))


def keep_cap_on_dollars(draft: Draft) -> Draft:
    """The draft as it came, when every strategy can be used under the spec's cap on dollars.

    Raises:
        InputError: A gateway would pass one over whatever the prompt, and so refuse to start.
    """
    for entry in draft.entries:
        refuse_if_never_used(entry, draft.plan.caps, draft.prices)
    return draft


def choose_budgets(draft: Draft) -> Draft:
    """Turn the spend limit into money that is never exceeded.

    Every window gets what the fullest one needs: a limit per request is paid for each of its
    requests, and a sum is shared by them all, as it was when the plan was made.

    Raises:
        InputError: A sum of dollars without the traffic that shares it.
    """
    spend, traffic = draft.plan.limits.spend, draft.plan.traffic
    if spend is None:
        return replace(draft, budgets=())
    if spend.usd_per_request is not None:
        if traffic is None:
            budget = Budget(usd_per_request=spend.usd_per_request, window=Window.TOTAL)
        else:
            budget = Budget(
                limit_usd=float(exact(spend.usd_per_request) * traffic.most),
                usd_per_request=spend.usd_per_request,
                window=traffic.per,
                requests=traffic.most,
            )
        return replace(draft, budgets=(budget,))
    if spend.usd is None or spend.per is None or traffic is None or traffic.per is not spend.per:
        raise InputError(
            "a sum of dollars needs the traffic that shares it, over the same window",
            where="limits.spend",
            expected=f"traffic per {spend.per}",
            got=f"traffic per {traffic.per}" if traffic else "no traffic",
            next_step="add 'traffic: {requests: ..., per: ...}' to the spec and plan again",
        )
    # Down, so that the mean times the requests stays within the sum.
    mean = at_most(exact(spend.usd) / traffic.most, 12)
    budget = Budget(
        limit_usd=spend.usd, usd_per_request=mean, window=spend.per, requests=traffic.most
    )
    return replace(draft, budgets=(budget,))


def _entry(draft: Draft, text: str) -> StrategyEntry:
    found = {name: draft.cell(name, text) for name in draft.plan.classes.names}
    cells = {name: cell for name, cell in found.items() if cell}
    cap = cap_of(
        text,
        [cell.tokens_out_max for cell in cells.values()],
        [cell.cap_line for cell in cells.values()],
        None if draft.plan.caps is None else draft.plan.caps.tokens,
    )
    return StrategyEntry(
        text=text,
        max_tokens=cap.most,
        max_tokens_by_prompt=cap.line,
        by_class={name: _figures(cell) for name, cell in cells.items()},
    )


def _figures(cell: CellFacts) -> CellFigures:
    return CellFigures(
        queries=cell.queries,
        accuracy=round(cell.planned_accuracy, ACCURACY_DECIMALS),
        accuracy_se=round(cell.accuracy_se, ACCURACY_DECIMALS),
        cost_usd=None if cell.cost_usd is None else nearest(cell.cost_usd, MONEY_DIGITS),
        cost_se_usd=None if cell.cost_se_usd is None else nearest(cell.cost_se_usd, MONEY_DIGITS),
        cost_max_usd=_most(cell.cost_max_usd),
        latency_p95_s=cell.latency_p95_s,
    )


def _most(usd: float | None) -> float | None:
    return None if usd is None else at_least(usd, MONEY_DIGITS)
