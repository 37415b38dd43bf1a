"""A response as one object: its items, its state, what was asked."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from runtime.openai.bill import Said, said_of
from runtime.openai.responses import ResponseChoice, ResponseRequest, ResponseTool, TextConfig
from runtime.openai.tools import TextFormat
from runtime.service import Served

Status = Literal["in_progress", "completed", "incomplete", "failed"]

_CUT_SHORT = {"length": "max_output_tokens", "content_filter": "content_filter"}


class OutputText(msgspec.Struct):
    """What an answer says."""

    text: str
    type: Literal["output_text"] = "output_text"
    annotations: tuple[None, ...] = ()
    logprobs: tuple[None, ...] = ()


class OutputMessage(msgspec.Struct, tag_field="type", tag="message"):
    """An answer in words."""

    id: str
    content: list[OutputText]
    status: Status
    role: Literal["assistant"] = "assistant"


class OutputCall(msgspec.Struct, tag_field="type", tag="function_call"):
    """A function that the client is asked to call."""

    id: str
    call_id: str
    name: str
    arguments: str
    status: Status


OutputItem: TypeAlias = OutputMessage | OutputCall


class InputDetails(msgspec.Struct):
    """Kinds of input tokens."""

    cached_tokens: int
    cache_write_tokens: int = 0


class OutputDetails(msgspec.Struct):
    """Kinds of output tokens."""

    reasoning_tokens: int


class ResponseUsage(msgspec.Struct):
    """Tokens billed over all calls of an answer; kinds that no reply told count as 0."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class IncompleteDetails(msgspec.Struct):
    """Why an answer was cut short."""

    reason: str


class ResponseError(msgspec.Struct):
    """Why there is no answer."""

    code: str
    message: str


class Response(msgspec.Struct):
    """The body of a complete answer, and the state of one that is being written."""

    id: str
    created_at: int
    model: str
    status: Status
    output: list[OutputItem]
    tools: list[ResponseTool]
    tool_choice: str | ResponseChoice
    parallel_tool_calls: bool
    text: TextConfig
    instructions: str | None
    max_output_tokens: int | None
    metadata: dict[str, str]
    temperature: float | None
    top_p: float | None
    user: str | None
    safety_identifier: str | None
    object: Literal["response"] = "response"
    error: ResponseError | None = None
    incomplete_details: IncompleteDetails | None = None
    usage: ResponseUsage | None = None
    background: Literal[False] = False
    store: Literal[False] = False
    previous_response_id: None = None
    truncation: Literal["disabled"] = "disabled"
    inferbudget: Said | msgspec.UnsetType = msgspec.UNSET


_encoder = msgspec.json.Encoder()


def response_body(asked: ResponseRequest, served: Served, model: str) -> bytes:
    """The body of a complete answer."""
    begun = begun_response(asked, served.request_id, model)
    return _encoder.encode(ended(begun, served, output_of(served)))


def begun_response(asked: ResponseRequest, request_id: str, model: str) -> Response:
    """A response without an answer yet."""
    return Response(
        id=f"resp_{request_id}",
        created_at=int(time.time()),
        model=model,
        status="in_progress",
        output=[],
        tools=asked.tools or [],
        tool_choice=asked.tool_choice or "auto",
        parallel_tool_calls=asked.parallel_tool_calls is not False,
        text=asked.text if asked.text and asked.text.format else TextConfig(TextFormat()),
        instructions=asked.instructions,
        max_output_tokens=asked.max_output_tokens,
        metadata=asked.metadata or {},
        temperature=asked.temperature,
        top_p=asked.top_p,
        user=asked.user,
        safety_identifier=asked.safety_identifier,
    )


def output_of(served: Served) -> list[OutputItem]:
    """The items of an answer: its words, where it has any or asks for nothing, and its calls."""
    outcome = served.outcome
    status = _status(served)
    items: list[OutputItem] = []
    if outcome.text or not outcome.tool_calls:
        said = [OutputText(outcome.text)]
        items.append(OutputMessage(message_id(served.request_id), said, status))
    items += (
        _call_item(call, f"fc_{served.request_id}_{index}", status)
        for index, call in enumerate(outcome.tool_calls)
    )
    return items


def ended(response: Response, served: Served, output: list[OutputItem]) -> Response:
    """A response with its answer and its bill."""
    reason = _CUT_SHORT.get(served.outcome.finish_reason)
    return msgspec.structs.replace(
        response,
        status=_status(served),
        output=output,
        incomplete_details=IncompleteDetails(reason) if reason else None,
        usage=_usage(served),
        inferbudget=said_of(served),
    )


def message_id(request_id: str) -> str:
    """Of the item that holds the answer's words."""
    return f"msg_{request_id}"


def _status(served: Served) -> Status:
    return "incomplete" if served.outcome.finish_reason in _CUT_SHORT else "completed"


def _call_item(call: Mapping[str, Any], item_id: str, status: Status) -> OutputCall:
    """A call as the upstream wrote it; what it left out is empty here, an object is written out."""
    function = call.get("function")
    said = function if isinstance(function, Mapping) else {}
    arguments = said.get("arguments", "")
    return OutputCall(
        id=item_id,
        call_id=str(call.get("id") or item_id),
        name=str(said.get("name") or ""),
        arguments=arguments if isinstance(arguments, str) else _encoder.encode(arguments).decode(),
        status=status,
    )


def _usage(served: Served) -> ResponseUsage | None:
    """None where a call's usage is unknown."""
    outcome = served.outcome
    if not outcome.usage_known:
        return None
    return ResponseUsage(
        input_tokens=outcome.tokens_in,
        input_tokens_details=InputDetails(outcome.tokens_cached or 0),
        output_tokens=outcome.tokens_out,
        output_tokens_details=OutputDetails(outcome.tokens_reasoning or 0),
        total_tokens=outcome.tokens_in + outcome.tokens_out,
    )
