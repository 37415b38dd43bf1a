"""The fleet question: traffic by hour, GPUs with prices, pools with throughput (fleet.yaml)."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from profiles.yaml_input import read_yaml

Whole = Annotated[int, Field(strict=True, ge=1)]
Amount = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Probability = Annotated[float, Field(gt=0, lt=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Gpu(_Part):
    """One type of GPU, rented whole."""

    usd_per_hour: Positive = Field(description="USD for one GPU-hour on demand.")
    reserved_usd_per_hour: Positive | None = Field(
        default=None,
        description="USD for one GPU-hour of a reservation; cannot be reserved where absent.",
    )
    at_most: Annotated[int, Field(strict=True, ge=0)] | None = Field(
        default=None, description="Most GPUs of this type at once; no limit where absent."
    )

    @model_validator(mode="after")
    def _reserving_is_a_discount(self) -> Gpu:
        reserved = self.reserved_usd_per_hour
        if reserved is not None and reserved > self.usd_per_hour:
            raise ValueError("a reserved hour is never dearer than one on demand; swap the prices")
        return self


class SecondsPerToken(_Part):
    """How long one request occupies a slot, by its tokens, at the load of the measurement."""

    input: Amount = Field(description="Seconds per prompt token.")
    output: Amount = Field(description="Seconds per completion token.")

    @model_validator(mode="after")
    def _takes_time(self) -> SecondsPerToken:
        if self.input + self.output <= 0:
            raise ValueError("tokens take time: one of input and output is above 0")
        return self


class Server(_Part):
    """One shape of replica that a pool can run, and how fast it was measured to be."""

    gpu: str = Field(description="Type, a key of `gpus`.")
    gpus: Whole = Field(default=1, description="GPUs of one replica.")
    slots: Whole = Field(
        default=1, description="Requests that one replica serves at once, as measured."
    )
    gpu_s: dict[str, Positive] | Literal["measured"] | None = Field(
        default=None,
        description="GPU-seconds of one request by strategy, or 'measured': the profile's.",
    )
    seconds_per_token: SecondsPerToken | None = Field(
        default=None,
        description="Where `gpu_s` is absent, times the profile's tokens; spreads the lengths "
        "of a replayed trace.",
    )
    source: str = Field(min_length=1, description="Where the throughput was measured.")

    @model_validator(mode="after")
    def _has_a_speed(self) -> Server:
        if self.gpu_s is None and self.seconds_per_token is None:
            raise ValueError("give gpu_s, seconds_per_token or both: unknown is never fast")
        return self


class Pool(_Part):
    """Replicas of one model, and the strategies that send it work."""

    strategies: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        description="Strategies, as the plan writes them, whose requests come here."
    )
    servers: Annotated[tuple[Server, ...], Field(min_length=1)] = Field(
        description="Shapes to choose from; at most two run at once."
    )


class Rule(StrEnum):
    """How the load that a number of slots may carry is limited."""

    ERLANG = "erlang c"
    SQUARE_ROOT = "square root"
    UTILISATION = "utilisation"


class Headroom(_Part):
    """What waiting is allowed, and by which rule slots stay free for it."""

    wait_s: Amount = Field(description="A request that waits longer, in seconds, is late.")
    late_share: Probability | None = Field(
        default=None, description="Share of requests that may be late; of rule 'erlang c'."
    )
    rule: Rule = Field(
        default=Rule.ERLANG,
        description="'erlang c' holds `late_share`; 'square root' loads c slots to "
        "1 - 1/sqrt(c); 'utilisation' to `utilisation`.",
    )
    utilisation: Probability | None = Field(
        default=None, description="Most load per slot; of rule 'utilisation'."
    )
    peak_factor: Annotated[float, Field(ge=1)] = Field(
        default=1.0,
        description="Traffic of an hour's busiest stretch over the hour's mean: what is planned "
        "for. 1 takes traffic to be steady within the hour.",
    )
    arrival_scv: Amount = Field(
        default=1.0, description="Squared coefficient of variation of times between arrivals."
    )
    service_scv: Amount = Field(
        default=1.0, description="Squared coefficient of variation of service times."
    )

    @model_validator(mode="after")
    def _rule_has_its_number(self) -> Headroom:
        if (self.late_share is None) == (self.rule is Rule.ERLANG):
            raise ValueError("late_share belongs to the rule 'erlang c', and to no other")
        if (self.utilisation is None) == (self.rule is Rule.UTILISATION):
            raise ValueError("utilisation belongs to the rule 'utilisation', and to no other")
        return self

    @property
    def variability(self) -> float:
        """Allen and Cunneen's factor on the mean wait of M/M/c."""
        return (self.arrival_scv + self.service_scv) / 2


