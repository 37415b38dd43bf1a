"""The Ledger page of the what-if app on a Redis server."""

from __future__ import annotations

import signal

import pytest
from ledger_commands import USD, spent, tell
from store_servers import RedisServer
from streamlit.testing.v1 import AppTest

from app.opened import LEDGER


def draw() -> None:
    from app.pages import ledger  # noqa: PLC0415 the page runs only these lines

    ledger.page()


def test_a_server_is_shown_without_its_password_and_awaited_when_it_is_gone(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server.client() as client:
        client.acl_setuser(
            "reader", enabled=True, passwords=["+hunter2"], keys="*", commands=["+@all"]
        )
    tell(server.url(), spent())
    monkeypatch.setenv("PASSWORD", "hunter2")
    monkeypatch.setenv(LEDGER, server.url().replace("redis://", "redis://reader:${PASSWORD}@"))
    page = AppTest.from_function(draw, default_timeout=60).run()
    assert not page.exception
    (row,) = page.dataframe[0].value.to_dict("records")
    assert (row["account"], row["spent"], row["held"]) == (USD, "412.30", "3.10")
    assert f"redis://127.0.0.1:{server.port}/0?namespace=test" in page.caption[0].value
    assert "hunter2" not in str(page.main)

    server.signal(signal.SIGKILL)
    page.button(key="ledger_read").click().run()
    assert not page.exception
    assert "failed" in page.error[0].value
    assert page.dataframe, "what was read last stays"
    assert "hunter2" not in str(page.main)
