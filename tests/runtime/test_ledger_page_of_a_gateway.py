"""The Ledger page of the what-if app asks a real gateway."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from running_gateway import running
from streamlit.testing.v1 import AppTest

from app.opened import LEDGER


def draw() -> None:
    from app.pages import ledger  # noqa: PLC0415 the page runs only these lines

    ledger.page()


async def drawn() -> AppTest:
    """The page, in a thread of its own: the gateway lives in this one."""
    page = AppTest.from_function(draw, default_timeout=60)
    await asyncio.to_thread(page.run)
    assert not page.exception
    return page


@pytest.mark.asyncio
async def test_what_a_gateway_charged_is_shown_to_its_operator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INFERBUDGET_OPERATOR_KEY", "of-the-operator")
    async with running(tmp_path, operator_key="of-the-operator") as gateway:
        monkeypatch.setenv(LEDGER, str(gateway.client._base_url))
        status, _, headers = await gateway.chat()
        page = await drawn()
    assert status == 200
    (row,) = page.dataframe[0].value.to_dict("records")
    assert row["account"] == "global"
    assert f"{float(row['spent']):.9f}" == headers["x-inferbudget-cost-usd"]
    assert "0 requests hold money now; 0 holds were refused" in page.caption[0].value
    assert "the clock of this machine" in page.caption[0].value
    assert "ledger show --url http://127.0.0.1" in page.code[0].value
    assert "of-the-operator" not in str(page.main)


@pytest.mark.asyncio
async def test_a_gateway_that_refuses_the_key_is_said_with_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INFERBUDGET_OPERATOR_KEY", "of-a-client")
    async with running(tmp_path, operator_key="of-the-operator") as gateway:
        monkeypatch.setenv(LEDGER, str(gateway.client._base_url))
        page = await drawn()
    assert "does not let the operator in" in page.error[0].value
    assert "set INFERBUDGET_OPERATOR_KEY" in page.error[0].value.replace("\\", "")
    assert "of-a-client" not in str(page.main)
    assert not page.dataframe


@pytest.mark.asyncio
async def test_a_gateway_that_is_gone_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as gateway:
        monkeypatch.setenv(LEDGER, str(gateway.client._base_url))
        page = await drawn()
    assert not page.error
    await asyncio.to_thread(page.button(key="ledger_read").click().run)
    assert "does not answer" in page.error[0].value
    assert page.dataframe, "what was read last stays"
