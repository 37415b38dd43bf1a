"""From an upstream's settings to its client, with what the environment holds."""

from __future__ import annotations

from collections.abc import Mapping

from profiles.errors import InputError
from runtime.upstream import Upstream
from runtime.upstreams.settings import UpstreamSettings


def connected(settings: UpstreamSettings, environ: Mapping[str, str]) -> Upstream:
    """The client of an upstream. It sends every call once; whoever asks it may ask again.

    Raises:
        InputError: A variable is not there or empty, or holds what no header can carry.
    """
    where = f"upstreams.{settings.name}"
    key = settings.api_key_env and _value(environ, settings.api_key_env, f"{where}.api_key_env")
    secret = {
        name: _value(environ, variable, f"{where}.headers_env.{name}")
        for name, variable in settings.headers_env.items()
    }
    names = settings.models if isinstance(settings.models, dict) else None
    try:
        return Upstream(
            settings.url,
            key,
            timeout_s=settings.timeout_s,
            connect_timeout_s=settings.connect_timeout_s,
            max_connections=settings.max_connections or 0,
            headers={**settings.headers, **secret},
            names=names,
            cap_field="max_completion_tokens" if settings.max_completion_tokens else "max_tokens",
            tries=1,
        )
    except InputError as error:
        raise InputError(
            error.what, where=where, expected=error.expected, next_step=error.next_step
        ) from error


def _value(environ: Mapping[str, str], variable: str, where: str) -> str:
    value = environ.get(variable, "").strip()
    if not value:
        raise InputError(
            f"the environment variable {variable} is not set or empty",
            where=where,
            next_step=f"set {variable} where the gateway starts, or leave the key out",
        )
    return value
