"""A chat call and its reply, as everything above the wire sees them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import msgspec

from profiles.errors import InputError

MOST_TOKENS = 1 << 40
"""Far above any call that was ever billed, far below what a 64-bit column holds in sums."""


class FunctionCall(msgspec.Struct, frozen=True):
    """A function that a model wants called; the arguments are JSON, as the model wrote it."""

    name: str
    arguments: str


class ToolCall(msgspec.Struct, frozen=True):
    """One call that a model asks for."""

    id: str
    function: FunctionCall
    type: Literal["function"] = "function"


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message of a chat; of what is said only text travels in this version.

    Attributes:
        role: Who says it.
        content: What is said; empty where an assistant only calls tools.
        name: Of the participant.
        tool_calls: What the assistant wants called.
        tool_call_id: The call whose result this is, for the role ``tool``.
    """

    role: str
    content: str
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


Prompt: TypeAlias = str | Sequence[Message | Mapping[str, str]]
"""A question, or a chat; its messages may be mappings in OpenAI's form."""


def chat_of(prompt: Prompt) -> tuple[Message, ...]:
    """The messages of a prompt, at least one.

    Raises:
        InputError: No message, or one without a role and a content that are texts.
    """
    if isinstance(prompt, str):
        prompt = (Message("user", prompt),)
    try:
        messages = tuple(
            item if isinstance(item, Message) else msgspec.convert(item, Message) for item in prompt
        )
    except msgspec.ValidationError as error:
        raise InputError("this is no message of a chat", got=str(error)) from error
    if not messages:
        raise InputError("a chat without a message asks nothing")
    for message in messages:
        said = message.role, message.content, message.name or "", message.tool_call_id or ""
        refuse_half_characters(*said)
        for call in message.tool_calls:
            refuse_half_characters(call.id, call.function.name, call.function.arguments)
    return messages


def refuse_half_characters(*texts: str) -> None:
    """Refuse what cannot be sent: bytes that were no UTF-8, halves of characters.

    Raises:
        InputError: A text holds a surrogate.
    """
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                "this text holds half a character",
                expected="text that UTF-8 can carry",
                got=ascii(text[error.start : error.end]),
            ) from error


def question_of(messages: Sequence[Message]) -> str:
    """What is asked: the last message of a user, or else the last one."""
    asked = [message.content for message in messages if message.role == "user"]
    return asked[-1] if asked else messages[-1].content


