"""Values set over a file's own."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from profiles.errors import InputError
from profiles.yaml_input import parse_yaml, parsed
from profiles.yaml_scalars import plain_data
from profiles.yaml_settings import set_over, setting

FILE = """
name: mine
limits:
  accuracy: {overall: 0.5, by_class: {"v1.5": 0.2}}
  spend: {usd: 20, per: month}
"""


class Limits(BaseModel):
    model_config = ConfigDict(extra="forbid")

    accuracy: dict[str, float | dict[str, float]] = Field(default_factory=dict)
    spend: dict[str, float | str] | None = None


class Example(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = "nobody"
    limits: Limits = Field(default_factory=Limits)


def read(*settings: str) -> Example:
    return parse_yaml(FILE, Example, "f.yaml", settings)


def refused(*settings: str) -> InputError:
    with pytest.raises(InputError) as raised:
        read(*settings)
    return raised.value


def test_one_value_is_set_and_the_others_stay() -> None:
    found = read("limits.accuracy.overall=0.9")
    assert found.limits.accuracy == {"overall": 0.9, "by_class": {"v1.5": 0.2}}
    assert found.name == "mine"


def test_a_part_is_set_as_a_whole() -> None:
    found = read("limits.spend={usd_per_request: 0.004}")
    assert found.limits.spend == {"usd_per_request": 0.004}


def test_null_takes_a_value_away_as_if_the_file_did_not_have_it() -> None:
    assert read("limits.spend=null").limits.spend is None
    assert read("name=null").name == "nobody"
    assert read("nothing=null") == read()


def test_a_key_with_dots_stands_in_quotes() -> None:
    assert read('limits.accuracy.by_class."v1.5"=0.8').limits.accuracy["by_class"] == {"v1.5": 0.8}


def test_parts_that_the_file_lacks_are_made() -> None:
    found = read("limits=null", "limits.accuracy.overall=0.7")
    assert found.limits == Limits(accuracy={"overall": 0.7})


def test_what_is_set_last_counts() -> None:
    assert read("name=first", "name=second").name == "second"


def test_a_value_that_does_not_fit_says_that_it_was_set() -> None:
    error = refused("limits.accuracy.overall=high")
    assert "limits.accuracy.overall, as it was set" in str(error.where)
    assert "as it was set" in str(refused("limits.acuracy.overall=0.9").where)


def test_a_value_of_the_file_keeps_its_line() -> None:
    with pytest.raises(InputError) as raised:
        parse_yaml("name: 3", Example, "f.yaml", ["limits.spend=null"])
    assert str(raised.value.where).startswith("f.yaml:1:7")


@pytest.mark.parametrize(
    "text",
    ["", "=", "name", "a..b=1", ".a=1", "a.=1", '"a=1', '""=1', "a b.c", 'a"b"=1', "a" * 40 + "."],
)
def test_what_is_no_path_and_value_sets_nothing(text: str) -> None:
    assert "sets nothing" in str(refused(text))


@pytest.mark.parametrize(
    "text", ["name=1\nlimits: {}", "name={", "name=[1", "name=&a 1", "name=!x y"]
)
def test_what_is_not_one_value_is_refused(text: str) -> None:
    assert "--set" in str(refused(text).where)


def test_a_path_through_a_number_is_refused() -> None:
    assert "has no keys of its own" in str(refused("limits.accuracy.overall.more=1"))


KEYS = st.text(st.characters(categories=["L", "N", "P", "Zs"]), min_size=1, max_size=8)
VALUES = st.recursive(
    st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(-1e6, 1e6).map(lambda value: round(value, 9))
    | st.text(st.characters(categories=["L", "N", "P", "Zs"]), max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(KEYS.filter(str.strip), min_size=1, max_size=4), VALUES)
def test_what_is_written_as_a_setting_is_read_back(keys: list[str], value: Any) -> None:
    root, _ = parsed("a: 1", "f.yaml")
    del root.keys["a"], root.values["a"]
    set_over(root, [setting(keys, value)], "f.yaml")
    found = plain_data(root, "f.yaml")
    for key in keys:
        found = found[key]
    assert found == value


@given(st.text(max_size=40))
def test_no_text_does_anything_but_set_or_be_refused(text: str) -> None:
    with suppress(InputError):
        read(text)
