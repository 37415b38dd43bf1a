"""Five questions of newcomers: each starts on the page Start and is answered by clicks alone."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from browsing import INFERBUDGET, SHOWN_MS, at_rest, command, figure, marks, printed, told, visitor
from newcomer import BUDGET
from playwright.sync_api import Browser, Page, expect

from app.outlook_words import lasting
from app.solving import POINTS

pytestmark = pytest.mark.browser


@pytest.fixture
def page(browser: Browser, newcomers_app: str) -> Page:
    found = visitor(browser)
    found.goto(newcomers_app)
    expect(found.get_by_role("heading", name="Your own files")).to_be_visible(timeout=SHOWN_MS)
    at_rest(found)
    return found


def ask(page: Page, question: str, heading: str) -> None:
    """Click a question; its page is then at rest."""
    page.get_by_test_id("stMain").get_by_role("link", name=question).click()
    expect(page.get_by_role("heading", name=heading).first).to_be_visible(timeout=SHOWN_MS)
    at_rest(page)


def test_what_does_ninety_per_cent_cost(page: Page, newcomers_files: Path) -> None:
    ask(page, "What would more accuracy cost, 90 % for example?", "Take it away")
    frontier = command(page).replace(" plan ", " frontier ", 1)
    points = printed(newcomers_files, frontier, "--points", str(POINTS))["points"]
    first = next(number for number, one in enumerate(points) if one["accuracy"] >= 0.9)
    usd, accuracy = told(marks(page).nth(first))  # hovering says it too
    assert accuracy >= 90 > told(marks(page).nth(first - 1))[1]
    assert usd == pytest.approx(1000 * points[first]["usd_per_request"])
    marks(page).nth(first).click(force=True)  # others may lie over it
    expect(figure(page, "Accuracy")).to_have_text(f"{accuracy:.1f}%", timeout=SHOWN_MS)
    at_rest(page)
    shown = figure(page, "USD per 1,000 requests").inner_text()
    assert float(shown) == pytest.approx(usd, rel=0.01), "a step of the slider apart at most"


def test_what_binds(page: Page, newcomers_files: Path) -> None:
    ask(page, "Which limit binds, and what would change the plan?", "What does the plan depend on?")
    explain = command(page)
    page.get_by_role("button", name="Work it out").click()
    expect(page.get_by_text("How to read this")).to_be_visible(timeout=SHOWN_MS)
    at_rest(page)
    spend, latency = (page.get_by_role("listitem").filter(has_text=words) for words in (
        "The budget: ", "The p95 latency costs nothing"))  # fmt: skip
    expect(latency).to_have_count(1)
    limits = {one["name"]: one for one in printed(newcomers_files, explain)["limits"]}
    assert [name for name, one in limits.items() if one["binds"]] == ["spend.usd_per_request"]
    points = 100 * limits["spend.usd_per_request"]["looser"]["worth"]
    expect(spend).to_contain_text(f"gains {points:.3g} points of overall accuracy")


def test_what_to_measure_next(page: Page, newcomers_files: Path) -> None:
    ask(page, "What should be measured next?", "Profiles")
    page.get_by_role("radio", name="Measure next").click()
    expect(page.get_by_text("cells are worth measuring further")).to_be_visible(timeout=SHOWN_MS)
    at_rest(page)
    advice = printed(newcomers_files, command(page))
    expect(page.get_by_text(advice["summary"])).to_be_visible()
    listed = page.get_by_test_id("stMain").get_by_role("listitem")
    expect(listed).to_have_count(len(advice["rows"]))
    for item, row in zip(listed.all(), advice["rows"], strict=True):
        expect(item).to_contain_text(f"{row['class_name']}: {row['queries']:,} more queries")
        expect(item).to_contain_text(row["strategy"])


def test_what_changed_since_last_weeks_policy(page: Page, newcomers_files: Path) -> None:
    ask(page, "What changed since last week's policy?", "Where traffic moves")
    done = subprocess.run(
        ["sh", "-c", command(page)],
        cwd=newcomers_files, capture_output=True, text=True, check=False,
        env=os.environ | {"PATH": f"{Path(INFERBUDGET).parent}{os.pathsep}{os.environ['PATH']}"},
    )  # fmt: skip
    (headline,) = re.findall(r"^\*\*(Monthly spend .*)\*\*$", done.stdout, re.MULTILINE)
    expect(page.get_by_role("heading", name=headline)).to_be_visible()


def test_when_the_money_runs_out(page: Page, newcomers_files: Path) -> None:
    ask(page, "When does the money run out?", "When does it run out?")
    page.get_by_role("combobox", name="Budget", exact=True).click()
    page.get_by_role("option", name=BUDGET).click()
    expect(figure(page, "Spent, USD")).to_have_text("90.00", timeout=SHOWN_MS)
    expect(page.get_by_test_id("stVegaLiteChart")).to_be_visible()
    ledger = printed(newcomers_files, command(page))
    (one,) = [one for one in ledger["accounts"] if one["account"] == BUDGET]
    assert (one["spent"], one["remaining"]) == (90 * 10**9, 10 * 10**9)
    shown = figure(page, "Runs out").inner_text()
    if one["runs_out_s"] is None:  # in a day's last minutes it lasts
        assert shown == one["outlook"]
    else:
        left_s = one["runs_out_s"] - ledger["now_s"]
        assert shown in {f"in {lasting(left_s + late_s)}" for late_s in (-60, 0, 60)}
