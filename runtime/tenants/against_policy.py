"""Whether tenants and a policy speak of the same classes, labels and models."""

from __future__ import annotations

from policies.policy import Policy
from profiles.errors import InputError, UnknownValueError
from profiles.money import PriceCard
from profiles.strategy import parse
from runtime.tenants.tenants import Tenants


def refuse_unknown(tenants: Tenants, policy: Policy) -> None:
    """Refuse tenants whose budgets a policy could never reach, or could not reckon.

    Raises:
        InputError: A budget of a class that the policy does not have, or a key limited to a label
            that it does not know.
        UnknownValueError: GPU-seconds are budgeted, and a model of the policy has no rate.
    """
    names = policy.classes.names
    for name, shared in tenants.classes.items():
        if name not in names:
            raise _unknown(f"the policy has no class {name!r}", shared.where, names)
    known = policy.classes.accepted
    for key in tenants.keys:
        for label in key.labels or ():
            if label not in known:
                raise _unknown(f"the policy knows no label {label!r}", key.where, known)
    if tenants.gpu_seconds is not None:
        _refuse_models_without_rate(tenants.gpu_seconds, policy)


def _refuse_models_without_rate(gpu_seconds: PriceCard, policy: Policy) -> None:
    for text in policy.strategy_texts():
        for model in parse(text).models():
            if model not in gpu_seconds.models:
                raise UnknownValueError(
                    f"GPU-seconds are budgeted, and {model!r} of the policy has no rate",
                    where=f"gpu_s_per_million_tokens.{model}",
                    next_step="add its input and output to gpu_s_per_million_tokens",
                )


def _unknown(what: str, where: str, known: tuple[str, ...]) -> InputError:
    return InputError(
        what,
        where=where,
        expected=f"one of {', '.join(known)}" if known else "none: it reads no label",
        next_step="correct the name, or take it out",
    )
