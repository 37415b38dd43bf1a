"""Policies in which others chose the names."""

from __future__ import annotations

import json
from collections.abc import Mapping

from policies.policy import Policy

HOSTILE = (
    "![x](http://evil.example/x.png)",
    "$x^2$",
    ":red[x]",
    ":material/home: :smile:",
    "<img src=//evil.example/x onerror=alert(1)>",
    "[x](http://evil.example) http://evil.example",
    "a|b`c``d",
    "</details><script>",
    "{b} \\",
)


def renamed(policy: Policy, names: Mapping[str, str]) -> Policy:
    """The policy with other names of classes, strategies or the workload, sealed anew."""
    text = json.dumps(policy.model_dump(mode="json"))
    for old, new in names.items():
        text = text.replace(json.dumps(old), json.dumps(new))
    return Policy.model_validate_json(text).sealed()
