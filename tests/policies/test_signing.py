"""Keys and detached signatures: what holds, what is refused, and that nothing secret is said."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ed448, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_examples import compiled, plan
from programs import program

from policies.compile import compile_plan
from policies.file import CompiledPolicy, write_policy
from policies.graph import build_graph
from policies.keys import (
    PrivateKey,
    PublicKey,
    public_path,
    read_private_key,
    read_public_key,
    readable_by_others,
    write_key_pair,
)
from policies.policy import Graph
from policies.signing import (
    require_signature,
    sign_policy,
    signature_path,
    statement,
)
from policies.verify import read_enforceable
from policies.whole import RefusedPolicyError, read_whole
from profiles.digest import digest_bytes
from profiles.errors import InputError

ROOT = Path(__file__).parents[2]
WORD = b"a long and winding phrase"


def nobody() -> bytes:
    raise AssertionError("no passphrase is needed")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the pairs `ada` and `bob`; `sealed` is encrypted."""
    folder = tmp_path_factory.mktemp("keys")
    write_key_pair(folder / "ada", None)
    write_key_pair(folder / "bob", None)
    write_key_pair(folder / "sealed", WORD)
    return folder


def private(keys: Path, name: str = "ada") -> PrivateKey:
    return read_private_key(keys / name, nobody)


def public(keys: Path, name: str = "ada") -> PublicKey:
    return read_public_key(keys / f"{name}.pub")


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    write_policy(compiled(), path)
    return path


