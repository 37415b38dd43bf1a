"""Completions, the API before chats: a prompt in, a text out; answered as a chat of one message."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import msgspec

from profiles.errors import InputError
from runtime.chat import Message
from runtime.openai.bill import Said, Usage, said_of, usage_of
from runtime.openai.chat_replies import DONE
from runtime.openai.reading import (
    NOTHING,
    Positive,
    Seed,
    Stop,
    StreamOptions,
    Temperature,
    TopP,
    UserName,
    decoded,
    label_of,
    refuse_several,
    refuser,
    stops_of,
)
from runtime.service import Ask, Served

AT_REST = {
    "best_of": (1,),
    "echo": (False,),
    "frequency_penalty": NOTHING,
    "logit_bias": NOTHING,
    "logprobs": (False,),
    "min_p": NOTHING,
    "presence_penalty": NOTHING,
    "repetition_penalty": (*NOTHING, 1),
    "suffix": ("",),
    "top_k": (*NOTHING, -1),
}


class CompletionRequest(msgspec.Struct):
    """The body of a completion request. Unknown fields are ignored.

    Fields that would change the answer and are not supported are refused.
    """

    prompt: str | Annotated[list[str | int | list[int]], msgspec.Meta(min_length=1)]
    model: str | None = None
    max_tokens: Positive | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    seed: Seed | None = None
    stop: Stop | None = None
    n: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    metadata: dict[str, Any] | None = None
    user: UserName | None = None
    safety_identifier: UserName | None = None
    best_of: Any = None
    echo: Any = None
    frequency_penalty: Any = None
    logit_bias: Any = None
    logprobs: Any = None
    min_p: Any = None
    presence_penalty: Any = None
    repetition_penalty: Any = None
    suffix: Any = None
    top_k: Any = None


class CompletionChoice(msgspec.Struct):
    """The one answer, or a piece of it."""

    text: str
    finish_reason: str | None
    index: int = 0
    logprobs: None = None


class TextCompletion(msgspec.Struct):
    """The body of an answer, and of each of its events."""

    id: str
    created: int
    model: str
    choices: list[CompletionChoice]
    object: Literal["text_completion"] = "text_completion"
    usage: Usage | msgspec.UnsetType | None = msgspec.UNSET
    inferbudget: Said | msgspec.UnsetType = msgspec.UNSET


_decoder = msgspec.json.Decoder(CompletionRequest)
_encoder = msgspec.json.Encoder()
_refuse_unsupported = refuser(AT_REST)


def read_completion(body: bytes) -> CompletionRequest:
    """Read a request body.

    Raises:
        InputError: Not JSON, a wrong type or range, a prompt that is not one text, or a field that
            is not supported.
    """
    asked = decoded(_decoder, body, "a completion request")
    if asked.logprobs is not None and asked.logprobs is not False:
        raise InputError("logprobs is not supported", next_step="leave logprobs out")
    _refuse_unsupported(asked)
    refuse_several(asked.n)
    _prompt(asked)
    return asked


def completion_ask(asked: CompletionRequest, label: str | None) -> Ask:
    """The request behind a body: the prompt is what a user says.

    A label in the header wins over ``metadata.class``, an empty one too.
    """
    prompt = _prompt(asked)
    return Ask(
        messages=(Message("user", prompt),),
        prompt_text=prompt,
        label=label_of(asked.metadata, label),
        max_tokens=asked.max_tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
        seed=asked.seed,
        stop=stops_of(asked.stop),
    )


def text_completion_body(served: Served, model: str) -> bytes:
    """The body of a complete answer."""
    return _encoder.encode(
        TextCompletion(
            id=f"cmpl-{served.request_id}",
            created=int(time.time()),
            model=model,
            choices=[CompletionChoice(served.outcome.text, served.outcome.finish_reason)],
            usage=usage_of(served),
        )
    )


@dataclass(frozen=True, slots=True)
class TextChunks:
    """An answer as server-sent events: text, an end, usage where asked for, ``[DONE]``.

    Attributes:
        request_id: Of the run.
        model: As the client called it.
        include_usage: The client asked for it.
        created_s: Unix time, the same in all events.
    """

    request_id: str
    model: str
    include_usage: bool
    created_s: int = field(default_factory=lambda: int(time.time()))

    def opening(self) -> bytes:
        """Nothing: the first event is the first text."""
        return b""

    def text(self, text: str) -> bytes:
        """A piece of the answer; nothing for an empty one."""
        return self._event([CompletionChoice(text, None)]) if text else b""

    def closing(self, served: Served) -> bytes:
        """The last events; the very last also says what headers say of whole answers."""
        end, said = [CompletionChoice("", served.outcome.finish_reason)], said_of(served)
        if not self.include_usage:
            return self._event(end, said=said) + DONE
        return self._event(end) + self._event([], usage=usage_of(served), said=said) + DONE

    def failure(self, error: bytes) -> bytes:
        """The last event of an answer that was begun and cannot be ended.

        Args:
            error: Its body, see `runtime.openai.errors.error_body`.
        """
        return b"data: %b\n\n" % error

    def _event(
        self,
        choices: list[CompletionChoice],
        *,
        usage: Usage | None = None,
        said: Said | msgspec.UnsetType = msgspec.UNSET,
    ) -> bytes:
        chunk = TextCompletion(
            id=f"cmpl-{self.request_id}",
            created=self.created_s,
            model=self.model,
            choices=choices,
            usage=usage if self.include_usage else msgspec.UNSET,
            inferbudget=said,
        )
        return b"data: %b\n\n" % _encoder.encode(chunk)


def _prompt(asked: CompletionRequest) -> str:
    if isinstance(asked.prompt, str):
        return asked.prompt
    first = asked.prompt[0]
    if len(asked.prompt) == 1 and isinstance(first, str):
        return first
    raise InputError(
        "several prompts in one request are not supported, nor are prompts of tokens",
        where="prompt",
        expected="one text",
        next_step="send a request for each prompt",
    )
