"""The OpenAPI document says what the readers and writers do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openai_answers import CALL, raw, served
from test_openai_hostile_bodies import BODIES

from profiles.errors import InputError
from runtime.openai import APIS, error_body, models_body, read_embedding
from runtime.openai.openapi import document, document_text

ROOT = Path(__file__).parents[2]
DOCUMENT = document()
READERS = {path: api.read for path, api in APIS.items()} | {"/v1/embeddings": read_embedding}


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": DOCUMENT["components"]})


def of_requests(path: str) -> Draft202012Validator:
    content = DOCUMENT["paths"][path]["post"]["requestBody"]["content"]
    return validator(content["application/json"]["schema"])


def of_replies(path: str, method: str = "post", status: str = "200") -> Draft202012Validator:
    content = DOCUMENT["paths"][path][method]["responses"][status]["content"]
    return validator(content["application/json"]["schema"])


def test_the_published_document_is_the_current_one() -> None:
    published = ROOT / "docs/reference/openapi.json"
    assert published.read_text(encoding="utf-8") == document_text()


def test_its_schemas_are_schemas_and_all_that_they_refer_to_is_there() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
        assert schema["description"]
    text = json.dumps(DOCUMENT)
    named = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert named <= set(schemas)


def test_it_names_every_api_and_only_once() -> None:
    assert set(READERS) < set(DOCUMENT["paths"])
    operations = [
        operation["operationId"]
        for methods in DOCUMENT["paths"].values()
        for name, operation in methods.items()
        if name != "parameters"
    ]
    assert len(set(operations)) == len(operations)


@pytest.mark.parametrize("path", BODIES)
def test_requests_that_are_read_are_valid_and_each_field_of_them_is_told(path: str) -> None:
    of_requests(path).validate(BODIES[path])
    ref = of_requests(path).schema["$ref"].rpartition("/")[2]
    assert set(BODIES[path]) <= set(DOCUMENT["components"]["schemas"][ref]["properties"])


@pytest.mark.parametrize("path", READERS)
def test_a_field_that_is_refused_is_not_valid_and_one_at_rest_is(path: str) -> None:
    ref = of_requests(path).schema["$ref"].rpartition("/")[2]
    fields = DOCUMENT["components"]["schemas"][ref]["properties"]
    at_rest = {
        name: said["enum"] for name, said in fields.items() if said.get("enum", [1])[0] is None
    }
    assert bool(at_rest) == (path != "/v1/embeddings")
    for name, values in at_rest.items():
        for value in values:
            body = {**BODIES[path], name: value}
            of_requests(path).validate(body)
            READERS[path](json.dumps(body).encode())
        odd = {**BODIES[path], name: {"odd": 1} if name != "n" else 3}
        assert not of_requests(path).is_valid(odd)
        with pytest.raises(InputError):
            READERS[path](json.dumps(odd).encode())


NOT_VALID: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", {"messages": []}),
    ("/v1/chat/completions", {"messages": [{"role": "tool", "content": "x"}]}),
    ("/v1/chat/completions", {"temperature": 3}),
    ("/v1/chat/completions", {"tools": [{"type": "custom"}]}),
    ("/v1/chat/completions", {"stop": ["a"] * 5}),
    ("/v1/completions", {"prompt": ["a", "b"]}),
    ("/v1/completions", {"prompt": [1]}),
    ("/v1/responses", {"input": 1}),
    ("/v1/responses", {"text": {"verbosity": "low"}}),
    ("/v1/embeddings", {"input": ""}),
    ("/v1/embeddings", {"input": ["a", 1]}),
    ("/v1/embeddings", {"input": []}),
]


@pytest.mark.parametrize(("path", "fields"), NOT_VALID)
def test_what_is_not_valid_is_refused(path: str, fields: dict[str, Any]) -> None:
    body = {**BODIES[path], **fields}
    assert not of_requests(path).is_valid(body)
    with pytest.raises(InputError):
        READERS[path](json.dumps(body).encode())


@pytest.mark.parametrize("path", APIS)
def test_answers_are_what_it_says(path: str) -> None:
    api = APIS[path]
    request = api.read(json.dumps(BODIES[path]).encode())
    cut = served("I", tool_calls=(CALL,), finish_reason="length", tokens_cached=3)
    for found in (served(), served("", tool_calls=(CALL,)), cut, served(usage_known=False)):
        of_replies(path).validate(json.loads(api.body(request, found, "m")))
    of_replies(path, status="400").validate(json.loads(error_body(400, "no", "code", "n")))


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_events_are_what_it_says(path: str) -> None:
    api = APIS[path]
    content = DOCUMENT["paths"][path]["post"]["responses"]["200"]["content"]
    event = validator(content["text/event-stream"]["x-event"])
    for options in ({}, {"stream_options": {"include_usage": True}}):
        request = api.read(raw(**{**BODIES[path], **options}))
        events = api.events(request, "abc", "m")
        sent = events.opening() + events.text("I") + events.closing(served("I", tool_calls=(CALL,)))
        for one in sent.split(b"\n\n")[:-2]:
            event.validate(json.loads(one.removeprefix(b"data: ")))


def test_the_list_of_models_is_what_it_says() -> None:
    of_replies("/v1/models", "get").validate(json.loads(models_body(("a", "b"))))
