"""Messages quote what others wrote: on a page they are words, whatever they hold."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from browsing import SHOWN_MS
from playwright.sync_api import Browser, expect

from app.figures import prose
from app.scratch import new_folder, scratch

HOSTILE = (
    "see http://evil.example/x, (https://evil.example) and www.evil.example",
    "write to me@evil.example",
    ":smile: a:100: spec.yaml:100:1: limits :material/home: :streamlit:",
    ":red[x] ::leaf :::box x:blue-background[y] :small[z]",
    "![i](http://evil.example/x.png) [a](b) [a]: b <b> <img src=x>",
    "1) a",
    "# a ~~b~~ **c** _d_ `e` $f$ | g |",
    "`:smile: http://evil.example`",
)


def test_addresses_and_emoji_stand_as_code_which_is_shown_letter_by_letter() -> None:
    assert prose("see http://evil.example now") == "see `http://evil.example` now"
    assert prose("a :smile: b") == "a `:smile:` b"
    assert prose("a * b") == "a \\* b"


def test_the_folder_of_dropped_files_is_nobodys_business() -> None:
    folder = new_folder(scratch(), "own-")
    assert prose(f"{folder}/profiles.duckdb: broken") == "profiles.duckdb: broken"
    assert prose("/data/profiles.duckdb: broken") == "/data/profiles.duckdb: broken"


@pytest.mark.browser
def test_a_browser_shows_them_as_they_are(browser: Browser, tmp_path: Path) -> None:
    """Backslashes do not stop what is made of the text once it is read."""
    from test_opening_the_app import free_port  # noqa: PLC0415 -- a test of its own otherwise

    script = tmp_path / "page.py"
    texts = json.dumps([prose(text) for text in HOSTILE])
    script.write_text(f"import streamlit as st\nfor text in {texts}:\n    st.error(text)\n")
    port = free_port()
    process = subprocess.Popen(
        [
            sys.executable, "-m", "streamlit", "run", str(script), "--server.headless", "true",
            "--server.port", str(port), "--browser.gatherUsageStats", "false",
        ],
        cwd=tmp_path,
        env=os.environ | {"HOME": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        page = browser.new_page()
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health").close()
                break
            except OSError:
                page.wait_for_timeout(100)
        page.goto(f"http://127.0.0.1:{port}")
        alerts = page.get_by_test_id("stAlert")
        expect(alerts).to_have_count(len(HOSTILE), timeout=SHOWN_MS)
        for text, alert in zip(HOSTILE, alerts.all(), strict=True):
            shown = alert.get_by_test_id("stMarkdownContainer")
            expect(shown).not_to_be_empty(timeout=SHOWN_MS)
            expect(shown).to_have_text(text, use_inner_text=True, timeout=SHOWN_MS)
            assert shown.inner_text() == text
            assert shown.locator("a, img, ol, ul, h1, b, span, em, strong, del").count() == 0
    finally:
        process.terminate()
        process.wait(timeout=60)
