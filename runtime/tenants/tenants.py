"""Everybody who may send requests: immutable, so that a new file replaces all of it at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from profiles.errors import InputError
from profiles.money import PriceCard
from runtime.ledger import Scope, Unit
from runtime.tenants.identity import Accounts, Identity, TenantKey
from runtime.tenants.virtual_keys import KeyRing


@dataclass(frozen=True, slots=True)
class SharedAccounts:
    """Accounts of requests of one class, whoever sends them.

    Attributes:
        names: Of the accounts.
        where: Their place in the file.
    """

    names: Accounts
    where: str


class Tenants:
    """Keys, budgets and limits of one tenants.yaml.

    Args:
        keys: All of them.
        scopes: Every account but those of users.
        classes: By name.
        gpu_seconds: GPU-seconds per million tokens by model, in the form of a price card.
        clock: Unix time in seconds; keys expire by it.

    Attributes:
        keys: All of them.
        classes: By name.
        counts_tokens: Whether some budget counts tokens.
        gpu_seconds: The card, where some budget counts GPU-seconds; else None.
    """

    def __init__(
        self,
        keys: Sequence[TenantKey],
        scopes: Iterable[Scope],
        *,
        classes: Mapping[str, SharedAccounts],
        gpu_seconds: PriceCard,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.keys = tuple(keys)
        self.classes = classes
        self._scopes = tuple(scopes)
        units = {scope.unit for scope in (*self._scopes, *_of_users(keys))}
        self.counts_tokens = Unit.TOKENS in units
        self.gpu_seconds = gpu_seconds if Unit.NANO_GPU_S in units else None
        self._of_classes = {name: found.names for name, found in classes.items()}
        self._ring = KeyRing(keys)
        self._clock = clock

    def scopes(self) -> tuple[Scope, ...]:
        """Every account but those of users, which begin when a user is first seen."""
        return self._scopes

    def scopes_of_users(self) -> tuple[Scope, ...]:
        """What every user gets, each once, as of a user without a name."""
        sets = {users.path: users for key in self.keys for users in key.each_user}
        return tuple(scope for users in sets.values() for scope in users.scopes(""))

    def identify(
        self, authorization: bytes | None, user: str | None = None, tags: Sequence[str] = ()
    ) -> Identity:
        """Who sends a request.

        Args:
            authorization: Value of its header `authorization`, any bytes; None without one.
            user: Whom its body names, which counts where the key may say so and nowhere else.
            tags: That it asks for beside the key's own.

        Raises:
            KeyRefusedError: No key that opens.
            InputError: Tags that the key may not set, an unknown tag, or a user's name that is too
                long.
        """
        key = self._ring.find(authorization, self._clock())
        accounts, own = key.accounts, key.tags
        if tags:
            more = _further(key, tags)
            own += more
            accounts += tuple(name for tag in more for name in key.tags_known[tag])
        identity = Identity(key, None, own, "", accounts, key.of_nobody, self._of_classes)
        return identity.of_user(user) if user else identity


def _further(key: TenantKey, tags: Sequence[str]) -> tuple[str, ...]:
    """Tags that a request adds to its key's own."""
    if not key.may_set_tags:
        raise InputError("this key may not set tags", next_step="leave them out")
    for tag in tags:
        if tag not in key.tags_known:
            raise InputError("unknown tag", got=repr(tag))
    return tuple(tag for tag in dict.fromkeys(tags) if tag not in key.tags)


def _of_users(keys: Iterable[TenantKey]) -> Iterator[Scope]:
    for key in keys:
        for users in key.each_user:
            yield from users.budgets