@dataclass(frozen=True, slots=True)
class ReplyForm:
    """What a request wants its reply to be: plain text, unless something is said here.

    Attributes:
        tools: Functions that the model may ask to have called, in OpenAI's form; None offers none.
        tool_choice: ``auto``, ``none``, ``required`` or one function, in OpenAI's form; None leaves
            it to the upstream.
        parallel_tool_calls: Several calls at once; None leaves it to the upstream.
        response_format: JSON, with a schema or without, in OpenAI's form; None for text.
    """

    tools: tuple[Mapping[str, Any], ...] | None = None
    tool_choice: str | Mapping[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: Mapping[str, Any] | None = None

    @property
    def plain(self) -> bool:
        """Whether any strategy can answer; else see `profiles.methods.passing.passes_through`."""
        return self.tools is None and self.response_format is None


PLAIN = ReplyForm()


class ChatCall(msgspec.Struct, frozen=True):
    """One call to one model.

    Attributes:
        model: The upstream's name of the model.
        messages: The chat so far.
        max_tokens: Cap on completion tokens of each of the `n` answers.
        n: Answers wanted.
        temperature: None leaves it to the upstream.
        top_p: None leaves it to the upstream.
        seed: None leaves it to the upstream.
        stop: Texts that end an answer.
        continues: The last message is the assistant's and is continued: the reply holds only what
            comes after it.
        logprobs: Ask how probable the tokens of the answers were.
        reward: A reward model scores the chat, whose last message is the assistant's. Nothing is
            generated (`max_tokens` is 0), and the reply's text is a number.
        extra: Further fields of the body, e.g. ``{"reasoning_effort": "high"}``.
        tools: Functions that the model may ask to be called, in OpenAI's form; None offers none.
        tool_choice: Which of them, in OpenAI's form; None leaves it to the upstream. Sent with
            `tools` only.
        parallel_tool_calls: Whether one answer may ask for several; likewise.
        response_format: The form of the answer, e.g. ``{"type": "json_object"}``; likewise.
        purpose: What the call is for, in a word; not sent.
        on_text: Is given the text of the one answer as it comes, and must not raise; of several
            answers it is given nothing.
    """

    model: str
    messages: Sequence[Message]
    max_tokens: int
    n: int = 1
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    continues: bool = False
    logprobs: bool = False
    reward: bool = False
    extra: Mapping[str, object] = {}
    purpose: str = "answer"
    on_text: Callable[[str], None] | None = None
    tools: tuple[Mapping[str, Any], ...] | None = None
    tool_choice: str | Mapping[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: Mapping[str, Any] | None = None

    @property
    def streams(self) -> bool:
        """Whether the reply is asked for piece by piece."""
        return self.on_text is not None and self.n == 1


class Completion(msgspec.Struct, frozen=True):
    """A reply.

    Attributes:
        texts: One per answer, at least one.
        tokens_in: Prompt tokens billed, None when the upstream did not say, or said what cannot be
            (more than `MOST_TOKENS` included).
        tokens_out: Completion tokens billed over all answers; likewise.
        finish_reasons: One per answer, e.g. ``stop`` or ``length``.
        latency_s: Seconds from request to complete reply.
        tokens_reasoning: Of `tokens_out`, those that were hidden reasoning; None where it did not
            say, or said what cannot be.
        tokens_cached: Of `tokens_in`, those that came from a cache; likewise.
        confidences: One per answer, the mean probability of its tokens (geometric, 0..1), None
            where the reply does not say; empty where no answer's was asked for.
        tool_calls: One per answer, the calls that it asks for as the upstream wrote them, None
            where it asks for none; empty where no answer does.
    """

    texts: tuple[str, ...]
    tokens_in: int | None
    tokens_out: int | None
    finish_reasons: tuple[str, ...]
    latency_s: float
    tokens_reasoning: int | None = None
    tokens_cached: int | None = None
    confidences: tuple[float | None, ...] = ()
    tool_calls: tuple[tuple[dict[str, Any], ...] | None, ...] = ()


_encoder = msgspec.json.Encoder()


def request_body(
    call: ChatCall, *, model: str | None = None, cap_field: str = "max_tokens"
) -> bytes:
    """Everything that is sent for a call, byte for byte; the same call gives the same bytes.

    Args:
        call: The call.
        model: The upstream's name of the model, where it is not the call's.
        cap_field: What the upstream calls the cap on completion tokens.
    """
    return _encoder.encode(_body(call, model or call.model, cap_field))


def _sent(messages: Sequence[Message]) -> Sequence[Message | dict[str, Any]]:
    """An assistant who only calls tools says nothing: some servers refuse an empty text."""
    if not any(message.tool_calls and not message.content for message in messages):
        return messages
    return [
        {**msgspec.to_builtins(message), "content": None}
        if message.tool_calls and not message.content
        else message
        for message in messages
    ]


def _body(call: ChatCall, model: str, cap_field: str) -> dict[str, Any]:
    if call.reward:
        return {"model": model, "messages": call.messages, "use_activation": False}
    body: dict[str, Any] = {
        "model": model,
        "messages": _sent(call.messages),
        cap_field: call.max_tokens,
    }
    optional = {"temperature": call.temperature, "top_p": call.top_p, "seed": call.seed}
    body.update({name: value for name, value in optional.items() if value is not None})
    if call.n != 1:
        body["n"] = call.n
    if call.stop:
        body["stop"] = call.stop
    if call.continues:
        body |= {"continue_final_message": True, "add_generation_prompt": False}
    if call.logprobs:
        body["logprobs"] = True
    if call.tools is not None or call.response_format is not None:
        body |= _reply_form(call)
    body.update(call.extra)
    if call.streams:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body


def _reply_form(call: ChatCall) -> dict[str, Any]:
    form: dict[str, Any] = {"response_format": call.response_format}
    if call.tools is not None:  # the others mean nothing without them, and OpenAI refuses them
        form |= {
            "tools": call.tools,
            "tool_choice": call.tool_choice,
            "parallel_tool_calls": call.parallel_tool_calls,
        }
    return {name: value for name, value in form.items() if value is not None}
