"""What visitors of the app do and see in a real browser."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

INFERBUDGET = str(Path(sys.executable).parent / "inferbudget")
SHOWN_MS = 60_000
"""For so long a busy machine may take to show what was asked for."""
DESKTOP, PHONE = 1280, 390
"""Pixels of a window's width."""

_QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def serving(folder: Path, *words: str) -> Iterator[str]:
    """`inferbudget app` with these words, started in a folder; its address once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    named = {name: text for name, text in os.environ.items() if not name.startswith("INFERBUDGET")}
    process = subprocess.Popen(
        [INFERBUDGET, "app", *words, "--port", str(port)],
        cwd=folder,
        env=named | {"TMPDIR": str(folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{address}/_stcore/health").close()  # noqa: S310
                break
            except OSError:
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=60)


@contextmanager
def browsing(chromium: str) -> Iterator[Browser]:
    """A browser. Until it is closed its thread has a running event loop."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=_QUIET)
        yield browser
        browser.close()


def visitor(browser: Browser, *, width: int = DESKTOP, dark: bool = False) -> Page:
    """A visitor of their own: nothing is kept from another."""
    return browser.new_context(
        viewport={"width": width, "height": 844 if width == PHONE else 1200},
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce",
        accept_downloads=True,
    ).new_page()


def at_rest(page: Page) -> None:
    """Wait until the page has been drawn and the script behind it has ended."""
    app = page.get_by_test_id("stApp")
    expect(app).to_have_attribute("data-test-script-state", "notRunning", timeout=SHOWN_MS)
    expect(page.get_by_test_id("stSkeleton")).to_have_count(0, timeout=SHOWN_MS)
    expect(page.locator("[data-stale=true]")).to_have_count(0, timeout=SHOWN_MS)


def go(page: Page, title: str) -> None:
    """Click a page of the navigation."""
    page.get_by_test_id("stSidebarNavLink").filter(has_text=title).click()


def figure(page: Page, label: str) -> Locator:
    """The value of a metric."""
    metric = page.get_by_test_id("stMetric").filter(has_text=label)
    return metric.get_by_test_id("stMetricValue")


def slider(page: Page, label: str) -> Locator:
    """What has the keyboard's focus."""
    return page.get_by_role("slider", name=label)


def drag_to(page: Page, label: str, part: float) -> None:
    """Click a slider's track, 0 at its least and 1 at its most."""
    thumb = slider(page, label)
    thumb.scroll_into_view_if_needed()
    track = page.get_by_test_id("stSlider").filter(has=thumb)
    line, dot = track.bounding_box(), thumb.bounding_box()
    assert line
    assert dot
    page.mouse.click(line["x"] + part * line["width"], dot["y"] + dot["height"] / 2)


def marks(page: Page) -> Locator:
    """Points of the frontier, cheapest first."""
    return page.locator("path[aria-label*='click to adopt']")


def told(mark: Locator) -> tuple[float, float]:
    """What a mark says: USD per 1,000 requests, and accuracy in per cent."""
    found = re.match(r"USD per 1,000 requests: ([\d.]+); accuracy, %: ([\d.]+);", _label(mark))
    assert found
    return float(found[1]), float(found[2])


def _label(mark: Locator) -> str:
    return mark.get_attribute("aria-label") or ""


def command(page: Page) -> str:
    """The command that is to be copied."""
    return page.get_by_test_id("stCode").last.inner_text().strip()


def printed(folder: Path, line: str, *more: str) -> Any:
    """What a command prints as JSON, run where the app was started."""
    program, *words = shlex.split(line)
    assert program == "inferbudget"
    done = subprocess.run(
        [INFERBUDGET, *words, *more, "--format", "json"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout)
