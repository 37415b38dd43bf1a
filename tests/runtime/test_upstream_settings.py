"""What an operator writes about upstreams, and what of it is refused with its place."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from profiles.errors import InputError
from profiles.yaml_input import parse_yaml
from runtime.upstream import Upstream
from runtime.upstreams import RetrySettings, UpstreamList, Upstreams
from runtime.upstreams.connecting import connected

FULL = """
upstreams:
  - name: openai
    url: https://api.openai.com/v1
    api_key_env: OPENAI_KEY
    models: {large: gpt-5, small: gpt-5-mini}
    weight: 3
    priority: 1
    timeout_s: 60
    connect_timeout_s: 2.5
    max_connections: 200
    max_in_flight: 300
    max_completion_tokens: true
    headers: {x-team: search}
    headers_env: {openai-organization: OPENAI_ORG}
    health: {path: /v1/models, every_s: 30, timeout_s: 2, failures: 3}
    breaker:
      {failures: 3, share: 0.2, window_s: 60, least_calls: 9, open_s: 9, most_open_s: 99, trials: 2}
  - name: own
    url: http://vllm:8000
    models: [small]
    several_answers: false
  - name: any
    url: http://other:8000/v1
    models: "*"
retries: {tries: 4, backoff_s: 0.2, most_backoff_s: 5, within_s: 20}
"""
ENVIRON = {"OPENAI_KEY": "sk-0123456789", "OPENAI_ORG": "org-42"}


class File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    upstreams: UpstreamList
    retries: RetrySettings = RetrySettings()


def read(text: str) -> File:
    return parse_yaml(text, File, "gateway.yaml")


def one(**fields: Any) -> str:
    lines = {"name": "a", "url": "http://host", **fields}
    return "upstreams:\n  - " + "\n    ".join(f"{key}: {value}" for key, value in lines.items())


def test_a_full_file_is_read_and_its_keys_are_found_in_the_environment() -> None:
    file = read(FULL)
    openai, own, every = file.upstreams
    assert openai.models == {"large": "gpt-5", "small": "gpt-5-mini"}
    assert (own.models, every.models) == (["small"], "*")
    assert [each.serves("large") for each in file.upstreams] == [True, False, True]
    found = Upstreams(file.upstreams, ["large", "small"], retries=file.retries, environ=ENVIRON)
    assert found.answers_per_call == 1


def test_no_key_is_in_any_text_of_settings_or_clients() -> None:
    file = read(FULL)
    client = connected(file.upstreams[0], ENVIRON)
    several = Upstreams(file.upstreams, [], environ=ENVIRON)
    texts = f"{file!r} {file.model_dump_json()} {client!r} {several!r} {vars(several)!r}"
    assert "sk-0123456789" not in texts
    assert "org-42" not in texts
    assert "OPENAI_KEY" in texts


@pytest.mark.parametrize("value", [None, "", "  "])
@pytest.mark.parametrize("variable", sorted(ENVIRON))
def test_a_variable_that_is_not_there_is_named(variable: str, value: str | None) -> None:
    environ = {**ENVIRON, variable: value or ""}
    with pytest.raises(InputError) as error:
        Upstreams(read(FULL).upstreams, [], environ=environ)
    assert f"the environment variable {variable} is not set or empty" in str(error.value)
    assert str(error.value).startswith("upstreams.openai.")


def test_a_key_that_no_header_carries_is_refused_without_being_shown() -> None:
    with pytest.raises(InputError, match="no HTTP header carries") as error:
        Upstreams(read(FULL).upstreams, [], environ={**ENVIRON, "OPENAI_KEY": "sk-\u00fc\u00fc"})
    assert str(error.value).startswith("upstreams.openai: ")
    assert "sk-" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (one(url="localhost:8000"), "not the address of a model server"),
        (one(name='"a b"'), "name"),
        (one(name='""'), "name"),
        (one(weight=0), "weight"),
        (one(weight="true"), "weight"),
        (one(priority=-1), "priority"),
        (one(timeout_s=0), "timeout_s"),
        (one(max_connections=0), "max_connections"),
        (one(several_answers=1), "several_answers"),
        (one(api_key="sk-0123456789"), "api_key"),
        (one(models="small"), "models: expected '*', a list"),
        (one(models='[""]'), "models: expected '*', a list"),
        (one(headers="{authorization: Bearer x}"), "looks like a secret"),
        (one(headers="{X-Api-Key: x}"), "looks like a secret"),
        (one(headers="{cookie: x}"), "looks like a secret"),
        (one(headers='{"a b": x}'), "no HTTP request can carry"),
        (one(headers="{host: x}"), "the client writes this header itself"),
        (one(headers_env="{content-length: X}"), "the client writes this header itself"),
        (one(health="{path: health}"), "path"),
        (one(health="{every_s: 0}"), "every_s"),
        (one(breaker="{share: 1.5}"), "share"),
        ("upstreams: []", "upstreams"),
        (one() + "\n  - {name: a, url: http://other}", "the name 'a' stands for two upstreams"),
        (one() + "\nretries: {tries: 0}", "tries"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(text: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        read(text)
    assert said in str(error.value)
    assert re.match(r"gateway\.yaml:\d+", str(error.value))
    assert "sk-0123456789" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (one(url="http://me:sk-0123456789@host"), "not the address of a model server"),
        (one(api_key_env="sk-0123456789"), "upstreams: api_key_env: this is not the name of"),
        (one(api_key_env="sk_0123456789"), "upstreams: api_key_env: this is not the name of"),
        (one(headers_env="{x: sk_0123456789}"), "upstreams: headers_env: this is not the name of"),
    ],
)
def test_a_secret_in_a_wrong_place_is_refused_without_being_shown(text: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        read(text)
    assert said in str(error.value)
    assert "0123456789" not in str(error.value)


def test_what_is_left_out_is_what_one_upstream_alone_does() -> None:
    (settings,) = read(one()).upstreams
    found = connected(settings, {})
    alone = Upstream("http://host", tries=1)
    assert vars(found) == vars(alone)
