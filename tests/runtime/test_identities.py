from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from small_policies import BY_LABEL, BY_TEXT_AND_LABEL, policy
from small_tenants import CI, FILE, OTHER, TAGGER, WEB, bearer, tenants

from planner.spec import Window
from policies.policy import PolicyClasses
from profiles.errors import BudgetRefusedError, InputError, UnknownValueError
from runtime.ledger import Ledger, Scope, Unit
from runtime.tenants import Tenants, refuse_unknown
from runtime.tenants.scope_names import MOST_USER_BYTES, user_word

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/reference/tenants.md"
SCHEMA = ROOT / "docs/reference/schemas/tenants.schema.json"
ONLY_OTHER_KEYS = re.compile(r"[A-Za-z0-9_.~%-]*\Z")
SEARCH = "org:acme/team:search"


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Tenants:
    return tenants(tmp_path_factory.mktemp("tenants"))


def with_budget(budget: str) -> str:
    return f'format_version: "1.0"\norganisations: {{}}\nbudgets:\n  - {budget}\n'


def test_a_request_holds_on_all_that_its_key_belongs_to(opened: Tenants) -> None:
    own = (
        "global|nano_usd|month",
        "global|requests|rolling-minute",
        "org:acme|nano_usd|month",
        f"{SEARCH}|tokens|day",
        f"{SEARCH}|in_flight|total",
        f"{SEARCH}/key:ci|requests|day",
        "org:acme/tag:batch|nano_usd|day",
    )
    identity = opened.identify(bearer(CI))
    assert identity.scopes("easy") == own
    hard = ("class:hard|nano_usd|day", "class:hard|nano_gpu_s|hour")
    assert identity.scopes("hard") == own + hard
    assert identity.scopes("no such class") == own
    assert (identity.user, identity.tags) == (None, ("batch",))


def test_budgets_become_accounts_with_their_own_window_and_unit(opened: Tenants) -> None:
    month = Scope(
        "global|nano_usd|month",
        500 * 10**9,
        Window.MONTH,
        timezone="Europe/Berlin",
        carry_over=50 * 10**9,
    )
    day = Window.DAY
    assert opened.scopes() == (
        month,
        Scope("global|requests|rolling-minute", 6000, Window.MINUTE, Unit.REQUESTS, rolling=True),
        Scope("class:hard|nano_usd|day", 50 * 10**9, day),
        Scope("class:hard|nano_gpu_s|hour", 100 * 10**9, Window.HOUR, Unit.NANO_GPU_S),
        Scope("org:acme|nano_usd|month", 200 * 10**9, Window.MONTH),
        Scope("org:acme/tag:batch|nano_usd|day", 20 * 10**9, day),
        Scope("org:acme/tag:night|nano_usd|total", 5 * 10**9),
        Scope(f"{SEARCH}|tokens|day", 2_000_000, day, Unit.TOKENS),
        Scope(f"{SEARCH}|in_flight|total", 64, unit=Unit.IN_FLIGHT),
        Scope(f"{SEARCH}/key:ci|requests|day", 20, day, Unit.REQUESTS),
        Scope("org:other/tag:batch|requests|day", 9, day, Unit.REQUESTS),
    )


def test_a_limit_in_dollars_is_never_stretched(tmp_path: Path) -> None:
    found = tenants(tmp_path, with_budget("{limit_usd: 0.1234567899, window: total}"))
    assert found.scopes()[0].limit == 123_456_789


def test_a_request_is_admitted_by_all_its_budgets_or_by_none(tmp_path: Path) -> None:
    found = tenants(tmp_path)
    ledger = Ledger(found.scopes(), lambda: 1e9)
    names = found.identify(bearer(CI)).scopes("easy")
    for number in range(20):
        ledger.hold(str(number), 10, names, tokens=5).close()
    with pytest.raises(BudgetRefusedError, match="key:ci"):
        ledger.hold("one more", 10, names, tokens=5)
    assert ledger.state("global|requests|rolling-minute").spent == 20
    assert ledger.state(f"{SEARCH}|in_flight|total").held == 0


