"""The page Start in a real browser: files are dropped, opened, and for their visitor alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import DESKTOP, PHONE, SHOWN_MS, browsing, serving
from playwright.sync_api import Browser, Page, expect

from app import example

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, opened_store: tuple[Path, Path]) -> Iterator[str]:
    spec, store = opened_store
    folder = tmp_path_factory.mktemp("start")
    with serving(folder, str(spec), "--profiles", str(store)) as address:
        yield address


@pytest.fixture
def browser(chromium: str) -> Iterator[Browser]:
    with browsing(chromium) as found:
        yield found


@pytest.fixture
def page(browser: Browser) -> Page:
    return browser.new_page(viewport={"width": DESKTOP, "height": 1400})


def drop_example(page: Page) -> None:
    folder = example.unpacked()[0].parent
    page.locator("input[type=file]").set_input_files([str(folder / name) for name in example.FILES])
    expect(page.get_by_test_id("stFileChip")).to_have_count(len(example.FILES), timeout=SHOWN_MS)
    page.get_by_role("button", name="Open these files").click()
    expect(page.get_by_text("1,000 queries in 8 strategies")).to_be_visible(timeout=SHOWN_MS)


def test_dropped_files_are_open_on_the_other_pages_and_for_this_visitor_alone(
    page: Page, browser: Browser, url: str
) -> None:
    page.goto(f"{url}/?accuracy=75")
    expect(page.get_by_text("600 queries in 3 strategies")).to_be_visible(timeout=SHOWN_MS)
    drop_example(page)
    assert "accuracy=75" not in page.url
    page.get_by_role("link", name="What would more accuracy cost").click()
    expect(page.get_by_role("heading", name="What if?")).to_be_visible(timeout=SHOWN_MS)
    expect(page.get_by_text("demo: 1,000 queries").first).to_be_visible(timeout=SHOWN_MS)
    other = browser.new_page()
    other.goto(url)
    expect(other.get_by_text("600 queries in 3 strategies")).to_be_visible(timeout=SHOWN_MS)


def test_a_browser_asks_nobody_but_the_app(page: Page, url: str) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(url)
    for title in (
        "Start",
        "What-if",
        "Compare",
        "Sensitivity",
        "Policy diff",
        "Profiles",
        "Ledger",
    ):
        page.get_by_test_id("stSidebarNav").get_by_text(title, exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_be_visible(timeout=SHOWN_MS)
        page.get_by_test_id("stApp").and_(
            page.locator("[data-test-script-state=notRunning]")
        ).wait_for(timeout=SHOWN_MS)
    others = [one for one in asked if not one.startswith((url, "blob:", "data:"))]
    assert others == []


def test_it_is_read_on_a_phone(browser: Browser, url: str) -> None:
    phone = browser.new_page(viewport={"width": PHONE, "height": 844})
    phone.goto(url)
    expect(phone.get_by_text("600 queries in 3 strategies")).to_be_visible(timeout=SHOWN_MS)
    wide = phone.evaluate("document.documentElement.scrollWidth > window.innerWidth")
    assert not wide, "it scrolls sideways"
