"""The Ledger page on real stores: every state, and the numbers that `ledger show` prints."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from streamlit.testing.v1 import AppTest

from app.charts.burn_down import EVEN, HELD, LEFT, SO_FAR
from app.cli.main import cli
from app.opened import LEDGER
from app.outlook_words import in_words, lasting
from app.watching import Watch, read
from runtime.ledger import Scope, Unit
from runtime.ledger.leased import LeasedLedger
from runtime.ledger.outlook import Outlook, Projection
from runtime.ledger.store import Exchange, Truth, open_store

HOSTILE = "org:**de**![x](http://e.vil/$a$)\x1b[31m`red`\u202e|nano_usd|total"
DAY_S = 86_400


def draw() -> None:
    from app.pages import ledger  # noqa: PLC0415 the page runs only these lines

    ledger.page()


def drawn() -> AppTest:
    found = AppTest.from_function(draw, default_timeout=60).run()
    assert not found.exception
    return found


def again(page: AppTest) -> AppTest:
    page.button(key="ledger_read").click().run()
    assert not page.exception
    return page


class Told:
    """A store that one replica tells what it spent."""

    def __init__(self, path: Path) -> None:
        self.url = f"sqlite:///{path}?synchronous=normal"
        self.path = path
        self.number = 0

    def tell(self, *truths: Truth) -> None:
        self.number += 1
        asyncio.run(self._told(Exchange("gateway-1", self.number, 3_600.0, truths)))

    async def _told(self, exchange: Exchange) -> None:
        store = open_store(self.url)
        await store.exchange(exchange)
        await store.close()


def budget(account: str, spent: int, limit: int | None = 100, **more: Any) -> Truth:
    held = more.pop("held", 0) if limit is not None else 0
    told: dict[str, Any] = {
        "epoch": 0, "ends_s": None, "window_s": None, "carry_over": 0, "requests": 7,
    }  # fmt: skip
    return Truth(account, limit=limit, leased=spent + held, spent=spent, **{**told, **more})


def half_gone(length_s: int = DAY_S) -> dict[str, int]:
    """A window of which half is over now."""
    start = int(time.time()) - length_s // 2
    return {"epoch": start, "ends_s": start + length_s}


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Told:
    """The app is opened with a store that is not there yet."""
    found = Told(tmp_path / "ledger.db")
    monkeypatch.setenv(LEDGER, found.url)
    return found


def commanded(url: str, *words: str) -> dict[str, dict[str, Any]]:
    """Accounts by name, as the command prints them."""
    done = CliRunner().invoke(cli, ["ledger", "show", url, *words, "--format", "json"])
    assert done.exit_code == 0, done.output
    return {one["account"]: one for one in json.loads(done.stdout)["accounts"]}


def listed(page: AppTest) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = page.dataframe[0].value.to_dict("records")
    return rows


def figures(page: AppTest) -> dict[str, str]:
    return {one.label.partition(",")[0]: one.value for one in page.metric}


def chart(page: AppTest) -> list[dict[str, Any]]:
    """Rows of all layers of the one chart."""
    (found,) = page.get("arrow_vega_lite_chart") or page.get("vega_lite_chart")
    spec = json.loads(found.proto.spec)
    return [
        row
        for layer in spec["layer"]
        for row in layer["data"].get("values") or spec["datasets"][layer["data"]["name"]]
    ]


def error(page: AppTest) -> str:
    """The one error, without the backslashes that keep it from being markup."""
    (found,) = page.error
    return str(found.value).replace("\\", "")


def said(page: AppTest) -> str:
    return " ".join(one.value for one in page.markdown)


def test_an_app_without_a_ledger_says_how_to_open_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LEDGER, raising=False)
    page = drawn()
    (info,) = page.info
    assert "inferbudget app --ledger sqlite:///ledger.db" in info.value
    assert "INFERBUDGET_OPERATOR_KEY" in info.value
    assert not page.dataframe
    assert not page.text_input, "an address is never typed into the page"


def test_the_table_has_what_the_command_prints(told: Told) -> None:
    told.tell(
        budget("org:acme|nano_usd|day", 3_892_175_725, 50 * 10**9, held=10**9, **half_gone()),
        budget("org:acme|tokens|total", 89_227, 1_000_000),
        budget("org:b|requests|total", 12, None),
    )
    page = drawn()
    found = commanded(told.url)
    rows = {row["account"]: row for row in listed(page)}
    assert set(rows) == set(found)
    dollars = rows["org:acme|nano_usd|day"]
    assert (dollars["unit"], dollars["limit"], dollars["spent"]) == ("USD", "50.00", "3.892175725")
    assert (dollars["held"], dollars["remaining"]) == ("1.00", "45.107824275")
    for name, row in rows.items():
        share = found[name]["share_spent"]
        assert row["spent of limit"] == (pytest.approx(share) if share else pytest.approx(0)) or (
            share is None and row["spent of limit"] != row["spent of limit"]
        )
        assert row["requests"] == f"{found[name]['requests']:,}"
    words = {name: row["runs out"] for name, row in rows.items()}
    assert words == {
        "org:acme|nano_usd|day": "lasts", "org:acme|tokens|total": "-", "org:b|requests|total": "-"
    }  # fmt: skip


def test_when_the_money_runs_out_is_said_without_a_click(told: Told) -> None:
    told.tell(
        budget("org:late|nano_usd|day", 6 * 10**10, 10**11, **half_gone()),
        budget("org:soon|nano_usd|day", 9 * 10**10, 10**11, **half_gone()),
        budget("org:never|nano_usd|day", 10**10, 10**11, **half_gone()),
    )
    page = drawn()
    out = commanded(told.url)["org:soon|nano_usd|day"]["runs_out_s"]
    (info,) = page.info
    assert "**Next to run out:** `org:soon|nano_usd|day`." in info.value
    moment = time.strftime("%d %b %Y, %H:%M:", time.gmtime(out))
    assert moment in info.value
    assert "At the pace of the last 12 h (50.0 % of the window, 7 requests)" in info.value
    assert "before the window ends" in info.value
    assert figures(page)["Runs out"].startswith("in 1 h ")


def test_any_budget_is_chosen_with_a_click(told: Told) -> None:
    told.tell(
        budget("org:a|nano_usd|day", 9 * 10**10, 10**11, **half_gone()),
        budget("org:b|nano_usd|day", 10**10, 10**11, held=10**9, **half_gone()),
    )
    page = drawn()
    page.selectbox(key="ledger_budget").set_value("org:b|nano_usd|day").run()
    assert not page.exception
    shown = figures(page)
    assert (shown["Spent"], shown["Held"], shown["Left and free"]) == ("10.00", "1.00", "89.00")
    assert shown["Runs out"] == "lasts"
    assert "never runs out within this window: " in said(page)
    left = commanded(told.url)["org:b|nano_usd|day"]["left_at_end"]
    found = re.search(r"about ([\d.]+) USD will be left", said(page))
    assert found is not None
    assert float(found[1]) == pytest.approx(left / 1e9, abs=0.1)


def test_the_picture_falls_from_the_limit_to_nothing(told: Told) -> None:
    window = half_gone()
    told.tell(budget("global", 75 * 10**9, 10**11, held=5 * 10**9, **window))
    page = drawn()
    rows = chart(page)
    even = [(row["at"], row["amount"]) for row in rows if row.get("line") == EVEN]
    assert even == [(1000 * window["epoch"], 100), (1000 * window["ends_s"], 0)]
    out = commanded(told.url)["global"]["runs_out_s"]
    (_, (at, amount)) = [(row["at"], row["amount"]) for row in rows if row.get("line") == SO_FAR]
    assert amount == 0
    assert at == pytest.approx(1000 * out, abs=60_000)
    (read,) = [row for row in rows if row.get("line") == LEFT]
    assert (read["amount"], read["free"]) == (25, 20)
    assert [row for row in rows if row.get("line") == HELD]
    assert any("runs out 20" in row.get("words", "") for row in rows)


def test_every_reading_is_a_point_of_the_picture(told: Told) -> None:
    window = half_gone()
    told.tell(budget("global", 10 * 10**9, 10**11, **window))
    page = drawn()
    for spent in (20, 30):
        told.tell(budget("global", spent * 10**9, 10**11, **window))
        again(page)
    read = [row["amount"] for row in chart(page) if row.get("line") == LEFT]
    assert read == [90, 80, 70]
    assert figures(page)["Spent"] == "30.00"
    assert any("3 readings" in one.value for one in page.caption)


def test_what_another_visitor_saw_is_there_for_the_next(told: Told) -> None:
    told.tell(budget("global", 10 * 10**9, 10**11, **half_gone()))
    drawn()
    page = again(drawn())
    assert len([row for row in chart(page) if row.get("line") == LEFT]) >= 2


def test_a_page_that_stands_still_reads_nothing(told: Told) -> None:
    told.tell(budget("org:a|tokens|total", 10))
    page = drawn()
    page.toggle(key="ledger_live").set_value(False).run()
    told.tell(budget("org:a|tokens|total", 20))
    page.selectbox(key="ledger_rows").set_value(10).run()
    assert figures(page)["Spent"] == "10"
    assert figures(again(page))["Spent"] == "20"


def test_a_budget_that_is_spent_says_until_when(told: Told) -> None:
    told.tell(
        budget("org:a|nano_usd|day", 10**11, 10**11, **half_gone()),
        budget("org:b|tokens|total", 100, 100),
        budget("org:c|tokens|rolling-hour", 100, 100, window_s=3_600),
        budget("org:d|tokens|total", 100, 100),
    )
    page = drawn()
    (warning,) = page.warning
    assert "**Spent: 4 of 4 budgets.**" in warning.value
    assert "`org:a|nano_usd|day`" in warning.value
    assert "and 1 more" in warning.value
    for name, words in (
        ("org:a|nano_usd|day", "is refused until the window ends on"),
        ("org:b|tokens|total", "until somebody raises its limit or corrects it"),
        ("org:c|tokens|rolling-hour", "until charges leave the window of the last 1 h"),
    ):
        page.selectbox(key="ledger_budget").set_value(name).run()
        assert words in said(page)
        assert figures(page)["Runs out"] == "spent"


def test_a_budget_that_is_held_to_the_end_says_that_some_comes_back(told: Told) -> None:
    told.tell(budget("org:a|nano_usd|day", 40 * 10**9, 10**11, held=60 * 10**9, **half_gone()))
    page = drawn()
    (warning,) = page.warning
    assert "Nothing is free now" in warning.value
    assert figures(page)["Left and free"] == "0.00"
    assert figures(page)["Runs out"] == "lasts"


def test_why_nobody_can_say_when_is_said(told: Told) -> None:
    over = int(time.time()) - 10 * DAY_S
    told.tell(
        budget("org:batch|tokens|total", 10),
        budget("org:rolls|tokens|rolling-hour", 10, window_s=3_600),
        budget("org:new|tokens|day", 0, **half_gone()),
        budget("org:counted|tokens|day", 10, None, **half_gone()),
        budget("org:over|tokens|day", 10, epoch=over, ends_s=over + DAY_S),
    )
    page = drawn()
    assert not page.success
    assert not page.warning
    for name, words in (
        ("org:batch|tokens|total", "Its window has no end"),
        ("org:rolls|tokens|rolling-hour", "charged more than 1 h ago"),
        ("org:new|tokens|day", "Nothing was charged in this window yet"),
        ("org:counted|tokens|day", "counts without a limit"),
        ("org:over|tokens|day", "This window is over since"),
    ):
        page.selectbox(key="ledger_budget").set_value(name).run()
        assert not page.exception
        assert words in said(page), name
        assert figures(page)["Runs out"] == "-"
        has_picture = bool(page.get("arrow_vega_lite_chart") or page.get("vega_lite_chart"))
        assert has_picture == (name != "org:counted|tokens|day")
    assert listed(page)[-1]["account"] == "org:over|tokens|day"
    assert listed(page)[-1]["until"].endswith("Z, over")


def test_a_clock_that_is_behind_is_said(told: Told) -> None:
    told.tell(budget("org:a|tokens|day", 10, **half_gone()))
    (one,) = read(told.url).standings
    assert "By this clock the window begins only on" in in_words(
        replace(one, projection=Projection(Outlook.UNKNOWN)), one.epoch - 1.0
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "less than a second"), (59.9, "59 s"), (60, "1 min"), (3_599, "59 min 59 s"),
        (15_600, "4 h 20 min"), (86_400, "1 d"), (90_000, "1 d 1 h"), (86_460, "1 d"),
    ],
)  # fmt: skip
def test_a_span_of_time_is_said_in_two_units(seconds: float, words: str) -> None:
    assert lasting(seconds) == words


def test_a_long_watch_keeps_fewer_points_and_never_its_ends(told: Told) -> None:
    told.tell(budget("org:a|tokens|total", 10))
    watch = Watch(told.url)
    first = watch.look()
    for _ in range(900):
        last = watch.look(at_once=True)
    points = watch.points(last.standings[0], last.now_s)
    assert 100 <= len(points) <= 400
    assert (points[0].at_s, points[-1].at_s) == (first.now_s, last.now_s)
    assert [point.at_s for point in points] == sorted(point.at_s for point in points)


def test_a_ledger_is_read_anew_only_when_it_has_rested(told: Told) -> None:
    told.tell(budget("org:a|tokens|total", 10))
    watch = Watch(told.url)
    first = watch.look()
    begun_s = time.monotonic()
    while watch.look() is first:
        assert time.monotonic() < begun_s + 60
        time.sleep(0.001)
    assert watch.look(at_once=True) is not first


def test_where_all_last_it_says_so(told: Told) -> None:
    told.tell(budget("org:a|tokens|day", 10, **half_gone()), budget("org:b|tokens|total", 10))
    (success,) = drawn().success
    assert "No budget runs out within its window" in success.value
    assert "1 last; of 1 nobody can say" in success.value


def test_the_others_are_summed_by_kind_unit_and_window(told: Told) -> None:
    window = half_gone()
    told.tell(
        *(budget(f"org:o/user:{n}|tokens|day", n, 1_000, **window) for n in range(1, 21)),
        budget("org:o|tokens|day", 900, 1_000, **window),
        budget("mine", 5, 1_000_000),
    )
    page = drawn()
    page.selectbox(key="ledger_rows").set_value(10).run()
    assert [row["account"] for row in listed(page)] == [
        "org:o|tokens|day", *(f"org:o/user:{n}|tokens|day" for n in range(20, 11, -1))
    ]  # fmt: skip
    users, other = page.dataframe[1].value.to_dict("records")
    assert (users["kind"], users["unit"], users["window"]) == ("org/user", "tokens", "day")
    assert (users["budgets"], users["spent"], users["limit"]) == (
        11,
        str(sum(range(1, 12))),
        "11,000",
    )
    assert (other["kind"], other["unit"], other["budgets"]) == ("other", "unknown", 1)
    everything = sum(one["spent"] for one in commanded(told.url).values())
    shown = sum(int(row["spent"]) for row in listed(page))
    assert shown + int(users["spent"]) + int(other["spent"]) == everything


def test_budgets_are_chosen_by_a_pattern_and_put_in_order(told: Told) -> None:
    window = half_gone()
    told.tell(
        budget("org:b|tokens|day", 70, **window),
        budget("org:a|tokens|day", 60, **window),
        budget("org:c|tokens|total", 99),
        budget("global", 10**9, 10**10, **window),
    )
    page = drawn()

    def order(name: str) -> list[str]:
        page.selectbox(key="ledger_order").set_value(name).run()
        assert not page.exception
        return [row["account"][:5] for row in listed(page)]

    assert order("largest share spent") == ["org:c", "org:b", "org:a", "globa"]
    assert order("runs out first") == ["org:b", "org:a", "org:c", "globa"]
    assert order("name") == ["globa", "org:a", "org:b", "org:c"]
    page.text_input(key="ledger_scope").set_value("org:[ab]*").run()
    assert [row["account"] for row in listed(page)] == list(
        commanded(told.url, "--scope", "org:[ab]*")
    )
    assert "--scope 'org:[ab]*'" in page.code[0].value
    page.text_input(key="ledger_scope").set_value("nobody").run()
    assert "No budget is like `nobody`" in page.info[0].value
    assert not page.dataframe


def test_a_chosen_budget_stays_when_others_pass_it(told: Told) -> None:
    names = [f"org:o/user:{n}|tokens|total" for n in range(12)]
    told.tell(*(budget(name, 50 - n) for n, name in enumerate(names)))
    page = drawn()
    page.selectbox(key="ledger_rows").set_value(10).run()
    page.selectbox(key="ledger_budget").set_value(names[9]).run()
    told.tell(*(budget(name, 60) for name in names[10:]))
    again(page)
    assert page.selectbox(key="ledger_budget").value == names[9]
    assert figures(page)["Spent"] == "41"


def test_leases_are_those_that_the_command_lists(told: Told) -> None:
    told.tell(budget("org:a|nano_usd|total", 10**9, 10**11, held=5 * 10**8))
    page = drawn()
    (lease,) = page.dataframe[-1].value.to_dict("records")
    assert (lease["replica"], lease["leased"], lease["free"]) == ("gateway-1", "1.50", "0.50")
    told.tell(budget("org:a|nano_usd|total", 10**9, 10**11))
    assert len(again(page).dataframe) == 1


def test_the_command_prints_the_same(told: Told) -> None:
    told.tell(budget("org:a|tokens|total", 10))
    words = shlex.split(drawn().code[0].value)
    assert words[:3] == ["inferbudget", "ledger", "show"]
    done = CliRunner().invoke(cli, words[1:])
    assert "org:a|tokens|total" in done.stdout


def test_a_store_that_is_not_there_is_not_made_and_is_found_when_it_comes(told: Told) -> None:
    page = drawn()
    assert "there is no ledger store" in error(page)
    assert "tried again every 3 seconds" in page.caption[0].value
    assert not told.path.exists()
    told.tell(budget("org:a|tokens|total", 10))
    page.run()
    assert not page.error
    assert listed(page)[0]["account"] == "org:a|tokens|total"


def test_what_was_read_last_stays_while_the_store_is_gone(told: Told) -> None:
    told.tell(budget("org:a|tokens|total", 10))
    page = drawn()
    for path in told.path.parent.glob("ledger.db*"):
        path.rename(path.with_name(f"moved-{path.name}"))
    again(page)
    assert "there is no ledger store" in error(page)
    assert "Below stands what was read last" in page.caption[0].value
    assert figures(page)["Spent"] == "10"
    page.toggle(key="ledger_live").set_value(False).run()
    assert not page.error, "standing still, nothing is read"


def test_a_file_of_another_program_is_said(told: Told) -> None:
    told.path.write_text("no database")
    page = drawn()
    assert "ledger.db" in error(page)
    assert "Traceback" not in error(page)


def test_a_ledger_that_nobody_used_says_what_to_do(told: Told) -> None:
    async def opened() -> None:
        store = open_store(told.url)
        await store.now()
        await store.close()

    asyncio.run(opened())
    page = drawn()
    assert "no gateway has used this ledger" in page.info[0].value


def test_no_password_is_ever_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LEDGER, "redis://me:hunter2@127.0.0.1:1/0")
    page = drawn()
    assert "127.0.0.1:1" in error(page)
    for address in ("redis://:hun/hunter2@h:1/0", "http://me:hunter2@host", "rdis://:hunter2@h/0"):
        monkeypatch.setenv(LEDGER, address)
        page = drawn()
        assert LEDGER in error(page)
        assert "hunter2" not in str(page.main)
    assert "hunter2" not in str(page.main)


def test_a_hostile_name_is_only_text(told: Told) -> None:
    told.tell(
        budget(HOSTILE, 100),
        budget(HOSTILE.replace("total", "day"), 60, **half_gone()),
    )
    page = drawn()
    texts = [one.value for one in (*page.markdown, *page.caption, *page.info, *page.warning)]
    assert not any("\x1b" in text or "\u202e" in text for text in texts)
    for text in (page.warning[0].value, page.info[0].value):
        assert "``org:**de**" in text, "it stands in a code span that no backtick of it ends"
    assert all("\x1b" not in row["account"] for row in listed(page))


def test_a_real_ledgers_money_is_shown_to_the_nano_dollar(told: Told) -> None:
    async def used() -> None:
        scopes = [
            Scope("org:a|nano_usd|total", 10**9),
            Scope("org:a|tokens|total", 900, unit=Unit.TOKENS),
        ]
        async with LeasedLedger(scopes, open_store(told.url), replica="gateway-1") as ledger:
            hold = await ledger.admit("one", 40_000_000, tokens=90)
            hold.call(40_000_000, tokens=90).settle(12_345_678, tokens=45)
            hold.close()

    asyncio.run(used())
    rows = {row["account"]: row for row in listed(drawn())}
    assert rows["org:a|nano_usd|total"]["spent"] == "0.012345678"
    assert rows["org:a|tokens|total"]["spent"] == "45"
