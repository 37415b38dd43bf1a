"""Detached signatures of policies: Ed25519 over the digests of the very bytes of both files.

`policy.yaml.sig` says who signed what. What is signed is a short text: a line that says what it is,
so that no signature made for another purpose counts, and the sha256 of policy.yaml and of its
decision graph as they lie there. One changed byte in either, in a comment too, breaks it.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from policies.agreement import disagreement
from policies.file import replace_file
from policies.whole import (
    RefusedPolicyError,
    WholePolicy,
    read_whole,
    require_compiled_text,
)
from profiles.digest import digest_bytes
from profiles.errors import InputError

if TYPE_CHECKING:
    from policies.keys import PrivateKey, PublicKey

STATEMENT = "inferbudget policy signature 1.0"
SUFFIX = ".sig"
_MOST_BYTES = 2**16
_SIGN = "review the policy and sign it: 'inferbudget sign POLICY --key KEY'"
_Sha256 = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]


class Signature(BaseModel):
    """The signature file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal["1.0"] = Field(default="1.0", description="Version of this file.")
    algorithm: Literal["Ed25519"] = Field(default="Ed25519", description="RFC 8032.")
    key_id: _Sha256 = Field(description="Digest of the public key's DER form.")
    policy_sha256: _Sha256 = Field(description="Digest of policy.yaml's bytes.")
    graph_sha256: _Sha256 = Field(description="Digest of the decision graph's bytes.")
    signature: str = Field(description="64 bytes in base64, of `statement`.")

    def to_json(self) -> str:
        """The file's text."""
        return self.model_dump_json(indent=2) + "\n"


def signature_path(policy_path: Path) -> Path:
    """Where the signature of a policy lies: policy.yaml.sig beside policy.yaml."""
    return policy_path.with_name(policy_path.name + SUFFIX)


def statement(policy_sha256: str, graph_sha256: str) -> bytes:
    """What is signed: three lines of text."""
    return f"{STATEMENT}\n{policy_sha256}\n{graph_sha256}\n".encode()


def sign_policy(path: Path, key: PrivateKey) -> Signature:
    """Sign a policy and its graph; the same bytes and key give the same file beside them.

    Raises:
        RefusedPolicyError: It was changed after it was compiled, or its graph decides otherwise
            than it says, on the sample that `disagreement` asks.
        InputError: The graph does not run, or the signature cannot be written.
    """
    whole = read_whole(path)
    require_compiled_text(whole)
    if (difference := disagreement(whole.policy, whole.graph)) is not None:
        raise RefusedPolicyError(
            "graph-disagrees",
            "the decision graph decides otherwise than the policy says",
            where=whole.source.where("graph"),
            got=difference,
        )
    policy_sha256, graph_sha256 = digest_bytes(whole.content), digest_bytes(whole.graph)
    signed = Signature(
        key_id=key.id,
        policy_sha256=policy_sha256,
        graph_sha256=graph_sha256,
        signature=base64.b64encode(key.sign(statement(policy_sha256, graph_sha256))).decode(),
    )
    beside = signature_path(path)
    if beside.is_symlink():
        raise InputError(
            "the signature would be written through a link, over another file",
            where=str(beside),
            next_step="look where the link came from, and remove it",
        )
    try:
        replace_file(beside, signed.to_json().encode())
    except OSError as error:
        raise InputError(
            "cannot write the signature", where=str(beside), got=error.strerror
        ) from error
    return signed


def read_signature(policy_path: Path) -> Signature:
    """Read the signature file beside a policy.

    Raises:
        RefusedPolicyError: There is none (`unsigned`), or it is not as `sign` writes it, byte for
            byte (`signature-invalid`).
    """
    path = signature_path(policy_path)
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES)
    except FileNotFoundError:
        raise _refused("unsigned", "the policy is not signed", where=str(path)) from None
    except OSError as error:
        raise _invalid(path, "cannot read the signature", error.strerror) from error
    try:
        found = Signature.model_validate_json(content)
        signed = base64.b64decode(found.signature, validate=True)
    except ValueError:  # as both raise it
        raise _invalid(path, "this is no signature of a policy", None) from None
    if len(signed) != 64:
        raise _invalid(path, "this is no Ed25519 signature", None)
    written = found.model_copy(update={"signature": base64.b64encode(signed).decode()})
    if written.to_json().encode() != content:
        raise _invalid(path, "the signature file was changed after it was written", None)
    return found


def require_signature(whole: WholePolicy, trusted: Sequence[PublicKey]) -> PublicKey:
    """The trusted key whose signature beside a policy holds for its very bytes.

    Raises:
        RefusedPolicyError: No signature, of other bytes, by a key that is not trusted, or forged.
    """
    found = read_signature(whole.path)
    path = str(signature_path(whole.path))
    require_digests(found, whole)
    key = next((key for key in trusted if key.id == found.key_id), None)
    if key is None:
        raise _refused(
            "signature-untrusted",
            "the policy is signed by a key that is not trusted",
            where=f"{path}: key_id",
            expected=" or ".join(key.id for key in trusted) or "a trusted key; none was named",
            got=found.key_id,
            next_step="have it reviewed and signed by somebody who is trusted, or trust this key",
        )
    signed = statement(found.policy_sha256, found.graph_sha256)
    if not key.made(base64.b64decode(found.signature), signed):
        raise _refused(
            "signature-forged",
            "this signature was not made with the key that it names",
            where=f"{path}: signature",
        )
    return key


def require_digests(found: Signature, whole: WholePolicy) -> None:
    """Hold what was signed against what lies there.

    Raises:
        RefusedPolicyError: Other bytes were signed (`signature-stale`).
    """
    path = signature_path(whole.path)
    for what, key, signed, content in (
        ("policy file", "policy_sha256", found.policy_sha256, whole.content),
        ("decision graph", "graph_sha256", found.graph_sha256, whole.graph),
    ):
        if signed != (digest := digest_bytes(content)):
            raise _refused(
                "signature-stale",
                f"this is the signature of another {what}",
                where=f"{path}: {key}",
                expected=digest,
                got=signed,
            )


def _invalid(path: Path, what: str, got: str | None) -> RefusedPolicyError:
    return _refused("signature-invalid", what, where=str(path), got=got)


def _refused(
    code: str,
    what: str,
    *,
    where: str,
    expected: str | None = None,
    got: str | None = None,
    next_step: str = _SIGN,
) -> RefusedPolicyError:
    return RefusedPolicyError(
        code, what, where=where, expected=expected, got=got, next_step=next_step
    )
