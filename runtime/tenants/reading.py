"""From tenants.yaml to `Tenants`: everything is checked and reckoned before a request comes."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from planner.spec import Window
from profiles.errors import InputError
from profiles.money import PriceCard, TokenPrice
from profiles.yaml_errors import located
from profiles.yaml_input import parsed, read_text, validated
from profiles.yaml_nodes import Mapping, place
from runtime.ledger import Scope, Unit, limit_nano_usd
from runtime.tenants.budgets import Budgets, TenantBudget
from runtime.tenants.file import Key, Level, Organisation, Team, TenantsFile
from runtime.tenants.identity import EachUser, TenantKey, accounts_of
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
    """One step of the way from an organisation to a key."""

    keys: tuple[str, ...]
    path: str
    level: Level

    def inner(self, kind: str, among: str, name: str, level: Level) -> _Rank:
        return _Rank((*self.keys, among, name), f"{self.path}/{kind}:{word(name)}", level)


class _Reckoning:
    """What a file means, with the place of everything that can still be wrong."""

    def __init__(self, file: TenantsFile, root: Mapping, name: str) -> None:
        self._file = file
        self._root = root
        self._name = name
        self._users: dict[str, EachUser] = {}

    def tenants(self, clock: Callable[[], float]) -> Tenants:
        file = self._file
        scopes = list(_accounts(EVERYBODY, file.budgets))
        for tag, budgets in file.tags.items():
            scopes += _accounts(f"tag:{word(tag)}", budgets)
        for class_name, budgets in file.classes.items():
            scopes += _accounts(f"class:{word(class_name)}", budgets)
        for ranks in self._ways():
            scopes += _accounts(ranks[-1].path, ranks[-1].level.budgets)
        keys = [self._key(way, level) for way, level in self._leaves()]
        self._refuse_shared_secrets(keys)
        return Tenants(
            keys,
            scopes,
            tags=self._shared("tag", "tags"),
            classes=self._shared("class", "classes"),
            gpu_seconds=_gpu_card(file),
            clock=clock,
        )

    def _ways(self) -> Iterator[tuple[_Rank, ...]]:
        """Every organisation, team and key, each after all that it belongs to."""
        for name, organisation in self._file.organisations.items():
            top = _Rank(("organisations", name), f"org:{word(name)}", organisation)
            yield (top,)
            yield from _keys((top,), organisation)
            for team_name, team in organisation.teams.items():
                way = (top, top.inner("team", "teams", team_name, team))
                yield way
                yield from _keys(way, team)

    def _leaves(self) -> Iterator[tuple[tuple[_Rank, ...], Key]]:
        for ranks in self._ways():
            if isinstance(ranks[-1].level, Key):
                yield ranks, ranks[-1].level

    def _key(self, ranks: Sequence[_Rank], key: Key) -> TenantKey:
        rank = ranks[-1]
        self._refuse_unknown_tags(rank, key)
        file = self._file
        each_user = self._each_user(ranks) if "user" in key.may_set else ()
        above = [(EVERYBODY, file.budgets), *((each.path, each.level.budgets) for each in ranks)]
        above += [(f"tag:{word(tag)}", file.tags[tag]) for tag in key.tags]
        return TenantKey(
            organisation=ranks[0].keys[-1],
            team=ranks[1].keys[-1] if len(ranks) > 2 else None,
            name=rank.keys[-1],
            path=rank.path,
            digest=digest_of(key.hash),
            enabled=key.enabled,
            expires_s=None if key.expires is None else _midnight_s(key.expires),
            accounts=tuple(path + budget.suffix for path, own in above for budget in own),
            tags=key.tags,
            labels=key.labels,
            limits=smallest(RequestLimits(**dict(each.level.limits)) for each in ranks),
            may_set_user="user" in key.may_set,
            may_set_tags="tags" in key.may_set,
            each_user=each_user,
            of_nobody=accounts_of(each_user, ""),
            where=self._place(rank.keys),
        )

    def _each_user(self, ranks: Sequence[_Rank]) -> tuple[EachUser, ...]:
        """One object for all keys of a team: what is the same need not be compared."""
        for rank in ranks:
            users = rank.level.each_user
            if users is not None and rank.path not in self._users:
                budgets = tuple(_accounts("", users.budgets))
                self._users[rank.path] = EachUser(rank.path, budgets, users.at_most)
        return tuple(self._users[rank.path] for rank in ranks if rank.path in self._users)

    def _shared(self, kind: str, key: str) -> dict[str, SharedAccounts]:
        found: dict[str, Budgets] = getattr(self._file, key)
        return {
            name: SharedAccounts(
                tuple(f"{kind}:{word(name)}{budget.suffix}" for budget in budgets),
                self._place((key, name)),
            )
            for name, budgets in found.items()
        }

    def _refuse_unknown_tags(self, rank: _Rank, key: Key) -> None:
        for index, tag in enumerate(key.tags):
            if tag not in self._file.tags:
                raise InputError(
                    f"the tag {tag!r} is not one of `tags`",
                    where=self._place((*rank.keys, "tags", str(index))),
                    expected=f"one of {', '.join(self._file.tags) or 'none: there are no tags'}",
                    next_step=f"give it budgets under `tags`, or none: 'tags: {{{tag}: []}}'",
                )

    def _refuse_shared_secrets(self, keys: Sequence[TenantKey]) -> None:
        seen: dict[bytes, TenantKey] = {}
        for key in keys:
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


def _keys(above: tuple[_Rank, ...], level: Organisation | Team) -> Iterator[tuple[_Rank, ...]]:
    for name, key in level.keys.items():
        yield (*above, above[-1].inner("key", "keys", name, key))


def _accounts(path: str, budgets: Budgets) -> Iterator[Scope]:
    for budget in budgets:
        yield _account(path, budget)


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
