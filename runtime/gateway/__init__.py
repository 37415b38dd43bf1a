"""The gateway: HTTP in front of a `runtime.service.Service`."""

from runtime.gateway.app import EMBEDDINGS, Gateway
from runtime.gateway.flow import MODEL

__all__ = ["EMBEDDINGS", "MODEL", "Gateway"]
