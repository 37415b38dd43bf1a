"""What headers of a request say, and what headers of a reply tell."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import quote

from profiles.errors import InputError
from runtime import openai
from runtime.client import Header
from runtime.service import Run, Served

Headers = list[Header]

LABEL = b"x-inferbudget-class"
"""Asked for in requests; in replies the class."""
_TAGS = b"x-inferbudget-tags"
_MOST_TAGS = 16


def header(headers: Headers, name: bytes) -> bytes | None:
    """The first value of a header."""
    for key, value in headers:
        if key == name:
            return value
    return None


def label(headers: Headers) -> str | None:
    """The label in the header, None where there is no such header.

    An empty one is a label like any other: an edge that blanks the header decides, not the body.

    Raises:
        InputError: Several headers contradict each other.
    """
    # blanks around a value are none of it (RFC 9110, 5.5); httptools leaves those behind it
    sent = {value.strip(b" \t") for key, value in headers if key == LABEL}
    if len(sent) > 1:
        raise InputError(
            "the headers x-inferbudget-class contradict each other", next_step="send one of them"
        )
    return sent.pop().decode("utf-8", "replace") if sent else None


def tags(headers: Headers) -> tuple[str, ...]:
    """The tags in the headers, separated by commas.

    Raises:
        InputError: Too many of them.
    """
    sent = [value for key, value in headers if key == _TAGS]
    if not sent:
        return ()
    said = [tag.strip().decode("utf-8", "replace") for tag in b",".join(sent).split(b",")]
    found = tuple(tag for tag in said if tag)
    if len(found) > _MOST_TAGS:
        raise InputError("too many tags", where="x-inferbudget-tags", expected=f"{_MOST_TAGS}")
    return found


def run_headers(run: Run | Served) -> tuple[Header, ...]:
    """What is known before the answer is."""
    return (
        (LABEL, _text(run.class_name)),
        (b"x-inferbudget-strategy", _text(run.strategy)),
        (b"x-inferbudget-rung", str(run.rung).encode()),
        (b"x-inferbudget-request-id", run.request_id.encode()),
    )


def served_headers(served: Served) -> tuple[Header, ...]:
    """What is known after it."""
    return (
        *run_headers(served),
        (b"x-inferbudget-outcome", served.ending.encode()),
        (b"x-inferbudget-cost-usd", openai.cost_text(served).encode()),
    )


@lru_cache
def _text(text: str) -> bytes:
    """Names that are not plain ASCII travel percent-encoded."""
    plain = text.isascii() and text.isprintable()
    return (text if plain else quote(text)).encode()
