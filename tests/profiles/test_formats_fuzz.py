"""Whatever a file holds, a reader returns sound records or says what is wrong."""

from __future__ import annotations

import json
import math
import tempfile
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from profiles.errors import InputError
from profiles.importing.formats import FORMATS
from profiles.notes import Notes

FIXTURES = Path(__file__).parent / "fixtures"
FILES = {
    "lm_eval": "lm_eval/samples_gsm8k_2026-03-04T10-11-12.345678.jsonl",
    "guidellm": "guidellm_v2.json",
    "vllm": "vllm_detailed.json",
    "sglang": "sglang.jsonl",
    "otlp": "otlp.jsonl",
    "sample_logs": "tot_logs/gpt-4_0.7_propose1_value3_greedy2_start900_end903.json",
}
OPTIONS = {"lm_eval": {"filter": "strict-match", "model": "m"}, "otlp": {}, "sample_logs": {}}
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(10**30, 10**310),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["inf", "1,234", "-5", "9" * 400, "\ud800", 0, -1, 1e308, 5e-324, [], {}]),
    st.lists(st.one_of(st.none(), st.floats(), st.lists(st.floats(), max_size=2)), max_size=9),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


def places(value, path=()):
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for index in range(len(value)):
            yield from places(value[index], (*path, index))


def change(value, path, new):
    for step in path[:-1]:
        value = value[step]
    value[path[-1]] = new


def documents(name):
    text = (FIXTURES / FILES[name]).read_text()
    try:
        return [json.loads(text)]
    except ValueError:
        return [json.loads(line) for line in text.splitlines()]


PLACES = {
    name: [path for path in places(documents(name)) if len(path) > 1 and "pdf" not in path]
    for name in FILES
}


def read(name, content):
    module = import_module(FORMATS[name])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / Path(FILES[name]).name
        path.write_bytes(content)
        return module.read(path, workload="w", notes=Notes(), **OPTIONS.get(name, {"model": "m"}))


def sound(found):
    """Every number is finite, none is negative, every score lies in 0..1."""
    for record in (*found.observations, *found.serving):
        for key, value in asdict(record).items():
            if isinstance(value, int | float):
                assert math.isfinite(value), key
                assert value >= 0, key
    assert all(row.score is None or 0 <= row.score <= 1 for row in found.observations)
    assert all(item.reason and item.line >= 1 for item in found.set_aside)
    assert found.rows >= len(found.set_aside)
    keys = [(row.query_id, row.strategy, row.sample) for row in found.observations]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("name", FILES)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_file_with_odd_values_is_read_soundly_or_refused(name, data):
    content = documents(name)
    for path in data.draw(st.lists(st.sampled_from(PLACES[name]), min_size=1, max_size=4)):
        try:
            change(content, path, data.draw(ODD))
        except (KeyError, IndexError, TypeError):  # an earlier change took the place away
            continue
    try:
        sound(read(name, "\n".join(map(json.dumps, content)).encode()))
    except InputError as error:
        assert str(error)  # noqa: PT017 - refusing is one of the two right outcomes


@pytest.mark.parametrize("name", FILES)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_file_with_broken_bytes_is_read_soundly_or_refused(name, data):
    content = bytearray((FIXTURES / FILES[name]).read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=4))
    try:
        sound(read(name, bytes(content)))
    except InputError as error:
        assert str(error)  # noqa: PT017 - refusing is one of the two right outcomes


def entry(**more):
    usage = {"cost": 0.5, "prompt_tokens": 10, "completion_tokens": 5}
    return {"idx": 1, "ys": ["a"], "infos": [{"r": 1}], "usage_so_far": usage} | more


def read_logs(*entries):
    return read("sample_logs", json.dumps(entries).encode())


@pytest.mark.parametrize("counted", [10**400, 1e300, -1, True, "7"])
def test_a_log_with_a_counter_that_nothing_can_reach_leaves_the_bill_unknown(counted):
    usage = {"cost": counted, "prompt_tokens": 10, "completion_tokens": 5}
    (row,) = read_logs(entry(usage_so_far=usage)).observations
    assert (row.cost_usd, row.tokens_in, row.tokens_out) == (None, None, None)


@pytest.mark.parametrize("steps", [7, "x", {"x": 1}, [1], [{"y": 1}], [None]])
def test_a_log_whose_steps_are_no_steps_has_the_entry_set_aside(steps):
    found = read_logs(entry(steps=steps), entry(idx=2))
    assert [row.query_id for row in found.observations] == ["2"]
    (aside,) = found.set_aside
    assert (aside.line, aside.reason) == (1, "steps that do not begin with the puzzle (x)")


@pytest.mark.parametrize("idx", [None, True, [1], {}, 1.5])
def test_a_log_entry_without_a_usable_puzzle_number_is_set_aside(idx):
    found = read_logs(entry(idx=idx), entry(idx=2))
    assert [row.query_id for row in found.observations] == ["2"]
    assert found.set_aside[0].reason == "no puzzle number (idx)"
