"""What upstreams answer, whole or piece by piece, made into completions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from profiles.errors import UpstreamError
from runtime.chat import MOST_TOKENS, Completion
from runtime.half_characters import HalfCharacters
from runtime.tool_calls import StreamedToolCalls, tool_calls

_EXCERPT_BYTES = 300
_NULL = b"null"
_DONE = b"[DONE]"
# What no reply of a server can be: not JSON, of another shape, nested beyond all reason.
R = TypeVar("R")
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class _ReplyMessage(msgspec.Struct):
    content: str | None = None
    tool_calls: msgspec.Raw = msgspec.Raw(_NULL)


class _Token(msgspec.Struct):
    logprob: float


class _Logprobs(msgspec.Struct):
    content: list[_Token] | None = None


class _Choice(msgspec.Struct):
    message: _ReplyMessage
    finish_reason: str | None = None
    logprobs: msgspec.Raw = msgspec.Raw(_NULL)


class _Reply(msgspec.Struct):
    choices: list[_Choice]
    usage: msgspec.Raw = msgspec.Raw(_NULL)


class _PieceChoice(msgspec.Struct):
    index: int = 0
    delta: _ReplyMessage | None = None
    finish_reason: str | None = None
    logprobs: msgspec.Raw = msgspec.Raw(_NULL)


class _Piece(msgspec.Struct):
    choices: list[_PieceChoice] = []
    usage: msgspec.Raw = msgspec.Raw(_NULL)
    error: msgspec.Raw = msgspec.Raw(_NULL)


class _ErrorReply(msgspec.Struct):
    error: msgspec.Raw = msgspec.Raw(_NULL)
    object: msgspec.Raw = msgspec.Raw(_NULL)
    choices: msgspec.Raw = msgspec.Raw(_NULL)
    usage: msgspec.Raw = msgspec.Raw(_NULL)


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    prompt_tokens_details: msgspec.Raw = msgspec.Raw(_NULL)
    completion_tokens_details: msgspec.Raw = msgspec.Raw(_NULL)


class _Details(msgspec.Struct):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


_reply_decoder = msgspec.json.Decoder(_Reply)
_piece_decoder = msgspec.json.Decoder(_Piece)
_error_decoder = msgspec.json.Decoder(_ErrorReply)
_usage_decoder = msgspec.json.Decoder(_Usage)
_details_decoder = msgspec.json.Decoder(_Details | None)
_logprobs_decoder = msgspec.json.Decoder(_Logprobs | None)


def completion(content: bytes, latency_s: float) -> Completion:
    """A whole reply.

    Raises:
        UpstreamError: It is no chat completion, or one without an answer.
    """
    try:
        reply = _decoded(_reply_decoder, content, HalfCharacters())
    except _UNREADABLE as error:
        raise UpstreamError(f"the upstream's reply is not a chat completion: {error}") from error
    if not reply.choices:
        raise UpstreamError("the upstream's reply holds no answer")
    return _completed(
        tuple(choice.message.content or "" for choice in reply.choices),
        tuple(choice.finish_reason or "stop" for choice in reply.choices),
        tuple(_mean_probability(_logprobs(choice.logprobs)) for choice in reply.choices),
        reply.usage,
        latency_s,
        asked=tuple(tool_calls(choice.message.tool_calls) for choice in reply.choices),
    )


class StreamedReply:
    """A reply of one answer that comes as events.

    Args:
        on_text: Is given the answer's text as it comes.

    Attributes:
        done: The upstream said that nothing follows.
    """

    def __init__(self, on_text: Callable[[str], None]) -> None:
        self.done = False
        self._on_text = on_text
        self._texts: list[str] = []
        self._finish_reason: str | None = None
        self._tokens: list[float] | None = []
        self._tool_calls = StreamedToolCalls()
        self._usage = msgspec.Raw(_NULL)
        self._halves = HalfCharacters()

    def take(self, event: bytes) -> None:
        """The data of the next event; of those after `done` nothing counts.

        Raises:
            UpstreamError: It is no piece of a chat completion, or it is an error.
        """
        data = event.strip()
        self.done = self.done or data == _DONE
        if self.done or not data:
            return
        try:
            piece = _decoded(_piece_decoder, data, self._halves)
        except _UNREADABLE as error:
            raise UpstreamError(f"the upstream's stream holds what is no piece: {error}") from error
        if bytes(piece.error) != _NULL:
            said = bytes(piece.error)[:_EXCERPT_BYTES].decode("utf-8", "replace")
            raise UpstreamError(f"the upstream's stream ended in an error: {said}")
        if bytes(piece.usage) != _NULL:
            self._usage = piece.usage
        elif any(map(_goes_on, piece.choices)):
            self._usage = msgspec.Raw(_NULL)  # what was counted until now is not all of it
        for choice in piece.choices:
            if choice.index == 0:
                self._add(choice)

    @property
    def known(self) -> bool:
        """Whether the answer's end and its usage are there, so that nothing more is needed."""
        return self._finish_reason is not None and bytes(self._usage) != _NULL

    def completion(self, latency_s: float) -> Completion:
        """All of it, once the stream has ended.

        Raises:
            UpstreamError: It ended before the answer did.
        """
        if not self.done and self._finish_reason is None:
            raise UpstreamError("the upstream's stream was cut off before its end")
        return _completed(
            ("".join(self._texts),),
            (self._finish_reason or "stop",),
            (_mean_probability(self._tokens),),
            self._usage,
            latency_s,
            asked=(self._tool_calls.whole(),),
        )

    def _add(self, choice: _PieceChoice) -> None:
        text = choice.delta.content if choice.delta else None
        if choice.delta:
            self._tool_calls.add(choice.delta.tool_calls)
        if text:
            self._texts.append(text)
            self._on_text(text)
        self._finish_reason = choice.finish_reason or self._finish_reason
        if self._tokens is None or bytes(choice.logprobs) == _NULL:
            return
        tokens = _logprobs(choice.logprobs)
        if tokens is None:
            self._tokens = None
        else:
            self._tokens += tokens


