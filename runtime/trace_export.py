"""Where traces go: a collector that takes OTLP over HTTP."""

from __future__ import annotations

import logging
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from profiles.errors import InputError
from runtime.tracing import Tracing


def _http_address(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("an address such as http://localhost:4318/v1/traces")
    return url


class TracingSettings(BaseModel):
    """The part `tracing` of a gateway's configuration.

    Headers that the collector asks for, keys among them, come from the environment:
    ``OTEL_EXPORTER_OTLP_HEADERS``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    endpoint: Annotated[str, AfterValidator(_http_address)] = Field(
        description="Where a collector takes OTLP over HTTP, e.g. http://localhost:4318/v1/traces."
    )
    service: Annotated[str, Field(min_length=1, max_length=200)] = Field(
        default="inferbudget", description="Name of the service in the traces."
    )
    sample: Annotated[float, Field(ge=0, le=1)] = Field(
        default=1.0, description="Share of the traces that begin here and are kept."
    )
    follow_clients: bool = Field(
        default=True,
        description="A client's traceparent decides whether its trace is kept. Where not, its "
        "trace goes on here and `sample` decides.",
    )
    prompts: bool = Field(
        default=False,
        description="Put prompts and answers into the spans of calls. They are what users wrote.",
    )


def open_tracing(settings: TracingSettings, *, version: str, replica: str) -> Tracing:
    """Begin to export traces.

    Args:
        settings: Where to, and how many.
        version: Of this package.
        replica: Name of this process.

    Raises:
        InputError: The packages of OpenTelemetry are not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider, sampling  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as error:
        raise InputError(
            "traces are configured and OpenTelemetry is not installed",
            where="tracing",
            got=str(error),
            next_step="pip install 'inferbudget[trace]', or take `tracing` out",
        ) from error
    # It quotes what clients send as their trace.
    logging.getLogger("opentelemetry.trace").setLevel(logging.ERROR)
    share = sampling.TraceIdRatioBased(settings.sample)
    provider = TracerProvider(
        sampler=sampling.ParentBased(
            share,
            remote_parent_sampled=sampling.ALWAYS_ON if settings.follow_clients else share,
            remote_parent_not_sampled=sampling.ALWAYS_OFF if settings.follow_clients else share,
        ),
        resource=Resource.create(
            {
                "service.name": settings.service,
                "service.version": version,
                "service.instance.id": replica,
            }
        ),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=settings.endpoint)))
    return Tracing(provider, prompts=settings.prompts)