def test_of_every_limit_the_smallest_on_the_way_to_the_key_counts(opened: Tenants) -> None:
    ci, web, other = (opened.identify(bearer(key)).limits for key in (CI, WEB, OTHER))
    assert (ci.max_tokens, ci.messages, ci.body_bytes, ci.wall_s) == (1024, 10, 65536, 30)
    assert (web.max_tokens, web.messages, web.body_bytes, web.wall_s) == (2048, 10, None, None)
    assert (other.max_tokens, other.messages) == (None, None)


def test_a_key_may_ask_for_its_own_labels_alone(opened: Tenants) -> None:
    ci, web = opened.identify(bearer(CI)), opened.identify(bearer(WEB))
    for label in ("hard", None):
        ci.refuse_label(label)
    web.refuse_label("easy")
    for label in ("easy", "", "HARD"):
        with pytest.raises(InputError, match="may not ask for this label"):
            ci.refuse_label(label)


def test_a_user_counts_where_the_key_may_name_one_and_nowhere_else(opened: Tenants) -> None:
    named = opened.identify(bearer(WEB), "jane")
    assert f"{SEARCH}/user:jane|nano_usd|day" in named.scopes("easy")
    assert named.user == "jane"
    forged = opened.identify(bearer(CI), "jane")
    assert forged.scopes("hard") == opened.identify(bearer(CI)).scopes("hard")
    assert forged.user is None
    assert opened.identify(bearer(CI), "x" * 10**6).user is None


def test_a_user_is_named_when_the_body_is_read_as_if_it_were_known_before(
    opened: Tenants,
) -> None:
    for key in (CI, WEB, OTHER):
        for user in ("jane", "", None, "a/b"):
            known = opened.identify(bearer(key), user)
            assert opened.identify(bearer(key)).of_user(user) == known
    tagged = opened.identify(bearer(WEB), tags=["night"])
    assert tagged.of_user("jane") == opened.identify(bearer(WEB), "jane", ["night"])


def test_users_budgets_are_one_object_for_all_keys_of_a_team(tmp_path: Path) -> None:
    web, ci = (
        each
        for each in tenants(tmp_path, FILE.replace("labels: [hard]", "may_set: [user]")).keys[:2]
    )
    assert web.each_user[0] is ci.each_user[0]


def test_requests_that_name_no_user_share_one_account(opened: Tenants) -> None:
    for nobody in (None, ""):
        identity = opened.identify(bearer(WEB), nobody)
        assert f"{SEARCH}/user:|nano_usd|day" in identity.scopes("easy")
        assert identity.user is None


def test_requests_carry_further_tags_where_the_key_may_set_them(opened: Tenants) -> None:
    identity = opened.identify(bearer(WEB), tags=["night", "batch", "trial", "night"])
    assert identity.tags == ("batch", "night", "trial")
    names = identity.scopes("easy")
    for name in ("batch|nano_usd|day", "night|nano_usd|total"):
        assert names.count(f"org:acme/tag:{name}") == 1
    with pytest.raises(InputError, match="unknown tag"):
        opened.identify(bearer(WEB), tags=["batches"])
    with pytest.raises(InputError, match="may not set tags"):
        opened.identify(bearer(CI), tags=["batch"])
    with pytest.raises(InputError, match="may not set tags"):
        opened.identify(bearer(OTHER), tags=["batch"])


def test_no_tag_reaches_a_budget_of_another_organisation(opened: Tenants) -> None:
    """Two organisations call a tag the same, and each spends its own."""
    ledger = Ledger(opened.scopes(), lambda: 1e9)
    for number in range(9):
        ledger.hold(f"{number}", 1, opened.identify(bearer(TAGGER), tags=["batch"]).scopes("easy"))
    with pytest.raises(BudgetRefusedError, match="org:other/tag:batch"):
        ledger.hold("one more", 1, opened.identify(bearer(TAGGER), tags=["batch"]).scopes("easy"))
    assert ledger.state("org:acme/tag:batch|nano_usd|day").held == 0
    with pytest.raises(InputError, match="unknown tag"):
        opened.identify(bearer(TAGGER), tags=["night"])


