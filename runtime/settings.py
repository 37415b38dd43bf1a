"""gateway.yaml: what an operator says of a gateway beside its policy. No secret stands in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from profiles.errors import InputError
from profiles.money import MOST_USD
from profiles.yaml_input import parsed, read_text, validated
from runtime.audit import AuditSettings
from runtime.ledger.leased import EXCHANGE_S, PATIENCE_S, TTL_S
from runtime.recording.recorder import RecorderSettings
from runtime.trace_export import TracingSettings
from runtime.upstreams.settings import RetrySettings, UpstreamList

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_EXCHANGES_PER_TTL = 4
_Seconds = Annotated[float, Field(gt=0, le=3600)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


class LedgerSettings(_Part):
    """Where budgets are shared with other processes, and outlive this one."""

    store: str = Field(
        min_length=1,
        description="sqlite:///path/ledger.db for the processes of one host, redis://, rediss:// "
        "or unix:// for many hosts. A variable ${NAME} stands for its value in the environment.",
    )
    exchange_s: _Seconds = Field(
        default=EXCHANGE_S, description="Seconds between exchanges where nothing is short."
    )
    ttl_s: _Seconds = Field(
        default=TTL_S,
        description="Seconds until a process that is not heard of is charged what it leased.",
    )
    patience_s: Annotated[float, Field(ge=0, le=60)] = Field(
        default=PATIENCE_S,
        description="Seconds that a request may wait for what other processes give back.",
    )

    @model_validator(mode="after")
    def _is_heard_of_in_time(self) -> Self:
        """A process that lives is heard of several times before it would count as lost."""
        if self.ttl_s < _EXCHANGES_PER_TTL * self.exchange_s:
            raise ValueError(f"ttl_s is at least {_EXCHANGES_PER_TTL} times exchange_s")
        return self


class EmbeddingPrice(_Part):
    """What a model for embeddings costs."""

    input: Annotated[float, Field(ge=0, le=MOST_USD)] = Field(
        description="USD per million prompt tokens."
    )


class GatewaySettings(_Part):
    """All of gateway.yaml. Paths are relative to the file."""

    format_version: Literal["1.0"] = Field(description="Version of this format.")
    upstreams: UpstreamList | None = Field(
        default=None, description="Model servers; none where the command line names one."
    )
    retries: RetrySettings = Field(
        default_factory=RetrySettings,
        description="How often a call that cost nothing is asked again.",
    )
    ledger: LedgerSettings | None = Field(
        default=None, description="Shared budgets; absent, each process has its own in memory."
    )
    tenants: Path | None = Field(
        default=None, description="tenants.yaml: virtual keys, budgets and limits of clients."
    )
    embeddings: dict[Annotated[str, Field(min_length=1, max_length=256)], EmbeddingPrice] = Field(
        default_factory=dict, description="Models for embeddings that clients may name."
    )
    shadow: Path | None = Field(
        default=None, description="A policy that decides every request too, and changes nothing."
    )
    reload_s: Annotated[float, Field(gt=0, le=3600)] | None = Field(
        default=5.0,
        description="Seconds between looks at the policy and the tenants; null for SIGHUP alone.",
    )
    audit: AuditSettings | None = Field(
        default=None, description="The audit log, one line per settled request."
    )
    recorder: RecorderSettings | None = Field(
        default=None, description="Every request as an observation, in Parquet."
    )
    tracing: TracingSettings | None = Field(default=None, description="OpenTelemetry traces.")
    logs: Literal["text", "json"] = Field(default="text", description="How logs are written.")


def read_settings(path: Path) -> GatewaySettings:
    """Read gateway.yaml.

    Raises:
        InputError: Names file, line and key of the first thing that is wrong.
    """
    name = str(path)
    root, data = parsed(read_text(path), name)
    settings = validated(data, GatewaySettings, root, name)
    return settings.model_copy(update=_beside(path, settings))


def expanded(text: str, environ: Mapping[str, str], *, where: str = "ledger.store") -> str:
    """A text with the values of its variables ``${NAME}``.

    Raises:
        InputError: The environment lacks one.
    """

    def value(found: re.Match[str]) -> str:
        if found[1] not in environ:
            raise InputError(
                f"the environment has no variable {found[1]}",
                where=where,
                next_step="set it, or write the address without it",
            )
        return environ[found[1]]

    return _VARIABLE.sub(value, text)


def _beside(path: Path, settings: GatewaySettings) -> dict[str, object]:
    """Paths as they are from here."""
    found: dict[str, object] = {}
    for name in ("tenants", "shadow"):
        given = getattr(settings, name)
        if given is not None:
            found[name] = path.parent / given
    for name in ("audit", "recorder"):
        part = getattr(settings, name)
        if part is not None:
            found[name] = part.model_copy(update={"folder": path.parent / part.folder})
    return found
