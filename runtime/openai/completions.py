"""Completions, the API before chats: a prompt in, a text out; answered as a chat of one message."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

from profiles.errors import InputError
from runtime.chat import Message
from runtime.openai.bill import Said, Usage, usage_of
from runtime.openai.chunks import Chunks
from runtime.openai.reading import (
    SAMPLING_AT_REST,
    SampledRequest,
    decoded,
    label_of,
    refuse_several,
    refuser,
    stops_of,
)
from runtime.service import Ask, Served

AT_REST = {
    **SAMPLING_AT_REST,
    "best_of": (1,),
    "echo": (False,),
    "logprobs": (False,),
    "suffix": ("",),
}


class CompletionRequest(SampledRequest, kw_only=True):
    """The body of a completion request. Unknown fields are ignored.

    Fields that would change the answer and are not supported are refused.
    """

    prompt: str | Annotated[list[str | int | list[int]], msgspec.Meta(min_length=1)]
    best_of: Any = None
    echo: Any = None
    logprobs: Any = None
    suffix: Any = None


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


class TextChunks(Chunks[CompletionChoice]):
    """A completion's answer as events."""

    def _piece(self, text: str) -> CompletionChoice:
        return CompletionChoice(text, None)

    def _end(self, finish_reason: str) -> CompletionChoice:
        return CompletionChoice("", finish_reason)

    def _chunk(
        self,
        choices: Sequence[CompletionChoice],
        usage: Usage | msgspec.UnsetType | None,
        said: Said | msgspec.UnsetType,
    ) -> TextCompletion:
        return TextCompletion(
            id=f"cmpl-{self.request_id}",
            created=self.created_s,
            model=self.model,
            choices=list(choices),
            usage=usage,
            inferbudget=said,
        )


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
