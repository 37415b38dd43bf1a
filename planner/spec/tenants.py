"""Tenants: parts of the traffic with limits of their own."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from planner.spec.limits import LatencyLimit, SpendLimit
from planner.spec.parts import Number, Part, Share, without

TenantName = Annotated[str, Field(min_length=1, pattern=r"^[^.]+$")]
"""Without dots, which separate the parts of a limit's name."""


class TenantAccuracy(Part):
    """Floors on the mean score of a tenant's requests."""

    overall: Share | None = Field(default=None, description="Floor over all its requests, 0..1.")
    by_class: dict[str, Share] = Field(default_factory=dict, description="Floor per class, 0..1.")


class Tenant(Part):
    """Who sends a part of the traffic, and what was promised to them.

    Limits of the spec hold over all tenants together, these for one alone.
    """

    share: Annotated[Number, Field(gt=0, le=1)] = Field(description="Share of all requests, 0..1.")
    mix: Annotated[dict[str, Share], Field(min_length=1)] | None = Field(
        default=None, description="Share per class of its requests; as of all where absent."
    )
    accuracy: TenantAccuracy = Field(default_factory=TenantAccuracy)
    latency: LatencyLimit | None = None
    spend: SpendLimit | None = None

    @model_serializer(mode="wrap")
    def _without_absent(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        return without(written, tuple(written))
