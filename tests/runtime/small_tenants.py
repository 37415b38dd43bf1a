"""Tenants small enough to see through, and keys that open."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path

from runtime.tenants import Tenants, read_tenants
from runtime.tenants.virtual_keys import NewKey, hash_of


def fixed_key(word: str) -> NewKey:
    """Always the same, so that tests have the same names in every process."""
    random = hashlib.sha256(word.encode()).digest()
    secret = "ib-" + base64.urlsafe_b64encode(random).decode().rstrip("=")
    return NewKey(secret, hash_of(secret))


CI, WEB, OTHER, TAGGER, STRANGER = map(fixed_key, ("ci", "web", "other", "tagger", "stranger"))

FILE = f"""format_version: "1.0"
budgets:
  - {{limit_usd: 500, window: month, timezone: Europe/Berlin, carry_over_usd: 50}}
  - {{limit_requests: 6000, window: minute, rolling: true}}
organisations:
  acme:
    budgets: [{{limit_usd: 200, window: month}}]
    limits: {{max_tokens: 2048, messages: 10}}
    tags:
      batch: [{{limit_usd: 20, window: day}}]
      trial: []
      night: [{{limit_usd: 5, window: total}}]
    teams:
      search:
        budgets: [{{limit_tokens: 2000000, window: day}}, {{in_flight: 64}}]
        each_user: {{budgets: [{{limit_usd: 1, window: day}}], at_most: 3}}
        limits: {{messages: 50}}
        keys:
          ci:
            hash: "{CI.hash}"
            expires: 2027-01-01
            budgets: [{{limit_requests: 20, window: day}}]
            tags: [batch]
            labels: [hard]
            limits: {{body_bytes: 65536, max_tokens: 1024, wall_s: 30}}
          web:
            hash: "{WEB.hash}"
            tags: [batch]
            may_set: [user, tags]
  other:
    each_user: {{budgets: [{{limit_requests: 2, window: day}}]}}
    tags: {{batch: [{{limit_requests: 9, window: day}}]}}
    keys:
      only: {{hash: "{OTHER.hash}", may_set: [user]}}
      tagger: {{hash: "{TAGGER.hash}", may_set: [tags]}}
classes:
  hard: [{{limit_usd: 50, window: day}}, {{limit_gpu_s: 100, window: hour}}]
gpu_s_per_million_tokens:
  small: {{input: 2.0, output: 40.0}}
  large: {{input: 7.5, output: 90.25}}
"""


def bearer(key: NewKey) -> bytes:
    """The header that opens."""
    return b"Bearer " + key.secret.encode()


def tenants(folder: Path, text: str = FILE, clock: Callable[[], float] = lambda: 1e9) -> Tenants:
    """What a file of this text says."""
    path = folder / "tenants.yaml"
    path.write_text(text, encoding="utf-8")
    return read_tenants(path, clock)
