"""The gateway: HTTP in front of a `runtime.service.Service`."""

from runtime.gateway.app import EMBEDDINGS, Gateway, path_in
from runtime.gateway.flow import MODEL

__all__ = ["EMBEDDINGS", "MODEL", "Gateway", "path_in"]
