"""Schemas of everything that people write or send, the gateway's and the app's among them."""

from __future__ import annotations

from typing import Final

from policies.schema import FORMATS, schema_text, text_of

_OPENAPI: Final = "openapi"
_ABOVE: Final = {
    "gateway": ("runtime.settings:GatewaySettings", "inferbudget gateway"),
    "scenarios": ("app.scenarios:ScenariosFile", "inferbudget scenarios"),
    "tenants": ("runtime.tenants.file:TenantsFile", "inferbudget tenants"),
}
SCHEMAS: Final = (*sorted({*FORMATS, *_ABOVE}), _OPENAPI)
"""File formats by name, and ``openapi``: the gateway's HTTP interface."""


def schema_of(name: str) -> str:
    """One of `SCHEMAS`; the same version gives the same bytes."""
    if name in _ABOVE:
        return text_of(*_ABOVE[name])
    if name == _OPENAPI:
        from runtime.openai.openapi import document_text

        return document_text()
    return schema_text(name)
