"""The Profiles page in a real browser: a cell is chosen with a click."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

pytestmark = pytest.mark.browser


@pytest.fixture
def address(opened_store: tuple[Path, Path]) -> Iterator[str]:
    spec, store = opened_store
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = str(Path(sys.executable).parent / "inferbudget")
    process = subprocess.Popen(
        [command, "app", str(spec), "--profiles", str(store), "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    found = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{found}/_stcore/health").close()  # noqa: S310
                break
            except OSError:
                time.sleep(0.1)
        yield found
    finally:
        process.terminate()
        process.wait(timeout=20)


def test_a_click_on_a_cell_shows_its_figures(address: str, chromium: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 1400})
        page.goto(f"{address}/profiles")
        picture = page.get_by_test_id("stVegaLiteChart").first
        cell = picture.locator(".mark-rect path[aria-label*='hard; strategy: small/single']")
        expect(cell).to_be_visible(timeout=60_000)
        cell.click(force=True)  # its sign lies on top
        expect(page).to_have_url(re.compile("cell_class=hard"), timeout=20_000)
        expect(page).to_have_url(re.compile("cell_strategy=small%2Fsingle"))
        expect(page.get_by_test_id("stTable")).to_contain_text("200 queries, 200 rows")
        browser.close()
