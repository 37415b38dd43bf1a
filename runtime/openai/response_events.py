"""A response as server-sent events: each has a type, a number, and what it adds."""

from __future__ import annotations

from typing import Any

import msgspec

from runtime.openai.errors import error_in
from runtime.openai.response_object import (
    OutputCall,
    OutputItem,
    OutputMessage,
    OutputText,
    ResponseError,
    begun_response,
    ended,
    message_id,
    output_of,
)
from runtime.openai.responses import ResponseRequest
from runtime.service import Served

_encoder = msgspec.json.Encoder()


class ResponseEvents:
    """The events of one response. They are numbered, so each is made once and in order.

    Args:
        asked: The request.
        request_id: Of the run.
        model: As the client called it.
    """

    def __init__(self, asked: ResponseRequest, request_id: str, model: str) -> None:
        self._response = begun_response(asked, request_id, model)
        self._item_id = message_id(request_id)
        self._number = 0
        self._has_words = False

    def opening(self) -> bytes:
        """The first events."""
        return self._state("response.created") + self._state("response.in_progress")

    def text(self, text: str) -> bytes:
        """A piece of the answer; nothing for an empty one."""
        if not text:
            return b""
        begin = b"" if self._has_words else self._begin_words()
        return begin + self._in_part("response.output_text.delta", delta=text, logprobs=())

    def closing(self, served: Served) -> bytes:
        """The last events: every item whole, then the response with its bill."""
        output = output_of(served)
        items = b"".join(self._item(index, item) for index, item in enumerate(output))
        self._response = ended(self._response, served, output)
        return items + self._state(f"response.{self._response.status}")

    def failure(self, error: bytes) -> bytes:
        """The last event of an answer that was begun and cannot be ended.

        Args:
            error: Its body, see `runtime.openai.errors.error_body`.
        """
        found = error_in(error)
        busy = found.type == "rate_limit_error"
        why = ResponseError("rate_limit_exceeded" if busy else "server_error", found.message)
        self._response = msgspec.structs.replace(self._response, status="failed", error=why)
        return self._state("response.failed")

    def _item(self, index: int, item: OutputItem) -> bytes:
        return self._words(item) if isinstance(item, OutputMessage) else self._call(index, item)

    def _begin_words(self) -> bytes:
        self._has_words = True
        item = OutputMessage(self._item_id, [], "in_progress")
        added = self._event("response.output_item.added", output_index=0, item=item)
        return added + self._in_part("response.content_part.added", part=OutputText(""))

    def _words(self, item: OutputMessage) -> bytes:
        begin = b"" if self._has_words else self._begin_words()
        (part,) = item.content
        return (
            begin
            + self._in_part("response.output_text.done", text=part.text, logprobs=())
            + self._in_part("response.content_part.done", part=part)
            + self._event("response.output_item.done", output_index=0, item=item)
        )

    def _call(self, index: int, item: OutputCall) -> bytes:
        at = {"item_id": item.id, "output_index": index}
        empty = msgspec.structs.replace(item, arguments="", status="in_progress")
        kind = "response.function_call_arguments"
        return (
            self._event("response.output_item.added", output_index=index, item=empty)
            + self._event(f"{kind}.delta", **at, delta=item.arguments)
            + self._event(f"{kind}.done", **at, name=item.name, arguments=item.arguments)
            + self._event("response.output_item.done", output_index=index, item=item)
        )

    def _in_part(self, kind: str, **more: Any) -> bytes:
        return self._event(kind, item_id=self._item_id, output_index=0, content_index=0, **more)

    def _state(self, kind: str) -> bytes:
        return self._event(kind, response=self._response)

    def _event(self, kind: str, **more: Any) -> bytes:
        body = _encoder.encode({"type": kind, "sequence_number": self._number, **more})
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), body)
