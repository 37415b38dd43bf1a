"""Who is who while hostile clients ask: their keys, the others' keys, and the gateway's files."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from benchmarks.gateways import served_policy

MARK = "hostile-clients-prompt-mark"
"""Stands in prompts, so that no log may hold it."""
LIMIT_USD = 1000.0
POOR_USD = 0.0005
EMBEDDER = "embedder"
VICTIMS = ("acme", "blau")
ATTACKER = "mallory"


def secret_of(word: str) -> str:
    """A virtual key that is the same in every run."""
    digest = hashlib.sha256(f"hostile clients {word}".encode()).digest()
    return "ib-" + base64.urlsafe_b64encode(digest).decode().rstrip("=")


KEYS = {
    name: secret_of(name)
    for name in ("fuzz", "poor", "bound", "tight", "past", "off", "web", "ops", "stranger")
}
OWN_KEYS = tuple(name for name in KEYS if name not in ("web", "ops"))
"""Of the attacker, who knows no other.

`fuzz` may set user and tags, `bound` nothing, `poor` has next to no money, `tight` may send next
to nothing; `past` has expired, `off` is switched off; `web` and `ops` are other tenants';
`stranger` is nobody's."""
OPERATOR_KEY = "operator-" + secret_of("operator")[3:]
UPSTREAM_KEY = "upstream-" + secret_of("upstream")[3:]
SECRETS = (*KEYS.values(), OPERATOR_KEY, UPSTREAM_KEY)


def _hash(name: str) -> str:
    return "sha256:" + hashlib.sha256(KEYS[name].encode()).hexdigest()


def tenants() -> dict[str, Any]:
    """tenants.yaml."""
    much = [{"limit_usd": LIMIT_USD, "window": "total"}, {"limit_requests": 10**9, "window": "day"}]
    poor = [{"limit_usd": POOR_USD, "window": "total"}]
    keys = {
        "fuzz": {"hash": _hash("fuzz"), "may_set": ["user", "tags"]},
        "poor": {"hash": _hash("poor"), "budgets": poor},
        "bound": {"hash": _hash("bound")},
        "tight": {
            "hash": _hash("tight"),
            "limits": {"body_bytes": 2000, "depth": 6, "messages": 2, "tools": 1, "tokens": 5000},
        },
        "past": {"hash": _hash("past"), "expires": "2020-01-01"},
        "off": {"hash": _hash("off"), "enabled": False},
    }
    users = {"budgets": [{"limit_usd": 1.0, "window": "day"}], "at_most": 50}
    return {
        "format_version": "1.0",
        "budgets": much,
        "organisations": {
            ATTACKER: {
                "budgets": much,
                "teams": {"red": {"each_user": users, "keys": keys}},
                "tags": {"trial": [], "night": [{"limit_usd": 5, "window": "total"}]},
            },
            "acme": {
                "budgets": much,
                "tags": {"vip": much},
                "keys": {"web": {"hash": _hash("web"), "budgets": much}},
            },
            "blau": {"budgets": much, "keys": {"ops": {"hash": _hash("ops"), "budgets": much}}},
        },
    }


def write(folder: Path, upstream: int, traces: int) -> None:
    """policy.yaml, tenants.yaml and gateway.yaml.

    Args:
        folder: Where to.
        upstream: Port of the model server.
        traces: Port of the collector of traces.
    """
    many = 1_000_000
    settings = {
        "format_version": "1.0",
        "upstreams": [
            {
                "name": "model",
                "url": f"http://127.0.0.1:{upstream}/v1",
                "api_key_env": "UPSTREAM_KEY",
                "timeout_s": 10.0,
                "breaker": {"failures": many, "share": 1.0, "least_calls": many},
            }
        ],
        "tenants": "tenants.yaml",
        "ledger": {"store": f"sqlite:///{folder}/ledger.db?synchronous=normal"},
        "embeddings": {EMBEDDER: {"input": 0.1}},
        "audit": {"folder": "audit"},
        "recorder": {"folder": "records"},
        "tracing": {"endpoint": f"http://127.0.0.1:{traces}/v1/traces", "sample": 1.0},
        "logs": "json",
        "reload_s": None,
    }
    for name in ("audit", "records"):
        (folder / name).mkdir(parents=True)
    served_policy(folder, LIMIT_USD)
    (folder / "tenants.yaml").write_text(json.dumps(tenants()))
    (folder / "gateway.yaml").write_text(json.dumps(settings))
