"""From tenants.yaml to `Tenants`: everything is checked and reckoned before a request comes."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from planner.spec import Window
from profiles.errors import InputError
from profiles.money import PriceCard, TokenPrice
from profiles.visible import quoted
from profiles.yaml_errors import located
from profiles.yaml_input import parsed, read_text, validated
from profiles.yaml_nodes import Mapping, place
from runtime.ledger import Scope, Unit, limit_nano_usd
from runtime.tenants.budgets import Budgets, TenantBudget
from runtime.tenants.file import Key, Level, Organisation, TenantsFile
from runtime.tenants.identity import Accounts, EachUser, TenantKey, accounts_of
from runtime.tenants.request_limits import RequestLimits, smallest
from runtime.tenants.scope_names import EVERYBODY, word
from runtime.tenants.tenants import SharedAccounts, Tenants
from runtime.tenants.virtual_keys import digest_of, refuse_secrets

_NANO = (Unit.NANO_USD, Unit.NANO_GPU_S)


def read_tenants(path: Path, clock: Callable[[], float] = time.time) -> Tenants:
    """Read tenants.yaml.

    Args:
        path: The file, or ``-`` for standard input.
        clock: Unix time in seconds; keys expire by it.

    Raises:
        InputError: Names file, line and key of the first thing that is wrong. It quotes no secret,
            even where one stands in the place of its hash.
    """
    name = str(path)
    text = read_text(path)
    refuse_secrets(text, name)
    try:
        root, data = parsed(text, name)
        file = validated(data, TenantsFile, root, name)
    except InputError as error:
        if error.where and ".keys." in error.where and error.where.endswith(".hash"):
            raise _no_hash(error.where) from None
        raise
    return _Reckoning(file, root, name).tenants(clock)


@dataclass(frozen=True, slots=True)
class _Rank:
    """One step of the way from everybody to a key.

    There may be tens of thousands of keys: what they share is reckoned once, above them.

    Attributes:
        names: Of organisation, team and key, as far as the way goes.
        path: Its scope.
        own: Its accounts.
        accounts: Names of its own and of all above it.
        limits: Of its own and of all above it the smallest.
        each_user: Budgets of users, its own and those of all above it.
        node: What the file says of it.
        line: Where its key stands, like the next two.
        column: From 1.
        shown: The keys that lead to it.
    """

    names: tuple[str, ...]
    path: str
    own: tuple[Scope, ...]
    accounts: Accounts
    limits: RequestLimits
    each_user: tuple[EachUser, ...]
    node: Mapping
    line: int
    column: int
    shown: str

    def inner(self, kind: str, among: str, name: str, level: Level) -> _Rank:
        path = f"{self.path}/{kind}:{word(name)}".lstrip("/")
        own = _accounts(path, level.budgets)
        limits, each_user = self.limits, self.each_user
        if level.limits.model_fields_set:
            limits = smallest((limits, RequestLimits(**dict(level.limits))))
        if level.each_user is not None:
            users = _accounts("", level.each_user.budgets)
            each_user += (EachUser(path, users, level.each_user.at_most),)
        siblings = cast("Mapping", self.node.values[among])
        key = siblings.keys[name]
        return _Rank(
            (*self.names, name),
            path,
            own,
            self.accounts + _names(own),
            limits,
            each_user,
            cast("Mapping", siblings.values[name]),
            key.line,
            key.column,
            f"{self.shown}.{among}.{quoted(name)}".lstrip("."),
        )


class _Reckoning:
    """What a file means, with the place of everything that can still be wrong."""

    def __init__(self, file: TenantsFile, root: Mapping, name: str) -> None:
        self._file = file
        self._root = root
        self._name = name
        self._scopes: list[Scope] = []
        self._keys: list[TenantKey] = []

    def tenants(self, clock: Callable[[], float]) -> Tenants:
        file = self._file
        own = _accounts(EVERYBODY, file.budgets)
        self._scopes += own
        classes = {name: self._class(name, budgets) for name, budgets in file.classes.items()}
        everybody = _Rank((), "", own, _names(own), RequestLimits(), (), self._root, 1, 1, "")
        for name, organisation in file.organisations.items():
            self._organisation(
                everybody.inner("org", "organisations", name, organisation), organisation
            )
        self._refuse_shared_secrets()
        return Tenants(
            self._keys,
            self._scopes,
            classes=classes,
            gpu_seconds=_gpu_card(file),
            clock=clock,
        )

    def _class(self, name: str, budgets: Budgets) -> SharedAccounts:
        own = _accounts(f"class:{word(name)}", budgets)
        self._scopes += own
        return SharedAccounts(_names(own), self._place(("classes", name)))

    def _organisation(self, rank: _Rank, organisation: Organisation) -> None:
        self._scopes += rank.own
        tags: dict[str, Accounts] = {}
        for tag, budgets in organisation.tags.items():
            own = _accounts(f"{rank.path}/tag:{word(tag)}", budgets)
            self._scopes += own
            tags[tag] = _names(own)
        self._keys_of(rank, organisation.keys, tags)
        for name, team in organisation.teams.items():
            below = rank.inner("team", "teams", name, team)
            self._scopes += below.own
            self._keys_of(below, team.keys, tags)

    def _keys_of(self, above: _Rank, keys: dict[str, Key], tags: dict[str, Accounts]) -> None:
        for name, key in keys.items():
            rank = above.inner("key", "keys", name, key)
            self._scopes += rank.own
            self._keys.append(self._key(rank, key, tags))

    def _key(self, rank: _Rank, key: Key, tags: dict[str, Accounts]) -> TenantKey:
        where = f"{self._name}:{rank.line}:{rank.column}: {rank.shown}"
        for index, tag in enumerate(key.tags):
            if tag not in tags:
                raise self._unknown_tag(rank, index, tag, tags)
        each_user = rank.each_user if "user" in key.may_set else ()
        return TenantKey(
            organisation=rank.names[0],
            team=rank.names[1] if len(rank.names) > 2 else None,
            name=rank.names[-1],
            path=rank.path,
            digest=digest_of(key.hash),
            enabled=key.enabled,
            expires_s=None if key.expires is None else _midnight_s(key.expires),
            accounts=rank.accounts + tuple(name for tag in key.tags for name in tags[tag]),
            tags=key.tags,
            tags_known=tags,
            labels=key.labels,
            limits=rank.limits,
            may_set_user="user" in key.may_set,
            may_set_tags="tags" in key.may_set,
            each_user=each_user,
            of_nobody=accounts_of(each_user, ""),
            where=where,
        )

    def _unknown_tag(
        self, rank: _Rank, index: int, tag: str, tags: dict[str, Accounts]
    ) -> InputError:
        organisation, *below = rank.names
        among = ("teams", below[0], "keys", below[1]) if len(below) > 1 else ("keys", below[0])
        return InputError(
            f"the tag {tag!r} is not one of `tags` of {organisation!r}",
            where=self._place(("organisations", organisation, *among, "tags", str(index))),
            expected=f"one of {', '.join(tags) or 'none: it has no tags'}",
            next_step="give it budgets under `tags` of the organisation, or none: "
            f"'tags: {{{tag}: []}}'",
        )

    def _refuse_shared_secrets(self) -> None:
        seen: dict[bytes, TenantKey] = {}
        for key in self._keys:
            other = seen.setdefault(key.digest, key)
            if other is not key:
                raise InputError(
                    "two keys have the same hash, so nobody could tell them apart",
                    where=key.where,
                    got=f"the hash of {other.path}",
                    next_step="make another key: inferbudget keys new --name NAME",
                )

    def _place(self, keys: Sequence[str]) -> str:
        path, node, key = located(self._root, keys)
        return place(key or node, self._name, path)


def _names(scopes: Iterable[Scope]) -> Accounts:
    return tuple([scope.name for scope in scopes])


def _accounts(path: str, budgets: Budgets) -> tuple[Scope, ...]:
    return tuple([_account(path, budget) for budget in budgets])


def _account(path: str, budget: TenantBudget) -> Scope:
    times = limit_nano_usd if budget.unit in _NANO else int
    return Scope(
        path + budget.suffix,
        times(budget.limit),
        budget.window or Window.TOTAL,
        unit=budget.unit,
        timezone=budget.timezone or "UTC",
        rolling=budget.rolling,
        carry_over=times(budget.carry_over),
    )


def _gpu_card(file: TenantsFile) -> PriceCard:
    rates = file.gpu_s_per_million_tokens
    models = {
        model: TokenPrice(input=rate.input, output=rate.output) for model, rate in rates.items()
    }
    return PriceCard(models=models)


def _midnight_s(day: dt.date) -> float:
    return dt.datetime.combine(day, dt.time(), dt.UTC).timestamp()


def _no_hash(where: str) -> InputError:
    return InputError(
        "this is no hash of a virtual key",
        where=where,
        expected="'sha256:' and 64 digits 0-9, a-f",
        next_step="write what 'inferbudget keys new' or 'inferbudget keys hash' prints",
    )
