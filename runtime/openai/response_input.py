"""Input items of responses, and the chat that they are."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from profiles.errors import InputError
from runtime.chat import FunctionCall, Message, ToolCall
from runtime.openai.text_parts import TextPart, text_of

ITEM_TYPES = ("message", "function_call", "function_call_output")
_ROLES = ("user", "assistant", "system", "developer")
_PARTS = ("input_text", "output_text", "text")
_SHOWN = 60


class InputItem(msgspec.Struct):
    """A message, a call of a function, or what it gave back; without a type it is a message."""

    type: str = "message"
    role: str | None = None
    content: str | list[TextPart] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[TextPart] | None = None


def chat_of_items(items: Sequence[InputItem]) -> list[Message]:
    """The items as a chat: calls belong to the assistant's message before them.

    Raises:
        InputError: An item that is not supported, or one without what its type needs.
    """
    chat: list[Message] = []
    for index, item in enumerate(items):
        where = f"input[{index}]"
        if item.type == "function_call":
            _add_call(chat, _call(item, where))
        elif item.type == "function_call_output":
            chat.append(_output(item, where))
        else:
            chat.append(_said(item, where))
    return chat


def _add_call(chat: list[Message], call: ToolCall) -> None:
    before = chat[-1] if chat else None
    if before is None or before.role != "assistant":
        chat.append(Message("assistant", "", tool_calls=(call,)))
    else:
        chat[-1] = msgspec.structs.replace(before, tool_calls=(*before.tool_calls, call))


def _call(item: InputItem, where: str) -> ToolCall:
    if item.call_id is None or item.name is None or item.arguments is None:
        raise InputError("a function_call needs a call_id, a name and arguments", where=where)
    return ToolCall(item.call_id, FunctionCall(item.name, item.arguments))


def _output(item: InputItem, where: str) -> Message:
    if item.call_id is None or item.output is None:
        raise InputError("a function_call_output needs a call_id and an output", where=where)
    text = text_of(item.output, f"{where}.output", _PARTS)
    return Message("tool", text, tool_call_id=item.call_id)


def _said(item: InputItem, where: str) -> Message:
    if item.type != "message":
        raise InputError(
            "an item of this type is not supported: nothing is kept between requests, and no tool "
            "runs here",
            where=where,
            expected=f"type {' or '.join(map(repr, ITEM_TYPES))}",
            got=f"type {item.type[:_SHOWN]!r}",
        )
    if item.role not in _ROLES or item.content is None:
        raise InputError(
            "a message needs a role and a content",
            where=where,
            expected=f"role {' or '.join(map(repr, _ROLES))}",
            got=f"role {(item.role or '')[:_SHOWN]!r}",
        )
    return Message(item.role, text_of(item.content, f"{where}.content", _PARTS))
