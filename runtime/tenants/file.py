"""tenants.yaml as people write it: organisations, teams, keys, and what each of them may use."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, Field

from profiles.request_bound import MOST_TOKENS
from profiles.visible import quoted
from runtime.tenants.budgets import Budgets, Count, Dollars, EachUserBudgets, Part
from runtime.tenants.scope_names import MOST_NAME, composed, plain_name
from runtime.tenants.virtual_keys import HASH_PATTERN

Name = Annotated[str, Field(min_length=1, max_length=MOST_NAME), AfterValidator(plain_name)]
ClassName = Annotated[str, Field(min_length=1), AfterValidator(composed)]
Tokens = Annotated[int, Field(ge=1, le=MOST_TOKENS)]
_Item = TypeVar("_Item")


def _no_word_twice(words: tuple[_Item, ...]) -> tuple[_Item, ...]:
    seen = set()
    for word in words:
        if word in seen:
            raise ValueError(f"{quoted(str(word))!r} stands twice")
        seen.add(word)
    return words


class Limits(Part):
    """What one request may be. The smallest of key, team and organisation counts."""

    body_bytes: Count | None = Field(default=None, description="Bytes of the body.")
    depth: Count | None = Field(default=None, description="Nesting of the body's JSON.")
    messages: Count | None = Field(default=None, description="Messages of a chat.")
    tools: Count | None = Field(default=None, description="Tools that a request defines.")
    prompt_tokens: Tokens | None = Field(
        default=None, description="Tokens of the prompt, counted as its hold counts them."
    )
    max_tokens: Tokens | None = Field(
        default=None, description="Completion tokens of each answer; a higher wish is lowered."
    )
    calls: Count | None = Field(default=None, description="Calls to models for one request.")
    tokens: Tokens | None = Field(default=None, description="Tokens in and out of all calls.")
    usd: Dollars | None = Field(default=None, description="Dollars of all calls.")
    wall_s: Annotated[float, Field(gt=0, le=86_400)] | None = Field(
        default=None, description="Seconds until it is answered."
    )


class Level(Part):
    """What organisations, teams and keys have in common."""

    budgets: Budgets = Field(default=(), description="All of them hold together.")
    each_user: EachUserBudgets | None = Field(
        default=None, description="Budgets of every single user of its keys."
    )
    limits: Limits = Field(default_factory=Limits, description="On every single request.")


class Key(Level):
    """A virtual key."""

    hash: Annotated[str, Field(pattern=HASH_PATTERN)] = Field(
        description="`sha256:` and the hash of its secret, see `inferbudget keys`."
    )
    enabled: bool = Field(default=True, description="False switches it off.")
    expires: dt.date | None = Field(
        default=None, description="The day (UTC) from which it opens no more."
    )
    tags: Annotated[tuple[Name, ...], AfterValidator(_no_word_twice)] = Field(
        default=(), description="Of each of its requests; `tags` of its organisation."
    )
    labels: Annotated[tuple[str, ...], AfterValidator(_no_word_twice)] | None = Field(
        default=None, description="Only these labels may be asked for; all where absent."
    )
    may_set: Annotated[tuple[Literal["user", "tags"], ...], AfterValidator(_no_word_twice)] = Field(
        default=(), description="What its requests may say of themselves."
    )


class Team(Level):
    """Keys that share budgets."""

    keys: dict[Name, Key] = Field(default_factory=dict, description="Its keys by name.")


class Organisation(Level):
    """Teams and keys that share budgets."""

    tags: dict[Name, Budgets] = Field(
        default_factory=dict,
        description="Every tag that its requests may carry, with the budgets of all that do.",
    )
    keys: dict[Name, Key] = Field(default_factory=dict, description="Keys without a team.")
    teams: dict[Name, Team] = Field(default_factory=dict, description="Its teams by name.")


class GpuSecondsPerMillion(Part):
    """GPU-seconds that a million tokens of one model take."""

    input: Annotated[float, Field(ge=0, le=1e9)] = Field(description="Of prompt tokens.")
    output: Annotated[float, Field(ge=0, le=1e9)] = Field(description="Of completion tokens.")


class TenantsFile(Part):
    """Who may send requests, and what all of them may use."""

    format_version: Literal["1.0"] = Field(description="Version of this file format.")
    budgets: Budgets = Field(default=(), description="Of everybody together.")
    organisations: dict[Name, Organisation] = Field(description="By name.")
    classes: dict[ClassName, Budgets] = Field(
        default_factory=dict, description="Budgets of all requests of a class of the policy."
    )
    gpu_s_per_million_tokens: dict[str, GpuSecondsPerMillion] = Field(
        default_factory=dict, description="By model; what budgets of GPU-seconds count."
    )
