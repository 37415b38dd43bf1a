"""Every page by axe, light and dark, on a desk and on a phone; and its picture for the documents.

The pictures in docs/images/app are made anew with

    INFERBUDGET_PICTURES=docs/images/app pytest tests/app/test_browser_accessibility.py
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from browsing import DESKTOP, PHONE, SHOWN_MS, at_rest, serving, visitor
from newcomer import OPENED, with_a_past
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from app import example

pytestmark = pytest.mark.browser
PICTURES = "INFERBUDGET_PICTURES"
MOST_BYTES = 200_000
COLOURS = 128
HIGHEST = 2400
"""Pixels of a picture."""
GRAVE = ("serious", "critical")
STREAMLITS_OWN = {
    # Its table scrolls inside its frame, which no option lets the keyboard reach.
    "scrollable-region-focusable": "[data-testid=stTable] > div",
    # One accent is behind white names of chosen scenarios and is the colour of figures on black:
    # none has a contrast of 4.5 for both. The figures have it; the names have more than 3.
    "color-contrast": "[data-testid=stMultiSelect] span",
}
"""Rules that elements break which pages cannot change, by a selector of those elements."""
SHADES = {"light": "rgb(255, 255, 255)", "dark": "rgb(23, 22, 20)"}
"""What is behind a page."""
_UNTIL_COLOURS_ARE_THERE = """() => Promise.all(
  document.getAnimations()
    .filter(one => one.effect.getComputedTiming().endTime !== Infinity)
    .map(one => one.finished.catch(() => null))).then(() => null)"""

Do = Callable[[Page], None]


def work_it_out(page: Page) -> None:
    page.get_by_role("button", name="Work it out").click()
    expect(page.get_by_text("How to read this")).to_be_visible(timeout=2 * SHOWN_MS)


def keep_two_scenarios(page: Page) -> None:
    """As the spec is written, and one that is cheaper."""
    page.get_by_role("button", name="Add the spec as it is written").click()
    expect(page.get_by_text("Kept scenarios: 1")).to_be_visible(timeout=SHOWN_MS)
    page.get_by_role("textbox", name="Name for the limits in the sidebar").fill("cheaper")
    page.get_by_role("button", name="Save this view as a scenario").click()
    expect(page.get_by_text("What differs")).to_be_visible(timeout=SHOWN_MS)


def section(name: str, end: str) -> Do:
    def click(page: Page) -> None:
        page.get_by_role("radio", name=name).click()
        expect(page.get_by_text(end).first).to_be_visible(timeout=SHOWN_MS)

    return click


PAGES: dict[str, tuple[str, str, Do]] = {
    # picture: address, what its end says once it is drawn, what is done before it is looked at
    "start": ("", "Your own files", at_rest),
    "what-if": ("what-if", "Take it away", at_rest),
    "compare": ("compare?budget=0.03", "Kept scenarios", keep_two_scenarios),
    "sensitivity": ("sensitivity", "Work it out", work_it_out),
    "policy-diff": ("policy-diff", "Take it away", at_rest),
    "profiles": ("profiles", "One cell", at_rest),
    "profiles-curves": ("profiles", "One cell", section("Scaling curves", "behind each level")),
    "profiles-knees": ("profiles", "One cell", section("Knee per class", "Beyond the knee")),
    "profiles-next": ("profiles", "One cell", section("Measure next", "Dollars to measure with")),
    "ledger": ("ledger?ledger_budget=global", "Take it away", at_rest),
}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The app with the demo's measurements, a policy of last week and a ledger."""
    folder = tmp_path_factory.mktemp("example")
    for name in example.FILES:
        shutil.copy(example.unpacked()[0].parent / name, folder / name)
    with_a_past(folder, "limits.spend={usd: 0.06, per: total}")
    with serving(folder, *OPENED) as found:
        yield found


@pytest.fixture(params=PAGES)
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def opened(browser: Browser, address: str, name: str, width: int) -> Page:
    page = visitor(browser, width=width)
    path, end, do = PAGES[name]
    page.goto(f"{address}/{path}")
    expect(page.get_by_text(end).locator("visible=true").first).to_be_visible(timeout=SHOWN_MS)
    at_rest(page)
    do(page)
    at_rest(page)
    return page


def shaded(page: Page, shade: Literal["light", "dark"]) -> None:
    page.emulate_media(color_scheme=shade)
    app = page.get_by_test_id("stApp")
    expect(app).to_have_css("background-color", SHADES[shade], timeout=SHOWN_MS)
    page.evaluate(_UNTIL_COLOURS_ARE_THERE)


def grave(page: Page) -> list[str]:
    """What axe finds that keeps somebody from using the page, with the pointer elsewhere."""
    page.mouse.move(0, 0)
    found: list[dict[str, Any]] = Axe().run(page).response["violations"]
    return [
        f"{rule['id']}: {node['html'][:120]}: {node['failureSummary']}"
        for rule in found
        if rule["impact"] in GRAVE
        for node in rule["nodes"]
        if not _streamlits_own(page, rule["id"], node["target"][-1])
    ]


def _streamlits_own(page: Page, rule: str, element: str) -> bool:
    selector = STREAMLITS_OWN.get(rule)
    return selector is not None and bool(
        page.locator(element).first.evaluate("(found, by) => found.matches(by)", selector)
    )


def test_nothing_grave_is_found_on_a_desk(
    browser: Browser, address: str, name: str, tmp_path: Path
) -> None:
    page = opened(browser, address, name, DESKTOP)
    folder = Path(os.environ.get(PICTURES, tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    picture(page, folder / f"{name}.png")
    assert (folder / f"{name}.png").stat().st_size < MOST_BYTES
    assert grave(page) == []
    shaded(page, "dark")
    assert grave(page) == []


def picture(page: Page, path: Path) -> None:
    """The page from its top, as high as it is: it scrolls inside of the window."""
    height = page.get_by_test_id("stMain").evaluate("main => main.scrollHeight")
    page.set_viewport_size({"width": DESKTOP, "height": min(height, HIGHEST)})
    at_rest(page)
    page.mouse.move(0, 0)
    last, shot = b"", page.screenshot(animations="disabled", caret="hide")
    for _ in range(40):  # a flow grows into its place
        if shot == last:
            break
        page.wait_for_timeout(300)
        last, shot = shot, page.screenshot(animations="disabled", caret="hide")
    Image.open(io.BytesIO(shot)).quantize(COLOURS).save(path, optimize=True)


def test_nothing_grave_is_found_on_a_phone_and_nothing_scrolls_sideways(
    browser: Browser, address: str, name: str
) -> None:
    page = opened(browser, address, name, PHONE)
    for part in (page.locator("html"), page.get_by_test_id("stMain")):
        wide, seen = part.evaluate("part => [part.scrollWidth, part.clientWidth]")
        assert wide <= seen
    assert grave(page) == []
    shaded(page, "dark")
    assert grave(page) == []