class AccuracyFloor(_Part):
    """How accurate the plans that run must be promised to be."""

    promised: Annotated[float, Field(ge=0, le=1)] = Field(description="Floor, 0..1.")
    over: Literal["hour", "period"] = Field(
        default="hour",
        description="'hour': every hour's plan; 'period': the mean over all requests.",
    )


class FleetQuestion(_Part):
    """Which whole GPUs to have in which hour."""

    format_version: Literal["1.0"] = Field(description="Version of this file format.")
    requests_per_hour: tuple[Amount, ...] = Field(
        description="Requests in every hour of a day (24) or of a week (168)."
    )
    growth_factor: Positive = Field(default=1.0, description="Multiplies every hour.")
    gpus: Annotated[dict[str, Gpu], Field(min_length=1)] = Field(description="Types by name.")
    reserved_hours: Whole | None = Field(
        default=None,
        description="Hours that one reservation binds, from hour 0 on; all where absent.",
    )
    pools: Annotated[dict[str, Pool], Field(min_length=1)] = Field(description="Pools by name.")
    by_request: tuple[str, ...] = Field(
        default=(), description="Strategies that need no GPU here: bought by the request."
    )
    headroom: Headroom = Field(description="What waiting is allowed.")
    accuracy: AccuracyFloor | None = Field(
        default=None, description="Where absent, the first plan's first rung runs in every hour."
    )

    @field_validator("requests_per_hour")
    @classmethod
    def _day_or_week(cls, hours: tuple[float, ...]) -> tuple[float, ...]:
        if len(hours) not in {24, 168}:
            raise ValueError(f"a shape has 24 or 168 hours, this one has {len(hours)}")
        if not any(hours):
            raise ValueError("some hour has requests")
        return hours

    @model_validator(mode="after")
    def _names_fit(self) -> FleetQuestion:
        for name, pool in self.pools.items():
            for server in pool.servers:
                if server.gpu not in self.gpus:
                    raise ValueError(
                        f"pool {name} runs on {server.gpu!r}, gpus has {', '.join(self.gpus)}"
                    )
        bound = self.reserved_hours
        if bound is not None and len(self.requests_per_hour) % bound:
            raise ValueError(
                f"reserved_hours is {bound}; blocks of that length do not fill "
                f"{len(self.requests_per_hour)} hours"
            )
        twice = {s for pool in self.pools.values() for s in pool.strategies} & set(self.by_request)
        if twice:
            raise ValueError(f"{min(twice)} has a pool and is bought by the request: choose one")
        return self

    @property
    def requests(self) -> tuple[float, ...]:
        """Requests in every hour, growth included."""
        return tuple(hour * self.growth_factor for hour in self.requests_per_hour)

    @property
    def block_hours(self) -> int:
        """Hours that one reservation binds."""
        return self.reserved_hours or len(self.requests_per_hour)


def read_fleet(path: Path) -> FleetQuestion:
    """Read fleet.yaml.

    Raises:
        InputError: Names file, line and key of the first thing that is wrong.
    """
    return read_yaml(path, FleetQuestion)
