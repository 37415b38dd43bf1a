from __future__ import annotations

from pathlib import Path

import pytest
from small_tenants import CI, FILE, OTHER, WEB, bearer, tenants

from profiles.errors import BudgetRefusedError
from runtime.ledger import Ledger
from runtime.tenants import UserAccounts

SEARCH = "org:acme/team:search"


class Clock:
    def __init__(self) -> None:
        self.now_s = 1e9

    def __call__(self) -> float:
        return self.now_s


class Bookkeeping:
    """Tenants with a ledger and its users, as a gateway has them."""

    def __init__(self, folder: Path, text: str = FILE) -> None:
        self.clock = Clock()
        self.tenants = tenants(folder, text, self.clock)
        self.ledger = Ledger(self.tenants.scopes(), self.clock)
        self.users = UserAccounts(self.ledger, self.clock)
        self.count = 0

    def ask(self, user: str | None, nano_usd: int = 10**8, key: bytes = bearer(WEB)) -> None:
        identity = self.tenants.identify(key, user)
        self.count += 1
        with self.users.opened(identity):
            hold = self.ledger.hold(str(self.count), nano_usd, identity.scopes("easy"), tokens=1)
        call = hold.call(nano_usd, tokens=1)
        call.settle(nano_usd, tokens=1)
        hold.close()


def test_every_user_has_a_budget_alone(tmp_path: Path) -> None:
    books = Bookkeeping(tmp_path)
    for _ in range(10):
        books.ask("jane")
    for _ in range(2):
        with pytest.raises(BudgetRefusedError, match="user:jane"):
            books.ask("jane")
        books.ask("joe")
        books.ask(None)
    assert books.ledger.state(f"{SEARCH}/user:joe|nano_usd|day").spent == 2 * 10**8


def test_a_key_that_may_name_nobody_has_no_users(tmp_path: Path) -> None:
    books = Bookkeeping(tmp_path)
    books.ask("jane", key=bearer(CI))
    assert len(books.users) == 0
    assert not any("/user:" in state.name for state in books.ledger.snapshot(passing=True).scopes)


def test_users_with_money_spent_are_bounded_and_their_own_budgets_stay(tmp_path: Path) -> None:
    books = Bookkeeping(tmp_path)
    for user in ("a", "b", "c"):
        books.ask(user)
    for number in range(100):
        with pytest.raises(BudgetRefusedError, match="3 users") as refused:
            books.ask(f"flood-{number}")
        assert refused.value.retry_after_s == 86_400 - 1e9 % 86_400
    books.ask("a")
    assert books.ledger.state(f"{SEARCH}/user:a|nano_usd|day").spent == 2 * 10**8
    for number in range(50):  # of another organisation, which has no part in this
        books.ask(f"other-{number}", key=bearer(OTHER))
    assert len(books.users) == 53


def test_users_of_one_tenant_never_take_the_place_of_anothers(tmp_path: Path) -> None:
    books = Bookkeeping(tmp_path)
    for number in range(50):
        books.ask(f"other-{number}", key=bearer(OTHER))
    for user in ("a", "b", "c"):
        books.ask(user)
        books.ask(user, key=bearer(OTHER))
    assert books.ledger.state("org:other/user:a|requests|day").spent == 1
    assert books.ledger.state(f"{SEARCH}/user:a|nano_usd|day").spent == 10**8
    assert len(books.users) == 56


def test_a_users_accounts_are_forgotten_when_their_window_is_over(tmp_path: Path) -> None:
    books = Bookkeeping(tmp_path)
    for day in range(30):
        for user in range(3):
            books.ask(f"day-{day}-{user}")
        books.clock.now_s += 86_400
    accounts = [
        state.name for state in books.ledger.snapshot(passing=True).scopes if "/user:" in state.name
    ]
    assert len(accounts) == len(books.users) == 3


def test_a_user_whose_request_waits_for_its_hold_is_not_forgotten(tmp_path: Path) -> None:
    books = Bookkeeping(tmp_path)
    waiting = books.tenants.identify(bearer(WEB), "waiting")
    with books.users.opened(waiting):  # and its hold waits for the shared store
        books.clock.now_s += 3600
        with pytest.raises(BudgetRefusedError, match="user:waiting"):
            books.ask("waiting", 2 * 10**9)  # another one of it is refused meanwhile
        for user in ("a", "b"):
            books.ask(user)
        with pytest.raises(BudgetRefusedError, match="3 users"):
            books.ask("c")
        books.ledger.hold("at last", 10, waiting.scopes("easy"), tokens=1).close()


def test_requests_that_were_refused_keep_no_place_of_a_user(tmp_path: Path) -> None:
    books = Bookkeeping(tmp_path)
    for number in range(100):
        with pytest.raises(BudgetRefusedError, match="user:flood"):
            books.ask(f"flood-{number}", 2 * 10**9)
    assert len(books.users) <= 3
    for user in ("a", "b", "c"):
        books.ask(user)
    with pytest.raises(BudgetRefusedError, match="user:a"):
        books.ask("a", 2 * 10**9)
    assert books.ledger.state(f"{SEARCH}/user:a|nano_usd|day").spent == 10**8


