from __future__ import annotations

from pathlib import Path

import pytest
from generated_policies import any_policies
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_examples import FIXTURES, compiled

from policies.file import read_policy, write_policy
from policies.formatting import formatted, write_formatted
from policies.policy import FORMAT_VERSION, Policy
from policies.schema import schema_text
from policies.text import policy_text
from policies.versions import parse_policy
from profiles.errors import InputError

OLD = sorted((FIXTURES / "v1.0").glob("*.yaml"))


@given(any_policies.map(Policy.sealed), st.sampled_from(["\n", "\r\n"]))
@settings(max_examples=60, deadline=None)
def test_a_formatted_policy_has_the_same_meaning_and_digest_and_stays_as_it_is(
    policy: Policy, ending: str
) -> None:
    text = policy_text(policy)
    untidy = f"# a remark\n\n{text}\n".replace("\n", ending)
    once = formatted(untidy, "policy.yaml")
    assert once.changed
    assert (once.after, once.digest, once.migrated_from) == (text, policy.digest, None)
    assert not formatted(once.after, "policy.yaml").changed


def test_an_edited_policy_is_refused_at_its_digest() -> None:
    text = policy_text(compiled().policy).replace(": 0.7\n", ": 0.6\n")
    with pytest.raises(InputError, match=r"policy\.yaml:\d+:1: digest: the policy was changed"):
        formatted(text, "policy.yaml")


def test_an_older_format_is_moved_only_when_that_is_asked_for() -> None:
    text = OLD[0].read_text()
    with pytest.raises(InputError, match="older format") as raised:
        formatted(text, "policy.yaml")
    assert "--migrate" in str(raised.value)
    moved = formatted(text, "policy.yaml", migrate=True)
    assert moved.migrated_from == "1.0"
    assert moved.digest not in text
    reading = parse_policy(moved.after, "policy.yaml")
    assert reading.format_version == FORMAT_VERSION
    assert reading.policy.content_digest() == moved.digest
    again = formatted(moved.after, "policy.yaml", migrate=True)
    assert (again.changed, again.migrated_from) == (False, None)


def test_a_moved_policy_gets_the_schema_that_it_names(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    write_formatted(formatted(OLD[0].read_text(), "policy.yaml", migrate=True), path)
    assert (tmp_path / "policy.schema.json").read_text() == schema_text("policy")
    assert path.read_text().startswith("# yaml-language-server: $schema=./policy.schema.json")


def test_writing_a_formatted_policy_touches_no_other_file(tmp_path: Path) -> None:
    made = compiled()
    path = tmp_path / "policy.yaml"
    write_policy(made, path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    path.write_text(path.read_text().replace("digest: sha256", "digest:  sha256"))
    write_formatted(formatted(path.read_text(), str(path)), path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert read_policy(path) == made.policy
