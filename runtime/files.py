"""The files of a gateway as they are now: policy, decision graph, encoder, tenants.

What takes long to open is kept as long as the files ask for the same: a change of tenants.yaml
opens neither the decision graph nor the encoder again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from policies.policy import Policy
from policies.signing import signature_path
from policies.verify import read_enforceable
from runtime.decision import DecisionSession
from runtime.embedding import Embedder, open_encoder
from runtime.ledger import Scope
from runtime.policy_budgets import scopes
from runtime.sources import Sources
from runtime.tenants.against_policy import refuse_unknown
from runtime.tenants.reading import read_tenants
from runtime.tenants.tenants import Tenants

Fingerprint: TypeAlias = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class Files:
    """What they said when they were read.

    Attributes:
        policy: What is enforced.
        decider: Its decision graph.
        embedder: Reads prompts for it; None where it names no encoder.
        tenants: Who may send requests; None where clients are not told apart.
    """

    policy: Policy
    decider: DecisionSession
    embedder: Embedder | None
    tenants: Tenants | None

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """All accounts but those of users."""
        return scopes(self.policy) + (self.tenants.scopes() if self.tenants else ())

    @property
    def scopes_of_users(self) -> tuple[Scope, ...]:
        """Those that every user gets."""
        return self.tenants.scopes_of_users() if self.tenants else ()


def read_files(sources: Sources, before: Files | None = None) -> Files:
    """Read policy and tenants, and open what the policy names.

    Args:
        sources: Where they are.
        before: What was read last: what the policy still asks for is taken from it.

    Raises:
        RefusedPolicyError: The policy was touched, or is not signed by a trusted key.
        InputError: Something of it cannot be used.
        UnknownValueError: GPU-seconds are budgeted, and a model of the policy has no rate.
    """
    policy = read_enforceable(sources.policy, trusted=sources.trusted)
    embedder = _embedder(policy, sources, before)
    if before is not None and policy.digest == before.policy.digest:  # which pins the graph
        decider = before.decider
    else:
        decider = DecisionSession(
            policy,
            policy.graph_path(sources.policy),
            require_gpu=sources.require_gpu and embedder is None,
        )
    tenants = read_tenants(sources.settings.tenants) if sources.settings.tenants else None
    if tenants is not None:
        refuse_unknown(tenants, policy)
    return Files(policy, decider, embedder, tenants)


def fingerprint(sources: Sources) -> Fingerprint:
    """What tells a changed file from an unchanged one, without reading it."""
    path = sources.policy
    # The files of a policy come one by one, and only the policy says what its graph is called.
    graphs = sorted(path.parent.glob("*.onnx"))
    paths = (path, signature_path(path), sources.settings.tenants, *graphs)
    return tuple(_stat(found) for found in paths if found is not None)


def _embedder(policy: Policy, sources: Sources, before: Files | None) -> Embedder | None:
    if before is not None and policy.classes.encoder == before.policy.classes.encoder:
        return before.embedder
    opened = open_encoder(policy, sources.encoder, require_gpu=sources.require_gpu)
    if opened is None:
        return None
    unread = before.embedder.unread if before and before.embedder else None
    return Embedder(opened, timeout_s=sources.encoder_timeout_s, unread=unread)


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
