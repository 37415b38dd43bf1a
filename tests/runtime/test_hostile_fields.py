"""The document and the readers say the same of values that JSON and Python tell apart otherwise."""

from __future__ import annotations

from typing import Any

import pytest
from openai_answers import raw
from test_openai_document import DOCUMENT, of_requests
from test_openai_hostile_bodies import BODIES, is_handled

TOOL = {"type": "function", "name": "f"}
REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("/v1/completions", {"echo": 0}),
    ("/v1/completions", {"best_of": True}),
    ("/v1/completions", {"logprobs": 0}),
    ("/v1/chat/completions", {"repetition_penalty": True}),
    ("/v1/chat/completions", {"top_k": [False]}),
    ("/v1/chat/completions", {"user": "x" * 257}),
    ("/v1/responses", {"tools": [{"type": "function"}], "tool_choice": "auto"}),
    ("/v1/responses", {"tools": [{**TOOL, "name": None}], "tool_choice": "auto"}),
    ("/v1/embeddings", {"input": [2**31]}),
    ("/v1/embeddings", {"input": [[2**31]]}),
]


@pytest.mark.parametrize(("path", "fields"), REFUSED)
def test_what_the_document_forbids_is_refused(path: str, fields: dict[str, Any]) -> None:
    body = {**BODIES[path], **fields}
    assert not of_requests(path).is_valid(body)
    assert not is_handled(path, raw(**body))


@pytest.mark.parametrize("value", [False, 0, 0.0, "none", [], {}, 1, 1.0, None])
def test_what_the_document_allows_is_read(value: Any) -> None:
    body = {**BODIES["/v1/chat/completions"], "repetition_penalty": value}
    of_requests("/v1/chat/completions").validate(body)
    assert is_handled("/v1/chat/completions", raw(**body))


def test_every_page_that_asks_for_a_key_says_what_its_headers_may_bring_about() -> None:
    for methods in DOCUMENT["paths"].values():
        for name, operation in methods.items():
            if name == "parameters" or operation.get("security") == []:
                continue
            said = {parameter["name"] for parameter in operation["parameters"]}
            assert "x-inferbudget-tags" in said
            assert {"400", "401"} <= set(operation["responses"])
