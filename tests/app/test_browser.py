"""The What-if page in a real browser."""

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
from playwright.sync_api import Page, expect, sync_playwright

pytestmark = pytest.mark.browser
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def url(opened_store: tuple[Path, Path]) -> Iterator[str]:
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
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{address}/_stcore/health").close()  # noqa: S310
                break
            except OSError:
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=20)


@pytest.fixture
def page(chromium: str) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        yield browser.new_page(viewport={"width": 1280, "height": 1200})
        browser.close()


def spend(page: Page) -> str:
    metric = page.get_by_test_id("stMetric").filter(has_text="USD per 1,000 requests")
    return metric.get_by_test_id("stMetricValue").inner_text()


def settled(page: Page) -> str:
    """The spend, once the page has answered every step of the slider."""
    script = page.get_by_test_id("stApp")
    shown, since = spend(page), time.monotonic()
    while time.monotonic() - since < 3:
        page.wait_for_timeout(200)
        running = script.get_attribute("data-test-script-state") != "notRunning"
        if running or spend(page) != shown:
            shown, since = spend(page), time.monotonic()
    return shown


def test_a_moved_budget_re_solves_and_its_url_shows_the_same_plan_again(
    page: Page, url: str
) -> None:
    page.goto(f"{url}/what-if")
    expect(page.get_by_text("Who answers what")).to_be_visible(timeout=60_000)
    chart = page.get_by_test_id("stVegaLiteChart").first
    expect(chart.locator("canvas, svg").first).to_be_visible()
    before = spend(page)
    slider = page.locator("input[type=range]").first
    slider.focus()
    for _ in range(20):
        slider.press("ArrowLeft")
    value = page.get_by_test_id("stMetric").filter(has_text="USD per 1,000 requests")
    expect(value.get_by_test_id("stMetricValue")).not_to_have_text(before, timeout=20_000)
    expect(page).to_have_url(re.compile("budget="), timeout=20_000)
    after = settled(page)
    page.reload()
    expect(value.get_by_test_id("stMetricValue")).to_have_text(after, timeout=60_000)
    assert float(after) < float(before)
