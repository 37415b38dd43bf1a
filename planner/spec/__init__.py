"""The plan spec, as people write it: see `planner.spec.spec`.

What plans and policies are made of is imported at once, the spec itself when it is asked for: a
policy is read and checked without it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from planner.spec.caps import Caps, own_token_cap, token_caps
from planner.spec.limits import (
    PERCENTILES,
    AccuracyLimit,
    CarbonLimit,
    EnergyLimit,
    GpuPool,
    LatencyLimit,
    Limits,
    Percentiles,
    PerRequest,
    ShareLimit,
    SpendLimit,
)
from planner.spec.objective import Objective
from planner.spec.parts import Window
from planner.spec.traffic import Growth, Traffic

if TYPE_CHECKING:
    from planner.spec.choice import Allocation, Value
    from planner.spec.fees import MOST_FIXED_COSTS, FixedCost
    from planner.spec.spec import Spec, read_spec
    from planner.spec.tenants import Tenant, TenantAccuracy

__all__ = [
    "MOST_FIXED_COSTS",
    "PERCENTILES",
    "AccuracyLimit",
    "Allocation",
    "Caps",
    "CarbonLimit",
    "EnergyLimit",
    "FixedCost",
    "GpuPool",
    "Growth",
    "LatencyLimit",
    "Limits",
    "Objective",
    "PerRequest",
    "Percentiles",
    "ShareLimit",
    "Spec",
    "SpendLimit",
    "Tenant",
    "TenantAccuracy",
    "Traffic",
    "Value",
    "Window",
    "own_token_cap",
    "read_spec",
    "token_caps",
]

_LATER = {
    **dict.fromkeys(("Allocation", "Value"), "planner.spec.choice"),
    **dict.fromkeys(("MOST_FIXED_COSTS", "FixedCost"), "planner.spec.fees"),
    **dict.fromkeys(("Spec", "read_spec"), "planner.spec.spec"),
    **dict.fromkeys(("Tenant", "TenantAccuracy"), "planner.spec.tenants"),
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(_LATER[name]), name)
    globals()[name] = found
    return found