@pytest.fixture(scope="module")
def signed(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy that ada signed."""
    path = tmp_path_factory.mktemp("signed") / "policy.yaml"
    write_policy(compiled(), path)
    sign_policy(path, private(keys))
    return path


def refusal(policy: Path, *trusted: PublicKey) -> str:
    with pytest.raises(RefusedPolicyError) as caught:
        require_signature(read_whole(policy), trusted)
    return caught.value.code


def test_what_a_trusted_key_signed_is_enforceable(policy: Path, keys: Path) -> None:
    sign_policy(policy, private(keys))
    ada, bob = public(keys), public(keys, "bob")
    assert require_signature(read_whole(policy), [bob, ada]) == ada
    assert read_enforceable(policy, trusted=[ada]) == compiled().policy


def test_the_same_key_and_bytes_give_the_same_file(policy: Path, keys: Path) -> None:
    first = sign_policy(policy, private(keys))
    content = signature_path(policy).read_bytes()
    assert sign_policy(policy, private(keys)) == first
    assert signature_path(policy).read_bytes() == content
    assert json.loads(content) == {
        "format_version": "1.0",
        "algorithm": "Ed25519",
        "key_id": public(keys).id,
        "policy_sha256": digest_bytes(policy.read_bytes()),
        "graph_sha256": digest_bytes(policy.with_suffix(".onnx").read_bytes()),
        "signature": first.signature,
    }


def test_an_unsigned_policy_is_refused_and_says_how_to_sign(policy: Path, keys: Path) -> None:
    assert refusal(policy, public(keys)) == "unsigned"
    with pytest.raises(
        RefusedPolicyError, match=r"policy\.yaml\.sig: .*not signed(.|\n)*sign POLICY"
    ):
        read_enforceable(policy, trusted=[public(keys)])


def test_another_key_is_not_trusted_and_none_trusts_nobody(signed: Path, keys: Path) -> None:
    assert refusal(signed, public(keys, "bob")) == "signature-untrusted"
    assert refusal(signed) == "signature-untrusted"


def test_a_signature_of_another_policy_does_not_count_here(
    policy: Path, keys: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other" / "policy.yaml"
    other.parent.mkdir()
    write_policy(compile_plan(plan(workload="another"), estimator=None), other)
    sign_policy(other, private(keys))
    shutil.copy(signature_path(other), signature_path(policy))
    assert refusal(policy, public(keys)) == "signature-stale"


def edited(policy: Path, **changes: str) -> None:
    """Change fields of the signature file and write it as `sign` would."""
    path = signature_path(policy)
    path.write_text(json.dumps(json.loads(path.read_text()) | changes, indent=2) + "\n")


def test_digests_that_were_written_over_do_not_help_a_replayed_signature(
    policy: Path, keys: Path, tmp_path: Path
) -> None:
    test_a_signature_of_another_policy_does_not_count_here(policy, keys, tmp_path)
    whole = read_whole(policy)
    edited(
        policy,
        policy_sha256=digest_bytes(whole.content),
        graph_sha256=digest_bytes(whole.graph),
    )
    assert refusal(policy, public(keys)) == "signature-forged"


def test_the_name_of_another_key_does_not_make_it_the_signer(policy: Path, keys: Path) -> None:
    sign_policy(policy, private(keys))
    edited(policy, key_id=public(keys, "bob").id)
    assert refusal(policy, public(keys), public(keys, "bob")) == "signature-forged"


@pytest.mark.parametrize(
    "make",
    [
        lambda whole, text: text.encode(),
        lambda whole, text: f"{text}\n".encode(),
        lambda whole, text: f"inferbudget policy signature 2.0\n{text}\n".encode(),
        lambda whole, text: whole.content,
        lambda whole, text: whole.content + whole.graph,
    ],
)
def test_what_was_signed_for_another_purpose_does_not_count(
    policy: Path, keys: Path, make: Callable[..., bytes]
) -> None:
    sign_policy(policy, private(keys))
    whole = read_whole(policy)
    text = f"{digest_bytes(whole.content)}\n{digest_bytes(whole.graph)}"
    edited(policy, signature=base64.b64encode(private(keys).sign(make(whole, text))).decode())
    assert refusal(policy, public(keys)) == "signature-forged"


def test_a_swapped_graph_is_refused_even_where_the_policy_pins_it(policy: Path, keys: Path) -> None:
    sign_policy(policy, private(keys))
    dearest = compile_plan(plan(rungs=plan().rungs[:1]), estimator=None)
    policy.with_suffix(".onnx").write_bytes(dearest.graph)
    with pytest.raises(InputError, match="not the decision graph"):
        read_enforceable(policy, trusted=[public(keys)])
    pin = Graph(file="policy.onnx", sha256=digest_bytes(dearest.graph))
    repinned = compiled().policy.model_copy(update={"graph": pin}).sealed()
    write_policy(CompiledPolicy(repinned, dearest.graph), policy)
    assert read_enforceable(policy) == repinned  # whole, but not what was signed
    assert refusal(policy, public(keys)) == "signature-stale"


@given(content=st.binary(max_size=600))
@settings(max_examples=200)
def test_no_garbage_is_a_signature(signed: Path, keys: Path, content: bytes) -> None:
    with restored(signature_path(signed)):
        signature_path(signed).write_bytes(content)
        assert refusal(signed, public(keys)) == "signature-invalid"


@pytest.mark.parametrize("signature", ["", "é" * 88, "AA", "A" * 88, "=" * 88, "A" * 86 + "\n="])
def test_what_is_no_base64_of_64_bytes_is_no_signature(
    signed: Path, keys: Path, signature: str
) -> None:
    with restored(signature_path(signed)):
        edited(signed, signature=signature)
        assert refusal(signed, public(keys)) == "signature-invalid"


def test_no_truncated_signature_is_one(signed: Path, keys: Path) -> None:
    with restored(signature_path(signed)) as content:
        for length in range(len(content)):
            signature_path(signed).write_bytes(content[:length])
            assert refusal(signed, public(keys)) == "signature-invalid"


def test_no_changed_byte_of_a_signature_file_goes_unnoticed(signed: Path, keys: Path) -> None:
    with restored(signature_path(signed)) as content:
        for at in range(len(content)):
            for mask in (0x01, 0x20, 0x80):
                changed = bytearray(content)
                changed[at] ^= mask
                signature_path(signed).write_bytes(changed)
                assert refusal(signed, public(keys)).startswith("signature-")


@contextmanager
def restored(path: Path) -> Iterator[bytes]:
    """A file's content, put back at the end."""
    content = path.read_bytes()
    try:
        yield content
    finally:
        path.write_bytes(content)


def test_a_policy_that_was_changed_is_not_signed(policy: Path, keys: Path) -> None:
    policy.write_text(policy.read_text() + "# trust me\n")
    with pytest.raises(InputError, match="byte for byte"):
        sign_policy(policy, private(keys))
    assert not signature_path(policy).exists()


def test_a_graph_that_decides_otherwise_is_not_signed_although_it_is_pinned(
    policy: Path, keys: Path
) -> None:
    """Who reviewed the YAML would let another policy pass."""
    dearest = compile_plan(plan(rungs=plan().rungs[:1]), estimator=None)
    pin = Graph(file="policy.onnx", sha256=digest_bytes(dearest.graph))
    repinned = compiled().policy.model_copy(update={"graph": pin}).sealed()
    write_policy(CompiledPolicy(repinned, dearest.graph), policy)
    with pytest.raises(RefusedPolicyError, match="decides otherwise than the policy") as caught:
        sign_policy(policy, private(keys))
    assert caught.value.code == "graph-disagrees"
    assert not signature_path(policy).exists()


def test_what_a_signature_file_links_to_is_not_overwritten(
    policy: Path, keys: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine").write_text("mine")
    signature_path(policy).symlink_to(tmp_path / "mine")
    with pytest.raises(InputError, match=r"policy\.yaml\.sig: .*through a link"):
        sign_policy(policy, private(keys))
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_signature_or_key_without_an_end_is_none(policy: Path, keys: Path) -> None:
    endless = Path("/dev/zero")
    signature_path(policy).symlink_to(endless)
    assert refusal(policy, public(keys)) == "signature-invalid"
    with pytest.raises(InputError, match="this is no public key"):
        read_public_key(endless)
    with pytest.raises(InputError, match="this is no private key"):
        read_private_key(endless, nobody)


def test_an_empty_file_is_no_key_no_signature_and_no_graph(policy: Path, keys: Path) -> None:
    sign_policy(policy, private(keys))
    empty = policy.parent / "empty"
    empty.touch()
    with pytest.raises(InputError, match="this is no public key"):
        read_public_key(empty)
    graph = policy.with_suffix(".onnx").read_bytes()
    policy.with_suffix(".onnx").write_bytes(b"")
    with pytest.raises(InputError, match="not the decision graph"):
        read_enforceable(policy, trusted=[public(keys)])
    policy.with_suffix(".onnx").write_bytes(graph)
    signature_path(policy).write_bytes(b"")
    assert refusal(policy, public(keys)) == "signature-invalid"


def openssl(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """An implementation of Ed25519 that is not the one under test."""
    return subprocess.run(
        [program("openssl"), *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        stdin=-3,
    )


def test_openssl_agrees_on_keys_and_signatures(policy: Path, keys: Path, tmp_path: Path) -> None:
    made = sign_policy(policy, private(keys))
    text, signature = tmp_path / "statement", tmp_path / "signature"
    text.write_bytes(statement(made.policy_sha256, made.graph_sha256))
    signature.write_bytes(base64.b64decode(made.signature))
    verify = ("pkeyutl", "-verify", "-rawin", "-pubin", "-in", text, "-sigfile", signature)
    assert "Verified Successfully" in openssl(*verify, "-inkey", keys / "ada.pub").stdout
    assert openssl(*verify, "-inkey", keys / "bob.pub").returncode != 0
    theirs = tmp_path / "theirs"
    sign = ("pkeyutl", "-sign", "-rawin", "-in", text, "-inkey", keys / "ada", "-out", theirs)
    assert openssl(*sign).returncode == 0
    assert theirs.read_bytes() == signature.read_bytes()


def test_the_pages_commands_for_openssl_verify_a_signature(policy: Path, keys: Path) -> None:
    openssl("version")
    page = (ROOT / "docs/how-to/sign-a-policy.md").read_text()
    (block,) = [
        text for text in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) if "pkeyutl" in text
    ]
    sign_policy(policy, private(keys))
    for name, status in (("ada", 0), ("bob", 1)):
        shutil.copy(keys / f"{name}.pub", policy.parent / "team.pub")
        done = subprocess.run(["bash", "-c", block], cwd=policy.parent, check=False)
        assert done.returncode == status


def test_a_pair_made_by_openssl_signs(policy: Path, tmp_path: Path) -> None:
    key = tmp_path / "theirs"
    assert openssl("genpkey", "-algorithm", "ed25519", "-out", key).returncode == 0
    assert openssl("pkey", "-in", key, "-pubout", "-out", public_path(key)).returncode == 0
    sign_policy(policy, read_private_key(key, nobody))
    assert read_enforceable(policy, trusted=[read_public_key(public_path(key))])


def test_openssl_opens_an_encrypted_key_with_its_passphrase_alone(keys: Path) -> None:
    word = f"pass:{WORD.decode()}"
    assert openssl("pkey", "-in", keys / "sealed", "-noout", "-passin", word).returncode == 0
    assert openssl("pkey", "-in", keys / "sealed", "-noout", "-passin", "pass:x").returncode != 0


def test_a_private_key_is_its_owners_alone_and_never_overwritten(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_key_pair(tmp_path / "key", None)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert not readable_by_others(tmp_path / "key")
    content = (tmp_path / "key").read_bytes()
    with pytest.raises(InputError, match="never overwritten"):
        write_key_pair(tmp_path / "key", None)
    assert (tmp_path / "key").read_bytes() == content
    (tmp_path / "key").chmod(0o640)
    assert readable_by_others(tmp_path / "key")


def test_half_a_pair_is_not_left_behind(tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_text("mine")
    with pytest.raises(InputError, match=r"key\.pub: .*never overwritten"):
        write_key_pair(tmp_path / "key", None)
    assert not (tmp_path / "key").exists()
    with pytest.raises(InputError, match="cannot write the key"):
        write_key_pair(tmp_path / "no" / "folder", None)


def test_an_encrypted_key_opens_with_its_passphrase_alone(keys: Path) -> None:
    opened = read_private_key(keys / "sealed", lambda: WORD)
    assert opened.id == public(keys, "sealed").id
    for wrong in (b"", b"a long and winding phrasf", WORD + b"\n"):
        with pytest.raises(InputError, match="does not open the key") as caught:
            read_private_key(keys / "sealed", lambda wrong=wrong: wrong)  # type: ignore[misc]
        assert_silent(caught.value, keys / "sealed", wrong)


def assert_silent(error: InputError, path: Path, *secrets: bytes) -> None:
    """An error says nothing of a file's content but where the file lies."""
    said = str(error) + repr(error) + str(error.__cause__)
    assert str(path) in said
    for line in path.read_bytes().splitlines():
        assert len(line) < 8 or line.startswith(b"-----") or line.decode("latin-1") not in said
    for secret in secrets:
        assert not secret or secret.decode() not in said


def test_a_key_of_the_wrong_half_or_kind_is_named_as_such(keys: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="this is a public key") as caught:
        read_private_key(keys / "ada.pub", nobody)
    with pytest.raises(InputError, match="this is a private key") as caught:
        read_public_key(keys / "ada")
    assert_silent(caught.value, keys / "ada")
    with pytest.raises(InputError, match="this is a private key"):
        read_public_key(keys / "sealed")
    for other in (rsa.generate_private_key(65537, 2048), ed448.Ed448PrivateKey.generate()):
        path = tmp_path / "other"
        path.write_bytes(
            other.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
        )
        with pytest.raises(InputError, match="of another kind") as caught:
            read_private_key(path, nobody)
        assert_silent(caught.value, path)
        path.write_bytes(
            other.public_key().public_bytes(
                form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo
            )
        )
        with pytest.raises(InputError, match="of another kind"):
            read_public_key(path)


def test_a_file_of_two_public_keys_is_refused_lest_one_be_overlooked(
    keys: Path, tmp_path: Path
) -> None:
    both = tmp_path / "both.pub"
    both.write_bytes((keys / "ada.pub").read_bytes() + (keys / "bob.pub").read_bytes())
    with pytest.raises(InputError, match="more than one key"):
        read_public_key(both)


def test_a_key_that_cannot_be_read_is_located(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing"):
        for read in (lambda path: read_private_key(path, nobody), read_public_key):
            with pytest.raises(InputError, match="cannot read the key") as caught:
                read(path)
            assert caught.value.where == str(path)


@given(st.binary(max_size=300), st.sampled_from(["", "PRIVATE KEY", "ENCRYPTED PRIVATE KEY"]))
@settings(max_examples=200)
def test_no_garbage_is_a_key_and_none_of_it_is_quoted(
    keys: Path, content: bytes, kind: str
) -> None:
    path = keys / "garbage"
    body = base64.encodebytes(content)
    head, tail = f"-----BEGIN {kind}-----\n".encode(), f"-----END {kind}-----\n".encode()
    path.write_bytes(head + body + tail if kind else content)
    for read in (lambda: read_private_key(path, lambda: WORD), lambda: read_public_key(path)):
        with pytest.raises(InputError) as caught:
            read()
        assert_silent(caught.value, path, WORD)


def test_the_id_of_a_key_is_the_digest_of_its_der_form(keys: Path) -> None:
    lines = (keys / "ada.pub").read_text().splitlines()[1:-1]
    assert public(keys).id == digest_bytes(base64.b64decode("".join(lines)))
    assert isinstance(public(keys).key, ed25519.Ed25519PublicKey)
    assert "key=" not in repr(private(keys))


def test_the_graph_of_a_signed_policy_is_the_one_that_its_yaml_describes(signed: Path) -> None:
    found = read_whole(signed)
    assert build_graph(found.policy, None) == found.graph
