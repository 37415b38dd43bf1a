"""The APIs that ask for an answer, so that one path through the gateway serves all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from runtime.chat import PLAIN, ReplyForm
from runtime.openai.chat import ChatRequest, ask_of, chat_form, read_chat
from runtime.openai.chat_replies import ChatChunks, completion_body
from runtime.openai.completions import (
    CompletionRequest,
    TextChunks,
    completion_ask,
    read_completion,
    text_completion_body,
)
from runtime.openai.reading import StreamOptions
from runtime.openai.response_events import ResponseEvents
from runtime.openai.response_object import response_body
from runtime.openai.responses import ResponseRequest, read_response, response_ask, response_form
from runtime.service import Ask, Served


class Events(Protocol):
    """An answer as server-sent events, in the order of these methods."""

    def opening(self) -> bytes:
        """The first events."""

    def text(self, text: str) -> bytes:
        """A piece of the answer; nothing for an empty one."""

    def closing(self, served: Served) -> bytes:
        """The last events."""

    def failure(self, error: bytes) -> bytes:
        """The last event of an answer that was begun and cannot be ended; the error's body."""


class Asked(Protocol):
    """What every request says."""

    @property
    def model(self) -> str | None:
        """As the client calls it."""

    @property
    def stream(self) -> bool | None:
        """The answer is wanted as events."""

    @property
    def user(self) -> str | None:
        """On whose behalf, as the client calls him."""

    @property
    def safety_identifier(self) -> str | None:
        """The same, by OpenAI's newer name."""


R = TypeVar("R", bound=Asked)


@dataclass(frozen=True, slots=True)
class Api(Generic[R]):
    """One API.

    Attributes:
        read: A body as a request; raises `InputError`.
        ask: What it asks, with the label of the header; raises `InputError`.
        form: What the reply is to be; raises `InputError`.
        body: The whole answer, with the model as the client called it.
        events: The answer as events: request, request id, model.
    """

    read: Callable[[bytes], R]
    ask: Callable[[R, str | None], Ask]
    form: Callable[[R], ReplyForm]
    body: Callable[[R, Served, str], bytes]
    events: Callable[[R, str, str], Events]


def user_of(asked: Asked) -> str | None:
    """On whose behalf, None where the client does not say."""
    return asked.safety_identifier or asked.user


def _with_usage(options: StreamOptions | None) -> bool:
    return bool(options and options.include_usage)


def _chunks(asked: ChatRequest, request_id: str, model: str) -> ChatChunks:
    return ChatChunks(request_id, model, _with_usage(asked.stream_options))


def _text_chunks(asked: CompletionRequest, request_id: str, model: str) -> TextChunks:
    return TextChunks(request_id, model, _with_usage(asked.stream_options))


CHAT: Api[ChatRequest] = Api(
    read_chat,
    ask_of,
    chat_form,
    lambda _, served, model: completion_body(served, model),
    _chunks,
)
COMPLETIONS: Api[CompletionRequest] = Api(
    read_completion,
    completion_ask,
    lambda _: PLAIN,
    lambda _, served, model: text_completion_body(served, model),
    _text_chunks,
)
RESPONSES: Api[ResponseRequest] = Api(
    read_response, response_ask, response_form, response_body, ResponseEvents
)

APIS: Mapping[str, Api[Any]] = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": COMPLETIONS,
    "/v1/responses": RESPONSES,
}
"""By path."""
