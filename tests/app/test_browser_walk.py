"""A visitor's walk through the What-if page, from opening it to a policy that is taken away."""

from __future__ import annotations

import re
import shlex
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
from browsing import (
    INFERBUDGET,
    SHOWN_MS,
    at_rest,
    command,
    drag_to,
    figure,
    go,
    marks,
    printed,
    slider,
    told,
    visitor,
)
from playwright.sync_api import Browser, Locator, Page, expect

from app.figures import number

pytestmark = pytest.mark.browser
USD, ACCURACY = "USD per 1,000 requests", "Accuracy"
BUDGET = "Budget, USD per 1,000 requests"


def spends(page: Page, usd_per_request: float) -> None:
    """Wait until the plan on the page is expected to cost that."""
    expect(figure(page, USD)).to_have_text(number(usd_per_request, 1000), timeout=SHOWN_MS)
    at_rest(page)


def spends_other_than(page: Page, text: str) -> str:
    """Wait until the plan has changed; what it then costs."""
    expect(figure(page, USD)).not_to_have_text(text, timeout=SHOWN_MS)
    at_rest(page)
    return figure(page, USD).inner_text()


def this_plan(page: Page) -> Locator:
    """Its mark in the frontier's picture."""
    return page.locator("path[aria-label*='name: this plan']")


def place(mark: Locator) -> tuple[float, float]:
    box = mark.bounding_box()
    assert box
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def figures(page: Page) -> list[str]:
    return [one.inner_text() for one in page.get_by_test_id("stMetricValue").all()]


def plan_printed(folder: Path, page: Page) -> Any:
    """The first rung of what the copied command prints."""
    return printed(folder, command(page))["rungs"][0]


@pytest.fixture
def page(browser: Browser, newcomers_app: str) -> Page:
    found = visitor(browser)
    found.goto(f"{newcomers_app}/what-if")
    expect(page_end(found)).to_be_visible(timeout=SHOWN_MS)
    at_rest(found)
    return found


def page_end(page: Page) -> Locator:
    return page.get_by_role("heading", name="Take it away")


def test_from_a_moved_budget_to_a_policy_that_is_taken_away(
    page: Page, newcomers_files: Path, tmp_path: Path
) -> None:
    before, where = figure(page, USD).inner_text(), place(this_plan(page))

    drag_to(page, BUDGET, 0.4)  # less money
    after = spends_other_than(page, before)
    assert float(after) < float(before)
    expect(page).to_have_url(re.compile("budget="))
    moved = place(this_plan(page))
    assert moved[0] < where[0], "the plan stands further left"
    assert moved[1] > where[1], "and lower"
    rung = plan_printed(newcomers_files, page)
    spends(page, rung["expected"]["cost_usd_per_request"])

    mark = marks(page).nth(-5)
    usd = told(mark)[0]
    mark.click(force=True)  # others may lie over it
    adopted = spends_other_than(page, after)
    assert float(adopted) == pytest.approx(usd, rel=0.01), "a step of the slider apart at most"
    spends(page, plan_printed(newcomers_files, page)["expected"]["cost_usd_per_request"])

    slider(page, "Accuracy floor, %").press("End")
    refusal = page.get_by_test_id("stAlert").filter(has_text="No plan keeps these limits")
    expect(refusal).to_be_visible(timeout=SHOWN_MS)
    at_rest(page)
    expect(page.get_by_role("button", name="Download the policy")).to_have_count(0)
    page.get_by_role("button", name=re.compile("^Move ")).first.click()
    expect(refusal).to_have_count(0, timeout=SHOWN_MS)
    expect(figure(page, ACCURACY)).to_be_visible(timeout=SHOWN_MS)
    at_rest(page)

    with page.expect_download() as download:
        page.get_by_role("button", name="Download the policy").click()
    download.value.save_as(tmp_path / "policy.zip")
    with zipfile.ZipFile(tmp_path / "policy.zip") as archive:
        archive.extractall(tmp_path)
    done = subprocess.run(
        [INFERBUDGET, "check", "policy.yaml"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr

    shown, copied = figures(page), command(page)
    page.reload()
    expect(page_end(page)).to_be_visible(timeout=SHOWN_MS)
    at_rest(page)
    assert (figures(page), command(page)) == (shown, copied)
    expected = plan_printed(newcomers_files, page)["expected"]
    spends(page, expected["cost_usd_per_request"])
    expect(figure(page, ACCURACY)).to_have_text(f"{expected['accuracy']:.1%}")


def test_limits_go_along_to_other_pages_and_back_and_stay_in_the_address(page: Page) -> None:
    before = figure(page, USD).inner_text()
    drag_to(page, BUDGET, 0.3)
    spends_other_than(page, before)
    shown, asked = figures(page), page.url.partition("?")[2]
    for title, heading in {
        "Compare": "Compare",
        "Sensitivity": "What does the plan depend on?",
        "Policy diff": "Policy diff",
        "Profiles": "Profiles",
        "Ledger": "Ledger",
    }.items():
        go(page, title)
        expect(page.get_by_role("heading", name=heading, exact=True)).to_be_visible(
            timeout=SHOWN_MS
        )
        if title not in ("Profiles", "Ledger"):  # which ask for no plan when they open
            expect(page).to_have_url(re.compile(re.escape(asked)), timeout=SHOWN_MS)
        at_rest(page)
    go(page, "What-if")
    expect(page_end(page)).to_be_visible(timeout=SHOWN_MS)
    expect(page).to_have_url(re.compile(re.escape(asked)), timeout=SHOWN_MS)
    at_rest(page)
    assert figures(page) == shown


def test_an_address_that_was_sent_asks_the_same_on_another_page(
    page: Page, browser: Browser
) -> None:
    before = figure(page, USD).inner_text()
    drag_to(page, BUDGET, 0.3)
    spends_other_than(page, before)
    settings = shlex.split(command(page))[-2:]
    other = visitor(browser)
    other.goto(page.url.replace("/what-if?", "/sensitivity?"))
    expect(other.get_by_role("button", name="Work it out")).to_be_visible(timeout=SHOWN_MS)
    at_rest(other)
    assert shlex.split(command(other))[-2:] == settings


def test_sliders_and_buttons_are_reached_by_tab_and_sliders_moved_by_arrows(page: Page) -> None:
    wanted = {BUDGET, "Accuracy floor, %", "Download the policy", "Download the plan"}
    for _ in range(80):
        page.keyboard.press("Tab")
        focus = page.evaluate(
            "[document.activeElement.ariaLabel, document.activeElement.innerText]"
            ".map(text => (text || '').trim())"
        )
        wanted -= set(focus)
        if not wanted:
            break
    assert not wanted
    budget = slider(page, BUDGET)
    before = float(budget.input_value())
    budget.press("ArrowLeft")
    expect(page).to_have_url(re.compile("budget="), timeout=SHOWN_MS)
    assert float(budget.input_value()) < before
