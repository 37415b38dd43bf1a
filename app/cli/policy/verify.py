"""`inferbudget verify`: is this the policy that was compiled, reviewed and signed?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli.options import (
    FILE,
    FOLDER,
    Name,
    emit_json,
    emit_text,
    findings_format_option,
    table,
)
from app.cli.policy.check import emit_findings
from app.cli.policy.keyring import read_keys
from profiles.errors import ExitCode
from profiles.visible import escaped

if TYPE_CHECKING:
    from app.verifying import JudgedPolicy
    from policies.findings import Finding
    from policies.verify import Verified


@click.command("verify")
@click.argument("policy", type=FILE)
@click.option(
    "--key", "keys", type=FILE, multiple=True, help="A trusted public key, which must have signed."
)
@click.option(
    "--require-signature", is_flag=True, help="Fail without a signature by a trusted key."
)
@click.option("--encoder", type=FOLDER, help="Folder that must hold the encoder that it pins.")
@click.option("--plan", type=FILE, help="The plan that the policy must have been compiled from.")
@click.option(
    "--profiles", "store_path", type=FILE, help="Store whose outcomes judge every promise."
)
@click.option("--workload", type=Name(), help="Its traffic; the policy's own where absent.")
@findings_format_option
@click.pass_context
def verify_command(
    ctx: click.Context,
    policy: Path,
    keys: tuple[Path, ...],
    require_signature: bool,
    encoder: Path | None,
    plan: Path | None,
    store_path: Path | None,
    workload: str | None,
    output_format: str,
) -> None:
    """Hold POLICY against its digests, its written form, its signature and its graph.

    With --encoder also against the encoder that it pins, with --plan against where it says that it
    comes from, with --profiles its promises against outcomes. Without a key a signature is not
    asked for.
    """
    from policies.findings import failed
    from policies.verify import encoder_findings, provenance_findings, verify

    if workload and not store_path:
        raise click.UsageError("--workload is of a store: give --profiles")
    found = verify(policy, read_keys(keys), signature_required=require_signature)
    findings = list(found.findings)
    judged = None
    if found.whole is not None:
        if encoder is not None:
            findings += encoder_findings(found.whole, encoder)
        if plan is not None:
            from planner.plan import read_plan

            findings += provenance_findings(found.whole, read_plan(plan))
        if store_path is not None:
            from app.promise_findings import promise_findings
            from app.verifying import judge_policy

            judged = judge_policy(found.whole, store_path, workload)
            findings += promise_findings(judged, found.whole)
    if output_format == "json":
        emit_json(_as_json(policy, found, judged, findings))
    elif output_format != "text":
        emit_findings({str(policy): findings}, output_format)
    else:
        emit_text("\n".join(_lines(policy, found, judged, findings)))
    if failed(findings):
        ctx.exit(ExitCode.FINDING)


def _as_json(
    path: Path, found: Verified, judged: JudgedPolicy | None, findings: list[Finding]
) -> dict[str, object]:
    from app.cli.plan.trust_lines import held_out_json

    policy = found.whole and found.whole.policy
    rungs = judged and [one.held and held_out_json(one.held) for one in judged.rungs]
    return {
        "policy": str(path),
        "digest": policy and policy.digest,
        "graph": policy and policy.graph.sha256,
        "signed_by": found.signed_by and found.signed_by.id,
        **({"rungs": rungs} if judged else {}),
        "findings": [finding.as_dict() for finding in findings],
    }


def _lines(
    path: Path, found: Verified, judged: JudgedPolicy | None, findings: list[Finding]
) -> Iterator[str]:
    from app.cli.plan.trust_lines import held_out_lines

    if found.whole is not None:
        yield f"policy     {found.whole.policy.digest}"
        yield f"graph      {found.whole.policy.graph.sha256}"
        yield f"signed by  {found.signed_by.id if found.signed_by else 'nobody who is trusted'}"
    for one in judged.rungs if judged else ():
        if one.held is not None:
            yield ""
            yield f"Rung {one.rung}"
            yield from held_out_lines(one.held, table, "")
    if judged:
        yield ""
    yield from (finding.text() for finding in findings)
    yield f"{escaped(str(path))}: {f'{len(findings)} findings' if findings else 'ok'}"
