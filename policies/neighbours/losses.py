"""What a neighbour cannot hold of a policy, and what happens instead."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from policies.decimals import plain
from policies.policy import Policy
from profiles.visible import escaped


@dataclass(frozen=True, slots=True)
class Loss:
    """One thing of the policy that the neighbour's file does not hold.

    Attributes:
        code: A stable word for it, e.g. ``ladder``.
        where: Keys of the policy file.
        what: What is lost.
        why: Why the neighbour cannot hold it.
        consequence: What happens instead.
    """

    code: str
    where: tuple[str | int, ...]
    what: str
    why: str
    consequence: str

    @property
    def path(self) -> str:
        """Keys of the policy file on one line."""
        return ".".join(map(str, self.where))

    def lines(self, where: str) -> tuple[str, str]:
        """For people; `where` is the place of the keys."""
        first = f"{where}: lost [{self.code}]: {self.what}: {self.why}"
        return escaped(first), f"  instead: {escaped(self.consequence)}"

    def as_dict(self) -> dict[str, Any]:
        """As plain values, ready for JSON."""
        return asdict(self) | {"where": self.path}


def common_losses(policy: Policy, neighbour: str, *, spends: bool) -> Iterator[Loss]:
    """What every neighbour loses.

    Args:
        policy: Whose.
        neighbour: The neighbour's name for people.
        spends: Whether it limits spend.
    """
    if policy.classes.source != "label":
        yield Loss(
            "classes",
            ("classes", "source"),
            f"the graph that sorts by {policy.classes.source}",
            f"{neighbour} runs no graph of ours",
            "the caller sends the class; a request that it sorts otherwise than the graph gets "
            "another class's answer",
        )
    if len(policy.rungs) > 1:
        end = "the budget is spent" if spends and policy.budgets else "somebody changes the file"
        yield Loss(
            "ladder",
            ("rungs",),
            f"{len(policy.rungs) - 1} of {len(policy.rungs)} rungs, the cheaper ones",
            f"{neighbour} does not step down as money runs short",
            f"the first rung answers until {end}",
        )
    if policy.rungs[0].limits and policy.confidence is not None:
        yield Loss(
            "promises",
            ("rungs", 0, "limits"),
            f"what is promised with {100 * policy.confidence:g} % confidence: "
            f"{', '.join(policy.rungs[0].limits)}",
            "it holds for the policy's own gateway, which sorts, caps and holds money",
            "nothing is promised of this file",
        )
    if policy.caps and policy.caps.usd is not None:
        yield Loss(
            "request-cap",
            ("caps", "usd"),
            f"the cap of {plain(policy.caps.usd)} USD on a request",
            f"{neighbour} bounds no request in dollars",
            "a long prompt costs what it costs",
        )
