"""Chat completions on the wire: whole answers, and answers as events."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from runtime.openai.bill import Said, Usage, said_of, usage_of
from runtime.service import Served

DONE = b"data: [DONE]\n\n"

_encoder = msgspec.json.Encoder()


class AnswerMessage(msgspec.Struct):
    """What was answered: a text, calls of tools, or both."""

    content: str | None
    role: Literal["assistant"] = "assistant"
    tool_calls: tuple[dict[str, Any], ...] | msgspec.UnsetType = msgspec.UNSET


class ChatChoice(msgspec.Struct):
    """The one answer."""

    message: AnswerMessage
    finish_reason: str
    index: int = 0
    logprobs: None = None


class ChatCompletion(msgspec.Struct):
    """The body of a complete answer."""

    id: str
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage | None
    object: Literal["chat.completion"] = "chat.completion"


class Delta(msgspec.Struct, omit_defaults=True):
    """What an event adds to the answer."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    tool_calls: list[dict[str, Any]] | None = None


class ChunkChoice(msgspec.Struct):
    """The one answer, as far as an event tells it."""

    delta: Delta
    finish_reason: str | None = None
    index: int = 0
    logprobs: None = None


class ChatChunk(msgspec.Struct):
    """One event of an answer. Ours is in the last."""

    id: str
    created: int
    model: str
    choices: list[ChunkChoice]
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    usage: Usage | msgspec.UnsetType | None = msgspec.UNSET
    inferbudget: Said | msgspec.UnsetType = msgspec.UNSET


def completion_body(served: Served, model: str) -> bytes:
    """The body of a complete answer."""
    outcome = served.outcome
    calls = tuple(dict(call) for call in outcome.tool_calls)
    message = AnswerMessage(outcome.text, tool_calls=calls or msgspec.UNSET)
    if calls and not outcome.text:
        message.content = None
    return _encoder.encode(
        ChatCompletion(
            id=f"chatcmpl-{served.request_id}",
            created=int(time.time()),
            model=model,
            choices=[ChatChoice(message, outcome.finish_reason)],
            usage=usage_of(served),
        )
    )


@dataclass(frozen=True, slots=True)
class Chunks:
    """An answer as server-sent events: a role, text, an end, usage where asked for, ``[DONE]``.

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
        """The first event."""
        return self._event([ChunkChoice(Delta("assistant", ""))])

    def text(self, text: str) -> bytes:
        """A piece of the answer; nothing for an empty one."""
        return self._event([ChunkChoice(Delta(content=text))]) if text else b""

    def closing(self, served: Served) -> bytes:
        """The last events; the very last also says what headers say of whole answers.

        Calls of tools come whole: nobody can do anything with half of one.
        """
        calls = [{**call, "index": index} for index, call in enumerate(served.outcome.tool_calls)]
        called = self._event([ChunkChoice(Delta(tool_calls=calls))]) if calls else b""
        end, said = [ChunkChoice(Delta(), served.outcome.finish_reason)], said_of(served)
        if not self.include_usage:
            return called + self._event(end, said=said) + DONE
        last = self._event([], usage=usage_of(served), said=said)
        return called + self._event(end) + last + DONE

    def failure(self, error: bytes) -> bytes:
        """The last event of an answer that was begun and cannot be ended.

        Args:
            error: Its body, see `runtime.openai.errors.error_body`.
        """
        return b"data: %b\n\n" % error

    def _event(
        self,
        choices: list[ChunkChoice],
        *,
        usage: Usage | None = None,
        said: Said | msgspec.UnsetType = msgspec.UNSET,
    ) -> bytes:
        chunk = ChatChunk(
            id=f"chatcmpl-{self.request_id}",
            created=self.created_s,
            model=self.model,
            choices=choices,
            usage=usage if self.include_usage else msgspec.UNSET,
            inferbudget=said,
        )
        return b"data: %b\n\n" % _encoder.encode(chunk)
