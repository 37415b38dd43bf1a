"""`ledger show --url` and a real gateway understand each other."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
from running_gateway import running

from app.cli.ledger.live import ask
from app.cli.main import main
from profiles.errors import InputError
from runtime.ledger import Unit


@pytest.mark.asyncio
async def test_what_a_running_gateway_charged_is_shown_to_its_operator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INFERBUDGET_OPERATOR_KEY", "of-the-operator")
    async with running(tmp_path, operator_key="of-the-operator") as gateway:
        status, _, headers = await gateway.chat()
        assert status == 200
        found = await ask(str(gateway.client._base_url))
    (account,) = found.standings
    assert account.unit is Unit.NANO_USD
    assert account.requests == 1
    assert f"{account.spent / 1e9:.9f}" == headers["x-inferbudget-cost-usd"]
    assert account.limit is not None
    assert account.remaining == account.limit - account.spent


@pytest.mark.asyncio
async def test_without_the_operators_key_a_gateway_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in (None, "of-a-client"):
        if key:
            monkeypatch.setenv("INFERBUDGET_OPERATOR_KEY", key)
        async with running(tmp_path, operator_key="of-the-operator") as gateway:
            with pytest.raises(InputError, match="set INFERBUDGET_OPERATOR_KEY"):
                await ask(str(gateway.client._base_url))


@pytest.mark.asyncio
async def test_the_command_asks_it_over_http(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(tmp_path) as gateway:
        await gateway.chat()
        url = str(gateway.client._base_url)
        words = ["inferbudget", "ledger", "show", "--url", url, "--format", "json"]
        monkeypatch.setattr(sys, "argv", words)

        def command() -> None:
            with pytest.raises(SystemExit) as ended:
                main()
            assert ended.value.code == 0

        await asyncio.to_thread(command)
    shown = json.loads(capsys.readouterr().out)
    assert shown["open_holds"] == 0
    assert [one["account"] for one in shown["accounts"]] == ["global"]
