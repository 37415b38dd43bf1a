"""Are committed policy files what a plan compiles to now?"""

from __future__ import annotations

import difflib
from itertools import islice
from pathlib import Path

from policies.file import CompiledPolicy
from policies.findings import Finding, Severity
from policies.schema import schema_text
from policies.text import SCHEMA_FILE, policy_text
from profiles.digest import digest_bytes
from profiles.errors import InputError

DIFF_LINES = 20


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
