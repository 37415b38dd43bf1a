"""The Ledger page in a real browser: it goes on by itself."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from browsing import serving
from playwright.sync_api import expect, sync_playwright

from runtime.ledger.store import Exchange, Truth, open_store

pytestmark = pytest.mark.browser
ACCOUNT = "org:acme|nano_usd|day"
START = int(time.time()) - 43_200


def tell(url: str, number: int, spent_usd: int) -> None:
    """A gateway has spent so much of 100 dollars, in a window of which half is over."""
    truths = tuple(
        Truth(name, START, START + 86_400, None, 100 * 10**9, 0, spent, spent, requests=number)
        for name, spent in ((ACCOUNT, spent_usd * 10**9), ("global", 10**9))
    )

    async def told() -> None:
        store = open_store(url)
        await store.exchange(Exchange("gateway-1", number, 3_600.0, truths))
        await store.close()

    with ThreadPoolExecutor(1) as beside:  # playwright has a loop in this thread
        beside.submit(asyncio.run, told()).result()


@pytest.fixture
def ledger(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/ledger.db"
    tell(url, 1, 60)
    return url


@pytest.fixture
def address(ledger: str, tmp_path: Path) -> Iterator[str]:
    """An app that was opened with that ledger."""
    with serving(tmp_path, "--ledger", ledger) as found:
        yield found


def test_when_the_money_runs_out_is_seen_and_follows_the_store(
    address: str, ledger: str, chromium: str
) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 1200})
        page.goto(f"{address}/ledger")
        expect(page.get_by_test_id("stAlert")).to_contain_text(ACCOUNT, timeout=60_000)
        metrics = page.get_by_test_id("stMetric")
        expect(metrics.nth(0)).to_contain_text("60.00")
        expect(page.get_by_test_id("stVegaLiteChart")).to_be_visible()

        tell(ledger, 2, 90)  # nobody clicks
        expect(metrics.nth(0)).to_contain_text("90.00", timeout=60_000)
        expect(metrics.nth(3)).to_contain_text("in 1 h")

        page.get_by_role("combobox", name=re.compile("Budget$")).click()
        page.get_by_role("option", name="global").click()
        expect(metrics.nth(3)).to_contain_text("lasts", timeout=60_000)
        expect(page).to_have_url(re.compile("ledger_budget=global"))
        browser.close()
