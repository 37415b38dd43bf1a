"""What a single request of a key may be: its size, its depth, its tokens, its dollars, its time."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import TypeVar

from profiles.errors import InputError
from runtime.envelope import Envelope

_Number = TypeVar("_Number", int, float)
# A text to its end, or to that of the body; else a bracket. Possessive: no body makes it go back.
_BRACKETS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|([\[{])|[\]}]', re.DOTALL)


class RequestLimitError(InputError):
    """A request is larger than its key may send.

    Attributes:
        limit: Which limit, as tenants.yaml calls it.
    """

    def __init__(self, limit: str, most: float, got: float | None = None) -> None:
        self.limit = limit
        super().__init__(
            "this request is larger than its key may send",
            where=limit,
            expected=f"at most {most}",
            got=None if got is None else str(got),
        )


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Limits on every single request; None for none.

    Attributes:
        body_bytes: Of the body.
        depth: Brackets that are open at once in the body.
        messages: Of a chat.
        tools: That a request defines.
        prompt_tokens: Of the prompt, as its hold counts them.
        max_tokens: Completion tokens of each answer; a client's wish is lowered to it.
        calls: To models, for one request.
        tokens: In and out over all these calls.
        usd: Dollars over all these calls.
        wall_s: Seconds until it is answered.
    """

    body_bytes: int | None = None
    depth: int | None = None
    messages: int | None = None
    tools: int | None = None
    prompt_tokens: int | None = None
    max_tokens: int | None = None
    calls: int | None = None
    tokens: int | None = None
    usd: float | None = None
    wall_s: float | None = None

    def refuse_size(self, body_bytes: int) -> None:
        """Refuse a body by its length, as declared or as read so far.

        Raises:
            RequestLimitError: Too many bytes.
        """
        if self.body_bytes is not None and body_bytes > self.body_bytes:
            raise RequestLimitError("body_bytes", self.body_bytes)

    def refuse_depth(self, body: bytes) -> None:
        """Refuse a body by its nesting, before anything reads it as JSON.

        Raises:
            RequestLimitError: Too deep.
        """
        most = self.depth
        if most is None or body.count(b"[") + body.count(b"{") <= most:
            return
        depth = 0
        for found in _BRACKETS.finditer(body):
            if found[1]:
                depth += 1
                if depth > most:
                    raise RequestLimitError("depth", most)
            elif found[0][0] != ord('"'):
                depth -= 1

    def refuse_parts(self, *, messages: int = 0, tools: int = 0) -> None:
        """Refuse a chat by what it is made of.

        Raises:
            RequestLimitError: Too many messages or tools.
        """
        if self.messages is not None and messages > self.messages:
            raise RequestLimitError("messages", self.messages, messages)
        if self.tools is not None and tools > self.tools:
            raise RequestLimitError("tools", self.tools, tools)

    def refuse_prompt(self, prompt_tokens: int) -> None:
        """Refuse a prompt by its tokens.

        Args:
            prompt_tokens: As the hold counts them: by bytes where no tokenizer is known.

        Raises:
            RequestLimitError: Too many.
        """
        if self.prompt_tokens is not None and prompt_tokens > self.prompt_tokens:
            raise RequestLimitError("prompt_tokens", self.prompt_tokens, prompt_tokens)

    def allowed_tokens(self, asked: int | None) -> int | None:
        """The cap on completion tokens of each answer: the client's wish, lowered to the limit."""
        return _least(asked, self.max_tokens)

    def within(self, envelope: Envelope) -> Envelope:
        """The same envelope, no wider than these limits."""
        return Envelope(
            calls=_least(envelope.calls, self.calls),
            tokens=_least(envelope.tokens, self.tokens),
            usd=_least(envelope.usd, self.usd),
            wall_s=_least(envelope.wall_s, self.wall_s),
        )


def smallest(limits: Iterable[RequestLimits]) -> RequestLimits:
    """Of every limit the smallest that anybody set."""
    found = RequestLimits()
    for each in limits:
        pairs = {
            field.name: _least(getattr(found, field.name), getattr(each, field.name))
            for field in fields(RequestLimits)
        }
        found = RequestLimits(**pairs)
    return found


def _least(one: _Number | None, other: _Number | None) -> _Number | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)
