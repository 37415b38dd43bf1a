"""Chat completions on the wire: what is accepted, and what it asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias

import msgspec

from profiles.errors import InputError
from runtime.chat import Message, ReplyForm, ToolCall, question_of
from runtime.openai.reading import (
    NOTHING,
    SAMPLING_AT_REST,
    Positive,
    SampledRequest,
    decoded,
    label_of,
    refuse_several,
    refuser,
    stops_of,
)
from runtime.openai.text_parts import Content, text_of
from runtime.openai.tools import Choice, Format, FunctionChoice, FunctionTool, Tools, form_of
from runtime.service import Ask

AT_REST = {
    **SAMPLING_AT_REST,
    "audio": NOTHING,
    "function_call": NOTHING,
    "functions": NOTHING,
    "logprobs": NOTHING,
    "modalities": (*NOTHING, ["text"]),
    "moderation": NOTHING,
    "prediction": NOTHING,
    "reasoning_effort": NOTHING,
    "service_tier": (*NOTHING, "auto", "default"),
    "store": NOTHING,
    "top_logprobs": NOTHING,
    "verbosity": NOTHING,
    "web_search_options": NOTHING,
}


class _Said(msgspec.Struct, tag_field="role"):
    content: Content
    name: str | None = None


class SystemMessage(_Said, tag="system"):
    """The operator's word."""


class DeveloperMessage(_Said, tag="developer"):
    """The same, as newer models call it."""


class UserMessage(_Said, tag="user"):
    """What is asked."""


class AssistantMessage(msgspec.Struct, tag_field="role", tag="assistant"):
    """What was answered: a text, calls of tools, or both."""

    content: Content | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None


class ToolMessage(msgspec.Struct, tag_field="role", tag="tool"):
    """What a tool gave back."""

    content: Content
    tool_call_id: str
    name: str | None = None


ChatMessage: TypeAlias = (
    SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage
)


class ChatRequest(SampledRequest, kw_only=True):
    """The body of a chat completion request. Unknown fields are ignored, as OpenAI clients expect.

    Fields that would change the answer and are not supported are refused.
    """

    messages: Annotated[list[ChatMessage], msgspec.Meta(min_length=1)]
    max_completion_tokens: Positive | None = None
    tools: Annotated[list[FunctionTool], Tools] | None = None
    tool_choice: Choice | FunctionChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: Format | None = None
    audio: Any = None
    function_call: Any = None
    functions: Any = None
    logprobs: Any = None
    modalities: Any = None
    moderation: Any = None
    prediction: Any = None
    reasoning_effort: Any = None
    service_tier: Any = None
    store: Any = None
    top_logprobs: Any = None
    verbosity: Any = None
    web_search_options: Any = None


_ROLES: dict[type, str] = {
    SystemMessage: "system",
    DeveloperMessage: "developer",
    UserMessage: "user",
    AssistantMessage: "assistant",
    ToolMessage: "tool",
}
_decoder = msgspec.json.Decoder(ChatRequest)
_encoder = msgspec.json.Encoder()
_refuse_unsupported = refuser(AT_REST)


def least_body_bytes(prompt: str) -> int:
    """Bytes of the shortest body that asks this."""
    text = prompt.encode(errors="replace").decode()
    return len(_encoder.encode({"messages": [{"role": "user", "content": text}]}))


def read_chat(body: bytes) -> ChatRequest:
    """Read a request body.

    Raises:
        InputError: Not JSON, a wrong type or range, or a field that is not supported.
    """
    chat = decoded(_decoder, body, "a chat completion request")
    _refuse_unsupported(chat)
    refuse_several(chat.n)
    return chat


def ask_of(chat: ChatRequest, label: str | None) -> Ask:
    """The request behind a body, but for its form.

    The last user message is what is sorted into a class. A label in the header wins over
    ``metadata.class``, an empty one too.

    Raises:
        InputError: A message says nothing, or something that is no text.
    """
    messages = _messages(chat.messages)
    caps = [cap for cap in (chat.max_tokens, chat.max_completion_tokens) if cap is not None]
    return Ask(
        messages=messages,
        prompt_text=question_of(messages),
        label=label_of(chat.metadata, label),
        max_tokens=min(caps, default=None),
        temperature=chat.temperature,
        top_p=chat.top_p,
        seed=chat.seed,
        stop=stops_of(chat.stop),
    )


def chat_form(chat: ChatRequest) -> ReplyForm:
    """What the reply is to be.

    Raises:
        InputError: Tools, a choice among them, or a schema that cannot be used.
    """
    return form_of(chat.tools, chat.tool_choice, chat.parallel_tool_calls, chat.response_format)


def _messages(said: Sequence[ChatMessage]) -> tuple[Message, ...]:
    """As strategies see them; those that are a text and nothing else without detours."""
    found: list[Message] = []
    for index, one in enumerate(said):
        # not isinstance: of these structs it is ten times as slow
        role, content = _ROLES[type(one)], one.content
        calls = one.tool_calls if type(one) is AssistantMessage else None
        if type(content) is str and not calls and role != "tool":
            found.append(Message(role, content, one.name))
        else:
            found.append(_with_tools_or_parts(one, role, f"messages[{index}]"))
    return tuple(found)


def _with_tools_or_parts(said: ChatMessage, role: str, where: str) -> Message:
    content = said.content
    text = "" if content is None else text_of(content, f"{where}.content")
    if isinstance(said, ToolMessage):
        return Message(role, text, said.name, tool_call_id=said.tool_call_id)
    calls = said.tool_calls if isinstance(said, AssistantMessage) else None
    if content is None and not calls:
        raise InputError("this message says nothing and calls no tool", where=where)
    return Message(role, text, said.name, tuple(calls or ()))
