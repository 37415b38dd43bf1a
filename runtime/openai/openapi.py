"""The gateway as an OpenAPI 3.1 document, made of what its readers and writers are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from inspect import cleandoc
from typing import Any

import msgspec

from runtime.openai import chat, completions, responses
from runtime.openai.chat import ChatRequest
from runtime.openai.chat_replies import ChatChunk, ChatCompletion
from runtime.openai.completions import CompletionRequest, TextCompletion
from runtime.openai.embeddings import MOST_INPUTS, MOST_TOKEN, EmbeddingRequest
from runtime.openai.errors import ErrorReply
from runtime.openai.models import Model, ModelList
from runtime.openai.reading import MAX_BODY_BYTES, AtRest
from runtime.openai.response_input import ITEM_TYPES, InputItem
from runtime.openai.response_object import Response
from runtime.openai.responses import ResponseRequest, ResponseTool
from runtime.openai.text_parts import TextPart
from runtime.openai.tools import MOST_NAME

_VERSION = "1.0"
_REF = "#/components/schemas/{name}"
_SHAPES: tuple[type[msgspec.Struct], ...] = (
    ChatRequest,
    ChatCompletion,
    ChatChunk,
    CompletionRequest,
    TextCompletion,
    ResponseRequest,
    Response,
    EmbeddingRequest,
    Model,
    ModelList,
    ErrorReply,
)
_AT_REST: Mapping[type[msgspec.Struct], AtRest] = {
    ChatRequest: chat.AT_REST,
    CompletionRequest: completions.AT_REST,
    ResponseRequest: responses.AT_REST,
}
_ONE = {"enum": [None, 1], "default": None}
_SOME_TEXT = {"type": "string", "minLength": 1}
_TOKEN = {"type": "integer", "minimum": 0, "maximum": MOST_TOKEN}
_TOKENS = {"type": "array", "minItems": 1, "items": _TOKEN}
# What readers check in words of their own, and no type says.
_EXACT: Mapping[tuple[type[msgspec.Struct], str], dict[str, Any]] = {
    (ChatRequest, "n"): _ONE,
    (CompletionRequest, "n"): _ONE,
    (CompletionRequest, "prompt"): {
        "anyOf": [
            {"type": "string"},
            {"type": "array", "minItems": 1, "maxItems": 1, "items": {"type": "string"}},
        ]
    },
    (EmbeddingRequest, "input"): {
        "anyOf": [
            _SOME_TEXT,
            {"type": "array", "minItems": 1, "maxItems": MOST_INPUTS, "items": _SOME_TEXT},
            {"type": "array", "minItems": 1, "maxItems": MOST_INPUTS, "items": _TOKENS},
            _TOKENS,
        ]
    },
    (InputItem, "type"): {"enum": list(ITEM_TYPES), "default": ITEM_TYPES[0]},
    (ResponseTool, "name"): {"type": "string", "minLength": 1, "maxLength": MOST_NAME},
    (ResponseTool, "type"): {"enum": ["function"]},
    (TextPart, "type"): {"enum": ["text", "input_text", "output_text"]},
}
_NEEDED: Mapping[type[msgspec.Struct], tuple[str, ...]] = {ResponseTool: ("name",)}
_ERRORS = {
    400: "the request cannot be understood, or asks for something that cannot be done",
    401: "the key is missing or wrong",
    402: "the budget is spent and never renews, or the request is larger than one may be",
    403: "the key may not do this",
    404: "no such model",
    408: "the request took too long to arrive",
    413: f"the body is longer than {MAX_BODY_BYTES} bytes",
    429: "no room in the budget now; `Retry-After` says when to ask again",
    431: "the headers are too long",
    500: "the gateway failed",
    502: "the model server failed",
    503: "the gateway is stopping",
    504: "the model server was too slow",
}
_HEADERS = {
    "x-inferbudget-class": "The class that the request was sorted into.",
    "x-inferbudget-strategy": "The strategy that answered.",
    "x-inferbudget-rung": "The step of the ladder, 0 is the plan as asked.",
    "x-inferbudget-request-id": "For the logs.",
    "x-inferbudget-outcome": "`answered`, `downgraded` or `incomplete`; not where events began.",
    "x-inferbudget-cost-usd": "What was charged; not where events began.",
}
_WAIT = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
_LABEL = {
    "name": "x-inferbudget-class",
    "in": "header",
    "required": False,
    "description": "The class or label, for policies that sort by one.",
    "schema": {"type": "string"},
}

_TAGS = {
    "name": "x-inferbudget-tags",
    "in": "header",
    "required": False,
    "description": "Tags beside those of the key, separated by commas, where the key may set some.",
    "schema": {"type": "string"},
}


def document() -> dict[str, Any]:
    """The document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "inferbudget gateway",
            "version": _VERSION,
            "description": "OpenAI's APIs, answered within a budget.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"key": []}, {}],
        "paths": {
            "/v1/chat/completions": _answered("chat", ChatRequest, ChatCompletion, ChatChunk),
            "/v1/completions": _answered(
                "completion", CompletionRequest, TextCompletion, TextCompletion
            ),
            "/v1/responses": _answered("response", ResponseRequest, Response, None),
            "/v1/embeddings": {"post": _embedding()},
            "/v1/models": {"get": _page("listModels", "The models.", _body(ModelList), 400, 401)},
            "/v1/models/{model}": {
                "parameters": [_path("model")],
                "get": _page("getModel", "One model.", _body(Model), 400, 401, 404),
            },
            "/health": {"get": _open_page("health", "Whether the process lives.")},
            "/ready": {"get": _open_page("ready", "Whether it takes requests.", 503)},
        },
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def document_text() -> str:
    """The same as a file's text; the same version gives the same bytes."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def _schemas() -> dict[str, Any]:
    _, found = msgspec.json.schema_components(_SHAPES, ref_template=_REF)
    schemas: dict[str, Any] = found
    for shape, at_rest in _AT_REST.items():
        fields = schemas[shape.__name__]["properties"]
        for name, values in at_rest.items():
            fields[name] = {"enum": [None, *values], "default": None}
    for (shape, name), exact in _EXACT.items():
        schemas[shape.__name__]["properties"][name] = exact
    for shape, names in _NEEDED.items():
        schemas[shape.__name__]["required"] += names
    for schema in schemas.values():
        schema["description"] = cleandoc(schema["description"])
    return dict(sorted(schemas.items()))


def _answered(
    what: str,
    request: type[msgspec.Struct],
    reply: type[msgspec.Struct],
    event: type[msgspec.Struct] | None,
) -> dict[str, Any]:
    """An API that answers, whole or as events."""
    # OpenAPI 3.1 has no word for the events of a stream.
    events = {} if event is None else {"x-event": _ref(event)}
    content = {**_body(reply), "text/event-stream": events}
    headers = {
        name: {"description": said, "schema": {"type": "string"}} for name, said in _HEADERS.items()
    }
    good = {"description": "The answer.", "headers": headers, "content": content}
    operation = {
        "operationId": f"create{what.capitalize()}",
        "summary": f"Answer a {what} request.",
        "parameters": [_LABEL, _TAGS],
        "requestBody": {"required": True, "content": _body(request)},
        "responses": {"200": good, **_errors(_ERRORS)},
    }
    return {"post": operation}


def _embedding() -> dict[str, Any]:
    """Passed through: the reply is the model server's."""
    anything = {"application/json": {"schema": {"type": "object"}}}
    return {
        "operationId": "createEmbedding",
        "summary": "Embed texts.",
        "parameters": [_TAGS],
        "requestBody": {"required": True, "content": _body(EmbeddingRequest)},
        "responses": {
            "200": {"description": "The model server's reply.", "content": anything},
            **_errors(_ERRORS),
        },
    }


