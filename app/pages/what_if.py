"""What-if: limits as sliders, the plan re-solved live, the frontier, and who answers what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from app.asking import Asked, asked, solved
from app.downloads import plan_bytes, policy_bytes
from app.figures import OBJECTIVES, basis, behind, number, p95_words, prose, window_words
from app.pages.what_if_allocation import draw_allocation
from app.pages.what_if_frontier import draw_frontier
from planner.explaining import words
from planner.explaining.plain import limit_sentence
from planner.limit_names import OVERALL, SPEND
from planner.spec import Objective
from policies.report_layout import code
from profiles.errors import InferbudgetError

if TYPE_CHECKING:
    from app.solving import Solving
    from app.views import View
    from planner.plan import Rung


def page() -> None:
    """Draw the page."""
    st.title("What if?")
    question = asked()
    if question is None:
        return
    found = question.found
    st.caption(
        f"You asked for {OBJECTIVES[found.question.spec.objective]}. Move the limits, and it is "
        f"solved again.  \n{basis(found)}"
    )
    rung = solved(question)
    if rung is not None:
        _figures(question, rung)
        _warnings(question)
        prices = st.container()
    draw_frontier(question, rung)
    if rung is not None:
        draw_allocation(found, rung)
    _take_away(question.view, has_plan=rung is not None)
    if rung is not None:
        with prices:
            _what_limits_cost(question)


def _figures(question: Asked, rung: Rung) -> None:
    """What the plan is expected to do, and what it promises."""
    found = question.found
    level = found.question.spec.level
    word = (
        f"promised with {100 * level:g} % confidence" if level else "a point estimate, no promise"
    )
    expected, promised = rung.expected, rung.promised
    rests = behind(found, rung)
    spend, accuracy, tail, more = st.columns(4)
    spend.metric(
        "USD per 1,000 requests",
        number(expected.cost_usd_per_request, 1000),
        help=f"Expected. At most {number(promised.cost_usd_per_request, 1000)} is {word}. {rests}",
    )
    accuracy.metric(
        "Accuracy",
        f"{expected.accuracy:.1%}",
        help=f"Expected mean score. At least {promised.accuracy:.1%} is {word}. {rests}",
    )
    tail.metric(
        "p95 latency, s",
        p95_words(found, rung, expected.latency_p95_s),
        help="Expected: at most 5 % of requests take longer. "
        f"Seconds, {word}: {p95_words(found, rung, promised.latency_p95_s)}. {rests}",
    )
    more.metric(*_next(found, rung), help=_NEXT_HELP)
    st.caption(
        f"{word.capitalize()}: accuracy at least {promised.accuracy:.1%}, at most "
        f"{number(promised.cost_usd_per_request, 1000)} USD per 1,000 requests, p95 latency "
        f"{p95_words(found, rung, promised.latency_p95_s, ' s')}."
        f"{_per_window(question, rung)}  \n"
        f"{rests}"
    )
    if level and _is_one_on_evidence(question, rung):
        st.caption(
            "One strategy answers every class: the measurements do not show that any mixture that "
            "keeps the limits is more accurate. More of them may, and the page Profiles says which."
        )


def _is_one_on_evidence(question: Asked, rung: Rung) -> bool:
    """Whether nothing is mixed although only accuracy counts, and others could be."""
    planner = question.found.under(question.moves)
    used = {strategy for shares in rung.allocation.values() for strategy in shares}
    return (
        planner.spec.objective is Objective.MAXIMIZE_ACCURACY
        and planner.spec.allocation is None
        and len(used) == 1 < len(planner.estimates.strategies)
    )


_NEXT_HELP = (
    "The solver's price of the limit that holds the plan back: correct answers, or dollars of "
    "value, for one dollar more; or where the plan is to be cheap, dollars per 1,000 requests (or "
    "correct answers) for one more point of accuracy. What whole steps cost is said below."
)


def _next(found: Solving, rung: Rung) -> tuple[str, str]:
    """What the next dollar buys, or where money is what is saved, what the next point costs."""
    objective, prices = found.question.spec.objective, rung.shadow_prices
    price = abs(prices.get(SPEND, 0.0))
    if objective is Objective.MAXIMIZE_ACCURACY:
        return "The next dollar buys", f"{words.number(price)} correct" if price else "nothing more"
    if objective is Objective.MAXIMIZE_VALUE:
        return "The next dollar brings", f"{words.number(price)} USD" if price else "nothing more"
    if OVERALL not in rung.limits:
        return "The next point costs", "no floor asked"
    unit = words.currency(objective)
    point = unit.factor * abs(prices.get(OVERALL, 0.0)) / 100
    return "The next point costs", f"{words.number(point)} USD" if point else "nothing"


def _per_window(question: Asked, rung: Rung) -> str:
    """Spend over the spec's traffic, fixed costs and all."""
    spec = question.found.under(question.moves).spec
    usd = rung.expected.cost_usd_per_request
    if spec.traffic is None or usd is None:
        return ""
    total = number(spec.usd_per_window(usd))
    fees = f", {number(spec.fees_usd)} USD of it fixed" if spec.fees_usd else ""
    return f" Expected spend: {total} USD {window_words(spec.traffic)}{fees}."


def _warnings(question: Asked) -> None:
    """Risks that the command warns of too."""
    warnings = question.found.warnings(question.moves)
    if not warnings:
        return
    st.warning(prose(warnings[0]), icon=":material/warning:")
    if warnings[1:]:
        with st.expander(f"Further warnings: {len(warnings) - 1}"):
            st.markdown("\n".join(f"- {prose(text)}" for text in warnings[1:]))


def _what_limits_cost(question: Asked) -> None:
    """A sentence per limit; two solves each, so only while it is open."""
    opened = st.expander("What each limit costs", expanded=True, on_change="rerun", key="prices")
    if not opened.open:
        return
    spec = question.found.question.spec
    with opened:
        try:
            told = 0
            for facts in question.found.limit_facts(question.moves):
                st.markdown(f"- {limit_sentence(facts, spec.objective, spec.traffic, code)}")
                told += 1
            if not told:
                st.markdown("No limit is set, so none costs anything.")
        except InferbudgetError as error:
            st.error(prose(str(error)))


def _take_away(view: View, *, has_plan: bool) -> None:
    """The view as a command, and as the files that it writes."""
    st.subheader("Take it away")
    st.caption("This command answers what this page shows; the address of the page shares it.")
    st.code(view.command("plan"), language=None, wrap_lines=True)
    if not has_plan:
        return
    plan, policy = st.columns(2)
    plan.download_button(
        "Download the plan", lambda: plan_bytes(view), "plan.json", "application/json",
        on_click="ignore", help="As the command writes it, its ladder of cheaper plans included.",
    )  # fmt: skip
    policy.download_button(
        "Download the policy", lambda: policy_bytes(view), "policy.zip", "application/zip",
        on_click="ignore", help="As `inferbudget compile` writes it: what a gateway enforces.",
    )  # fmt: skip
