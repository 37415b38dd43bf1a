from __future__ import annotations

import re
from pathlib import Path

import pytest

from policies.findings import failed
from policies.semantics import semantic_findings
from policies.source import Source
from policies.text import policy_text
from policies.versions import READ_VERSIONS, STEPS, migrated, parse_policy
from profiles.errors import InputError

FIXTURES = Path(__file__).parent / "fixtures"
OLD = sorted((FIXTURES / "v1.0").glob("*.yaml"))
OLD_TEXT = (FIXTURES / "v1.0/labels.policy.yaml").read_text()


def refused(text: str) -> InputError:
    with pytest.raises(InputError) as raised:
        parse_policy(text, "p.yaml")
    assert re.match(r"p\.yaml:[1-9]\d*:[1-9]\d*: ", raised.value.where or "")
    return raised.value


def with_version(version: str) -> str:
    return re.sub(r"^format_version: .*$", f"format_version: {version}", OLD_TEXT, flags=re.M)


def test_the_steps_lead_from_every_older_version_to_todays() -> None:
    assert [step.newer for step in STEPS] == list(READ_VERSIONS[1:])
    assert READ_VERSIONS[-1] == parse_policy(migrated(OLD_TEXT, "p"), "p").policy.format_version
    for version in READ_VERSIONS:
        assert (FIXTURES / f"v{version}").is_dir() or version == READ_VERSIONS[-1]


@pytest.mark.parametrize("path", OLD, ids=lambda path: path.name)
def test_a_file_of_format_1_0_is_held_against_its_digest_and_moved(path: Path) -> None:
    text = path.read_text()
    reading = parse_policy(text, path.name)
    assert (reading.format_version, reading.is_current) == ("1.0", False)
    policy = reading.policy
    assert policy.digest == policy.content_digest()
    assert policy.digest not in text
    assert not failed(semantic_findings(policy, reading.source))


@pytest.mark.parametrize("path", OLD, ids=lambda path: path.name)
def test_what_a_moved_file_says_it_said_before_and_the_rest_is_null(path: Path) -> None:
    reading = parse_policy(path.read_text(), path.name)
    policy, old = reading.policy, reading.source.data
    for entry, was in zip(policy.strategies, old["strategies"], strict=True):
        assert {name: c.cost_usd for name, c in entry.by_class.items()} == was["expected_cost_usd"]
        bounds = {name: c.cost_max_usd for name, c in entry.by_class.items()}
        assert bounds == was["cost_bound_usd"]
        for cell in entry.by_class.values():
            unknown = (cell.queries, cell.accuracy, cell.accuracy_se, cell.cost_se_usd)
            assert (*unknown, cell.latency_p95_s) == (None,) * 5
    for rung, was in zip(policy.rungs, old["rungs"], strict=True):
        assert rung.shares == was["shares"]
        assert (rung.objective, rung.by_class, rung.limits, rung.shadow_prices) == (None,) * 4
    assert (policy.classes.weights, policy.traffic) == (None, None)
    assert policy.graph.sha256 == old["graph"]["sha256"]
    assert policy.provenance.plan == old["provenance"]["plan"]


@pytest.mark.parametrize("path", OLD, ids=lambda path: path.name)
def test_a_migrated_text_is_that_of_the_same_policy_and_stays_as_it_is(path: Path) -> None:
    text = migrated(path.read_text(), path.name)
    again = parse_policy(text, path.name)
    assert again.is_current
    assert again.policy == parse_policy(path.read_text(), path.name).policy
    assert migrated(text, path.name) == text
    assert text.count("null # not recorded") == 1 + 4 * len(again.policy.rungs)


def test_a_class_with_one_of_two_costs_keeps_that_one() -> None:
    text = OLD_TEXT.replace(
        "cost_bound_usd: {easy: 0.000041, hard: 0.000078}", "cost_bound_usd: {}"
    )
    expected = refused(text).expected
    text = re.sub(r"^digest: .*$", f"digest: {expected}", text, flags=re.M)
    cells = parse_policy(text, "p.yaml").policy.strategies[0].by_class
    assert (cells["easy"].cost_usd, cells["easy"].cost_max_usd) == (0.0000123, None)


def test_an_old_file_that_was_edited_is_refused_at_its_digest() -> None:
    error = refused(OLD_TEXT.replace(": 0.7\n", ": 0.6\n"))
    assert error.what == "the policy was changed after it was compiled"
    assert (error.where or "").endswith(":1: digest")
    assert "compile' again" in (error.next_step or "")


def test_an_old_file_is_read_as_strictly_as_a_new_one() -> None:
    error = refused(OLD_TEXT.replace("cost_bound_usd", "cost_bound_cents", 1))
    assert "did you mean 'cost_bound_usd'? It is in US dollars" in (error.next_step or "")
    assert "weights" in refused(OLD_TEXT.replace("names:", "weights: [1]\n  names:")).what


@pytest.mark.parametrize(
    ("version", "what", "step"),
    [
        ('"1.2"', "a newer version", "upgrade inferbudget"),
        ('"1.10"', "a newer version", "upgrade inferbudget"),
        ('"2.0"', "a newer version", "upgrade inferbudget"),
        ('"0.9"', "no longer read", "compile' again"),
        ("1.1", "not a format version", 'put it in quotes: "1.1"'),
        ("1", "not a format version", "compile' again"),
        ("null", "not a format version", "compile' again"),
        ('"1"', "not a format version", "compile' again"),
        ('"1.1.0"', "not a format version", "compile' again"),
        ('"01.1"', "not a format version", "compile' again"),
        ("[]", "not a format version", "compile' again"),
    ],
)
def test_another_format_version_is_refused_with_the_way_out(
    version: str, what: str, step: str
) -> None:
    error = refused(with_version(version))
    assert what in error.what
    assert step in (error.next_step or "")
    assert error.where == "p.yaml:4:1: format_version"
    assert error.expected == "one of 1.0, 1.1"


def test_a_file_without_a_format_version_is_refused() -> None:
    error = refused(OLD_TEXT.replace('format_version: "1.0"\n', ""))
    assert error.what == "'format_version' is missing"


def test_a_text_of_todays_format_keeps_the_digest_that_it_says() -> None:
    text = migrated(OLD_TEXT, "p.yaml")
    edited = text.replace(": 0.7\n", ": 0.6\n")
    assert (
        parse_policy(edited, "p.yaml").policy.digest == parse_policy(text, "p.yaml").policy.digest
    )


def test_a_source_points_at_line_and_column_of_the_deepest_key_that_it_has() -> None:
    source = Source.of("s.yaml", "a:\n  - {b: 1, c: {d: x}}\n")
    assert source.where() == "s.yaml:1:1: the file"
    assert source.where("a") == "s.yaml:1:1: a"
    assert source.where("a", 0) == "s.yaml:2:5: a.0"
    assert source.where("a", 0, "c", "d") == "s.yaml:2:16: a.0.c.d"
    assert source.where("a", 0, "c", "e") == "s.yaml:2:12: a.0.c.e"
    assert source.where("a", 7) == "s.yaml:1:1: a.7"
    assert source.data == {"a": [{"b": 1, "c": {"d": "x"}}]}


def test_the_written_text_of_an_old_policy_is_stable() -> None:
    policy = parse_policy(OLD_TEXT, "p.yaml").policy
    assert policy_text(policy) == migrated(OLD_TEXT, "p.yaml")
