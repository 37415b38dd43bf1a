"""Several model servers behind one call: routing, health, and retries that never pay twice."""

from runtime.upstreams.breaker import BreakerState
from runtime.upstreams.failures import FailureKind, NoUpstreamError
from runtime.upstreams.member import Probed, UpstreamState
from runtime.upstreams.settings import (
    BreakerSettings,
    HealthSettings,
    RetrySettings,
    UpstreamList,
    UpstreamSettings,
)
from runtime.upstreams.upstreams import Upstreams, models_of

__all__ = [
    "BreakerSettings",
    "BreakerState",
    "FailureKind",
    "HealthSettings",
    "NoUpstreamError",
    "Probed",
    "RetrySettings",
    "UpstreamList",
    "UpstreamSettings",
    "UpstreamState",
    "Upstreams",
    "models_of",
]
