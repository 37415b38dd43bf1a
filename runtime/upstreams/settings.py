"""What an operator writes about model servers: no key stands here, only the names of variables."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from profiles.errors import InputError
from runtime.upstream_address import LONGEST_TIMEOUT_S, chat_endpoint, checked_headers

EVERY_MODEL: Literal["*"] = "*"
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,127}")
_SECRET = re.compile(r"auth|key|token|secret|password|cookie|credential", re.IGNORECASE)
_LONGEST_WAIT_S = 3600.0
_Checked = TypeVar("_Checked")


def _checked(check: Callable[[_Checked], object]) -> AfterValidator:
    """A check of ours as a file's readers know it: the same words, the place from the reader."""

    def validate(value: _Checked) -> _Checked:
        try:
            check(value)
        except InputError as error:
            raise ValueError(f"{error.what}; expected {error.expected}") from error
        return value

    return AfterValidator(validate)


def _no_secrets(headers: Mapping[str, str]) -> None:
    checked_headers(headers)
    for name in headers:
        if _SECRET.search(name):
            raise InputError(
                f"the header {name!r} looks like a secret, which must not stand in a file",
                expected="it under headers_env, with the name of an environment variable",
            )


def _names_alone(headers: Mapping[str, str]) -> None:
    checked_headers(dict.fromkeys(headers, "value"))


def _address(url: str) -> str:
    """A URL with credentials is refused without the place, which would come with its words."""
    if "@" in url:
        chat_endpoint(url)
    return url


def _variable(name: str, info: ValidationInfo) -> str:
    """Likewise a key that somebody wrote where its variable's name belongs."""
    if not _VARIABLE.fullmatch(name):
        raise InputError(
            "this is not the name of an environment variable",
            where=f"upstreams: {info.field_name}",
            expected="capital letters, digits and underscores",
            next_step="put the secret into the environment, and its variable's name here",
        )
    return name


def _in_one_of_its_forms(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    try:
        return read(value)
    except ValidationError as error:
        raise ValueError(
            "expected '*', a list of the policy's models, or the server's names by the policy's"
        ) from error


Variable = Annotated[str, AfterValidator(_variable)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Model = Annotated[str, Field(min_length=1, max_length=256)]
Models = Annotated[
    Literal["*"] | dict[Model, Model] | list[Model], WrapValidator(_in_one_of_its_forms)
]
Wait = Annotated[float, Field(gt=0, le=_LONGEST_WAIT_S)]
Timeout = Annotated[float, Field(gt=0, le=LONGEST_TIMEOUT_S)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


class HealthSettings(_Part):
    """A page of the server that is asked for in the background.

    Attributes:
        path: From the root of the host, e.g. ``/health`` or ``/v1/models``.
        every_s: Seconds from one probe to the next, a tenth more or less.
        timeout_s: Seconds until a probe counts as failed.
        failures: Failed probes in a row that open the breaker.
    """

    path: str = Field(default="/health", pattern=r"^/[!-~]*$", max_length=1024)
    every_s: Wait = 10.0
    timeout_s: Wait = 5.0
    failures: Count = 2


class BreakerSettings(_Part):
    """When a server gets no calls, and when it gets some again.

    Attributes:
        failures: Failed calls in a row that open the breaker.
        share: Share of failed calls over the window that opens it, too.
        window_s: Length of that window in seconds.
        least_calls: With fewer calls in the window, its share says nothing.
        open_s: Seconds until calls are tried again; twice as long each time that they fail.
        most_open_s: Most of these seconds.
        trials: Calls that may be tried at once then; as many good ones close the breaker.
    """

    failures: Count = 5
    share: float = Field(default=0.5, gt=0, le=1)
    window_s: Wait = 30.0
    least_calls: Count = 20
    open_s: Wait = 5.0
    most_open_s: Wait = 60.0
    trials: Count = 1


class RetrySettings(_Part):
    """How often a call that cost nothing is asked again.

    Attributes:
        tries: Most calls sent for one that was asked, the first included.
        backoff_s: Seconds to wait once every upstream was tried; twice as long each time, and
            between half and all of it.
        most_backoff_s: Most of these seconds.
        within_s: Seconds from the first call on in which another may begin.
    """

    tries: Annotated[int, Field(ge=1, le=20)] = 3
    backoff_s: Wait = 0.1
    most_backoff_s: Wait = 2.0
    within_s: Annotated[float, Field(ge=0, le=LONGEST_TIMEOUT_S)] = 10.0


class UpstreamSettings(_Part):
    """One model server.

    Attributes:
        name: Ours, in metrics and messages.
        url: Base address as OpenAI clients write it.
        api_key_env: Environment variable that holds its key; None sends none.
        models: The models it serves: all that it is asked for (``*``), some by the policy's names,
            or the server's name by the policy's.
        weight: Its share of the calls beside the other weights of its priority.
        priority: 0 is asked first; a higher one when no upstream of the lower ones can be asked.
        timeout_s: Seconds until a call without a complete reply is given up.
        connect_timeout_s: Seconds until a connection is given up that is not there yet.
        max_connections: Open at once; further calls wait for one. None for any number.
        max_in_flight: Calls at once, those that wait for a connection included; further ones go
            elsewhere. None for any number.
        several_answers: Whether the server gives several answers to one call (`n`).
        max_completion_tokens: Whether the cap on tokens has this name instead of `max_tokens`.
        headers: Sent with every call; none that looks like a secret.
        headers_env: Likewise, each with the environment variable that holds its value.
        health: None probes nothing: then only calls show whether it lives.
        breaker: When it gets no calls.
    """

    name: Name
    url: Annotated[str, AfterValidator(_address), _checked(chat_endpoint)]
    api_key_env: Variable | None = None
    models: Models = EVERY_MODEL
    weight: float = Field(default=1.0, gt=0, le=1e6)
    priority: int = Field(default=0, ge=0, le=1000)
    timeout_s: Timeout = 120.0
    connect_timeout_s: Timeout = 10.0
    max_connections: Count | None = None
    max_in_flight: Count | None = None
    several_answers: bool = True
    max_completion_tokens: bool = False
    headers: Annotated[dict[str, str], _checked(_no_secrets)] = Field(default_factory=dict)
    headers_env: Annotated[dict[str, Variable], _checked(_names_alone)] = Field(
        default_factory=dict
    )
    health: HealthSettings | None = None
    breaker: BreakerSettings = Field(default_factory=BreakerSettings)

    def serves(self, model: str) -> bool:
        """Whether calls for this model of the policy may go there."""
        return self.models == EVERY_MODEL or model in self.models


def _distinct(upstreams: tuple[UpstreamSettings, ...]) -> tuple[UpstreamSettings, ...]:
    names = [upstream.name for upstream in upstreams]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"the name {twice[0]!r} stands for two upstreams")
    return upstreams


UpstreamList = Annotated[
    tuple[UpstreamSettings, ...], Field(min_length=1, max_length=1000), AfterValidator(_distinct)
]
"""All model servers of a gateway, each with a name of its own."""
