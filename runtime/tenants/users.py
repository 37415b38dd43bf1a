"""Accounts of users: opened when a user is first seen, forgotten when they count nothing any more.

Whoever holds a key can name as many users as it likes, so their number is bounded, for each set of
budgets by itself: one tenant's users never take the place of another's. A user has a place while
something is spent or held, and while a request asks to hold: who is refused leaves it again.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

from planner.spec import Window
from profiles.errors import BudgetRefusedError
from runtime.ledger import Scope, ScopeState, Unit
from runtime.ledger.windows import span
from runtime.tenants.identity import EachUser, Identity

_EXAMINED = 4
"""Users looked at for each new one: more go than come, and no request waits for many."""
_EXAMINED_AT_EASE = 250
"""Users looked at where no request waits for it; it takes about a millisecond."""


class Books(Protocol):
    """What `runtime.ledger.Ledger` does."""

    def add(self, scope: Scope) -> None:
        """Define a passing scope, or give one another limit."""

    def state(self, name: str) -> ScopeState:
        """One scope at this moment."""

    def remove(self, name: str) -> None:
        """Forget a scope that has nothing spent and nothing held."""


@dataclass(slots=True)
class _User:
    """One user of one set of budgets.

    Attributes:
        word: The user in names of scopes.
        budgets: As its accounts were defined last.
        scopes: Its accounts by name.
        asking: Requests that are about to hold on them.
    """

    word: str
    budgets: EachUser
    scopes: dict[str, Scope]
    asking: int = 0


_Alive: TypeAlias = OrderedDict[str, _User]


class UserAccounts:
    """Users' accounts in one ledger; it outlives a change of tenants.

    Args:
        books: The ledger.
        clock: Unix time in seconds.
    """

    def __init__(self, books: Books, clock: Callable[[], float] = time.time) -> None:
        self._books = books
        self._clock = clock
        self._alive: OrderedDict[str, _Alive] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._alive.values()))

    @contextmanager
    def opened(self, identity: Identity | None) -> Iterator[None]:
        """See to it that the accounts of a request's user are there while it asks to hold on them.

        Args:
            identity: Who asks; None where clients are not told apart.

        Raises:
            BudgetRefusedError: As many users as may be have something spent or held.
        """
        with ExitStack() as asking:
            if identity is not None:
                for budgets in identity.key.each_user:
                    asking.callback(self._asked, self._asking(budgets, identity.user_word))
            yield

    def forget_idle(self) -> None:
        """Some users that count nothing any more; of one set of budgets, at each call of the next.

        Where no file names a set any more no new user comes, for whom the others would go.
        """
        if self._alive:
            path, alive = next(iter(self._alive.items()))
            self._alive.move_to_end(path)
            self._forget_idle(alive, _EXAMINED_AT_EASE)
            if not alive:
                del self._alive[path]

    def _asking(self, budgets: EachUser, word: str) -> _User:
        alive = self._alive.setdefault(budgets.path, OrderedDict())
        user = alive.get(word)
        if user is None:
            user = self._begun(budgets, word, alive)
        elif user.budgets is not budgets:  # the file was read again
            self._define(budgets, user)
        user.asking += 1
        return user

    def _asked(self, user: _User) -> None:
        """A request holds now, or was refused; who was is the first to make place for others."""
        user.asking -= 1
        if self._is_idle(user):
            self._alive[user.budgets.path].move_to_end(user.word, last=False)

    def _begun(self, budgets: EachUser, word: str, alive: _Alive) -> _User:
        self._forget_idle(alive, _EXAMINED)
        if len(alive) >= budgets.at_most:
            raise BudgetRefusedError(
                f"{len(alive)} users of {budgets.path!r} have something spent or held, and no more "
                "may",
                retry_after_s=_retry_s(budgets, self._clock()),
            )
        user = alive[word] = _User(word, budgets, {})
        self._define(budgets, user)
        return user

    def _define(self, budgets: EachUser, user: _User) -> None:
        """Accounts as they are given now; another time zone counts once they were forgotten."""
        for scope in budgets.scopes(user.word):
            old = user.scopes.get(scope.name, scope)
            found = user.scopes[scope.name] = replace(scope, timezone=old.timezone)
            self._books.add(found)
        user.budgets = budgets

    def _forget_idle(self, alive: _Alive, examined: int) -> None:
        for _ in range(min(examined, len(alive))):
            word, user = alive.popitem(last=False)
            if not self._is_idle(user):
                alive[word] = user
                continue
            for name in user.scopes:
                self._books.remove(name)

    def _is_idle(self, user: _User) -> bool:
        """Whether a new account would count the same."""
        if user.asking:
            return False
        states = map(self._books.state, user.scopes)
        return all(state.spent == 0 and state.held == 0 for state in states)


def _retry_s(budgets: EachUser, now_s: float) -> float | None:
    """Seconds until others' windows are over; None where one never is."""
    ends = list(_ends_s(budgets, now_s))
    return None if None in ends else max((end for end in ends if end is not None), default=1.0)


def _ends_s(budgets: EachUser, now_s: float) -> Iterator[float | None]:
    for scope in budgets.budgets:
        if scope.unit is Unit.IN_FLIGHT:
            continue
        if scope.rolling or scope.window is Window.TOTAL:
            yield scope.window.seconds
        else:
            end = span(scope.window, now_s, scope.timezone).end_s
            yield None if end is None else end - now_s
