"""The world of the never-over experiment: who may spend what, and the files that say so.

Two organisations with two teams and a tag each, two keys a team, four users a team, two classes. A
request holds on about a dozen accounts at once: money, tokens, GPU-seconds, admitted requests and
requests at work; over calendar windows (second, minute, day in three time zones), rolling ones and
the total, some of which carry over.

`ACCOUNTS` says of each account what it limits and which requests it is about, for checks that ask
no gateway.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.never_over.policy import CLASSES, TYPICAL_NANO_USD, USD, policy_of
from policies.file import write_policy

NANO_GPU_S_PER_TOKEN = {"small": (1_000, 10_000), "large": (2_000, 40_000)}
PROMPT_BYTES = 64
TEMPLATE_TOKENS = 160
"""That a gateway allows a chat of one message beside its bytes."""
MOST_PROMPT_TOKENS = PROMPT_BYTES + TEMPLATE_TOKENS
ORGANISATIONS = {"acme": ("search", "chat"), "blau": ("ops", "lab")}
KEYS_OF_A_TEAM = ("ci", "web")
USERS_OF_A_TEAM = 4
TIMEZONES = {"acme": "Europe/Berlin", "blau": "Asia/Kolkata"}


@dataclass(frozen=True, slots=True)
class Key:
    """A client's key.

    Attributes:
        number: Its place, which prompts carry.
        organisation: Whose it is.
        team: Likewise.
        name: Of the key.
        secret: What clients send.
        tagged: Whether its requests have the tag.
    """

    number: int
    organisation: str
    team: str
    name: str
    secret: str
    tagged: bool


def _keys() -> Iterator[Key]:
    places = [
        (organisation, team, name)
        for organisation, teams in ORGANISATIONS.items()
        for team in teams
        for name in KEYS_OF_A_TEAM
    ]
    for number, (organisation, team, name) in enumerate(places):
        digest = hashlib.sha256(f"never over {number}".encode()).digest()
        secret = "ib-" + _base64(digest)
        yield Key(number, organisation, team, name, secret, tagged=name == "ci")


def _base64(digest: bytes) -> str:
    from base64 import urlsafe_b64encode  # noqa: PLC0415 used here alone

    return urlsafe_b64encode(digest).decode().rstrip("=")


KEYS = tuple(_keys())


@dataclass(frozen=True, slots=True)
class Account:
    """What one budget limits.

    Attributes:
        name: In the ledger.
        unit: What it counts.
        limit: Per window, in the unit.
        window: `second`, `minute`, `day` or `total`.
        rolling: The last so many seconds.
        timezone: Of calendar days.
        carry_over: Most that a window inherits.
        keys: Numbers of the keys whose requests it is about.
        user: Number of the user, None for all.
        class_index: Of the class, None for all.
    """

    name: str
    unit: str
    limit: int
    window: str
    rolling: bool = False
    timezone: str = "UTC"
    carry_over: int = 0
    keys: frozenset[int] = frozenset(range(8))
    user: int | None = None
    class_index: int | None = None


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large budgets are.

    Attributes:
        per_s: Requests a second that windows are made for.
        total: Requests that the budgets without an end are made for.
        windows: Whether there are budgets of windows; else totals alone.
        in_flight: Requests at work that a team may have.
    """

    per_s: float
    total: int
    windows: bool = True
    in_flight: int = 100


_UNITS = {"nano_usd": "usd", "tokens": "tokens", "requests": "requests", "nano_gpu_s": "gpu_s"}


def _said(account: Account) -> dict[str, Any]:
    """A budget as tenants.yaml says it."""
    if account.unit == "in_flight":
        return {"in_flight": account.limit}
    name = _UNITS[account.unit]

    def amount(value: int) -> float | int:
        return value / USD if account.unit.startswith("nano") else value

    said: dict[str, Any] = {f"limit_{name}": amount(account.limit), "window": account.window}
    if account.rolling:
        said["rolling"] = True
    if account.timezone != "UTC":
        said["timezone"] = account.timezone
    if account.carry_over:
        said[f"carry_over_{name}"] = amount(account.carry_over)
    return said


def _cents(nano_usd: float) -> int:
    """Whole hundred-thousandths of a dollar, which YAML's numbers keep to the nano-dollar."""
    return max(round(nano_usd / 10_000), 1) * 10_000


