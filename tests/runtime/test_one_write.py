"""What is written in one turn of the event loop, in one write."""

from __future__ import annotations

import asyncio

import pytest

from runtime.gateway.one_write import OneWrite

pytestmark = pytest.mark.asyncio


class Wire(asyncio.Transport):
    """Notes what is done to it."""

    def __init__(self) -> None:
        super().__init__({"peername": "somebody"})
        self.done: list[bytes | str] = []

    def write(self, data: bytes) -> None:  # type: ignore[override]
        self.done.append(data)

    def close(self) -> None:
        self.done.append("close")

    def is_closing(self) -> bool:
        return "close" in self.done


@pytest.fixture
def wire() -> Wire:
    return Wire()


def over(wire: Wire) -> OneWrite:
    return OneWrite(wire, asyncio.get_running_loop())


async def test_what_is_written_in_one_turn_is_one_write_in_its_order(wire: Wire) -> None:
    transport = over(wire)
    for turn in (b"head", b"body"), (b"event",):
        for part in turn:
            transport.write(part)
        await asyncio.sleep(0)
    assert wire.done == [b"headbody", b"event"]


async def test_what_was_written_is_sent_before_the_connection_closes(wire: Wire) -> None:
    transport = over(wire)
    transport.write(b"last")
    transport.close()
    await asyncio.sleep(0)
    assert wire.done == [b"last", "close"]


async def test_nothing_is_written_to_a_connection_that_was_lost_meanwhile(wire: Wire) -> None:
    transport = over(wire)
    transport.write(b"late")
    wire.close()
    await asyncio.sleep(0)
    assert wire.done == ["close"]


async def test_all_else_is_left_to_the_transport(wire: Wire) -> None:
    transport = over(wire)
    assert transport.get_extra_info("peername") == "somebody"
    assert not transport.is_closing()
