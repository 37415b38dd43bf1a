"""Virtual keys: secrets that clients send, of which only a hash is kept.

A secret is ``ib-`` and 32 random bytes in url-safe base64. With 256 bits nobody finds one by
trying, so one round of SHA-256 is enough: slow or salted hashes protect words that people choose,
and would cost every request their time. Keys are looked up by this hash. What a stranger learns
from the time of a look-up is at most something about hashes, from which no secret can be made.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from profiles.digest import digest_bytes
from profiles.errors import InferbudgetError, InputError

PREFIX = "ib-"
SECRET_BYTES = 32
HASH_PATTERN = r"^sha256:[0-9a-f]{64}$"
_SECRET = re.compile(r"ib-[A-Za-z0-9_-]{43}\Z")
_LENGTH = len(PREFIX) + 43
_SCHEME = b"bearer "
# It begins with plain letters, so that a large file is searched for these.
_WRITTEN_SECRET = re.compile(r"ib-(?<![A-Za-z0-9_-]ib-)[A-Za-z0-9_-]{32,}")


class KeyProblem(StrEnum):
    """Why a key opens nothing; for the operator alone."""

    MISSING = "missing"
    UNKNOWN = "unknown"
    EXPIRED = "expired"
    DISABLED = "disabled"


class KeyRefusedError(InferbudgetError):
    """A request without a key that opens. Its text is the same for every reason.

    Attributes:
        problem: The reason, for metrics.
        path: Scope of the key that is expired or disabled, for the log; None where none was found.
    """

    def __init__(self, problem: KeyProblem, path: str | None = None) -> None:
        self.problem = problem
        self.path = path
        super().__init__("the API key is missing or wrong")


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made.

    Attributes:
        secret: What the client sends. It is kept nowhere.
        hash: What the operator keeps.
    """

    secret: str = field(repr=False)
    hash: str


def new_key() -> NewKey:
    """Make a key from the system's random numbers."""
    secret = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    return NewKey(secret, hash_of(secret))


def hash_of(secret: str) -> str:
    """``sha256:<hex>`` of a secret, as tenants.yaml has it.

    Raises:
        InputError: It has not the form of ours: a hash would not hide a word that people choose.
    """
    if not _SECRET.match(secret):
        raise InputError(
            "this is no virtual key",
            where="the secret",
            expected=f"{PREFIX!r} and 43 letters, digits, '-' or '_'",
            next_step="make one: inferbudget keys new --name NAME",
        )
    return digest_bytes(secret.encode())


def digest_of(key_hash: str) -> bytes:
    """The 32 bytes behind ``sha256:<hex>``."""
    return bytes.fromhex(key_hash.removeprefix("sha256:"))


def refuse_secrets(text: str, name: str) -> None:
    """Refuse a file that holds a secret where its hash should be. The message does not quote it.

    Raises:
        InputError: Names the place of the first.
    """
    found = _WRITTEN_SECRET.search(text)
    if found is None:
        return
    before = text[: found.start()]
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    raise InputError(
        "here stands what looks like the secret of a virtual key",
        where=f"{name}:{line}:{column}",
        expected="its hash alone",
        next_step="write what 'inferbudget keys hash' prints for it; if others could read the "
        "file, make a new key instead",
    )


class Credential(Protocol):
    """What a key is looked up by, and until when it opens."""

    @property
    def path(self) -> str:
        """The key's scope, e.g. ``org:acme/team:search/key:ci``."""

    @property
    def digest(self) -> bytes:
        """SHA-256 of the secret."""

    @property
    def enabled(self) -> bool:
        """False for a key that is switched off."""

    @property
    def expires_s(self) -> float | None:
        """Unix time from which it opens no more; None for never."""


Kept = TypeVar("Kept", bound=Credential)


class KeyRing(Generic[Kept]):
    """Keys by the hash of their secret.

    Args:
        keys: Each with a hash of its own.
    """

    def __init__(self, keys: Iterable[Kept]) -> None:
        self._keys = {key.digest: key for key in keys}

    def find(self, authorization: bytes | None, now_s: float) -> Kept:
        """The key that a request shows.

        Args:
            authorization: Value of its header `authorization`, any bytes; None without one.
            now_s: Unix time.

        Raises:
            KeyRefusedError: No key, or one that is unknown, disabled or expired.
        """
        if authorization is None or authorization[:7].lower() != _SCHEME:
            raise KeyRefusedError(KeyProblem.MISSING)
        secret = authorization[7:].strip(b" \t")
        if len(secret) != _LENGTH:  # of what may be 64 KiB no hash is needed
            raise KeyRefusedError(KeyProblem.UNKNOWN)
        digest = hashlib.sha256(secret).digest()
        key = self._keys.get(digest)
        if key is None or not hmac.compare_digest(key.digest, digest):
            raise KeyRefusedError(KeyProblem.UNKNOWN)
        if not key.enabled:
            raise KeyRefusedError(KeyProblem.DISABLED, key.path)
        if key.expires_s is not None and now_s >= key.expires_s:
            raise KeyRefusedError(KeyProblem.EXPIRED, key.path)
        return key

    def __len__(self) -> int:
        return len(self._keys)
