"""Scenarios: settings with names, and the file that keeps them."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.scenarios import (
    LONGEST_FILE,
    MOST,
    MOST_SETTINGS,
    Scenario,
    address_text,
    chosen,
    file_text,
    parse_scenarios,
    read_scenarios,
)
from profiles.errors import InputError

HEAD = 'format_version: "1.0"\nscenarios:\n'
AWKWARD = (
    "limits.spend={usd_per_request: 0.00000125}",
    'limits.accuracy.by_class."v1.5 \\"x\\""=0.8',
    "limits.latency=null",
    'objective="minimize cost"',
    'strategies=["a/single", "no", "12"]',
    "rungs=[1.0, 0.5]",
    "traffic={requests: 1000, per: day}",
)


def written(lines: str) -> tuple[Scenario, ...]:
    return parse_scenarios(HEAD + lines, "scenarios.yaml")


def test_a_file_is_read_as_a_person_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "scenarios.yaml"
    path.write_text(
        f"{HEAD}  - name: as written\n  - name: cheaper\n    set:\n"
        "      limits.spend: {usd_per_request: 0.003}\n      limits.latency: null\n"
    )
    plain, cheaper = read_scenarios(path)
    assert (plain.name, plain.settings) == ("as written", ())
    assert cheaper.settings == ('limits.spend={"usd_per_request": 0.003}', "limits.latency=null")


def test_what_is_written_is_read_again_from_a_file_and_from_an_address() -> None:
    found = [Scenario.of("a: *b* [c] #", AWKWARD), Scenario.of("yes", ())]
    assert list(parse_scenarios(file_text(found), "file")) == found
    assert list(parse_scenarios(address_text(found), "address")) == found
    assert "\n" not in address_text(found)
    again = Scenario.of("a", found[0].settings)
    assert again.settings == found[0].settings


def test_a_later_setting_takes_the_place_of_what_it_replaces() -> None:
    found = Scenario.of(
        "x",
        (
            "limits.accuracy.overall=0.7",
            "limits.accuracy.by_class.hard=0.5",
            "limits.latency.p95_s=2",
            "limits.accuracy={overall: 0.8}",
            "limits.accuracy.overall=0.9",
        ),
    )
    assert found.settings == (
        "limits.latency.p95_s=2",
        'limits.accuracy={"overall": 0.8}',
        "limits.accuracy.overall=0.9",
    )
    assert found.moved(["limits=null"]).settings == ("limits=null",)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("  - name: a\n    name: b\n", "stands twice"),
        ("  - name: a\n    set: {limits.latency: null, limits.latency: 1}\n", "stands twice"),
        ("  - name: a\n  - name: a\n", "two scenarios are called 'a'"),
        ("  - name: a\n    sets: {}\n", r"unknown key 'sets'[\s\S]*did you mean 'set'"),
        ("  - name: a\n    set: {limits.accuracy=0.9: null}\n", "its value stands behind the"),
        ("  - name: a\n    set: {limits..overall: 1}\n", "this is no path"),
        (
            "  - name: a\n    set: {'limits.\"accuracy\".overall': 1}\n",
            "is written limits.accuracy",
        ),
        ("  - name: a\n    set: {limits.accuracy.overall: .9}\n", "not how a number is written"),
        ("  - name: a\n    set: [limits.latency=null]\n", "should be an object"),
        ("  - name: ''\n", "at least 1 character"),
        ("  - name: ' a'\n", "without outer blanks"),
        ('  - name: "a\\u202eb"\n', "cannot be printed"),
        (f"  - name: {'a' * 61}\n", "at most 60 characters"),
        ("  - set: {}\n", "'name' is missing"),
        ("  []\n", "at least 1 item"),
        ("".join(f"  - name: n{i}\n" for i in range(MOST + 1)), f"at most {MOST} items"),
        (
            "  - name: a\n    set:\n"
            + "".join(f"      x{i}: 1\n" for i in range(MOST_SETTINGS + 1)),
            f"at most {MOST_SETTINGS} items",
        ),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(lines: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        written(lines)
    assert str(refused.value).startswith("scenarios.yaml:")


def test_a_file_that_is_too_long_is_not_even_parsed() -> None:
    with pytest.raises(InputError, match=f"at most {LONGEST_FILE:,} characters"):
        parse_scenarios("{" * (LONGEST_FILE + 1), "file")


@pytest.mark.parametrize(
    ("name", "said"), [("", "at least 1 character"), ("a\nb", "one line"), ("x" * 61, "at most 60")]
)
def test_a_name_that_is_none_is_refused_with_what_to_do(name: str, said: str) -> None:
    with pytest.raises(InputError, match=rf"{said}[\s\S]*choose another name"):
        Scenario.of(name, ())


def test_settings_that_are_none_are_refused() -> None:
    with pytest.raises(InputError, match="this sets nothing"):
        Scenario.of("a", ("limits",))
    too_many = [f"x{i}=1" for i in range(MOST_SETTINGS + 1)]
    with pytest.raises(InputError, match=f"at most {MOST_SETTINGS} items"):
        Scenario.of("a", too_many)


def test_scenarios_are_chosen_by_name_in_the_order_of_the_names() -> None:
    found = written("  - name: a\n  - name: b\n  - name: c\n")
    assert [one.name for one in chosen(found, [], "here")] == ["a", "b", "c"]
    assert [one.name for one in chosen(found, ["c", "a"], "here")] == ["c", "a"]
    with pytest.raises(InputError, match=r"no scenario is called 'd'; expected of a, b, c"):
        chosen(found, ["a", "d"], "here")
    with pytest.raises(InputError, match="two columns are called 'a'"):
        chosen(found, ["a", "a"], "here")
