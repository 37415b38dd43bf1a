"""Responses on the wire: what is accepted, and what it asks for."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from profiles.errors import InputError
from runtime.chat import Message, ReplyForm, question_of
from runtime.openai.reading import (
    NOTHING,
    Positive,
    Temperature,
    TopP,
    UserName,
    decoded,
    label_of,
    refuser,
)
from runtime.openai.response_input import InputItem, chat_of_items
from runtime.openai.tools import (
    Choice,
    Format,
    Function,
    FunctionChoice,
    FunctionName,
    FunctionTool,
    JsonFormat,
    JsonSchema,
    Name,
    SchemaFormat,
    TextFormat,
    Tools,
    form_of,
)
from runtime.service import Ask

_SHOWN = 60

AT_REST = {
    "background": NOTHING,
    "background_options": NOTHING,
    "context_management": NOTHING,
    "conversation": NOTHING,
    "include": (*NOTHING, ["reasoning.encrypted_content"]),  # no reply holds any reasoning
    "moderation": NOTHING,
    "previous_response_id": NOTHING,
    "prompt": NOTHING,
    "reasoning": (*NOTHING, {"effort": None}, {"summary": None}, {"effort": None, "summary": None}),
    "service_tier": (*NOTHING, "auto", "default"),
    "store": NOTHING,
    "top_logprobs": NOTHING,
    "truncation": (*NOTHING, "disabled"),
}


class ResponseTool(msgspec.Struct, omit_defaults=True):
    """A function of the client's. Tools that OpenAI runs itself are refused by name."""

    type: str
    name: Name | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ResponseChoice(msgspec.Struct):
    """The one function that must be called."""

    type: Literal["function"]
    name: Name


class NamedSchema(msgspec.Struct, tag_field="type", tag="json_schema", omit_defaults=True):
    """JSON that keeps a schema."""

    name: Name
    schema: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class TextConfig(msgspec.Struct):
    """What the text is to be."""

    format: TextFormat | JsonFormat | NamedSchema | None = None
    verbosity: Literal["medium"] | None = None


class ResponseRequest(msgspec.Struct):
    """The body of a response request. Unknown fields are ignored.

    Nothing is kept between requests, so what refers to an earlier one is refused, as are fields
    that would change the answer and are not supported.
    """

    input: str | Annotated[list[InputItem], msgspec.Meta(min_length=1)]
    model: str | None = None
    instructions: str | None = None
    max_output_tokens: Positive | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    stream: bool | None = None
    tools: Annotated[list[ResponseTool], Tools] | None = None
    tool_choice: Choice | ResponseChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextConfig | None = None
    metadata: dict[str, str] | None = None
    user: UserName | None = None
    safety_identifier: UserName | None = None
    background: Any = None
    background_options: Any = None
    context_management: Any = None
    conversation: Any = None
    include: Any = None
    moderation: Any = None
    previous_response_id: Any = None
    prompt: Any = None
    reasoning: Any = None
    service_tier: Any = None
    store: Any = None
    top_logprobs: Any = None
    truncation: Any = None


_decoder = msgspec.json.Decoder(ResponseRequest)
_refuse_unsupported = refuser(AT_REST)


def read_response(body: bytes) -> ResponseRequest:
    """Read a request body.

    Raises:
        InputError: Not JSON, a wrong type or range, or a field that is not supported.
    """
    asked = decoded(_decoder, body, "a response request")
    _refuse_unsupported(asked)
    return asked


def response_ask(asked: ResponseRequest, label: str | None) -> Ask:
    """The request behind a body, but for its form.

    The last user message is what is sorted into a class. A label in the header wins over
    ``metadata.class``, an empty one too.

    Raises:
        InputError: An item of the input that is not supported.
    """
    first = [Message("system", asked.instructions)] if asked.instructions else []
    said = (
        [Message("user", asked.input)]
        if isinstance(asked.input, str)
        else chat_of_items(asked.input)
    )
    messages = (*first, *said)
    return Ask(
        messages=messages,
        prompt_text=question_of(messages),
        label=label_of(asked.metadata, label),
        max_tokens=asked.max_output_tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
    )


def response_form(asked: ResponseRequest) -> ReplyForm:
    """What the reply is to be.

    Raises:
        InputError: Tools, a choice among them, or a schema that cannot be used.
    """
    choice: str | FunctionChoice | None
    if isinstance(asked.tool_choice, ResponseChoice):
        choice = FunctionChoice("function", FunctionName(asked.tool_choice.name))
    else:
        choice = asked.tool_choice
    tools = [_tool(index, tool) for index, tool in enumerate(asked.tools or ())]
    return form_of(tools, choice, asked.parallel_tool_calls, _format(asked.text))


def _tool(index: int, tool: ResponseTool) -> FunctionTool:
    if tool.type != "function" or tool.name is None:
        raise InputError(
            "only functions of your own are supported as tools",
            where=f"tools[{index}]",
            expected="type 'function', and a name",
            got=f"type {tool.type[:_SHOWN]!r}",
        )
    function = Function(tool.name, tool.description, tool.parameters, tool.strict)
    return FunctionTool("function", function)


def _format(text: TextConfig | None) -> Format | None:
    wanted = text.format if text else None
    if not isinstance(wanted, NamedSchema):
        return wanted
    schema = JsonSchema(wanted.name, wanted.schema, wanted.description, wanted.strict)
    return SchemaFormat(schema)
