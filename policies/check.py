"""Checks of a policy file: is it whole, does it make sense, does it add up, is it fresh.

That its graph decides as the file says is shown by running it, which `policies.verify` does; here
its bytes are held against the file's digest of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from policies.arithmetic import arithmetic_findings
from policies.file import read_graph
from policies.findings import Finding, Severity
from policies.limit_checks import limit_findings
from policies.policy import FORMAT_VERSION, Policy
from policies.reader import COMPILE, in_a_clause
from policies.semantics import semantic_findings
from policies.text import policy_text
from policies.versions import Reading, parse_policy
from profiles.errors import InputError
from profiles.visible import quoted
from profiles.yaml_input import read_text

if TYPE_CHECKING:
    from planner.plan import Plan
    from policies.source import Source


def check(path: Path, *, plan: Plan | None = None, spec_digest: str | None = None) -> list[Finding]:
    """Everything that is wrong with a policy file and its graph; empty when nothing is.

    Covers the digest, the written form, the graph's hash, what the shares, costs, prices and
    budgets mean together, and whether totals match their parts.

    Args:
        path: The file, or ``-`` for standard input: its graph is then in the working directory.
        plan: What the policy should have been compiled from; None where that is not asked.
        spec_digest: Of the spec that it should answer; None where that is not asked.
    """
    try:
        text = read_text(path)
    except InputError as error:
        return [_from_error("unreadable", str(path), error)]
    try:
        reading = parse_policy(text, str(path))
    except InputError as error:
        return [_from_error("invalid", str(path), error)]
    policy, source = reading.policy, reading.source
    findings = [
        *_whole(reading),
        *semantic_findings(policy, source),
        *arithmetic_findings(policy, source),
        *limit_findings(policy, source),
        *_fresh(policy, source, plan, spec_digest),
    ]
    try:
        read_graph(policy, path)
    except InputError as error:
        findings.append(_from_error("graph", source.where("graph"), error))
    return findings


def _whole(reading: Reading) -> list[Finding]:
    policy, source = reading.policy, reading.source
    if policy.digest != (expected := policy.content_digest()):
        message = (
            "the policy was changed after it was compiled: "
            f"expected {expected}; got {quoted(policy.digest) or 'nothing'}"
        )
        return [_error("digest", source.where("digest"), message, COMPILE)]
    if not reading.is_current:
        message = (
            f"the file has format {reading.format_version}, and this version writes "
            f"{FORMAT_VERSION}"
        )
        step = f"run 'inferbudget fmt --migrate {source.name}', or plan and compile again"
        where = source.where("format_version")
        return [Finding(Severity.WARNING, "format-old", where, message, step)]
    written = policy_text(policy)
    if source.text == written:
        return []
    pairs = zip(source.text.splitlines(), written.splitlines(), strict=False)
    line = next((at for at, (old, new) in enumerate(pairs, start=1) if old != new), 0)
    where = f"{source.name}:{line}:1: the file" if line else f"{source.name}: the end of the file"
    message = "the file says the same in other words than 'inferbudget compile' wrote"
    step = f"run 'inferbudget fmt {source.name}', which changes no meaning and no digest"
    return [Finding(Severity.WARNING, "format", where, message, step)]


def _fresh(
    policy: Policy, source: Source, plan: Plan | None, spec_digest: str | None
) -> list[Finding]:
    """Whether the policy comes from this plan and answers this spec, by their digests."""
    findings = []
    origin = policy.provenance
    if plan is not None and origin.plan not in (made := _digests(plan)):
        message = (
            f"compiled from another plan: expected {' or '.join(made)}; got {quoted(origin.plan)}"
        )
        step = "compile the plan again, or name the plan that this policy was compiled from"
        findings.append(_error("stale-plan", source.where("provenance", "plan"), message, step))
    if spec_digest is not None and origin.spec != spec_digest:
        message = f"made for another spec: expected {spec_digest}; got {quoted(origin.spec)}"
        step = "plan and compile again, or name the spec that was planned"
        findings.append(_error("stale-spec", source.where("provenance", "spec"), message, step))
    return findings


def _digests(plan: Plan) -> list[str]:
    """Of what a plan is compiled to: itself, or its part for each tenant."""
    parts = [plan.of_tenant(name) for name in plan.tenants] or [plan]
    return [part.content_digest() for part in parts]


def _error(code: str, where: str, message: str, next_step: str) -> Finding:
    return Finding(Severity.ERROR, code, where, message, next_step)


def _from_error(code: str, where: str, error: InputError) -> Finding:
    return _error(code, error.where or where, in_a_clause(error), error.next_step or COMPILE)
