"""The plan spec, as people write it: see `planner.spec.spec`."""

from planner.spec.choice import Allocation, Value
from planner.spec.fees import MOST_FIXED_COSTS, FixedCost
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
from planner.spec.parts import Window
from planner.spec.spec import Objective, Spec, read_spec
from planner.spec.tenants import Tenant, TenantAccuracy
from planner.spec.traffic import Growth, Traffic

__all__ = [
    "MOST_FIXED_COSTS",
    "PERCENTILES",
    "AccuracyLimit",
    "Allocation",
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
    "read_spec",
]