@pytest.mark.parametrize(
    ("user", "written"),
    [
        ("jane", "jane"),
        ("a/key:b", "a%2Fkey%3Ab"),
        ("../../org:other", "..%2F..%2Forg%3Aother"),
        ("jane|nano_usd|day", "jane%7Cnano_usd%7Cday"),
        ("a%2Fb", "a%252Fb"),
        ("ιωάννα", "%CE%B9%CF%89%CE%AC%CE%BD%CE%BD%CE%B1"),
        ("a\x00\r\n b", "a%00%0D%0A%20b"),
        ("e\u0301", "%C3%A9"),
        ("é", "%C3%A9"),
    ],
)
def test_a_users_name_is_one_word_of_the_path(opened: Tenants, user: str, written: str) -> None:
    names = opened.identify(bearer(WEB), user).scopes("easy")
    assert f"{SEARCH}/user:{written}|nano_usd|day" in names


users = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)


@given(users, users)
@example("a/key:b", "a%2Fkey:b")
@example("é", "e\u0301")
def test_no_users_name_reaches_another_scope_or_another_user(
    opened: Tenants, one: str, other: str
) -> None:
    made = [user_word(user) for user in (one, other)]
    for user, written in zip((one, other), made, strict=True):
        assert ONLY_OTHER_KEYS.match(written)
        assert unquote(written) == unicodedata.normalize("NFC", user)
        before, own, after = opened.identify(bearer(OTHER), user).scopes("easy")
        assert (before, own, after) == (
            "global|nano_usd|month",
            "global|requests|rolling-minute",
            f"org:other/user:{written}|requests|day",
        )
    same = unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)
    assert (made[0] == made[1]) == same


@pytest.mark.parametrize(
    "user",
    ["x" * 257, "é" * 129, "\U0001f600" * 65, "e\u0301" * 129, "x" * 10**6, "\ud800", "a\udfff"],
)
def test_a_users_name_is_bounded_and_a_text(opened: Tenants, user: str) -> None:
    with pytest.raises(InputError, match="user") as refused:
        opened.identify(bearer(WEB), user)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("user", ["x" * 256, "é" * 128, "e\u0301" * 128, "\U0001f600" * 64])
def test_a_users_name_may_have_so_many_bytes(opened: Tenants, user: str) -> None:
    written = opened.identify(bearer(WEB), user).user_word
    assert len(unquote(written).encode()) <= MOST_USER_BYTES


names = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Cf", "Cn", "Zs", "Zl", "Zp", "Co"]),
    min_size=1,
    max_size=20,
).map(lambda name: unicodedata.normalize("NFC", name))
# Such as a look-alike of nothing, which are refused, are not what these tests are about.
seen = names.filter(
    lambda name: (
        not re.search(
            "[\u034f\u115f-\u1160\u17b4-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]",
            name,
        )
    )
)


def key_entry(number: int, **more: Any) -> dict[str, Any]:
    return {"hash": f"sha256:{hashlib.sha256(str(number).encode()).hexdigest()}", **more}


def two_tenants(one: list[str], other: list[str]) -> dict[str, Any]:
    """Two organisations of hostile names; every scope has a budget."""
    number = 0

    def level(**more: Any) -> dict[str, Any]:
        return {"budgets": [{"limit_usd": 1, "window": "day"}], **more}

    found = {}
    for org, team, key in (one, other):
        number += 2
        keys = {key: {**key_entry(number), **level()}}
        direct = {key: {**key_entry(number + 1), **level()}}
        found[org] = level(teams={team: level(keys=keys)}, keys=direct)
    return {"format_version": "1.0", "organisations": found}


