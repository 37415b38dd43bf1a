"""Answers in OpenAI's form, whole or as a stream of server-sent events."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncIterator

from demo.server.errors import ApiError
from demo.server.job import Job, Piece, Usage

Json = dict[str, object]


class Completion:
    """Builds what is sent for one job; `id`, `created` and `model` are the same throughout."""

    def __init__(self, model: str) -> None:
        """Draw an id and take the time."""
        self._id = f"chatcmpl-{secrets.token_hex(12)}"
        self._created = int(time.time())
        self._model = model

    def whole(self, job: Job, usage: Usage) -> Json:
        """The body of a response that is not streamed."""
        choices: list[Json] = [
            {
                "index": sample.index,
                "message": {"role": "assistant", "content": sample.text, "refusal": None},
                "logprobs": None,
                "finish_reason": sample.finish,
            }
            for sample in job.samples
        ]
        return self._frame("chat.completion", choices) | {"usage": _usage(usage)}

    async def events(self, job: Job, *, include_usage: bool) -> AsyncIterator[bytes]:
        """The events of a stream up to its `[DONE]`, or to the error that ends it."""
        opening: Json = {"role": "assistant", "content": ""}
        yield b"".join(self._chunk(sample.index, opening, None) for sample in job.samples)
        try:
            async for report in job.reports():
                if isinstance(report, list):
                    yield b"".join(self._piece(piece) for piece in report)
                elif include_usage:
                    frame = self._frame("chat.completion.chunk", [])
                    yield _event(frame | {"usage": _usage(report)})
        except ApiError as error:
            yield _event(error.body())
            return
        yield b"data: [DONE]\n\n"

    def _piece(self, piece: Piece) -> bytes:
        text = self._chunk(piece.index, {"content": piece.text}, None) if piece.text else b""
        return text + (self._chunk(piece.index, {}, piece.finish) if piece.finish else b"")

    def _chunk(self, index: int, delta: Json, finish: str | None) -> bytes:
        choice: Json = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _event(self._frame("chat.completion.chunk", [choice]))

    def _frame(self, kind: str, choices: list[Json]) -> Json:
        head = {"id": self._id, "object": kind, "created": self._created, "model": self._model}
        return head | {"choices": choices}


def _usage(usage: Usage) -> Json:
    read, made = usage.prompt_tokens, usage.completion_tokens
    return {"prompt_tokens": read, "completion_tokens": made, "total_tokens": read + made}


def _event(body: Json) -> bytes:
    return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"
