from __future__ import annotations

import datetime as dt
import re
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from benchmarks.policy_mutations import readings
from profiles.errors import InputError
from profiles.yaml_characters import MOST_BYTES, decoded
from profiles.yaml_input import parse_json, parse_yaml, parsed, read_yaml
from profiles.yaml_nodes import DEEPEST, MOST_VALUES

TRUTH_WORDS = ("yes", "Yes", "NO", "no", "on", "Off", "y", "n", "Y", "N")
LOCATED = re.compile(r"f\.yaml:[1-9][0-9]*:[1-9][0-9]*: .")


class Window(StrEnum):
    DAY = "day"
    MONTH = "month"


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    latency_p95_s: float | None = None
    accuracy: float = Field(default=0.5, ge=0, le=1)
    at_most: int | None = None


class Example(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    format_version: Literal["1.0"] = "1.0"
    name: str = ""
    strict: bool = False
    per: Window = Window.MONTH
    day: dt.date | None = None
    parts: dict[str, Part] = Field(default_factory=dict)
    list: tuple[Part, ...] = ()
    confidence: float | Literal["none"] = 0.95


def read(text: str) -> Example:
    return parse_yaml(text, Example, "f.yaml")


def refused(text: str) -> InputError:
    with pytest.raises(InputError) as raised:
        read(text)
    assert LOCATED.match(raised.value.where or ""), raised.value.where
    return raised.value


@pytest.mark.parametrize(
    ("word", "step"),
    [
        *((word, f'put it in quotes: "{word}"') for word in TRUTH_WORDS),
        *((word, f"write {word.lower()}") for word in ("True", "FALSE")),
        *((word, "write null") for word in ("~", "Null", "NULL")),
        ("1e3", "write 1000"),
        ("1.5e3", "write 1500"),
        ("1E-3", "write 0.001"),
        ("1e-05", "write 0.00001"),
        ("1e300", 'write "1e300"'),
        ("010", 'write "010"'),
        ("08", 'write "08"'),
        ("0o10", "write 8"),
        ("0x1F", "write 31"),
        ("0b11", "write 3"),
        ("1_000", "write 1000"),
        ("1_0.5", "write 10.5"),
        ("1:30", 'write "1:30"'),
        ("12:30:45.5", 'write "12:30:45.5"'),
        (".5", "write 0.5"),
        ("-.5", "write -0.5"),
        ("5.", "write 5"),
        ("+1", "write 1"),
        (".inf", 'write ".inf"'),
        ("-.INF", 'write "-.INF"'),
        (".NaN", 'write ".NaN"'),
        ("1.0e+999", 'write "1.0e+999"'),
        ("2026-01-31T10:00:00Z", 'write "2026-01-31T10:00:00Z"'),
        ("2026-1-31 10:00", 'write "2026-1-31 10:00"'),
        ("2026-02-31", 'write "2026-02-31"'),
        ("99999999999999999999", 'write "99999999999999999999"'),
        ("=", 'write "="'),
        ("<<", "write the values out"),
        ("", "write null"),
    ],
)
def test_a_word_that_yaml_readers_disagree_about_is_refused_everywhere(
    word: str, step: str
) -> None:
    for text in (f"name: {word}", f"parts: {{a: {{accuracy: {word}}}}}", f"list: [{word} ]"):
        if word or not text.startswith("list"):
            error = refused(text)
            assert step in (error.next_step or "")
    if word:
        refused(f"parts:\n  {word}: {{}}\n")


@pytest.mark.parametrize("word", ["yes", "1e3", "010", "~", ".inf", "2026-01-31", "<<", "", "1"])
def test_the_same_in_quotes_is_a_text(word: str) -> None:
    assert read(f'name: "{word}"\nparts: {{"{word}": {{}}}}') == Example(
        name=word, parts={word: Part()}
    )


@pytest.mark.parametrize(
    "word", ["gpt-4", "4o-mini", "1.2.3", "nan", "inf", "a:b", "no-op", "-x", "0x", "~/a", "tRUE?"]
)
def test_a_word_that_no_reader_takes_for_anything_else_needs_no_quotes(word: str) -> None:
    assert read(f"name: {word}").name == word


def test_the_place_is_that_of_the_value() -> None:
    error = refused("name: a\nparts:\n  b: {at_most: 1, accuracy: yes}\n")
    assert error.where == "f.yaml:3:29: parts.b.accuracy"
    assert refused("parts:\n  b:\n    accuracy: 2\n").where == "f.yaml:3:15: parts.b.accuracy"
    assert refused("list:\n  - {}\n  - acuracy: 0.1\n").where == "f.yaml:3:5: list.1.acuracy"
    assert refused("name: x\nparts: {a: [1]}\n").where == "f.yaml:2:9: parts.a"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a: &x 1", "anchors"),
        ("a: *x", "aliases"),
        ("a: &x {}", "anchors"),
        ("<<: {a: 1}", "merge"),
        ("a: !!str 1", "tags"),
        ("a: !custom {}", "tags"),
        ("a: !!binary aGk=", "tags"),
        ("a: !!python/object/apply:os.system [ls]", "tags"),
        ("a: ! x", "tags"),
        ("%YAML 1.2\n---\na: 1", "directives"),
        ("%TAG ! tag:x,2026:\n---\na: 1", "directives"),
        ("a: 1\n---\nb: 1", "second document"),
        ("a: 1\n...\nb: 1", "second document|document start"),
        ("? [a]\n: 1", "a key is not a text"),
        ("{{a: 1}: 1}", "a key is not a text"),
        ("1: 1", "a key is not a text"),
        ("true: 1", "a key is not a text"),
        ("null: 1", "a key is not a text"),
        ("2026-01-31: 1", "a key is not a text"),
        ("a: 1\na: 2", "stands twice"),
        ("a: 1\n\"a\": 2", "stands twice"),
        ("{'a': 1, a: 2}", "stands twice"),
        ("a:\t1", "tab"),
        ("a: 1\n\tb: 2", "tab"),
        ("\ufeffa: 1", "byte order mark"),
        ("a: 1\x00", "cannot be seen"),
        ("a: 1 # \x1b[2J", "cannot be seen"),
        ("a: 1 # \u202e", "cannot be seen"),
        ("a: 1 # x\u2028b: 2", "cannot be seen"),
        ("a: 1 # x\x85b: 2", "cannot be seen"),
        ("a: 1 # x\rb: 2", "cannot be seen"),
        ("a: \ud800", "cannot be seen"),
        ('a: "\\ud800"', "Unicode"),
        ("a: [", "did not find"),
        ("a: 'x", "end of stream"),
        ("a: @", "cannot start"),
        ("a: b: c", "mapping values"),
        ("", "not a mapping"),
        ("# nothing", "not a mapping"),
        ("- a", "not a mapping"),
        ("a", "not a mapping"),
        (f"a: {'[' * DEEPEST}{']' * DEEPEST}", "nested"),
        ("a: " + "{a: " * 100_000, "nested"),
        ("a: " + "1" * 5000, "too long"),
        ("a: 1." + "1" * 5000, "too long"),
        (f"a: [{'1,' * MOST_VALUES}]", "more than"),
    ],
)  # fmt: skip
def test_what_only_some_readers_understand_is_refused_at_its_place(text: str, what: str) -> None:
    with pytest.raises(InputError, match=what) as raised:
        parsed(text, "f.yaml")
    assert LOCATED.match(raised.value.where or "")


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b"a: 1\nb: \xff\n", "2:4"),
        ("a: ä".encode("utf-16"), "1:1"),
        (b"\xef\xbb\xbfa: 1", "1:1"),
        (b"#" * (MOST_BYTES + 1), "1:1"),
    ],
)
def test_bytes_that_are_no_text_are_refused_at_their_place(
    tmp_path: Path, content: bytes, where: str
) -> None:
    path = tmp_path / "f.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError) as raised:
        read_yaml(path, Example)
    assert raised.value.where == f"{path}:{where}: the file"