def _page(operation: str, summary: str, content: dict[str, Any], *errors: int) -> dict[str, Any]:
    return {
        "operationId": operation,
        "summary": summary,
        "parameters": [_TAGS],
        "responses": {"200": {"description": summary, "content": content}, **_errors(errors)},
    }


def _open_page(operation: str, summary: str, *errors: int) -> dict[str, Any]:
    state = {
        "type": "object",
        "properties": {"status": {"type": "string"}},
        "required": ["status"],
    }
    content = {"application/json": {"schema": state}}
    replies = {
        str(status): {"description": _ERRORS[status], "content": content} for status in errors
    }
    good = {"200": {"description": summary, "content": content}}
    return {
        "operationId": operation,
        "summary": summary,
        "security": [],
        "responses": {**good, **replies},
    }


def _errors(statuses: Iterable[int]) -> dict[str, Any]:
    return {str(status): _error(status) for status in statuses}


def _error(status: int) -> dict[str, Any]:
    found = {"description": _ERRORS[status], "content": _body(ErrorReply)}
    return {**found, "headers": _WAIT} if status == 429 else found


def _body(shape: type[msgspec.Struct]) -> dict[str, Any]:
    return {"application/json": {"schema": _ref(shape)}}


def _ref(shape: type[msgspec.Struct]) -> dict[str, str]:
    return {"$ref": _REF.format(name=shape.__name__)}


def _path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
