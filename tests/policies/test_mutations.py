from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.policy_mutations import (
    NAME,
    TRICKY,
    Pairs,
    Subject,
    broken_default,
    edited,
    ignored,
    judged,
    run,
    subjects,
    tree_of_data,
    written,
)
from planner.spec import Limits
from profiles.yaml_input import parsed

FILES = subjects()


@pytest.mark.parametrize("subject", FILES, ids=lambda subject: subject.name)
def test_every_file_that_is_edited_is_valid_and_its_tree_says_the_same(subject: Subject) -> None:
    assert subject.read(written(subject.tree)) == subject.meaning


@given(st.sampled_from(FILES), st.integers(0, 2**40))
@settings(max_examples=300, deadline=None)
def test_any_edit_is_accepted_with_a_meaning_or_refused_at_a_place(
    subject: Subject, seed: int
) -> None:
    assert judged(subject, edited(subject, seed))[1] is None


def test_a_run_counts_every_edit_once_and_the_same_again() -> None:
    found, again = run(60), run(60)
    assert found["failures"] == 0
    assert sum(found["outcomes"].values()) == 60
    assert found["by_kind"] == again["by_kind"]


json_like = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(-(2**53), 2**53)
    | st.text(st.characters(exclude_categories=["Cs", "Cc", "Cf", "Zl", "Zp", "Cn"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("abyesno10.~", max_size=5), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text("ab~1", min_size=1), json_like, max_size=3))
@settings(max_examples=200, deadline=None)
def test_data_reads_back_as_it_was_written(data: dict[str, object]) -> None:
    assert parsed(written(tree_of_data(data)), NAME)[1] == data


def test_the_judge_sees_what_was_lost_and_what_was_made_up() -> None:
    assert ignored({"a": {"b": 1}}, {"a": {"b": 1.0, "c": 2}}) is None
    assert ignored({"a": {"b": 1}}, {"a": {}}) == ".a.b"
    assert ignored({"a": {"b": None}}, {"a": {}}) is None
    assert ignored({"a": [1, True]}, {"a": [1, 1]}) == ".a.1"
    assert broken_default(Limits(), ("spend",)) is None
    limits = Limits.model_validate({"spend": {"usd_per_request": 1}})
    assert broken_default(limits, ("spend",)) == "('spend',) has not its default"
    assert broken_default(limits, ("gone", "away")) is None


def test_an_edit_is_the_same_for_the_same_seed() -> None:
    for seed in range(50):
        assert edited(FILES[0], seed) == edited(FILES[0], seed)
    assert len({edited(FILES[0], seed).content for seed in range(200)}) > 150
    assert len(TRICKY) > 60
    assert written(Pairs([("a", "1"), ("a", "2")])) == "a: 1\na: 2\n"