def test_a_user_that_was_refused_makes_place_although_others_are_older(tmp_path: Path) -> None:
    books = Bookkeeping(tmp_path, FILE.replace("at_most: 3", "at_most: 9"))
    for number in range(8):
        books.ask(f"old-{number}")
    for number in range(20):
        with pytest.raises(BudgetRefusedError, match="user:flood"):
            books.ask(f"flood-{number}", 2 * 10**9)
    books.ask("new")


def test_who_is_refused_at_one_of_several_sets_keeps_no_place_in_the_others(
    tmp_path: Path,
) -> None:
    of_all = "each_user: {budgets: [{limit_requests: 9, window: day}], at_most: 4}"
    text = FILE.replace("limits: {max_tokens: 2048,", f"{of_all}\n    limits: {{max_tokens: 2048,")
    books = Bookkeeping(tmp_path, text)
    for user in ("a", "b", "c"):
        books.ask(user)
    for number in range(20):
        with pytest.raises(BudgetRefusedError, match="3 users"):
            books.ask(f"flood-{number}")
    assert len(books.users) <= 3 + 4
    books.clock.now_s += 86_400
    for user in ("d", "e", "f"):
        books.ask(user)


def test_a_user_at_work_is_not_forgotten(tmp_path: Path) -> None:
    books = Bookkeeping(tmp_path)
    long = books.tenants.identify(bearer(WEB), "long")
    with books.users.opened(long):
        hold = books.ledger.hold("long", 10, long.scopes("easy"), tokens=1)
    books.clock.now_s += 3600
    for user in ("a", "b"):
        books.ask(user)
    with pytest.raises(BudgetRefusedError):
        books.ask("c")
    hold.close()
    books.ask("c")


def test_users_of_whom_nobody_hears_any_more_are_forgotten_set_by_set(tmp_path: Path) -> None:
    books = Bookkeeping(tmp_path)
    for user in ("a", "b", "c"):
        books.ask(user)
        books.ask(user, key=bearer(OTHER))
    for _ in range(4):
        books.users.forget_idle()
    assert len(books.users) == 6
    books.clock.now_s += 86_400
    books.ask("a")
    for _ in range(4):  # each set has its turns
        books.users.forget_idle()
    left = [
        state.name for state in books.ledger.snapshot(passing=True).scopes if "/user:" in state.name
    ]
    assert left == [f"{SEARCH}/user:a|nano_usd|day"]
    with books.users.opened(books.tenants.identify(bearer(OTHER), "waiting")):
        books.users.forget_idle()
        books.users.forget_idle()
        assert books.ledger.state("org:other/user:waiting|requests|day").spent == 0
    assert len(books.users) == 2


def test_users_that_never_renew_are_refused_for_good(tmp_path: Path) -> None:
    text = FILE.replace("{limit_usd: 1, window: day}", "{limit_usd: 1, window: total}")
    books = Bookkeeping(tmp_path, text)
    for user in ("a", "b", "c"):
        books.ask(user)
    books.clock.now_s += 1e8
    with pytest.raises(BudgetRefusedError) as refused:
        books.ask("d")
    assert refused.value.retry_after_s is None


def test_users_keep_what_they_spent_when_the_file_is_read_again(tmp_path: Path) -> None:
    books = Bookkeeping(tmp_path)
    books.ask("jane", 9 * 10**8)
    more = FILE.replace(
        "[{limit_usd: 1, window: day}]",
        "[{limit_usd: 1, window: day}, {limit_tokens: 2, window: hour}]",
    )
    books.tenants = tenants(tmp_path, more, books.clock)
    for scope in books.tenants.scopes():
        books.ledger.add(scope)
    books.ask("jane", 10**8)
    with pytest.raises(BudgetRefusedError, match="user:jane"):
        books.ask("jane", 10**8)
    assert books.ledger.state(f"{SEARCH}/user:jane|tokens|hour").spent == 1
    books.clock.now_s += 86_400
    for number in range(6):
        books.ask(f"new-{number % 3}", 1)
    left = [
        state.name
        for state in books.ledger.snapshot(passing=True).scopes
        if "user:jane" in state.name
    ]
    assert left == []


def test_another_limit_counts_at_once_and_another_time_zone_when_the_accounts_are_new(
    tmp_path: Path,
) -> None:
    books = Bookkeeping(tmp_path)
    books.ask("jane", 9 * 10**8)
    for limit_usd, zone in ((0.95, "Asia/Tokyo"), (2, "Europe/Berlin")):
        budget = f"{{limit_usd: {limit_usd}, window: day, timezone: {zone}}}"
        text = FILE.replace("{limit_usd: 1, window: day}", budget)
        books.tenants = tenants(tmp_path, text, books.clock)
        if limit_usd < 1:
            with pytest.raises(BudgetRefusedError, match="user:jane"):
                books.ask("jane")
        else:
            books.ask("jane")
    state = books.ledger.state(f"{SEARCH}/user:jane|nano_usd|day")
    assert (state.limit, state.spent) == (2 * 10**9, 10**9)
    assert state.epoch_start_s % 86_400 == 0
    books.ask("joe")
    assert books.ledger.state(f"{SEARCH}/user:joe|nano_usd|day").epoch_start_s % 86_400 == 79_200