def test_a_file_that_is_not_there_or_a_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.yaml"):
        with pytest.raises(InputError, match="cannot read the file"):
            read_yaml(path, Example)


def test_windows_line_ends_and_one_document_start_are_read() -> None:
    assert read("---\r\nname: a\r\nparts: {}\r\n...\r\n") == Example(name="a")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('parts: {a: {accuracy: "0.5"}}', "take the quotes away: 0.5"),
        ('strict: "true"', "take the quotes away: true"),
        ("strict: 1", "valid boolean"),
        ("parts: {a: {accuracy: true}}", "valid number"),
        ("parts: {a: {latency_p95_s: 300ms}}", "without a unit"),
        ("parts: {a: {at_most: 2.0}}", "write 2$"),
        ("parts: {a: {at_most: 2.5}}", "valid integer"),
        ("name: 5", 'put it in quotes: "5"'),
        ("name: null", 'put it in quotes: "null"'),
        ("name: true", 'put it in quotes: "true"'),
        ("name: 2026-01-31", 'put it in quotes: "2026-01-31"'),
        ("format_version: 1.0", 'put it in quotes: "1.0"'),
        ("per: monht", "did you mean 'month'"),
        ("confidence: some", "valid number"),
        ("list: {}", "valid (array|tuple)"),
        ("parts: []", "valid (dictionary|object)|an object"),
        ("parts: {a: null}", "an object|valid dict"),
    ],
)
def test_a_value_of_another_type_is_refused_with_what_to_write(text: str, message: str) -> None:
    assert re.search(message, str(refused(text)))


