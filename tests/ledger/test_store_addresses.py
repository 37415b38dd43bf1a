"""Addresses of stores: what is wrong with one is said, and no password is ever quoted."""

from __future__ import annotations

import re
import socket
import time
import traceback
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from store_servers import RedisServer

from profiles.errors import InputError
from runtime.ledger.redis_store import redis_options
from runtime.ledger.store import StoreError, open_store

_SIGNS = "/?#@:[]%&=;\\ \t\n'\"ß℀\u202eé1a"
PASSWORDS = st.text(st.sampled_from(_SIGNS), min_size=0, max_size=6)
FORMS = (
    "{scheme}://:{password}@host:6379/0",
    "{scheme}://user:{password}@host/0?namespace=prod",
    "{scheme}://user:{password}@host?colour=red&timeout_s=x",
    "{scheme}://user:{password}@/run/redis.sock?db=0",
    "{scheme}:{password}@host",
    "{scheme}//:{password}@host",
    "{scheme}:///{password}@host/ledger.db?synchronous=normal",
    "://:{password}@host",
    ":{password}@host",
)


@given(
    form=st.sampled_from(FORMS),
    scheme=st.sampled_from(["redis", "rediss", "unix", "sqlite", "postgres", "Redis", ""]),
    before=PASSWORDS,
    after=PASSWORDS,
)
@example(form=FORMS[0], scheme="redis", before="℀", after="")
@example(form=FORMS[0], scheme="redis", before="[", after="")
@example(form=FORMS[1], scheme="redis", before="a?", after="=b&c")
def test_no_password_is_ever_quoted(form: str, scheme: str, before: str, after: str) -> None:
    url = form.format(scheme=scheme, password=f"{before}KoLiBrI{after}")
    try:
        store = open_store(url)
    except InputError as error:
        shown = "".join(traceback.format_exception(error))
    else:
        shown = "" if scheme == "sqlite" else redis_options(url).shown + repr(redis_options(url))
        assert store.largest
    # The program's own lines are in a traceback, a value in none of them.
    assert "KoLiBrI".casefold() not in shown.casefold()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://me:word@host/0?colour=red", "colour"),
        ("redis://me:word@host/0?timeout_s=-1", "timeout_s"),
        ("redis://me:word@host/0?namespace=a%20b", "namespace"),
        ("redis://me:word@host/0?durable=perhaps", "durable"),
        ("redis://me:word@host/0?db=first", "db"),
        ("redis://me:word@host/first", "path"),
        ("redis://me:word@host:first/0", "no address"),
        ("redis://me:wo/rd@host/0", "%2F"),
        ("unix://me:word@host/run/redis.sock", "host"),
        ("sqlite://host/ledger.db", "host"),
        ("sqlite:///", "path"),
        ("sqlite:///ledger.db?colour=red", "colour"),
        ("sqlite:///ledger.db?synchronous=off", "synchronous"),
        ("postgres://me:word@host/0", "no such ledger store"),
    ],
)
def test_what_is_wrong_with_an_address_is_said(url: str, says: str) -> None:
    with pytest.raises(InputError, match=re.escape(says)) as found:
        open_store(url)
    assert "word@" not in str(found.value)


class OldServer(RedisServer):
    """It does not know how clients introduce themselves today."""

    def await_answer(self) -> None:
        for _ in range(2_000):
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5) as line:
                line.sendall(b"PING\r\n")
                assert line.recv(7) == b"+PONG\r\n"
                return
            time.sleep(0.005)


@pytest.mark.asyncio
async def test_a_password_that_a_server_quotes_is_not_passed_on(
    started: list[RedisServer], tmp_path: Path
) -> None:
    server = OldServer(tmp_path / "redis", ("--rename-command", "HELLO", "")).start()
    started.append(server)
    store = open_store(server.url().replace("127", ":open%20sesame@127"))
    with pytest.raises((InputError, StoreError)) as found:
        await store.now()
    assert "quote the password" in str(found.value)
    assert "sesame" not in "".join(traceback.format_exception(found.value))
    await store.close()
