"""Answers as server-sent events of one shape each, as chats and completions have them."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import msgspec

from runtime.openai.bill import Said, Usage, said_of, usage_of
from runtime.service import Served

DONE = b"data: [DONE]\n\n"
Choice = TypeVar("Choice", bound=msgspec.Struct)

_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Chunks(ABC, Generic[Choice]):
    """An answer as events: text, an end, usage where asked for, ``[DONE]``.

    Attributes:
        request_id: Of the run.
        model: As the client called it.
        include_usage: The client asked for it.
        created_s: Unix time, the same in all events.
    """

    request_id: str
    model: str
    include_usage: bool
    created_s: int = field(default_factory=lambda: int(time.time()))

    def opening(self) -> bytes:
        """The first event, nothing where that is the first text."""
        return b""

    def text(self, text: str) -> bytes:
        """A piece of the answer; nothing for an empty one."""
        return self._event([self._piece(text)]) if text else b""

    def closing(self, served: Served) -> bytes:
        """The last events; the very last also says what headers say of whole answers."""
        whole = self._whole_at_the_end(served)
        parts = self._event(whole) if whole else b""
        end, said = [self._end(served.outcome.finish_reason)], said_of(served)
        if not self.include_usage:
            return parts + self._event(end, said=said) + DONE
        last = self._event([], usage=usage_of(served), said=said)
        return parts + self._event(end) + last + DONE

    def failure(self, error: bytes) -> bytes:
        """The last event of an answer that was begun and cannot be ended.

        Args:
            error: Its body, see `runtime.openai.errors.error_body`.
        """
        return b"data: %b\n\n" % error

    @abstractmethod
    def _piece(self, text: str) -> Choice:
        """What says a piece of the text."""

    @abstractmethod
    def _end(self, finish_reason: str) -> Choice:
        """What says that it ended."""

    def _whole_at_the_end(self, served: Served) -> list[Choice]:  # noqa: ARG002
        """What cannot come in pieces."""
        return []

    @abstractmethod
    def _chunk(
        self,
        choices: Sequence[Choice],
        usage: Usage | msgspec.UnsetType | None,
        said: Said | msgspec.UnsetType,
    ) -> msgspec.Struct:
        """One event's data."""

    def _event(
        self,
        choices: Sequence[Choice],
        *,
        usage: Usage | None = None,
        said: Said | msgspec.UnsetType = msgspec.UNSET,
    ) -> bytes:
        chunk = self._chunk(choices, usage if self.include_usage else msgspec.UNSET, said)
        return b"data: %b\n\n" % _encoder.encode(chunk)
