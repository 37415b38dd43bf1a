"""Readers of other tools' own files: one module each, loaded when it is asked for.

Every module has ``read(path, *, workload, notes, **options) -> Found``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

FORMATS: Mapping[str, str] = MappingProxyType(
    {
        "lm_eval": "profiles.importing.formats.lm_eval",
        "guidellm": "profiles.importing.formats.guidellm",
        "vllm": "profiles.importing.formats.vllm",
        "sglang": "profiles.importing.formats.sglang",
        "otlp": "profiles.importing.formats.otlp",
        "sample_logs": "profiles.importing.formats.sample_logs",
    }
)
