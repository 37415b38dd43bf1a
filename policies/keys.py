"""Ed25519 keys in PEM files: written for their owner alone, read with a word on what is wrong.

No message holds anything of a file's content, and none quotes another library: a key that is given
in the wrong place, or a passphrase, must not end in a log.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from profiles.digest import digest_bytes
from profiles.errors import InputError

PASSPHRASE = "INFERBUDGET_KEY_PASSPHRASE"  # noqa: S105 - the variable's name
PUBLIC_SUFFIX = ".pub"
_MOST_BYTES = 2**16
_MAKE = "make a pair with 'inferbudget sign keygen -o KEY'"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that signatures are held against.

    Attributes:
        name: The file that it came from.
        id: ``sha256:<hex>`` of its DER form (SubjectPublicKeyInfo).
        key: The key itself.
    """

    name: str
    id: str
    key: Ed25519PublicKey

    def made(self, signature: bytes, content: bytes) -> bool:
        """Whether this key's private half made the signature of this content."""
        try:
            self.key.verify(signature, content)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A key that signs.

    Attributes:
        id: Of its public half.
        key: The key itself.
    """

    id: str
    key: Ed25519PrivateKey = field(repr=False)

    def sign(self, content: bytes) -> bytes:
        """64 bytes, the same for the same content."""
        return self.key.sign(content)


def public_path(path: Path) -> Path:
    """Where the public half of a key pair lies: KEY.pub beside KEY."""
    return path.with_name(path.name + PUBLIC_SUFFIX)


def write_key_pair(path: Path, passphrase: bytes | None) -> PublicKey:
    """Make a key pair: the private key at `path` for its owner alone, the public one beside it.

    Args:
        path: Of the private key, PEM (PKCS #8); nothing may lie there, nor at ``path.pub``.
        passphrase: Encrypts the private key; None leaves it readable to whoever reads the file.

    Raises:
        InputError: A file is there already, or cannot be written.
    """
    private = Ed25519PrivateKey.generate()
    sealed = form.BestAvailableEncryption(passphrase) if passphrase else form.NoEncryption()
    secret = private.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, sealed)
    public = private.public_key()
    shown = public.public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    beside = public_path(path)
    _write_new(path, secret, 0o600)
    try:
        _write_new(beside, shown, 0o644)
    except InputError:
        path.unlink()  # half a pair is of no use
        raise
    return PublicKey(str(beside), _id(public), public)


def read_private_key(path: Path, passphrase: Callable[[], bytes]) -> PrivateKey:
    """Read a private key.

    Args:
        path: PEM (PKCS #8).
        passphrase: Asked where the key is encrypted.

    Raises:
        InputError: Unreadable, no private key, one of another kind, or another passphrase.
    """
    content = _read(path)
    word = passphrase() if b"ENCRYPTED" in content else None
    try:
        key = form.load_pem_private_key(content, word)
    except Exception:  # which errors a parser raises differs by its version
        if word is not None:
            raise InputError(
                "this passphrase does not open the key",
                where=str(path),
                next_step=f"correct {PASSPHRASE}, or what you typed",
            ) from None
        raise _no_key(path, content, "private") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise _other_kind(path, "private")
    return PrivateKey(_id(key.public_key()), key)


def read_public_key(path: Path) -> PublicKey:
    """Read a public key.

    Raises:
        InputError: Unreadable, no public key, several of them, or one of another kind.
    """
    content = _read(path)
    if content.count(b"-----BEGIN") > 1:
        raise InputError(
            "this file holds more than one key",
            where=str(path),
            expected="one public key per file",
            next_step="give each a file of its own and name all of them",
        )
    try:
        key = form.load_pem_public_key(content)
    except Exception:  # which errors a parser raises differs by its version
        raise _no_key(path, content, "public") from None
    if not isinstance(key, Ed25519PublicKey):
        raise _other_kind(path, "public")
    return PublicKey(str(path), _id(key), key)


def readable_by_others(path: Path) -> bool:
    """Whether a file's mode lets others than its owner read it; never so where modes mean little.

    Raises:
        InputError: It cannot be looked at.
    """
    try:
        return os.name == "posix" and bool(path.stat().st_mode & 0o077)
    except OSError as error:
        raise _unreadable(path, error) from error


def _id(public: Ed25519PublicKey) -> str:
    shown = form.PublicFormat.SubjectPublicKeyInfo
    return digest_bytes(public.public_bytes(form.Encoding.DER, shown))


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError("cannot read the key", where=str(path), got=error.strerror)


def _no_key(path: Path, content: bytes, wanted: str) -> InputError:
    """Which half of a pair this is instead, if any."""
    other = "public" if wanted == "private" else "private"
    is_other = f"{other.upper()} KEY-----".encode() in content
    step = f"name the {wanted} key" + (", KEY.pub" if wanted == "public" else ", not KEY.pub")
    return InputError(
        f"this is a {other} key" if is_other else f"this is no {wanted} key",
        where=str(path),
        expected=f"an Ed25519 {wanted} key in PEM form",
        next_step=step if is_other else _MAKE,
    )


def _other_kind(path: Path, wanted: str) -> InputError:
    return InputError(
        f"this {wanted} key is of another kind",
        where=str(path),
        expected="an Ed25519 key",
        next_step=_MAKE,
    )


def _write_new(path: Path, content: bytes, mode: int) -> None:
    """Write a file that was not there, with this mode from the start."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise InputError(
            "a file is there already, and a key is never overwritten",
            where=str(path),
            next_step="choose another name, or move the old key away",
        ) from None
    except OSError as error:
        raise InputError("cannot write the key", where=str(path), got=error.strerror) from error
    with os.fdopen(handle, "wb") as file:
        file.write(content)
