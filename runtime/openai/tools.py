"""Tools and formats of replies on the wire, and what strategies are told of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from profiles.errors import InputError
from runtime.chat import PLAIN, ReplyForm
from runtime.openai.reading import refuse_unwieldy

MOST_NAME = 128
_MOST_TOOLS = 128
_IDLE_CHOICES = (None, "auto", "none")

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MOST_NAME)]
"""Of a function or a schema."""

Choice = Literal["auto", "none", "required"]
Tools = msgspec.Meta(max_length=_MOST_TOOLS)


class Function(msgspec.Struct, omit_defaults=True):
    """What can be called."""

    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionTool(msgspec.Struct):
    """A tool of a chat completion: a function of the client's."""

    type: Literal["function"]
    function: Function


class FunctionName(msgspec.Struct):
    """Which function is meant."""

    name: Name


class FunctionChoice(msgspec.Struct):
    """The one function that must be called."""

    type: Literal["function"]
    function: FunctionName


class JsonSchema(msgspec.Struct, omit_defaults=True):
    """A schema that the reply must keep."""

    name: Name
    schema: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class TextFormat(msgspec.Struct, tag_field="type", tag="text"):
    """Any text."""


class JsonFormat(msgspec.Struct, tag_field="type", tag="json_object"):
    """Some JSON object."""


class SchemaFormat(msgspec.Struct, tag_field="type", tag="json_schema"):
    """JSON that keeps a schema."""

    json_schema: JsonSchema


Format = TextFormat | JsonFormat | SchemaFormat


def form_of(
    tools: list[FunctionTool] | None,
    choice: str | FunctionChoice | None,
    parallel: bool | None,  # noqa: FBT001 it is the client's, and has three values
    response_format: Format | None,
) -> ReplyForm:
    """What the reply is to be.

    Raises:
        InputError: A choice among tools that are not there, or JSON that is too long or too deep.
    """
    if not tools:
        if choice not in _IDLE_CHOICES:
            raise InputError(
                "tool_choice is not supported without tools",
                next_step="send the tools, or leave tool_choice out",
            )
        wanted = _format(response_format)
        return PLAIN if wanted is None else ReplyForm(response_format=wanted)
    offered = tuple(msgspec.to_builtins(tool) for tool in tools)
    refuse_unwieldy(offered, "tools")
    names = [tool.function.name for tool in tools]
    _refuse_doubles(names)
    chosen: str | dict[str, Any] | None = None if choice is None else msgspec.to_builtins(choice)
    if isinstance(choice, FunctionChoice) and choice.function.name not in names:
        raise InputError(
            "this function is not among the tools",
            where="tool_choice",
            got=repr(choice.function.name),
        )
    return ReplyForm(offered, chosen, parallel, _format(response_format))


def _format(asked: Format | None) -> dict[str, Any] | None:
    if asked is None or isinstance(asked, TextFormat):
        return None
    found: dict[str, Any] = msgspec.to_builtins(asked)
    refuse_unwieldy(found, "the schema of the reply")
    return found


def _refuse_doubles(names: list[str]) -> None:
    doubles = sorted({name for name in names if names.count(name) > 1})
    if doubles:
        raise InputError("two tools have one name", where="tools", got=repr(doubles[0]))
