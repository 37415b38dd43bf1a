"""Where a model server is and what opens it, checked before the first call."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from profiles.errors import InputError

LONGEST_TIMEOUT_S = 86_400.0

_CHAT = "/chat/completions"
# RFC 9110, 5.6.2: what a header's name is made of.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# The client writes these itself.
_OWN_HEADERS = frozenset(
    {
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def chat_endpoint(url: str) -> str:
    """Where chats are completed on the server with this base address.

    Raises:
        InputError: It is no such address.
    """
    base = url.strip().rstrip("/")
    try:
        parts = urlsplit(base)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        (parts.hostname or "").encode("idna")
    except ValueError:
        usable = False
    else:
        usable = usable and not (parts.query or parts.fragment or "@" in parts.netloc)
    if not usable or not base.isprintable() or " " in base:
        raise InputError(
            "this is not the address of a model server",
            where="upstream",
            expected="http:// or https://, a host, and no credentials, query or fragment",
            next_step="write it like http://localhost:8000/v1",
        )
    return f"{base}{_CHAT}" if parts.path else f"{base}/v1{_CHAT}"


def beside(endpoint: str, path: str) -> str:
    """Another endpoint of the API whose chats are completed there, e.g. ``/embeddings``."""
    return endpoint.removesuffix(_CHAT) + path


def page(endpoint: str, path: str) -> str:
    """A page of the host, whatever the path of its API, e.g. ``/health``."""
    parts = urlsplit(endpoint)
    return f"{parts.scheme}://{parts.netloc}{path}"


def header_key(api_key: str | None) -> str:
    """A key as a header carries it; empty where there is none.

    Raises:
        InputError: No header can carry it.
    """
    key = (api_key or "").strip()
    if not (key.isascii() and key.isprintable()):
        raise InputError(
            "the upstream's API key holds characters that no HTTP header carries",
            expected="printable ASCII",
        )
    return key


def checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers that travel with every call; their values are never quoted.

    Raises:
        InputError: A name or a value that no header can have, or a header of the client's own.
    """
    found = {}
    for name, value in headers.items():
        text = value.strip()
        if not _TOKEN.fullmatch(name) or not (text.isascii() and text.isprintable() and text):
            raise InputError(
                "no HTTP request can carry this header",
                where=f"header {name!r}",
                expected="a name of letters, digits and hyphens, a value of printable ASCII",
            )
        if name.lower() in _OWN_HEADERS:
            raise InputError("the client writes this header itself", where=f"header {name!r}")
        found[name] = text
    return found


def checked_timeout_s(seconds: float) -> float:
    """Seconds after which a call or a connection is given up.

    Raises:
        InputError: None, or more than `LONGEST_TIMEOUT_S`.
    """
    if not 0 < seconds <= LONGEST_TIMEOUT_S:
        raise InputError(
            "a call cannot be given up after this time",
            where="timeout",
            expected=f"more than 0 and at most {LONGEST_TIMEOUT_S:g} s",
            got=f"{seconds:g} s",
        )
    return seconds
