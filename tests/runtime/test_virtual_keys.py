from __future__ import annotations

import hashlib
import json
import traceback
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from small_tenants import CI, FILE, OTHER, STRANGER, WEB, bearer, tenants

from app.cli.keys import keys
from profiles.errors import InputError
from runtime.tenants import KeyProblem, KeyRefusedError, Tenants, read_tenants
from runtime.tenants.virtual_keys import hash_of, new_key

YEAR_2027_S = 1_798_761_600.0


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Tenants:
    return tenants(tmp_path_factory.mktemp("keys"))


def problem(found: Tenants, authorization: bytes | None) -> KeyProblem:
    with pytest.raises(KeyRefusedError) as refused:
        found.identify(authorization)
    return refused.value.problem


def test_a_secret_has_32_random_bytes_and_its_hash_is_plain_sha256() -> None:
    made = [new_key() for _ in range(200)]
    assert len({key.secret for key in made}) == 200
    for key in made:
        assert key.secret.startswith("ib-")
        assert len(key.secret) == 3 + 43
        assert key.hash == f"sha256:{hashlib.sha256(key.secret.encode()).hexdigest()}"
        assert hash_of(key.secret) == key.hash
    used = set("".join(key.secret[3:] for key in made))
    assert len(used) == 64


def test_every_key_is_known_by_its_own_secret_alone(opened: Tenants) -> None:
    for key, path in (
        (CI, "org:acme/team:search/key:ci"),
        (WEB, "org:acme/team:search/key:web"),
        (OTHER, "org:other/key:only"),
    ):
        found = opened.identify(bearer(key)).key
        assert found.path == path
    assert (found.organisation, found.team, found.name) == ("other", None, "only")
    web = opened.identify(bearer(WEB)).key
    assert (web.organisation, web.team, web.name) == ("acme", "search", "web")


@pytest.mark.parametrize("scheme", [b"Bearer ", b"bearer ", b"BEARER   ", b"Bearer \t"])
def test_the_scheme_is_read_in_any_case_with_blanks_around_the_secret(
    opened: Tenants, scheme: bytes
) -> None:
    assert opened.identify(scheme + CI.secret.encode() + b" \t").key.name == "ci"


@pytest.mark.parametrize(
    ("authorization", "why"),
    [
        (None, KeyProblem.MISSING),
        (b"", KeyProblem.MISSING),
        (b"Bearer", KeyProblem.MISSING),
        (CI.secret.encode(), KeyProblem.MISSING),
        (b"Basic " + CI.secret.encode(), KeyProblem.MISSING),
        (b"Bearer ", KeyProblem.UNKNOWN),
        (b"Bearer " + CI.secret.encode() + b"\n", KeyProblem.UNKNOWN),
        (b"Bearer " + CI.secret.upper().encode(), KeyProblem.UNKNOWN),
        (b"Bearer " + CI.secret[:-1].encode(), KeyProblem.UNKNOWN),
        (b"Bearer " + CI.secret.encode() + b"," + WEB.secret.encode(), KeyProblem.UNKNOWN),
        (b"Bearer " + CI.hash.encode(), KeyProblem.UNKNOWN),
        (b"Bearer " + b"x" * 10_000_000, KeyProblem.UNKNOWN),
        (bearer(STRANGER), KeyProblem.UNKNOWN),
    ],
    ids=range(13),
)
def test_what_is_no_key_opens_nothing(
    opened: Tenants, authorization: bytes | None, why: KeyProblem
) -> None:
    assert problem(opened, authorization) is why


@given(st.binary(max_size=80), st.sampled_from([b"", b"Bearer ", b"bearer ib-"]))
def test_no_bytes_of_a_header_do_anything_but_be_refused(
    opened: Tenants, rest: bytes, head: bytes
) -> None:
    assert problem(opened, head + rest) in {KeyProblem.MISSING, KeyProblem.UNKNOWN}


@given(st.integers(0, 45), st.integers(0, 7))
def test_a_secret_with_one_bit_changed_opens_nothing(opened: Tenants, at: int, bit: int) -> None:
    changed = bytearray(CI.secret.encode())
    changed[at] ^= 1 << bit
    assert problem(opened, b"Bearer " + bytes(changed)) is KeyProblem.UNKNOWN


def test_a_key_expires_while_it_is_used_and_opens_again_where_the_clock_was_wrong(
    tmp_path: Path,
) -> None:
    now_s = YEAR_2027_S - 0.001
    found = tenants(tmp_path, clock=lambda: now_s)
    assert found.identify(bearer(CI)).key.name == "ci"
    now_s = YEAR_2027_S
    assert problem(found, bearer(CI)) is KeyProblem.EXPIRED
    assert found.identify(bearer(WEB)).key.name == "web"
    now_s = YEAR_2027_S - 1
    assert found.identify(bearer(CI)).key.name == "ci"


def test_clients_are_told_the_same_of_every_key_that_does_not_open(tmp_path: Path) -> None:
    text = FILE.replace("may_set: [user, tags]", "enabled: false")
    found = tenants(tmp_path, text, clock=lambda: YEAR_2027_S)
    said, known = set(), {}
    for shown in (None, b"nonsense", bearer(new_key()), bearer(CI), bearer(WEB)):
        with pytest.raises(KeyRefusedError) as refused:
            found.identify(shown)
        said.add((str(refused.value), refused.value.args))
        known[refused.value.problem] = refused.value.path
    assert len(said) == 1
    assert known == {
        KeyProblem.MISSING: None,
        KeyProblem.UNKNOWN: None,
        KeyProblem.EXPIRED: "org:acme/team:search/key:ci",
        KeyProblem.DISABLED: "org:acme/team:search/key:web",
    }


