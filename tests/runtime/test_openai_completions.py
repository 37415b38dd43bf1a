"""Completions of the API before chats, read and answered."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai_answers import raw, served

from profiles.errors import InputError
from runtime.chat import Message
from runtime.openai.apis import COMPLETIONS
from runtime.openai.completions import TextChunks, completion_ask, read_completion


@pytest.mark.parametrize("prompt", ["two and two", ["two and two"]])
def test_a_prompt_is_what_a_user_says(prompt: Any) -> None:
    body = raw(prompt=prompt, max_tokens=7, temperature=0.5, top_p=0.9, seed=3, stop=["\n", ""])
    ask = completion_ask(read_completion(body), None)
    assert ask.messages == (Message("user", "two and two"),)
    assert ask.prompt_text == "two and two"
    assert (ask.max_tokens, ask.temperature, ask.top_p, ask.seed) == (7, 0.5, 0.9, 3)
    assert ask.stop == ("\n",)


def test_the_label_is_the_headers_or_else_the_bodys() -> None:
    asked = read_completion(raw(prompt="x", metadata={"class": "hard"}))
    assert completion_ask(asked, None).label == "hard"
    assert completion_ask(asked, "").label == ""


def test_fields_at_rest_are_accepted() -> None:
    rest = {"best_of": 1, "echo": False, "suffix": None, "logprobs": None, "n": 1, "logit_bias": {}}
    read_completion(raw(prompt="x", user="jane", **rest))


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"suffix": "end"}, "suffix is not supported"),
    ({"echo": True}, "echo is not supported"),
    ({"best_of": 2}, "best_of is not supported"),
    ({"logprobs": 0}, "logprobs is not supported"),
    ({"logprobs": 5}, "logprobs is not supported"),
    ({"n": 2}, "n other than 1"),
    ({"frequency_penalty": 1}, "frequency_penalty is not supported"),
    ({"prompt": ["a", "b"]}, "several prompts"),
    ({"prompt": [1, 2]}, "prompts of tokens"),
    ({"prompt": [[1, 2]]}, "prompts of tokens"),
    ({"prompt": []}, "$.prompt"),
    ({"prompt": None}, "$.prompt"),
    ({"max_tokens": 0}, ">= 1"),
]


@pytest.mark.parametrize(("fields", "message"), REFUSED)
def test_what_cannot_be_honoured_is_refused_in_words(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as refused:
        read_completion(raw(**{"prompt": "x", **fields}))
    assert message in str(refused.value)


def test_an_answer_is_a_text_completion() -> None:
    body = json.loads(COMPLETIONS.body(read_completion(raw(prompt="x")), served(), "m"))
    assert (body["id"], body["object"], body["model"]) == ("cmpl-abc", "text_completion", "m")
    choice = {"index": 0, "text": "four", "logprobs": None, "finish_reason": "stop"}
    assert body["choices"] == [choice]
    assert body["usage"] == {"prompt_tokens": 19, "completion_tokens": 4, "total_tokens": 23}


@pytest.mark.parametrize("usage", [False, True])
def test_a_stream_brings_the_text_the_end_and_usage_where_asked_for(*, usage: bool) -> None:
    chunks = TextChunks("abc", "m", usage)
    sent = chunks.opening() + chunks.text("fo") + chunks.text("") + chunks.text("ur")
    *events, done, rest = (sent + chunks.closing(served())).split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    bodies = [json.loads(event.removeprefix(b"data: ")) for event in events]
    said = [choice["text"] for body in bodies for choice in body["choices"]]
    assert said == ["fo", "ur", ""]
    assert [body.get("usage") for body in bodies if body.get("usage")] == (
        [{"prompt_tokens": 19, "completion_tokens": 4, "total_tokens": 23}] if usage else []
    )
    assert bodies[-1]["inferbudget"]["cost_usd"] == "0.000002600"
