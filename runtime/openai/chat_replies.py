"""Chat completions on the wire: whole answers, and answers as events."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from runtime.openai.bill import Said, Usage, usage_of
from runtime.openai.chunks import Chunks
from runtime.service import Served

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


class ChatChunks(Chunks[ChunkChoice]):
    """A chat's answer as events, a role before all others."""

    def opening(self) -> bytes:
        """The role."""
        return self._event([ChunkChoice(Delta("assistant", ""))])

    def _piece(self, text: str) -> ChunkChoice:
        return ChunkChoice(Delta(content=text))

    def _end(self, finish_reason: str) -> ChunkChoice:
        return ChunkChoice(Delta(), finish_reason)

    def _whole_at_the_end(self, served: Served) -> list[ChunkChoice]:
        """Calls of tools: nobody can do anything with half of one."""
        calls = [{**call, "index": index} for index, call in enumerate(served.outcome.tool_calls)]
        return [ChunkChoice(Delta(tool_calls=calls))] if calls else []

    def _chunk(
        self,
        choices: Sequence[ChunkChoice],
        usage: Usage | msgspec.UnsetType | None,
        said: Said | msgspec.UnsetType,
    ) -> ChatChunk:
        return ChatChunk(
            id=f"chatcmpl-{self.request_id}",
            created=self.created_s,
            model=self.model,
            choices=list(choices),
            usage=usage,
            inferbudget=said,
        )