@given(st.lists(seen, min_size=3, max_size=3), st.lists(seen, min_size=3, max_size=3))
@example(["a", "b", "c"], ["a/team:b", "c", "d"])
@example(["a", "key:b", "c"], ["a%2F", "|", "global"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_name_of_a_tenant_in_any_script_reaches_an_account_of_another(
    tmp_path: Path, one: list[str], other: list[str]
) -> None:
    if one[0] == other[0]:
        other = [f"{other[0]}x", *other[1:]]
    found = tenants(tmp_path, json.dumps(two_tenants(one, other), ensure_ascii=False))
    accounts = [set(key.accounts) for key in found.keys]
    assert {key.organisation for key in found.keys} == {one[0], other[0]}
    assert not (accounts[0] | accounts[1]) & (accounts[2] | accounts[3])
    assert len(accounts[0] & accounts[1]) == 1  # of the organisation itself
    assert len({scope.name for scope in found.scopes()}) == len(found.scopes()) == 8
    Ledger(found.scopes())


def line_of(text: str) -> int:
    """Line of a text that stands once in the file."""
    return FILE[: FILE.index(text)].count("\n") + 1


def test_budgets_that_the_policy_could_never_reach_are_refused(tmp_path: Path) -> None:
    found = tenants(tmp_path)
    refuse_unknown(found, policy(sorting=BY_LABEL))
    place = str(tmp_path / "tenants.yaml")
    with pytest.raises(InputError, match="no class 'hard'") as refused:
        refuse_unknown(
            found,
            policy(sorting=PolicyClasses(source="label", names=("easy", "so-so"), weights=None)),
        )
    assert f"{place}:{line_of('  hard:')}:3: classes.hard" in str(refused.value)
    text = FILE.replace("  hard: [", "  law/hard: [")
    with pytest.raises(InputError, match="no label 'hard'") as refused:
        refuse_unknown(tenants(tmp_path, text), policy(sorting=BY_TEXT_AND_LABEL))
    assert f"{place}:{line_of('          ci:')}:11: organisations.acme.teams.search.keys.ci" in str(
        refused.value
    )
    refuse_unknown(
        tenants(tmp_path, text.replace("labels: [hard]", "labels: [law]")),
        policy(sorting=BY_TEXT_AND_LABEL),
    )


@pytest.mark.parametrize("place", ["class", "user", "nowhere"])
def test_a_budget_of_gpu_seconds_needs_a_rate_of_every_model(tmp_path: Path, place: str) -> None:
    text = FILE.replace("  large: {input: 7.5, output: 90.25}\n", "")
    if place != "class":
        text = text.replace(", {limit_gpu_s: 100, window: hour}", "")
    if place == "user":
        text = text.replace("limit_requests: 2, ", "limit_gpu_s: 2, ")
    rungs = (("small/single", 0.0001), ("cascade(stages=[small/single,large/single])", 0.00001))
    asked = policy(rungs=rungs, costs=dict(rungs))
    if place == "nowhere":
        refuse_unknown(tenants(tmp_path, text), asked)
        return
    with pytest.raises(UnknownValueError, match="'large' of the policy has no rate"):
        refuse_unknown(tenants(tmp_path, text), asked)
    refuse_unknown(tenants(tmp_path, FILE), asked)


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_gpu_seconds_are_the_rate_cards_rounded_up(
    opened: Tenants, tokens_in: int, tokens_out: int
) -> None:
    exact = Fraction("7.5") * tokens_in + Fraction("90.25") * tokens_out  # micro-GPU-seconds
    assert opened.gpu_seconds is not None
    rate = opened.gpu_seconds.price("large")
    assert rate.cost_nano_usd(tokens_in, tokens_out) == ceil(exact * 1000)


@pytest.mark.parametrize("budget", ["limit_usd", "limit_tokens", "limit_gpu_s"])
@pytest.mark.parametrize("of", ["everybody", "users", "classes"])
def test_tokens_and_gpu_seconds_are_reckoned_where_some_budget_counts_them(
    tmp_path: Path, budget: str, of: str
) -> None:
    one = [{budget: 1, "window": "day"}]
    key = key_entry(1, may_set=["user"])
    file = {
        "format_version": "1.0",
        "organisations": {"a": {"keys": {"k": key}}},
        "gpu_s_per_million_tokens": {"small": {"input": 1, "output": 2}},
    }
    where = {
        "everybody": {"budgets": one},
        "users": {"organisations": {"a": {"each_user": {"budgets": one}, "keys": {"k": key}}}},
        "classes": {"classes": {"hard": one}},
    }
    found = tenants(tmp_path, json.dumps(file | where[of]))
    assert found.counts_tokens == (budget == "limit_tokens")
    assert (found.gpu_seconds is not None) == (budget == "limit_gpu_s")
