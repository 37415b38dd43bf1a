"""The money: every request holds its upper bound first and is charged the truth afterwards.

For every scope and window ``spent + held <= limit``, always. The one exception is an upstream that
charges more than was held: the truth is charged and counted as an overrun.

`scopes` says whose money it is, `windows` when it renews, `accounts` counts, `holds` is what a
request has of it, `ledger` grants holds in this process.
"""

from runtime.ledger.holds import Call, Hold
from runtime.ledger.ledger import Ledger
from runtime.ledger.scopes import Scope, ScopeState, Snapshot, Unit, limit_nano_usd

__all__ = ["Call", "Hold", "Ledger", "Scope", "ScopeState", "Snapshot", "Unit", "limit_nano_usd"]
