"""Readers of other tools' own files: one module each, loaded when it is asked for.

Every module has ``read(path, *, workload, notes, **options) -> Found``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

FORMATS: Mapping[str, str] = MappingProxyType(
    {
        "lm_eval": "profiles.formats.lm_eval",
        "guidellm": "profiles.formats.guidellm",
        "vllm": "profiles.formats.vllm",
        "sglang": "profiles.formats.sglang",
        "otlp": "profiles.formats.otlp",
        "sample_logs": "profiles.formats.sample_logs",
    }
)
