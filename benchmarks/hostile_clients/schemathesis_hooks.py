"""Runs inside schemathesis: counts replies, and knows the rules that JSON Schema cannot say."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import schemathesis

_FILE = Path(os.environ["HOSTILE_CLIENTS_COUNTS"])
_EVERY = 100
_counts: Counter[str] = Counter()
# Rules that bind several fields, what the policy can do, and what the key may.
_RULES = re.compile(
    r"unknown tag|too many tags|without tools|not among the tools|two tools have one name"
    r"|nothing and calls no tool|needs a |this part has no text|a part of this type"
    r"|nested too deeply|name of this user|needs several|only strategies that|no strategy"
)


def _holds_whole_floats(value: Any) -> bool:
    """Whether it holds such as `7.0`: an integer to JSON Schema, a float to everybody else."""
    if isinstance(value, float):
        return value.is_integer()
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(map(_holds_whole_floats, below))


@schemathesis.hook
def filter_body(_: Any, body: Any) -> bool:
    """Which bodies are sent."""
    return not _holds_whole_floats(body)


@schemathesis.hook
def map_body(_: Any, body: Any) -> Any:
    """Names of models that are there, half of the time."""
    if isinstance(body, dict) and isinstance(body.get("model"), str) and len(body["model"]) % 2:
        body["model"] = "embedder" if "encoding_format" in body else "inferbudget"
    return body


@schemathesis.hook
def map_headers(_: Any, headers: Any) -> Any:
    """Tags that are there, mostly."""
    if headers and len(str(headers.get("x-inferbudget-tags", ""))) % 4:
        headers["x-inferbudget-tags"] = "trial"
    return headers


@schemathesis.check
def right_data_is_answered(_: Any, response: Any, case: Any) -> None:
    """In place of `positive_data_acceptance`."""
    if response.status_code != 400 or case.meta is None:
        return
    message = json.loads(response.content)["error"]["message"]
    if case.meta.generation.mode.is_positive and not _RULES.search(message):
        raise AssertionError(message)


@schemathesis.hook
def after_call(_: Any, case: Any, response: Any) -> None:
    """Every reply."""
    _counts[f"{case.method} {case.operation.path} {response.status_code}"] += 1
    if sum(_counts.values()) % _EVERY == 0:
        _FILE.write_text(json.dumps(_counts))
