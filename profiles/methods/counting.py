"""Tokens of prompts, counted by their bytes, and answers as the calls that draw them.

A token of a byte-level vocabulary covers at least one byte, so bytes are never too few. Templates
add marks per message, and sometimes a system text of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

_TEMPLATE_TOKENS_PER_MESSAGE = 32
_TEMPLATE_TOKENS_PER_REQUEST = 128
_TEMPLATE_TOKENS_OF_TOOLS = 1024
# Some templates escape what is not ASCII (two bytes become six), and what HTML would obey.
_ASCII = bytes(range(128))
_MORE_BYTES_IF_ESCAPED = 2
_HTML = b"<>&'"
_MORE_BYTES_OF_HTML = 5

ANSWERS_PER_CALL = 128
"""Most answers that one call asks for, where nobody says otherwise."""

QUOTED_BYTES_PER_TOKEN = 8
"""Of an answer that a later prompt quotes; what is longer is cut. English has about 4.5."""


def chat_tokens(message_bytes: Iterable[int]) -> int:
    """No byte-level tokenizer makes more of a chat whose messages have so many bytes of UTF-8."""
    return _TEMPLATE_TOKENS_PER_REQUEST + sum(map(message_tokens, message_bytes))


def message_tokens(count: int) -> int:
    """No byte-level tokenizer makes more of one message of so many bytes, template included."""
    return _TEMPLATE_TOKENS_PER_MESSAGE + count


def tools_tokens(count: int, indented: bytes) -> int:
    """No byte-level tokenizer makes more of tools, and of the system text that explains them.

    Args:
        count: How many.
        indented: The list of them, see `json_bytes`.
    """
    return _TEMPLATE_TOKENS_OF_TOOLS + json_bytes(indented) + count * message_tokens(0)


def json_bytes(indented: bytes) -> int:
    """Most bytes of a JSON value in a prompt, whichever way a template spaces and escapes it.

    Args:
        indented: The value, by four blanks a level as the widest templates do.
    """
    not_ascii = len(indented.translate(None, delete=_ASCII))
    html = sum(map(indented.count, _HTML))
    return len(indented) + _MORE_BYTES_IF_ESCAPED * not_ascii + _MORE_BYTES_OF_HTML * html


EMPTY_PROMPT = chat_tokens([0])
"""Tokens that the shortest chat counts as, one message without a word."""


def said_tokens(text: str) -> int:
    """Tokens of a message that says this."""
    return message_tokens(len(text.encode()))


def quoted_tokens(max_tokens: int) -> int:
    """Tokens of a message that quotes an answer of at most so many tokens, see `quoted`."""
    return message_tokens(quoted_bytes(max_tokens))


def quoted_bytes(max_tokens: int) -> int:
    """Bytes that an answer of at most so many tokens may have where it is quoted."""
    return QUOTED_BYTES_PER_TOKEN * max_tokens + len(_GAP)


_GAP = b"\n[...]\n"


def quoted(text: str, max_tokens: int) -> str:
    """An answer as a later prompt quotes it: in at most `quoted_bytes`, its middle left out."""
    most = quoted_bytes(max_tokens)
    # characters that are no text (lone surrogates) cannot be sent; they count as a question mark
    content = text.encode("utf-8", "replace")
    if len(content) <= most:
        return content.decode()
    half = (most - len(_GAP)) // 2
    kept = content[:half], content[-half:]
    head, tail = (part.decode("utf-8", "ignore") for part in kept)
    return f"{head}{_GAP.decode()}{tail}"


def lowest(*caps: int | None) -> int | None:
    """The least of those that there are."""
    known = [cap for cap in caps if cap is not None]
    return min(known) if known else None


def split(answers: int, most: int) -> Iterator[int]:
    """Answers as the sizes of the calls that draw them."""
    while answers > 0:
        yield min(answers, most)
        answers -= most


def sizes(answers: int, most: int) -> Iterator[tuple[int, int]]:
    """What `split` gives, as sizes with how often each comes."""
    if answers >= most:
        yield most, answers // most
    if answers % most:
        yield answers % most, 1
