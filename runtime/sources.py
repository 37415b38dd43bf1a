"""What a gateway is made of, whoever serves it: the command, or another application."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from profiles.errors import InputError
from profiles.methods.counting import ANSWERS_PER_CALL
from runtime.chat import ChatCall, Completion
from runtime.checkers import ExtractorFunction, Verifier, VerifierFunction
from runtime.embedding import TIMEOUT_S
from runtime.prepared import tools_of
from runtime.settings import GatewaySettings
from runtime.strategies import Tools
from runtime.upstream_address import chat_endpoint, checked_timeout_s
from runtime.upstream_embeddings import Embeddings
from runtime.upstreams import UpstreamState
from runtime.upstreams.settings import UpstreamSettings

if TYPE_CHECKING:
    from policies.keys import PublicKey

UPSTREAM_API_KEY = "INFERBUDGET_UPSTREAM_API_KEY"


class ModelServers(Protocol):
    """What `runtime.upstreams.Upstreams` does."""

    async def __aenter__(self) -> object:
        """Before the first call."""

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """After the last one."""

    async def chat(self, call: ChatCall) -> Completion:
        """Send one call."""

    async def embeddings(self, model: str, body: bytes) -> Embeddings:
        """Pass a request for embeddings through."""

    def require(self, models: Iterable[str]) -> None:
        """Serve a policy that names these models."""

    def unready(self) -> tuple[str, ...]:
        """Models that nobody can be asked for."""

    def snapshot(self) -> tuple[UpstreamState, ...]:
        """What is known of every server."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What a gateway is made of.

    Attributes:
        policy: The policy; its graph lies beside it.
        settings: Of gateway.yaml.
        tools: Verifiers and extractor that the strategies name.
        servers: Answer the calls in place of the settings' upstreams.
        trusted: Keys of which one must have signed the policy; None asks for no signature.
        encoder: Folder of the encoder that the policy names.
        encoder_timeout_s: Seconds until a prompt that the encoder has not read gets the last class.
        require_gpu: Refuse to start where the encoder would not run on a GPU; without an encoder,
            where the decision graph would not.
        drain_s: Seconds that running calls get when a client leaves or the gateway stops.
        takes_models: Clients may name a model of the policy too.
        environ: Where keys are.
    """

    policy: Path
    settings: GatewaySettings
    tools: Tools
    servers: ModelServers | None = None
    trusted: Sequence[PublicKey] | None = None
    encoder: Path | None = None
    encoder_timeout_s: float = TIMEOUT_S
    require_gpu: bool = False
    drain_s: float = 30.0
    takes_models: bool = False
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))


def with_upstream(
    settings: GatewaySettings | None,
    upstream: str | None,
    *,
    timeout_s: float,
    environ: Mapping[str, str] = os.environ,
) -> GatewaySettings:
    """The settings, with the one upstream that was named.

    Raises:
        InputError: It is not clear where calls go, or no such address or time.
    """
    found = GatewaySettings(format_version="1.0") if settings is None else settings
    if (upstream is None) == (found.upstreams is None):
        raise InputError(
            "it is not clear where calls go",
            where="upstreams",
            expected="an upstream, or upstreams in the settings",
            got="neither" if upstream is None else "both",
        )
    if upstream is None:
        return found
    key = UPSTREAM_API_KEY if environ.get(UPSTREAM_API_KEY) else None
    chat_endpoint(upstream)  # its error names no file
    one = UpstreamSettings(
        name="upstream", url=upstream, api_key_env=key, timeout_s=checked_timeout_s(timeout_s)
    )
    return found.model_copy(update={"upstreams": (one,)})


def tools_for(
    settings: GatewaySettings,
    verifiers: Mapping[str, Verifier | VerifierFunction] | None,
    extract: ExtractorFunction | None,
) -> Tools:
    """Verifiers and extractor, and how many answers the settings' upstreams give at once."""
    several = all(each.several_answers for each in settings.upstreams or ())
    return tools_of(verifiers, extract, ANSWERS_PER_CALL if several else 1)