class World:
    """Accounts and files.

    Args:
        sizes: How large budgets are.
    """

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self.accounts: list[Account] = []
        self._said: dict[str, list[dict[str, Any]]] = {}
        self._everybody()
        for organisation, teams in ORGANISATIONS.items():
            self._organisation(organisation)
            for team in teams:
                self._team(organisation, team)
        for key in KEYS:
            self._key(key)
        self._classes()

    def _add(self, scope: str, unit: str, limit: float, window: str = "total", **more: Any) -> None:
        whole = _cents(limit) if unit.startswith("nano") else max(round(limit), 1)
        rolling = "rolling-" if more.get("rolling") else ""
        name = f"{scope}|{unit}|{rolling}{window}"
        account = Account(name, unit, whole, window, **more)
        self.accounts.append(account)
        if ("user:" not in scope) or scope.endswith("user:u0"):
            self._said.setdefault(scope, []).append(_said(account))

    def _everybody(self) -> None:
        # The policy's own budget has the plain name.
        limit = _cents(self.sizes.total * TYPICAL_NANO_USD)
        self.accounts.append(Account("global", "nano_usd", limit, "total"))
        if self.sizes.windows:
            rate = self.sizes.per_s
            self._add("global", "requests", rate, "second", rolling=True)
            self._add("global", "nano_usd", 60 * rate * TYPICAL_NANO_USD, "minute", rolling=True)

    def _organisation(self, organisation: str) -> None:
        keys = frozenset(key.number for key in KEYS if key.organisation == organisation)
        scope, share = f"org:{organisation}", self.sizes.per_s / 2 * TYPICAL_NANO_USD
        more: dict[str, Any] = {"keys": keys}
        total = self.sizes.total / 2 * TYPICAL_NANO_USD
        if self.sizes.windows:
            self._add(
                scope, "nano_usd", 40 * share, "minute", carry_over=_cents(10 * share), **more
            )
            self._add(scope, "nano_usd", total, "day", timezone=TIMEZONES[organisation], **more)
        else:
            self._add(scope, "nano_usd", total, **more)
        tagged = frozenset(key.number for key in KEYS if key.tagged) & keys
        self._add(f"{scope}/tag:batch", "requests", 0.3 * self.sizes.total, keys=tagged)

    def _team(self, organisation: str, team: str) -> None:
        keys = frozenset(
            key.number for key in KEYS if (key.organisation, key.team) == (organisation, team)
        )
        scope = f"org:{organisation}/team:{team}"
        self._add(scope, "in_flight", self.sizes.in_flight, keys=keys)
        if self.sizes.windows:
            self._add(scope, "tokens", self.sizes.per_s / 4 * 120, "second", keys=keys)
        for user in range(USERS_OF_A_TEAM):
            name = f"{scope}/user:u{user}"
            share = self.sizes.per_s / 16 * TYPICAL_NANO_USD
            if self.sizes.windows:
                self._add(
                    name, "nano_usd", 60 * share, "minute", rolling=True, keys=keys, user=user
                )
            else:
                total = self.sizes.total / 16 * TYPICAL_NANO_USD
                self._add(name, "nano_usd", total, keys=keys, user=user)

    def _key(self, key: Key) -> None:
        scope = f"org:{key.organisation}/team:{key.team}/key:{key.name}"
        keys = frozenset({key.number})
        self._add(scope, "nano_usd", self.sizes.total / 8 * TYPICAL_NANO_USD, keys=keys)
        if self.sizes.windows:
            self._add(scope, "requests", self.sizes.per_s / 8 * 60, "minute", keys=keys)

    def _classes(self) -> None:
        if self.sizes.windows:
            share = self.sizes.per_s / 2
            self._add("class:hard", "nano_gpu_s", 60 * share * 1_500_000, "minute", class_index=1)
            self._add(
                "class:easy",
                "nano_usd",
                share * TYPICAL_NANO_USD,
                "second",
                rolling=True,
                class_index=0,
            )

    def tenants(self) -> dict[str, Any]:
        """tenants.yaml."""
        organisations: dict[str, Any] = {}
        for organisation, teams in ORGANISATIONS.items():
            organisations[organisation] = {
                "budgets": self._said.get(f"org:{organisation}", []),
                "tags": {"batch": self._said.get(f"org:{organisation}/tag:batch", [])},
                "teams": {team: self._team_said(organisation, team) for team in teams},
            }
        return {
            "format_version": "1.0",
            "budgets": self._said.get("global", []),
            "organisations": organisations,
            "classes": {
                name: self._said[f"class:{name}"]
                for name in CLASSES
                if f"class:{name}" in self._said
            },
            "gpu_s_per_million_tokens": {
                model: {"input": into / 1000, "output": out / 1000}
                for model, (into, out) in NANO_GPU_S_PER_TOKEN.items()
            },
        }

    def _team_said(self, organisation: str, team: str) -> dict[str, Any]:
        scope = f"org:{organisation}/team:{team}"
        keys = {
            key.name: {
                "hash": "sha256:" + hashlib.sha256(key.secret.encode()).hexdigest(),
                "budgets": self._said.get(f"{scope}/key:{key.name}", []),
                "may_set": ["user"],
                **({"tags": ["batch"]} if key.tagged else {}),
            }
            for key in KEYS
            if (key.organisation, key.team) == (organisation, team)
        }
        return {
            "budgets": self._said.get(scope, []),
            "each_user": {"budgets": self._said.get(f"{scope}/user:u0", []), "at_most": 100},
            "keys": keys,
        }

    def write(self, folder: Path, gateway: Mapping[str, Any]) -> None:
        """policy.yaml, tenants.yaml and gateway.yaml."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "audit").mkdir(exist_ok=True)
        (folder / "tenants.yaml").write_text(yaml.safe_dump(self.tenants(), sort_keys=False))
        (folder / "gateway.yaml").write_text(yaml.safe_dump(dict(gateway), sort_keys=False))
        (folder / "accounts.json").write_text(
            json.dumps([account.name for account in self.accounts], indent=1)
        )
        write_policy(policy_of(self.accounts[0].limit, self.sizes.total), folder / "policy.yaml")
