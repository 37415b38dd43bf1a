"""When a budget runs out at its pace so far: in exact numbers, and as `ledger show` says it."""

from __future__ import annotations

import asyncio
from datetime import datetime
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from ledger_commands import USD, Commands, spent, tell

from runtime.ledger.outlook import Outlook, projected
from runtime.ledger.store import open_store
from runtime.ledger.windows import ALWAYS, Span

START_S = 1_700_000_000
amounts = st.integers(0, 2**62)
lengths = st.integers(1, 31 * 86_400)
shares = st.floats(0, 1, exclude_max=True)


@given(most=amounts, charged=amounts, length_s=lengths, share=shares)
def test_a_budget_is_spent_runs_out_lasts_or_nobody_can_say(
    most: int, charged: int, length_s: int, share: float
) -> None:
    span, now_s = Span(START_S, START_S + length_s), START_S + share * length_s
    assume(span.holds(now_s))
    found = projected(most, charged, span, now_s)
    elapsed_s = Fraction(now_s) - START_S
    if charged >= most:
        assert found.outlook is Outlook.SPENT
    elif not charged or not elapsed_s:
        assert found.outlook is Outlook.UNKNOWN
    elif charged * length_s > most * elapsed_s:
        assert found.outlook is Outlook.RUNS_OUT
    else:
        assert found.outlook is Outlook.LASTS
    assert (found.runs_out_s is not None) == (found.outlook is Outlook.RUNS_OUT)
    assert (found.left_at_end is not None) == (found.outlook is Outlook.LASTS)


@given(most=amounts, charged=amounts, length_s=lengths, share=shares)
def test_what_runs_out_does_so_from_now_on_and_before_the_window_ends(
    most: int, charged: int, length_s: int, share: float
) -> None:
    span, now_s = Span(START_S, START_S + length_s), START_S + share * length_s
    found = projected(most, charged, span, now_s)
    if found.runs_out_s is not None:
        assert now_s <= found.runs_out_s <= START_S + length_s
        exact_s = START_S + (Fraction(now_s) - START_S) * most / charged
        assert abs(found.runs_out_s - exact_s) < 1e-6


@given(most=amounts, charged=amounts, length_s=lengths, share=shares)
def test_what_lasts_leaves_what_the_pace_does_not_take(
    most: int, charged: int, length_s: int, share: float
) -> None:
    span, now_s = Span(START_S, START_S + length_s), START_S + share * length_s
    found = projected(most, charged, span, now_s)
    if found.left_at_end is not None:
        taken = charged * length_s / (Fraction(now_s) - START_S)
        assert 0 <= found.left_at_end <= most - taken < found.left_at_end + 1


@given(most=amounts, charged=amounts, more=st.integers(1, 2**40), length_s=lengths, share=shares)
def test_whoever_has_spent_more_never_runs_out_later(
    most: int, charged: int, more: int, length_s: int, share: float
) -> None:
    span, now_s = Span(START_S, START_S + length_s), START_S + share * length_s
    order = [Outlook.UNKNOWN, Outlook.LASTS, Outlook.RUNS_OUT, Outlook.SPENT]
    less, dearer = (projected(most, amount, span, now_s) for amount in (charged, charged + more))
    if now_s > START_S:
        assert order.index(less.outlook) <= order.index(dearer.outlook)
    if less.runs_out_s is not None and dearer.runs_out_s is not None:
        assert dearer.runs_out_s <= less.runs_out_s


@pytest.mark.parametrize(
    ("most", "charged", "span", "now_s"),
    [
        (None, 5, Span(0, 100), 50.0),
        (10, 0, Span(0, 100), 50.0),
        (10, -5, Span(0, 100), 50.0),
        (10, 5, ALWAYS, 50.0),
        (10, 5, Span(0, 100), 0.0),
        (10, 5, Span(0, 100), 100.0),
        (10, 10, Span(0, 100), 100.0),
        (10, 5, Span(60, 100), 50.0),
    ],
    ids=[
        "no limit",
        "nothing spent",
        "given back",
        "no end",
        "began now",
        "over",
        "spent and over",
        "to come",
    ],
)
def test_without_a_pace_nobody_says_when(
    most: int | None, charged: int, span: Span, now_s: float
) -> None:
    assert projected(most, charged, span, now_s).outlook is Outlook.UNKNOWN


def test_a_budget_of_a_whole_batch_can_only_be_spent() -> None:
    assert projected(10, 10, ALWAYS, 50.0).outlook is Outlook.SPENT
    assert projected(0, 0, ALWAYS, 50.0).outlook is Outlook.SPENT


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(monkeypatch, capsys)


def test_show_says_when_each_budget_runs_out(tmp_path: Path, commands: Commands) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"

    async def now() -> float:
        store = open_store(url)
        found = await store.now()
        await store.close()
        return found

    start = int(asyncio.run(now())) - 1_000
    window = {"epoch": start, "ends_s": start + 2_000, "free": 0}
    tell(
        url,
        spent("org:a|tokens|hour", 90, 100, **window),
        spent("org:b|tokens|hour", 10, 100, **window),
        spent("org:c|tokens|hour", 100, 100, **window),
        spent("org:d|tokens|hour", 0, 100, **window),
        spent(USD, free=0),
    )
    found = commands.json("show", url)
    by_name = {one["account"]: one for one in found["accounts"]}
    elapsed_s = found["now_s"] - start
    runs_out = by_name["org:a|tokens|hour"]
    assert runs_out["outlook"] == "runs out"
    assert runs_out["runs_out_s"] == pytest.approx(start + elapsed_s * 100 / 90)
    lasts = by_name["org:b|tokens|hour"]
    assert (lasts["outlook"], lasts["runs_out_s"]) == ("lasts", None)
    assert lasts["left_at_end"] == int(100 - 10 * 2_000 / elapsed_s)
    words = [by_name[name]["outlook"] for name in ("org:c|tokens|hour", "org:d|tokens|hour", USD)]
    assert words == ["spent", "unknown", "unknown"]

    head, *rows = (line.split("  ") for line in commands.run("show", url).splitlines()[2:8])
    assert "runs out" in [cell.strip() for cell in head]
    said = {row[0]: [cell.strip() for cell in row if cell.strip()][8] for row in rows}
    when = datetime.fromisoformat(said["org:a|tokens|hour"]).timestamp()
    assert when == pytest.approx(runs_out["runs_out_s"], abs=60)
    rest = [said[f"org:{name}|tokens|hour"] for name in "bcd"]
    assert [*rest, said[USD]] == ["lasts", "spent", "-", "-"]
