"""Budgets that no file names any more: forgotten once they count nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from runtime.ledger import Ledger, Scope

_EXAMINED = 500
"""Budgets looked at in one go, which takes half a millisecond."""


class FormerBudgets:
    """Those of one ledger. What something is spent or held of stays until its window is over.

    Args:
        ledger: Where they are.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._names: deque[str] = deque()

    def __len__(self) -> int:
        return len(self._names)

    def replaced(self, before: Iterable[Scope], now: Iterable[Scope]) -> None:
        """The files name others now."""
        named = {scope.name for scope in now}
        former = (*self._names, *(scope.name for scope in before))
        self._names = deque(name for name in former if name not in named)

    def forget(self) -> None:
        """Some of those of which nothing is spent or held in their window.

        Call it where no request goes on that could still hold on them.
        """
        for _ in range(min(_EXAMINED, len(self._names))):
            name = self._names.popleft()
            state = self._ledger.state(name)
            if state.spent or state.held:
                self._names.append(name)
            else:
                self._ledger.remove(name)
