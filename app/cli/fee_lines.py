"""What a plan owes whatever the requests are, as people read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from profiles.visible import escaped

if TYPE_CHECKING:
    from app.cli.markdown import Written
    from planner.plan import Plan


def fee_lines(solved: Plan, write: Written) -> list[str]:
    """Fixed costs, paid or not, and totals; nothing where the spec has none."""
    fees = solved.fixed_costs
    if fees is None:
        return []
    rows = [(escaped(name), "paid", f"{usd:,.2f}") for name, usd in fees.paid.items()]
    rows += [(escaped(name), "not paid", f"{usd:,.2f}") for name, usd in fees.not_paid.items()]
    per = "in all" if fees.per == "total" else f"per {fees.per}"
    requests = solved.traffic.requests if solved.traffic else 0
    return [
        write(rows, ("fixed cost", "", f"USD {per}")),
        f"fixed costs and {requests:,} requests: {fees.expected_total_usd:,.2f} USD {per}, "
        f"{fees.promised_total_usd:,.2f} promised",
        "",
    ]