def _decoded(decoder: msgspec.json.Decoder[R], content: bytes, halves: HalfCharacters) -> R:
    """JSON of that shape; with its halves of characters mended where it is not read otherwise."""
    try:
        return decoder.decode(content)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        return decoder.decode(halves.mended(content))


def _goes_on(choice: _PieceChoice) -> bool:
    """Whether more of an answer is in a piece than that it has ended."""
    delta = choice.delta
    return choice.finish_reason is None or bool(
        delta and (delta.content or bytes(delta.tool_calls) != _NULL)
    )


def has_usage(content: bytes) -> bool:
    """Whether an error reply carries a bill."""
    try:
        return bytes(_error_decoder.decode(content).usage) != _NULL
    except _UNREADABLE:
        return False


def is_refusal(content: bytes) -> bool:
    """Whether a model server says in so many words that it did nothing."""
    try:
        reply = _error_decoder.decode(content)
    except _UNREADABLE:
        return False
    says_error = bytes(reply.error) != _NULL or bytes(reply.object) == b'"error"'
    return says_error and bytes(reply.choices) == _NULL and bytes(reply.usage) == _NULL


def _completed(
    texts: tuple[str, ...],
    finish_reasons: tuple[str, ...],
    confidences: tuple[float | None, ...],
    raw_usage: msgspec.Raw,
    latency_s: float,
    *,
    asked: tuple[tuple[dict[str, Any], ...] | None, ...],
) -> Completion:
    usage = _usage(raw_usage)
    return Completion(
        texts=texts,
        tokens_in=usage.prompt_tokens if usage else None,
        tokens_out=usage.completion_tokens if usage else None,
        finish_reasons=finish_reasons,
        latency_s=latency_s,
        tokens_reasoning=_reasoning(usage) if usage else None,
        tokens_cached=_cached(usage) if usage else None,
        confidences=confidences,
        tool_calls=asked if any(asked) else (),
    )


def _logprobs(raw: msgspec.Raw) -> list[float] | None:
    """Logarithms of the tokens' probabilities; None where they are not of that shape."""
    try:
        said = _logprobs_decoder.decode(raw)
    except (msgspec.MsgspecError, RecursionError):
        return None
    return [token.logprob for token in (said.content if said else None) or ()]


def _mean_probability(tokens: list[float] | None) -> float | None:
    """Geometric mean of the tokens' probabilities; unknown where they are absent or impossible."""
    if not tokens:
        return None
    # -9999 is how some servers write minus infinity; sum() has no overflow to raise, fsum() has
    mean = sum(tokens) / len(tokens)
    return math.exp(mean) if mean <= 0 else None


def _usage(raw: msgspec.Raw) -> _Usage | None:
    """Billed tokens; unknown where they are absent or impossible."""
    try:
        usage = _usage_decoder.decode(raw)
    except (msgspec.MsgspecError, RecursionError):
        return None
    possible = (
        0 < usage.prompt_tokens <= MOST_TOKENS and 0 <= usage.completion_tokens <= MOST_TOKENS
    )
    return usage if possible else None


def _reasoning(usage: _Usage) -> int | None:
    tokens = _details(usage.completion_tokens_details).reasoning_tokens
    return tokens if tokens is not None and 0 <= tokens <= usage.completion_tokens else None


def _cached(usage: _Usage) -> int | None:
    tokens = _details(usage.prompt_tokens_details).cached_tokens
    return tokens if tokens is not None and 0 <= tokens <= usage.prompt_tokens else None


def _details(raw: msgspec.Raw) -> _Details:
    """What a provider says about kinds of tokens; nothing where it is not of that shape."""
    try:
        return _details_decoder.decode(raw) or _Details()
    except (msgspec.MsgspecError, RecursionError):
        return _Details()
