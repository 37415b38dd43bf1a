"""The Policy diff page in a real browser: names of others stay words, and a phone shows it all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import PHONE, SHOWN_MS, at_rest, browsing, serving, visitor
from click.testing import CliRunner
from playwright.sync_api import Browser, Page, expect
from renamed_policies import HOSTILE, renamed

from app.cli.main import cli
from app.policy_sources import of_view
from app.views import View
from policies.text import policy_text

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def folder(opened_store: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two policies in which classes, strategies and workloads have names that would do harm."""
    found = tmp_path_factory.mktemp("diff")
    name = " ".join(HOSTILE)
    names = {"hard": name, "large/single": f"{name}/single"}
    for file, settings in (
        ("old.yaml", ("limits.spend={usd_per_request: 0.002}",)),
        ("new.yaml", ()),
    ):
        policy = of_view(View(*opened_store, settings)).policy
        (found / file).write_text(policy_text(renamed(policy, {**names, "tiny": file + name})))
    return found


@pytest.fixture(scope="module")
def address(folder: Path, opened_store: tuple[Path, Path]) -> Iterator[str]:
    spec, store = map(str, opened_store)
    policies = ("--policy", "old.yaml", "--policy", "new.yaml")
    with serving(folder, spec, "--profiles", store, *policies) as found:
        yield f"{found}/policy-diff?new_policy=new.yaml"


@pytest.fixture
def browser(chromium: str) -> Iterator[Browser]:
    with browsing(chromium) as found:
        yield found


def open_all(page: Page, address: str) -> None:
    page.goto(address)
    expect(page.get_by_text("Take it away")).to_be_visible(timeout=SHOWN_MS)
    at_rest(page)
    for box in page.get_by_test_id("stMain").get_by_test_id("stExpander").all():
        box.locator("summary").click()
    expect(page.get_by_test_id("stEChartsChart").locator("canvas").first).to_be_visible()


def test_names_of_others_load_nothing_and_lead_nowhere(browser: Browser, address: str) -> None:
    page = visitor(browser)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    open_all(page, address)
    assert not [url for url in asked if "evil" in url]
    main = page.get_by_test_id("stMain")
    expect(main.locator("img, script, a[href*=evil], .katex")).to_have_count(0)
    expect(
        main.locator("code").filter(has_text="![x](http://evil.example/x.png)").first
    ).to_be_visible()
    chart = page.get_by_test_id("stEChartsChart")
    box = chart.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] - 30)
    page.wait_for_timeout(500)
    expect(chart.locator("img, script, a")).to_have_count(0)
    assert not [url for url in asked if "evil" in url]


def test_a_phone_shows_the_page_without_scrolling_sideways(browser: Browser, address: str) -> None:
    page = visitor(browser, width=PHONE)
    open_all(page, address)
    main = page.get_by_test_id("stMain")
    assert main.evaluate("found => found.scrollWidth - found.clientWidth") <= 0


def test_the_downloaded_comment_is_what_the_command_prints(
    browser: Browser, address: str, folder: Path
) -> None:
    page = visitor(browser)
    open_all(page, address)
    with page.expect_download() as begun:
        page.get_by_role("button", name="Download the comment").click()
    done = CliRunner().invoke(
        cli,
        ["diff", str(folder / "old.yaml"), str(folder / "new.yaml"), "--format", "markdown"],
        standalone_mode=False,
    )
    assert begun.value.suggested_filename == "policy-diff.md"
    assert Path(begun.value.path()).read_text() == done.stdout
