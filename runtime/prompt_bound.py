"""The most tokens of a whole prompt: messages, tools and schemas, by their bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import msgspec

from profiles.methods.counting import chat_tokens, json_bytes, message_tokens, tools_tokens
from runtime.chat import PLAIN, Message

_INDENT = 4
_encoder = msgspec.json.Encoder()


class Formed(Protocol):
    """What a model is told beside messages: of a `ReplyForm`, or of a `ChatCall`."""

    @property
    def tools(self) -> tuple[Mapping[str, Any], ...] | None:
        """Functions that it may ask to have called."""

    @property
    def response_format(self) -> Mapping[str, Any] | None:
        """What its reply must be."""


def prompt_tokens_bound(messages: Iterable[Message], form: Formed = PLAIN) -> int:
    """No byte-level tokenizer makes more prompt tokens of messages, tools and schemas than this."""
    tokens = chat_tokens(map(_message_bytes, messages))
    if form.tools is not None:
        tokens += tools_tokens(len(form.tools), _indented(form.tools))
    if form.response_format is not None:
        tokens += message_tokens(json_bytes(_indented(form.response_format)))
    return tokens


def _message_bytes(message: Message) -> int:
    if not message.tool_calls and message.tool_call_id is None:
        return len(message.content.encode()) + len((message.name or "").encode())
    # templates write results of tools as JSON, and arguments with blanks that the text has not
    arguments = sum(len(call.function.arguments.encode()) for call in message.tool_calls)
    return json_bytes(_indented(message)) + arguments


def _indented(value: Any) -> bytes:
    return msgspec.json.format(_encoder.encode(value), indent=_INDENT)
