"""The one seam to model servers: an OpenAI-compatible chat call in, texts and usage out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import aiohttp
import msgspec

from profiles.errors import UpstreamError

# Servers on uvicorn drop idle connections after 5 s; a request sent into such a drop is lost with
# its outcome unknown, and unknown is charged in full. So let go of idle connections first.
_KEEPALIVE_S = 4.0
_CONNECT_S = 10.0
_MAX_REPLY_BYTES = 32 * 1024 * 1024
_CHUNK_BYTES = 64 * 1024
_EXCERPT_BYTES = 300
# Raised while the connection is being made: proof that no byte of the request left.
_NOT_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


class UpstreamTimeoutError(UpstreamError):
    """No complete reply in time. What it costs is unknown."""


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message of a chat; only text travels in this version."""

    role: str
    content: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class ChatCall:
    """One call to one model.

    Attributes:
        model: The upstream's name of the model.
        messages: The chat so far.
        max_tokens: Cap on completion tokens of each of the `n` answers.
        n: Answers wanted.
        temperature: None leaves it to the upstream.
        top_p: None leaves it to the upstream.
        seed: None leaves it to the upstream.
        stop: Texts that end an answer.
    """

    model: str
    messages: Sequence[Message]
    max_tokens: int
    n: int = 1
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """A reply.

    Attributes:
        texts: One per answer, at least one.
        tokens_in: Prompt tokens billed, None when the upstream did not say.
        tokens_out: Completion tokens billed over all answers, None when it did not say.
        finish_reasons: One per answer, e.g. ``stop`` or ``length``.
        latency_s: Seconds from request to complete reply.
    """

    texts: tuple[str, ...]
    tokens_in: int | None
    tokens_out: int | None
    finish_reasons: tuple[str, ...]
    latency_s: float


class _ReplyMessage(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _ReplyMessage
    finish_reason: str | None = None


class _Reply(msgspec.Struct):
    choices: list[_Choice]
    usage: msgspec.Raw = msgspec.Raw(b"null")


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int


_encoder = msgspec.json.Encoder()
_reply_decoder = msgspec.json.Decoder(_Reply)
_usage_decoder = msgspec.json.Decoder(_Usage)


class Upstream:
    """A model server.

    Args:
        url: Base address as OpenAI clients write it, e.g. ``http://localhost:8000/v1``; ``/v1`` is
            added to an address without a path.
        api_key: Sent as bearer token.
        timeout_s: Seconds until a call without a complete reply is given up.
    """

    def __init__(self, url: str, api_key: str | None = None, *, timeout_s: float = 120.0) -> None:
        base = url.rstrip("/")
        if base.count("/") == 2:
            base += "/v1"
        self._endpoint = f"{base}/chat/completions"
        self._timeout_s = timeout_s
        self._headers = {"content-type": "application/json"}
        if api_key:
            self._headers["authorization"] = f"Bearer {api_key}"
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Upstream:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def chat(self, call: ChatCall) -> Completion:
        """Send one call; tried a second time only where the first was provably not sent.

        Raises:
            UpstreamError: Says by `sent` whether the call can have cost anything.
        """
        body = _encoder.encode(_body(call))
        start = time.perf_counter()
        try:
            reply = await self._post(body)
        except UpstreamError as error:
            if error.sent:
                raise
            reply = await self._post(body)
        return _completion(reply, time.perf_counter() - start)

    async def _post(self, body: bytes) -> bytes:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_S),
                timeout=aiohttp.ClientTimeout(
                    total=self._timeout_s, sock_connect=min(_CONNECT_S, self._timeout_s)
                ),
                headers=self._headers,
            )
        try:
            async with self._session.post(
                self._endpoint, data=body, allow_redirects=False
            ) as response:
                content = await _read(response)
                if response.status != 200:
                    detail = content[:_EXCERPT_BYTES].decode("utf-8", "replace")
                    raise UpstreamError(
                        f"the upstream answered with status {response.status}: {detail}",
                        status=response.status,
                    )
                return content
        except _NOT_SENT as error:
            raise UpstreamError(f"cannot connect to the upstream: {error}", sent=False) from error
        except TimeoutError as error:
            raise UpstreamTimeoutError(
                f"the upstream did not answer within {self._timeout_s:g} s"
            ) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UpstreamError(
                f"the connection to the upstream broke: {type(error).__name__}: {error}"
            ) from error


def _body(call: ChatCall) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": call.model,
        "messages": call.messages,
        "max_tokens": call.max_tokens,
    }
    optional = {"temperature": call.temperature, "top_p": call.top_p, "seed": call.seed}
    body.update({name: value for name, value in optional.items() if value is not None})
    if call.n != 1:
        body["n"] = call.n
    if call.stop:
        body["stop"] = call.stop
    return body


async def _read(response: aiohttp.ClientResponse) -> bytes:
    content = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        content += chunk
        if len(content) > _MAX_REPLY_BYTES:
            raise UpstreamError(f"the upstream's reply is longer than {_MAX_REPLY_BYTES} bytes")
    return bytes(content)


def _completion(content: bytes, latency_s: float) -> Completion:
    try:
        reply = _reply_decoder.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamError(f"the upstream's reply is not a chat completion: {error}") from error
    if not reply.choices:
        raise UpstreamError("the upstream's reply holds no answer")
    tokens_in, tokens_out = _usage(reply.usage)
    return Completion(
        texts=tuple(choice.message.content or "" for choice in reply.choices),
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        finish_reasons=tuple(choice.finish_reason or "stop" for choice in reply.choices),
        latency_s=latency_s,
    )


def _usage(raw: msgspec.Raw) -> tuple[int, int] | tuple[None, None]:
    """Billed tokens; unknown where they are absent or impossible."""
    try:
        usage = _usage_decoder.decode(raw)
    except (msgspec.MsgspecError, RecursionError):
        return None, None
    if usage.prompt_tokens <= 0 or usage.completion_tokens < 0:
        return None, None
    return usage.prompt_tokens, usage.completion_tokens
