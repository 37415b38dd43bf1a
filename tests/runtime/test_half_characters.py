from __future__ import annotations

import json
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.errors import UpstreamError
from runtime.half_characters import HalfCharacters
from runtime.replies import StreamedReply, completion


def events(text: str, cuts: list[int]) -> list[bytes]:
    """A text as a server sends it that cuts between UTF-16 units and writes ASCII."""
    units = text.encode("utf-16-le", "surrogatepass")
    places = [0, *sorted(2 * (cut % (len(units) // 2 + 1)) for cut in cuts), len(units)]
    pieces = [
        units[start:end].decode("utf-16-le", "surrogatepass") for start, end in pairwise(places)
    ]
    return [json.dumps({"choices": [{"delta": {"content": piece}}]}).encode() for piece in pieces]


def read(event: bytes) -> str:
    found: str = msgspec.json.decode(event)["choices"][0]["delta"]["content"]
    return found


def mended(stream: list[bytes]) -> str:
    halves, texts = HalfCharacters(), []
    for event in stream:
        try:
            texts.append(read(event))
        except msgspec.MsgspecError:
            texts.append(read(halves.mended(event)))
    return "".join(texts)


@given(st.text(st.sampled_from('a"\\u\n😀𝔘é中\x00'), max_size=12), st.lists(st.integers(0, 40)))
def test_a_text_cut_anywhere_comes_out_whole(text: str, cuts: list[int]) -> None:
    stream = events(text, cuts)
    empty = [event for event in stream if read_or_none(event) == ""]
    assert mended([event for event in stream if event not in empty]) == text


def read_or_none(event: bytes) -> str | None:
    try:
        return read(event)
    except msgspec.MsgspecError:
        return None


@given(st.text(st.characters(categories=["Cs", "Lu", "So", "Po"]), max_size=8))
def test_halves_without_their_other_never_stop_a_stream(text: str) -> None:
    halves = HalfCharacters()
    for event in (json.dumps({"a": text}).encode(), json.dumps([text, {text: 1}]).encode()):
        msgspec.json.decode(halves.mended(event))


def test_whole_json_stays_as_it_is() -> None:
    whole = rb'{"a": "\ud83d\ude00 \\ud83d \\\\ \n \"\u00e9"}'
    assert HalfCharacters().mended(whole) == whole


def test_a_half_without_its_other_is_shown_as_unknown() -> None:
    halves = HalfCharacters()
    assert halves.mended(rb'{"a": "x\ud83dy"}') == rb'{"a": "x\ufffdy"}'
    assert halves.mended(rb'{"a": "\ude00"}') == rb'{"a": "\ufffd"}'
    assert halves.mended(rb'{"a": "\ud83dx\ude00"}') == rb'{"a": "\ufffdx\ufffd"}'
    assert halves.mended(rb'{"a": "x\ud83d"}') == rb'{"a": "x"}'
    assert halves.mended(rb'{"a": "y\ude00"}') == rb'{"a": "y\ufffd"}'
    assert halves.mended(rb'{"a": "\ude00"}') == rb'{"a": "\ufffd"}'


def replied(text: str, cuts: list[int]) -> tuple[str, str]:
    """The whole text and its pieces, as a model server's stream makes them."""
    pieces: list[str] = []
    reply = StreamedReply(pieces.append)
    for event in [*events(text, cuts), b'{"choices":[{"delta":{},"finish_reason":"stop"}]}']:
        reply.take(event)
    return reply.completion(0.0).texts[0], "".join(pieces)


@given(st.text(st.sampled_from("a😀中"), max_size=8), st.sets(st.integers(1, 15)))
def test_a_model_servers_stream_keeps_characters_that_it_cuts(text: str, cuts: set[int]) -> None:
    assert replied(text, sorted(cuts)) == (text, text)


def test_a_call_of_a_tool_keeps_characters_that_a_stream_cuts() -> None:
    reply = StreamedReply(lambda _: None)
    for half in (rb"\ud83d", rb"\ude00"):
        call = b'{"index":0,"id":"c","function":{"name":"f","arguments":"%b"}}' % half
        reply.take(b'{"choices":[{"delta":{"tool_calls":[%b]}}]}' % call)
    reply.take(b'{"choices":[{"delta":{},"finish_reason":"tool_calls"}]}')
    ((call_made,),) = (calls or () for calls in reply.completion(0.0).tool_calls)
    assert call_made["function"]["arguments"] == "😀"


def test_a_whole_reply_with_half_a_character_is_read_and_one_that_is_no_json_is_not() -> None:
    body = rb'{"choices":[{"message":{"content":"x\ud83dy"},"finish_reason":"stop"}]}'
    assert completion(body, 0.0).texts == ("x\ufffdy",)
    for broken in (body[:-1], rb'{"choices":"\ud83d"}', rb'"\ud83d'):
        with pytest.raises(UpstreamError):
            completion(broken, 0.0)


def test_many_escapes_are_read_without_keeping_them() -> None:
    event = b'"' + rb"\n" * 300_000 + rb'\ud83d"'
    assert HalfCharacters().mended(event) == b'"' + rb"\n" * 300_000 + b'"'
