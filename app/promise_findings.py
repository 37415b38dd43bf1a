"""What a store's outcomes say of a policy's promises, as findings at the lines that make them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from planner.limit_names import is_floor
from policies.findings import Finding, Severity
from profiles.visible import escaped

if TYPE_CHECKING:
    from app.verifying import JudgedPolicy
    from planner.trials.weighing import Held
    from policies.source import Source
    from policies.whole import WholePolicy

_OWN = "promised "


def promise_findings(judged: JudgedPolicy, whole: WholePolicy) -> Iterator[Finding]:
    """Broken promises: errors where the noise of the judging queries does not explain them."""
    source = whole.source
    for reason in judged.left_out:
        yield Finding(
            Severity.WARNING,
            "promise-unjudged",
            source.where("limits"),
            f"not judged, since it is not recorded: {reason}",
            "measure it as well, and compile again where the policy's format is older",
        )
    for one in judged.rungs:
        if one.held is None:
            said = one.why_not
            yield Finding(
                Severity.ERROR,
                "promise-unjudged",
                source.where("rungs", one.rung),
                f"this rung cannot be judged: {said.what if said else 'no verdict'}",
                (said and said.next_step) or "measure the policy's strategies on these queries",
            )
            continue
        for held in one.held.promises:
            if not held.kept:
                yield _broken(held, one.rung, source)


def _broken(held: Held, rung: int, source: Source) -> Finding:
    doubtful = held.surely is False
    own = held.promise.startswith(_OWN)
    keys = ("promised",) if own else ("limits", held.promise)
    found = "unknown" if held.found is None else f"{held.found:.6g}"
    if held.low is not None and held.high is not None:
        found += f" ({held.low:.6g} to {held.high:.6g})"
    side = "" if own else " at least" if is_floor(held.promise) else " at most"
    said = f"these queries say {found}"
    if held.allowed != held.limit:  # of a latency the share of slower requests is judged
        said = f"of these queries {found} take longer, where {held.allowed:g} may"
    message = f"{escaped(held.promise)}{side} {held.limit:.6g}: {said}"
    return Finding(
        Severity.WARNING if doubtful else Severity.ERROR,
        "promise-doubtful" if doubtful else "promise-broken",
        source.where("rungs", rung, *keys),
        message,
        "measure more queries" if doubtful else "plan again on what was measured since",
    )
