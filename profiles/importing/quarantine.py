"""Rows that were set aside, as the quarantine keeps them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from profiles.importing.formats.found import SetAside

_LONGEST = 2_000


def aside(line: int, reason: str, row: Mapping[str, Any]) -> SetAside:
    """A row with the reason why it does not count, its content as shortened JSON."""
    filled = {name: value for name, value in row.items() if value not in (None, "")}
    content = json.dumps(filled, default=str)  # ASCII: any text of any file fits
    return SetAside(line, reason, content[:_LONGEST])