def test_whole_numbers_stand_for_numbers_and_days_for_days() -> None:
    found = read(
        "parts: {a: {accuracy: 1, latency_p95_s: 100000000000000000000}}\nday: 2026-01-31\n"
    )
    assert found.parts["a"].accuracy == 1.0
    assert found.parts["a"].latency_p95_s == 1e20
    assert found.day == dt.date(2026, 1, 31)
    assert read('day: "2026-01-31"') == read("day: 2026-01-31")


@pytest.mark.parametrize(
    ("key", "step"),
    [
        ("latency_p95_ms", "did you mean 'latency_p95_s'? It is in seconds: convert the number"),
        ("latency_p95_minutes", "did you mean 'latency_p95_s'? It is in seconds"),
        ("acuracy", "did you mean 'accuracy'?"),
        ("at_mots", "did you mean 'at_most'?"),
        ("zzz", "remove it"),
    ],
)
def test_an_unknown_key_names_what_it_could_mean_there(key: str, step: str) -> None:
    error = refused(f"parts:\n  a:\n    {key}: 1\n")
    assert step in (error.next_step or "")
    assert error.expected == "one of latency_p95_s, accuracy, at_most"


def test_an_unknown_key_is_told_before_a_missing_one() -> None:
    class Needy(BaseModel):
        model_config = ConfigDict(extra="forbid")

        workload: str

    with pytest.raises(InputError, match="did you mean 'workload'"):
        parse_yaml("workloda: x", Needy, "f.yaml")
    with pytest.raises(InputError, match=r"f\.yaml:1:1: workload: 'workload' is missing"):
        parse_yaml("{}", Needy, "f.yaml")


def test_a_file_of_nothing_but_mistakes_is_refused_as_a_whole() -> None:
    """Pydantic would write out a million of them, for many seconds."""
    text = "\n".join(f"key_{index}: 1" for index in range(60_000))
    error = refused(text)
    assert "almost nothing in this file is as it should be" in str(error)
    assert error.got == "60,000 keys and values that are wrong or missing"


def test_json_of_our_own_may_have_exponents() -> None:
    assert parse_json('{"accuracy": 1e-07}', Part, "stored").accuracy == 1e-07
    with pytest.raises(InputError, match="stored: accuracy: "):
        parse_json('{"accuracy": 7}', Part, "stored")


def read_or_refused_at_a_place(content: bytes) -> dict[str, Any] | None:
    try:
        return parsed(decoded(content, "f.yaml"), "f.yaml")[1]
    except InputError as error:
        where = error.where or ""
    assert LOCATED.match(where)
    return None


scalars = st.one_of(
    st.text("0123456789+-.eEx_:obfTZ", max_size=9),
    st.text("yesnofaltruYNull~=<", max_size=5),
    st.from_regex(r"[-+]?[0-9_]{0,4}(\.[0-9_]{0,3})?([eE][-+]?[0-9]{1,3})?", fullmatch=True),
    st.from_regex(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ][0-9:]{1,8})?", fullmatch=True),
    st.from_regex(r"[-+]?0?[xob]?[0-9a-f_]{1,6}(:[0-5]?[0-9]){0,2}", fullmatch=True),
    st.text(max_size=6),
)


@given(scalars, scalars)
@settings(max_examples=1500, deadline=None)
def test_readers_of_both_versions_of_yaml_find_what_we_find(key: str, value: str) -> None:
    text = f"{key}: {value}\nlist: [a, {value} ]\n"
    data = read_or_refused_at_a_place(text.encode(errors="surrogatepass"))
    for found in readings(text) if data is not None else ():
        assert repr(found) == repr(data)


@given(st.binary(max_size=60))
@settings(max_examples=500, deadline=None)
def test_any_bytes_are_read_or_refused_at_a_place(content: bytes) -> None:
    read_or_refused_at_a_place(content)


def test_the_library_below_reads_what_we_accept() -> None:
    text = "a: {b: [1, -2.5, 1.5e+3, true, null, x y, 'z']}\n"
    data: dict[str, Any] = yaml.safe_load(text)
    assert parsed(text, "f.yaml")[1] == data