def everything_said(error: BaseException) -> str:
    """All that a log could hold of an error, its causes included."""
    return "".join(traceback.format_exception(error)) + repr(error) + str(vars(error))


def test_a_secret_is_in_no_text_about_what_was_made_of_it(opened: Tenants) -> None:
    made = new_key()
    identity = opened.identify(bearer(CI))
    shown = (made, identity, identity.key, opened.keys, vars(opened))
    for secret in (made.secret, CI.secret):
        assert secret[3:] not in "".join(f"{each!r}{each!s}" for each in shown)
    with pytest.raises(KeyRefusedError) as refused:
        opened.identify(bearer(made))
    assert made.secret[3:] not in everything_said(refused.value)


@pytest.mark.parametrize(
    "wrong",
    [
        f'hash: "{CI.secret}"',
        f"hash: {CI.secret}",
        f'hash: "sha256:{CI.secret}"',
        f'hash: "Bearer {CI.secret}"',
        f'hash: "{CI.hash}" # {CI.secret}',
        f'hash: "{CI.hash}"\n            secret: {CI.secret}',
        f'hash: "{CI.hash}"\n            {CI.secret}: 1',
        f'hash: "{CI.hash}"\n            tags: [&{CI.secret} a]',
    ],
)
def test_a_file_with_a_secret_is_refused_and_no_text_of_the_error_has_it(
    tmp_path: Path, wrong: str
) -> None:
    with pytest.raises(InputError, match="looks like the secret") as refused:
        tenants(tmp_path, FILE.replace(f'hash: "{CI.hash}"', wrong))
    line = next(n for n, text in enumerate(FILE.splitlines(), 1) if CI.hash in text)
    at = line + (0 if wrong.startswith("hash:") and "\n" not in wrong else 1)
    assert refused.value.where is not None
    assert refused.value.where.startswith(f"{tmp_path / 'tenants.yaml'}:{at}:")
    assert CI.secret[3:20] not in everything_said(refused.value)


@pytest.mark.parametrize(
    "foreign", ["sk-proj-AbCdEf0123456789", "hunter2", '"hunter2"', "[hunter2]"]
)
def test_a_foreign_secret_where_the_hash_should_be_is_not_quoted(
    tmp_path: Path, foreign: str
) -> None:
    with pytest.raises(InputError, match="no hash of a virtual key") as refused:
        tenants(tmp_path, FILE.replace(f'"{CI.hash}"', foreign))
    assert ".keys.ci.hash" in str(refused.value)
    word = foreign.strip('"[]')
    assert word not in everything_said(refused.value)


def test_two_keys_with_one_secret_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two keys have the same hash") as refused:
        tenants(tmp_path, FILE.replace(OTHER.hash, CI.hash))
    assert "organisations.other.keys.only" in str(refused.value)
    assert "org:acme/team:search/key:ci" in str(refused.value)


@pytest.mark.parametrize(
    "word",
    [
        "",
        "hunter2",
        "ib-",
        "ib-short",
        STRANGER.secret + "x",
        STRANGER.secret + "\n",
        "ib-" + "é" * 43,
    ],
)
def test_only_secrets_of_our_own_making_are_hashed(word: str) -> None:
    with pytest.raises(InputError, match="no virtual key") as refused:
        hash_of(word)
    assert len(word) < 4 or word.strip() not in everything_said(refused.value)


def run(*words: str, given: str | bytes | None = None) -> Result:
    done = CliRunner().invoke(keys, list(words), input=given, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done


def pasted(entry: str) -> str:
    return 'format_version: "1.0"\norganisations:\n  acme:\n    keys:\n' + f"    {entry}\n"


@pytest.mark.parametrize(
    "name", ["ci", "on", "2027-01-01", "Über uns: 1", "検索", 'a"b', "null", "1"]
)
def test_the_entry_that_keys_new_prints_opens_with_the_secret_that_it_prints(
    tmp_path: Path, name: str
) -> None:
    said, secret, _, entry = run(
        "new", "--name", name, "--expires", "2027-01-01"
    ).stdout.splitlines()
    found = tenants(tmp_path, pasted(entry), clock=lambda: YEAR_2027_S - 1)
    identity = found.identify(f"Bearer {secret.strip()}".encode())
    assert said == "secret, shown this once:"
    assert identity.key.name == name
    assert identity.key.expires_s == YEAR_2027_S
    assert secret.strip() not in entry


def test_keys_new_says_the_same_in_json() -> None:
    said = json.loads(run("new", "--name", "ci", "--format", "json").stdout)
    assert said["hash"] == hash_of(said["secret"])
    assert (said["format_version"], said["name"], said["expires"]) == ("1.0", "ci", None)


@pytest.mark.parametrize("name", ["", " ci", "a\u200bb", "x" * 65, "e\u0301", "a\nb"])
def test_keys_new_refuses_a_name_that_the_file_would_refuse(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="a name"):
        run("new", "--name", name)
    with pytest.raises(InputError, match=r"name|character"):
        tenants(tmp_path, FILE.replace("  acme:", f"  {json.dumps(name)}:"))


def test_keys_hash_reads_standard_input_and_quotes_nothing() -> None:
    made = new_key()
    assert run("hash", given=made.secret + "\n").stdout == made.hash + "\n"
    said = json.loads(run("hash", "--format", "json", given=made.secret).stdout)
    assert said == {"format_version": "1.0", "hash": made.hash}
    for wrong in ("hunter2", b"\xff\xfe", b"ib-" + b"\xf0" * 43, ""):
        with pytest.raises(InputError, match="no virtual key") as refused:
            run("hash", given=wrong)
        assert "hunter2" not in everything_said(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the file"):
        read_tenants(tmp_path / "none.yaml")
