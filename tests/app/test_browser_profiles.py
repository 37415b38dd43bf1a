"""The Profiles page in a real browser: a cell is chosen with a click."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import serving
from playwright.sync_api import expect, sync_playwright

pytestmark = pytest.mark.browser


@pytest.fixture
def address(opened_store: tuple[Path, Path], tmp_path: Path) -> Iterator[str]:
    spec, store = opened_store
    with serving(tmp_path, str(spec), "--profiles", str(store)) as found:
        yield found


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
