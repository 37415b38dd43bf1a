"""`inferbudget sign`: keys, passphrases and signatures as commands, and what they print."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.cli.main import EXTRA_OF_PACKAGE, cli
from planner.plan import CellFacts, Classes, Figures, Plan, Rung
from planner.spec import Limits
from policies.compile import compile_plan
from policies.file import write_policy
from policies.keys import PASSPHRASE, read_private_key
from policies.verify import read_enforceable
from profiles.errors import InputError
from profiles.money import PriceCard

WORD = "open sesame, twice"


def run(*words: object, env: Mapping[str, str | None] | None = None) -> Result:
    call = [str(word) for word in words]
    return CliRunner(env=env or {PASSPHRASE: None}).invoke(cli, call, standalone_mode=False)


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    figures = Figures(accuracy=0.8, cost_usd_per_request=0.005, latency_p95_s=None)
    facts = CellFacts(
        queries=200,
        accuracy=0.8,
        planned_accuracy=0.8,
        accuracy_se=0.02,
        cost_usd=0.005,
        cost_se_usd=0.0001,
        cost_max_usd=0.01,
        latency_p95_s=None,
        tokens_out_max=100,
        evidence=("measured",),
    )
    only = Rung(
        budget_fraction=1.0,
        objective="minimize cost",
        allocation={"all": {"small/single": 1.0}},
        expected=figures,
        promised=figures,
        by_class={"all": figures},
        shadow_prices={},
    )
    solved = Plan(
        status="optimal",
        workload="w",
        confidence=None,
        classes=Classes(source="label", names=("all",), weights=(1.0,)),
        traffic=None,
        limits=Limits(),
        prices=PriceCard(),
        cells={"all": {"small/single": facts}},
        rungs=(only,),
        best_single_strategy=None,
        spec_digest="sha256:1",
        profile_digest="sha256:2",
        solver="none",
    ).sealed()
    path = tmp_path / "policy.yaml"
    write_policy(compile_plan(solved, estimator=None), path)
    return path


def test_a_pair_signs_and_its_public_half_verifies(policy: Path, tmp_path: Path) -> None:
    key = tmp_path / "team"
    made = run("sign", "keygen", "-o", key)
    assert made.exception is None
    assert f"private key  {key}, not encrypted: keep it secret" in made.stdout
    done = run("sign", policy, "--key", key)
    assert done.exception is None
    assert done.stdout.startswith(f"wrote {policy}.sig, signed by sha256:")
    assert not done.stderr
    checked = run("verify", policy, "--key", f"{key}.pub")
    assert checked.exit_code == 0
    assert checked.stdout.endswith(f"{policy}: ok\n")


def test_json_says_what_was_written(policy: Path, tmp_path: Path) -> None:
    key = tmp_path / "team"
    made = json.loads(run("sign", "keygen", "-o", key, "--format", "json").stdout)
    assert made == {
        "format_version": "1.0",
        "private": str(key),
        "public": f"{key}.pub",
        "key_id": made["key_id"],
        "encrypted": False,
    }
    done = json.loads(run("sign", policy, "--key", key, "--format", "json").stdout)
    assert done["signature_file"] == f"{policy}.sig"
    assert done["key_id"] == made["key_id"]
    found = json.loads(run("verify", policy, "--key", f"{key}.pub", "--format", "json").stdout)
    assert (found["signed_by"], found["findings"]) == (made["key_id"], [])


def test_the_passphrase_of_the_environment_seals_and_opens_a_key(
    policy: Path, tmp_path: Path
) -> None:
    key, env = tmp_path / "team", {PASSPHRASE: WORD}
    made = run("sign", "keygen", "-o", key, env=env)
    assert "encrypted: keep" in made.stdout
    assert b"ENCRYPTED" in key.read_bytes()
    assert read_private_key(key, WORD.encode)
    done = run("sign", policy, "--key", key, env=env)
    assert done.exception is None
    for said in (made.output, done.output):
        assert WORD not in said
    assert read_enforceable(policy)


def test_a_wrong_missing_or_empty_passphrase_is_refused_without_a_word_of_it(
    policy: Path, tmp_path: Path
) -> None:
    key = tmp_path / "team"
    run("sign", "keygen", "-o", key, env={PASSPHRASE: WORD})
    wrong = run("sign", policy, "--key", key, env={PASSPHRASE: "open says me"})
    assert "does not open the key" in str(wrong.exception)
    assert "open says me" not in str(wrong.exception) + wrong.output
    for env, said in (({PASSPHRASE: None}, "nobody is there"), ({PASSPHRASE: ""}, "is empty")):
        done = run("sign", policy, "--key", key, env=env)
        assert isinstance(done.exception, InputError)
        assert said in str(done.exception)
    done = run("sign", "keygen", "-o", tmp_path / "other", env={PASSPHRASE: ""})
    assert "is empty" in str(done.exception)
    done = run("sign", "keygen", "-o", tmp_path / "other", "--passphrase")
    assert "nobody is there" in str(done.exception)
    assert not (tmp_path / "other").exists()


def test_a_typed_passphrase_is_asked_for_and_not_shown(
    policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(PASSPHRASE, raising=False)
    monkeypatch.setattr("app.cli.policy.passphrase.is_terminal", lambda: True)
    key = tmp_path / "team"
    typed = CliRunner().invoke(
        cli, ["sign", "keygen", "-o", str(key), "--passphrase"], input=f"{WORD}\n{WORD}\n"
    )
    assert typed.exit_code == 0, typed.output
    assert b"ENCRYPTED" in key.read_bytes()
    done = CliRunner().invoke(cli, ["sign", str(policy), "--key", str(key)], input=f"{WORD}\n")
    assert done.exit_code == 0, done.output
    assert WORD not in typed.output + done.output


def test_a_key_that_others_can_read_is_noted(policy: Path, tmp_path: Path) -> None:
    key = tmp_path / "team"
    run("sign", "keygen", "-o", key)
    key.chmod(0o644)
    assert "can be read by others: chmod 600" in run("sign", policy, "--key", key).stderr


def test_a_tampered_policy_is_not_signed_and_a_key_not_overwritten(
    policy: Path, tmp_path: Path
) -> None:
    key = tmp_path / "team"
    run("sign", "keygen", "-o", key)
    assert "never overwritten" in str(run("sign", "keygen", "-o", key).exception)
    policy.write_bytes(policy.read_bytes() + b"#\n")
    done = run("sign", policy, "--key", key)
    assert "byte for byte" in str(done.exception)
    assert not Path(f"{policy}.sig").exists()


def test_what_signing_needs_is_an_extra_of_its_own() -> None:
    assert EXTRA_OF_PACKAGE["cryptography"] == "sign"
