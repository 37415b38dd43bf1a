"""Who is asking, what they may ask for, and on which accounts their requests hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import msgspec

from profiles.errors import InputError
from runtime.ledger import Scope
from runtime.tenants.request_limits import RequestLimits
from runtime.tenants.scope_names import user_word

Accounts = tuple[str, ...]
"""Names of scopes of the ledger."""


@dataclass(frozen=True, slots=True)
class EachUser:
    """Budgets that every user of some keys has alone.

    Attributes:
        path: Scope at which they were given, e.g. ``org:acme/team:search``.
        budgets: A user's accounts, each named by what comes after the user's scope.
        at_most: Users that may have something spent or held at one time.
    """

    path: str
    budgets: tuple[Scope, ...]
    at_most: int

    def accounts(self, user: str) -> Accounts:
        """Names of a user's accounts; `user` is a word of `scope_names`."""
        scope = f"{self.path}/user:{user}"
        return tuple([scope + budget.name for budget in self.budgets])

    def scopes(self, user: str) -> tuple[Scope, ...]:
        """A user's accounts as the ledger takes them."""
        scope = f"{self.path}/user:{user}"
        return tuple(replace(budget, name=scope + budget.name) for budget in self.budgets)


def accounts_of(each_user: Iterable[EachUser], user: str) -> Accounts:
    """All accounts of a user; `user` is a word of `scope_names`, empty for nobody."""
    return tuple([name for budgets in each_user for name in budgets.accounts(user)])


@dataclass(frozen=True, slots=True)
class TenantKey:
    """A virtual key with all that its requests need, reckoned once.

    Attributes:
        organisation: Its name.
        team: Its name; None for a key without a team.
        name: Of the key.
        path: The key's scope.
        digest: SHA-256 of the secret.
        enabled: False for a key that is switched off.
        expires_s: Unix time from which it opens no more; None for never.
        accounts: Of everybody, organisation, team, key and the key's own tags.
        tags: Of each of its requests.
        tags_known: Every tag of its organisation, with its accounts.
        labels: The only ones that may be asked for; None for all.
        limits: On every single request, inherited ones included.
        may_set_user: Whether a request may say who its user is.
        may_set_tags: Whether a request may carry further tags.
        each_user: Budgets of users; none where no user may be named.
        of_nobody: Accounts of the requests that name no user, where they may.
        where: Its place in the file.
    """

    organisation: str
    team: str | None
    name: str
    path: str
    digest: bytes = field(repr=False)
    enabled: bool
    expires_s: float | None
    accounts: Accounts
    tags: tuple[str, ...]
    tags_known: Mapping[str, Accounts] = field(repr=False, compare=False)
    labels: tuple[str, ...] | None
    limits: RequestLimits
    may_set_user: bool
    may_set_tags: bool
    each_user: tuple[EachUser, ...]
    of_nobody: Accounts
    where: str


class Identity(msgspec.Struct, frozen=True):
    """Who sent one request.

    Attributes:
        key: The virtual key.
        user: Whom the request names, where the key may say so.
        tags: Of this request, the key's own first.
        user_word: The user as part of a scope's name; empty where none is named.
    """

    key: TenantKey
    user: str | None
    tags: tuple[str, ...]
    user_word: str
    _shared: Accounts
    _of_user: Accounts
    _of_classes: Mapping[str, Accounts]

    @property
    def limits(self) -> RequestLimits:
        """What this request may be."""
        return self.key.limits

    def scopes(self, class_name: str) -> Accounts:
        """Names of the accounts that a request of this class holds on."""
        return self._shared + self._of_user + self._of_classes.get(class_name, ())

    def of_user(self, user: str | None) -> Identity:
        """The same with the user that the request's body names.

        Raises:
            InputError: The user's name is too long, or no text.
        """
        if not user or not self.key.may_set_user:
            return self
        word = user_word(user)
        own = accounts_of(self.key.each_user, word)
        return Identity(self.key, user, self.tags, word, self._shared, own, self._of_classes)

    def refuse_label(self, label: str | None) -> None:
        """Refuse a label that the key may not ask for.

        Raises:
            InputError: Says which it may.
        """
        allowed = self.key.labels
        if allowed is not None and label is not None and label not in allowed:
            raise InputError(
                "this key may not ask for this label",
                expected=f"one of {', '.join(allowed)}" if allowed else "no label",
                got=repr(label),
            )
