"""Decide, hold the money, answer, settle: the policy enforced on live traffic.

As a library: `decide` says how a policy would have a request answered, `Executor` answers by a
policy, `run_strategy` by one strategy within an `Envelope`. `open_gateway` makes an ASGI
application of a policy, `BudgetMiddleware` stands in front of one.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtime.asgi import BudgetMiddleware, open_gateway
    from runtime.deciding import OpenPolicy, PricedDecision, decide
    from runtime.envelope import Envelope
    from runtime.executor import Executor
    from runtime.in_process import InProcess
    from runtime.prepared import Prepared, run_strategy, tools_of
    from runtime.upstream import Upstream

__all__ = [
    "BudgetMiddleware",
    "Envelope",
    "Executor",
    "InProcess",
    "OpenPolicy",
    "Prepared",
    "PricedDecision",
    "Upstream",
    "decide",
    "open_gateway",
    "run_strategy",
    "tools_of",
]

# Imported when they are asked for: whoever only decides needs neither a client nor a ledger.
_HOMES = {
    "BudgetMiddleware": "runtime.asgi",
    "Envelope": "runtime.envelope",
    "Executor": "runtime.executor",
    "InProcess": "runtime.in_process",
    "OpenPolicy": "runtime.deciding",
    "Prepared": "runtime.prepared",
    "PricedDecision": "runtime.deciding",
    "Upstream": "runtime.upstream",
    "decide": "runtime.deciding",
    "open_gateway": "runtime.asgi",
    "run_strategy": "runtime.prepared",
    "tools_of": "runtime.prepared",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
