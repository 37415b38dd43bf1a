"""The page about upstreams says what the code does: every key, default, kind and state."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from profiles.yaml_input import parse_yaml
from runtime.upstreams import (
    BreakerSettings,
    BreakerState,
    FailureKind,
    HealthSettings,
    RetrySettings,
    UpstreamList,
    Upstreams,
    UpstreamSettings,
)

PAGE = (Path(__file__).parents[2] / "docs/reference/upstreams.md").read_text()


class File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    upstreams: UpstreamList
    retries: RetrySettings


def rows(heading: str) -> dict[str, str]:
    """First cell of every table below a heading to the rest of its row."""
    below = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)` \|(.*)$", below, re.MULTILINE))


@pytest.mark.parametrize(
    ("heading", "model"),
    [
        ("Keys of an upstream", UpstreamSettings),
        ("What is asked again", RetrySettings),
        ("Breaker", BreakerSettings),
        ("Health", HealthSettings),
    ],
)
def test_every_key_is_on_the_page_with_its_default(heading: str, model: type[BaseModel]) -> None:
    found = rows(heading)
    states = {state.value for state in BreakerState}
    assert set(found) - states == set(model.model_fields)
    for key, field in model.model_fields.items():
        default = field.default
        if isinstance(default, bool):
            assert f"`{str(default).lower()}`" in found[key], key
        elif isinstance(default, int | float):
            number = rf"(;| ) {default:g} \||{default:g}, the default"
            assert re.search(number, f"{found[key]}|"), key
        elif isinstance(default, str):
            assert f"{default}" in found[key], key


def test_every_state_and_every_kind_of_failure_is_on_the_page() -> None:
    assert {state.value for state in BreakerState} <= set(rows("Breaker"))
    assert set(rows("What is seen")) == {kind.value for kind in FailureKind}


def test_the_files_of_the_page_are_what_it_says() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    file = parse_yaml(text, File, "gateway.yaml")
    found = Upstreams(
        file.upstreams, ["large", "small"], retries=file.retries, environ={"OPENAI_API_KEY": "x"}
    )
    assert [state.name for state in found.snapshot()] == ["own", "openai"]
