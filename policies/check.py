"""Checks of a policy file: is it whole, does it make sense, does its graph obey it, is it fresh."""

from __future__ import annotations

import difflib
from itertools import islice
from pathlib import Path

from policies.agreement import disagreement
from policies.file import CompiledPolicy, read_graph
from policies.findings import Finding, Severity, failed
from policies.policy import Policy
from policies.schema import schema_text
from policies.semantics import semantic_findings
from policies.source import Source
from policies.text import SCHEMA_FILE, policy_text
from profiles.digest import digest_bytes
from profiles.errors import InputError
from profiles.yaml_input import parse_yaml

DIFF_LINES = 20
_COMPILE = "run 'inferbudget compile' again; a policy is never edited by hand"


def check(path: Path) -> list[Finding]:
    """Everything that is wrong with a policy file and its graph; empty when nothing is.

    Covers the digest, the written form, the graph's hash, what the shares, costs, prices and
    budgets mean together, and on a sample of requests whether the graph decides as the YAML says.
    """
    try:
        text = path.read_bytes().decode("utf-8")
        policy = parse_yaml(text, Policy, str(path))
    except (OSError, UnicodeDecodeError) as error:
        return [_error("unreadable", f"{path}", str(error), "name a policy file")]
    except InputError as error:
        return [_from_error("invalid", str(path), error)]
    source = Source.of(str(path), text)
    findings = [*_whole(policy, source), *semantic_findings(policy, source)]
    try:
        graph = read_graph(policy, path)
        if not failed(findings):
            findings += _agreement(policy, graph, source)
    except InputError as error:
        findings.append(_from_error("graph", source.where("graph"), error))
    return findings


def stale(compiled: CompiledPolicy, path: Path) -> list[Finding]:
    """Where the committed policy, graph and schema differ from what the plan compiles to now.

    Raises:
        InputError: A committed file is there but cannot be read.
    """
    fresh = policy_text(compiled.policy)
    step = f"run 'inferbudget compile' with -o {path} and commit the files that it writes"
    findings = []
    committed = _bytes(path)
    if committed is None:
        findings.append(_error("missing", str(path), "the policy file is not there", step))
    elif committed != fresh.encode():
        findings.append(_stale_text(path, committed.decode(errors="replace"), fresh, step))
    beside = {
        "graph": (compiled.policy.graph_path(path), compiled.graph),
        "schema": (path.parent / SCHEMA_FILE, schema_text("policy").encode()),
    }
    for what, (file, expected) in beside.items():
        found = _bytes(file)
        if found is None:
            findings.append(_error("missing", str(file), f"the {what} is not there", step))
        elif found != expected:
            message = (
                f"the {what} differs from what the plan compiles to: "
                f"expected {digest_bytes(expected)}; got {digest_bytes(found)}"
            )
            findings.append(_error("stale", str(file), message, step))
    return findings


def _whole(policy: Policy, source: Source) -> list[Finding]:
    if policy.digest != (expected := policy.content_digest()):
        message = (
            "the policy was changed after it was compiled: "
            f"expected {expected}; got {policy.digest or 'nothing'}"
        )
        return [_error("digest", source.where("digest"), message, _COMPILE)]
    written = policy_text(policy)
    if source.text == written:
        return []
    pairs = zip(source.text.splitlines(), written.splitlines(), strict=False)
    line = next((at for at, (old, new) in enumerate(pairs, start=1) if old != new), 0)
    where = f"{source.name}:{line}: the file" if line else f"{source.name}: the end of the file"
    message = "the file says the same in other words than 'inferbudget compile' wrote"
    return [Finding(Severity.WARNING, "format", where, message, _COMPILE)]


def _agreement(policy: Policy, graph: bytes, source: Source) -> list[Finding]:
    difference = disagreement(policy, graph)
    if difference is None:
        return []
    return [_error("graph-disagrees", source.where("graph"), difference, _COMPILE)]


def _stale_text(path: Path, committed: str, fresh: str, step: str) -> Finding:
    diff = difflib.unified_diff(
        committed.splitlines(), fresh.splitlines(), "committed", "compiled now", lineterm="", n=1
    )
    lines = list(islice(diff, DIFF_LINES + 1))
    if len(lines) > DIFF_LINES:
        lines = [*lines[:DIFF_LINES], "..."]
    message = "\n".join(["the policy differs from what the plan compiles to:", *lines])
    return _error("stale", str(path), message, step)


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError("cannot read the file", where=str(path), got=str(error)) from error


def _error(code: str, where: str, message: str, next_step: str) -> Finding:
    return Finding(Severity.ERROR, code, where, message, next_step)


def _from_error(code: str, where: str, error: InputError) -> Finding:
    parts = [error.what]
    parts += [f"expected {error.expected}"] if error.expected else []
    parts += [f"got {error.got}"] if error.got else []
    return _error(code, error.where or where, "; ".join(parts), error.next_step or _COMPILE)
