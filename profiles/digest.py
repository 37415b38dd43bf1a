"""Content digests over canonical JSON: sorted keys, no spaces, shortest number texts."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def canonical_json(value: Any) -> str:
    """The one JSON text of a value; refuses NaN and infinities."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """``sha256:<hex>`` of a value's canonical JSON."""
    return digest_bytes(canonical_json(value).encode())


def digest_bytes(content: bytes) -> str:
    """``sha256:<hex>`` of raw bytes."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def digest_file(path: Path) -> str:
    """``sha256:<hex>`` of a file's bytes."""
    return digest_bytes(path.read_bytes())
