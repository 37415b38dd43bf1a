"""Is a policy what was compiled, reviewed and signed? Asked before it is enforced, and by `verify`.

Content is held against digests, and bytes against the text that `compile` writes, so that a changed
comment, which no digest covers, is noticed as well. Where a trusted key signed the very bytes, that
says more, and a text that another version wrote is then no finding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from policies.agreement import disagreement
from policies.findings import Finding, Severity, failed
from policies.policy import Policy
from policies.signing import (
    read_signature,
    require_digests,
    require_signature,
    signature_path,
)
from policies.whole import (
    COMPILE,
    RefusedPolicyError,
    WholePolicy,
    read_whole,
    require_compiled_text,
)
from profiles.difficulty.reading.encoder_contents import read_pinned
from profiles.errors import InputError

if TYPE_CHECKING:
    from planner.plan import Plan
    from policies.keys import PublicKey


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found of a policy file.

    Attributes:
        findings: Everything that is wrong; empty when nothing is.
        whole: The policy and its bytes; None where they do not hold their digests.
        signed_by: The trusted key whose signature holds; None without.
    """

    findings: tuple[Finding, ...]
    whole: WholePolicy | None = None
    signed_by: PublicKey | None = None


def read_enforceable(path: Path, *, trusted: Sequence[PublicKey] | None = None) -> Policy:
    """Read a policy that may be obeyed: whole, untouched, and signed where that is asked for.

    Args:
        path: The policy; its graph and its signature lie beside it.
        trusted: Keys of which one must have signed the very bytes of both files; None asks for no
            signature, and then the file must be, byte for byte, what `compile` writes.

    Raises:
        RefusedPolicyError: Unreadable, changed since it was compiled, beside another graph, or not
            signed by a trusted key.
    """
    whole = read_whole(path)
    if trusted is None:
        require_compiled_text(whole)
    else:
        require_signature(whole, trusted)
    return whole.policy


def verify(
    path: Path, trusted: Sequence[PublicKey] = (), *, signature_required: bool = False
) -> Verified:
    """Hold a policy against its digests, its written form, its signature and its graph.

    Args:
        path: The policy; its graph and its signature lie beside it.
        trusted: Keys whose signatures count. Naming one asks for a signature.
        signature_required: Asks for one although no key is named: then none will do.
    """
    try:
        whole = read_whole(path)
    except RefusedPolicyError as error:
        return Verified((_finding(error.code, error, path),))
    findings: list[Finding] = []
    signed_by = None
    try:
        if trusted or signature_required:
            signed_by = require_signature(whole, trusted)
        elif signature_path(path).exists():
            require_digests(read_signature(path), whole)
            findings.append(_unchecked(path))
    except RefusedPolicyError as error:
        findings.append(_finding(error.code, error, path))
    if signed_by is None:
        try:
            require_compiled_text(whole)
        except RefusedPolicyError as error:
            findings.append(_finding(error.code, error, path))
    if not failed(findings):
        findings += _of_graph(whole)
    return Verified(tuple(findings), whole, signed_by)


def provenance_findings(whole: WholePolicy, plan: Plan) -> Iterator[Finding]:
    """Where a policy names another origin than a plan that it is said to come from.

    Of a plan with tenants each tenant's part counts, since a policy is compiled from one.
    """
    parts = [plan.of_tenant(name) for name in plan.tenants] or [plan]
    expected: dict[str, list[str | None]] = {
        "plan": [part.content_digest() for part in parts],
        "spec": [plan.spec_digest],
        "profile": [plan.profile_digest],
        "estimator": [plan.classes.estimator_digest],
    }
    for key, values in expected.items():
        found = getattr(whole.policy.provenance, key)
        if found not in values:
            wanted = " or ".join(str(value) for value in values)
            yield Finding(
                Severity.ERROR,
                f"stale-{key}",
                whole.source.where("provenance", key),
                f"the policy was not compiled from this plan: expected {wanted}; got {found}",
                "name the plan that it was compiled from, or compile this one",
            )


def encoder_findings(whole: WholePolicy, folder: Path) -> Iterator[Finding]:
    """Where a folder is not the encoder that a policy pins, or the policy pins none."""
    pinned = whole.policy.classes.encoder
    if pinned is None:
        yield Finding(
            Severity.ERROR,
            "encoder",
            whole.source.where("classes"),
            "this policy reads prompts without an encoder, and one was given",
            "leave --encoder out, or compile with the estimator that was fitted with it",
        )
        return
    try:
        read_pinned(folder, pinned.digest, pinned.pooling, pinned.max_tokens)
    except InputError as error:
        yield _finding("encoder", error, folder)


def _of_graph(whole: WholePolicy) -> Iterator[Finding]:
    where = whole.source.where("graph")
    try:
        difference = disagreement(whole.policy, whole.graph)
    except InputError as error:
        yield _finding("graph", error, whole.path)
        return
    if difference is not None:
        yield Finding(Severity.ERROR, "graph-disagrees", where, difference, COMPILE)


def _unchecked(path: Path) -> Finding:
    return Finding(
        Severity.WARNING,
        "signature-unchecked",
        str(signature_path(path)),
        "there is a signature of these bytes, but nobody said whose key is trusted",
        "name the public keys with --key",
    )


def _finding(code: str, error: InputError, path: Path) -> Finding:
    parts = [error.what]
    parts += [f"expected {error.expected}"] if error.expected else []
    parts += [f"got {error.got}"] if error.got else []
    where, step = error.where or str(path), error.next_step or COMPILE
    return Finding(Severity.ERROR, code, where, "; ".join(parts), step)
