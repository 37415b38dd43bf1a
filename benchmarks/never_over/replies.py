"""What the model server of the never-over experiment replies: whole, in pieces, or an error."""

from __future__ import annotations

import json
from typing import Any

_PIECES = ("so ", "one ", "adds ", "both")
END = b"data: [DONE]\n\n"


def _response(status: bytes, body: bytes, more: bytes = b"") -> bytes:
    head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n"
    return head % (status, more, len(body)) + body


def refused(name: str) -> bytes:
    """An error, by the fault's name."""
    body = json.dumps({"error": {"message": "busy", "type": "busy"}}).encode()
    if name == "429":
        return _response(b"429 Too Many Requests", body, b"retry-after: 0\r\n")
    if name == "503 before work":
        return _response(b"503 Service Unavailable", body, b"retry-after: 0\r\n")
    if name == "503 after work":
        return _response(b"503 Service Unavailable", b"lost")
    return _response(b"500 Internal Server Error", b"lost")


def whole(model: str, answers: int, usage: dict[str, int] | None) -> bytes:
    """A whole answer, without its usage where there is none."""
    message = {"role": "assistant", "content": "".join(_PIECES)}
    choices = [
        {"index": index, "message": message, "logprobs": None, "finish_reason": "stop"}
        for index in range(answers)
    ]
    body: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": choices,
    }
    if usage:
        body["usage"] = usage
    return _response(b"200 OK", json.dumps(body).encode())


def streamed(usage: dict[str, int] | None) -> list[bytes]:
    """A stream's parts, as chunks; the last one brings the usage and the end."""

    def event(delta: dict[str, str] | None, finish: str | None = None) -> bytes:
        choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
        body = {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "m",
            "choices": choices,
            "usage": usage if delta is None else None,
        }
        return b"data: %b\n\n" % json.dumps(body).encode()

    def chunk(content: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(content), content)

    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    parts = [chunk(event({"content": piece})) for piece in _PIECES]
    parts[0] = head + chunk(event({"role": "assistant", "content": ""})) + parts[0]
    last = chunk(event({}, "stop"))
    if usage:
        last += chunk(event(None))
    parts.append(last + chunk(END) + b"0\r\n\r\n")
    return parts
