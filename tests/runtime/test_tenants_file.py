from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from small_tenants import FILE, tenants

from profiles.errors import InputError
from runtime.ledger import Ledger
from runtime.tenants import read_tenants
from runtime.tenants.budgets import EachUserBudgets, TenantBudget
from runtime.tenants.file import GpuSecondsPerMillion, Key, Limits, Organisation, Team, TenantsFile
from runtime.tenants.scope_names import word

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/reference/tenants.md"
SCHEMA = ROOT / "docs/reference/schemas/tenants.schema.json"


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(InputError) as refused:
        tenants(folder, text)
    return str(refused.value)


def with_budget(budget: str) -> str:
    return f'format_version: "1.0"\norganisations: {{}}\nbudgets:\n  - {budget}\n'


CI_KEY = "organisations.acme.teams.search.keys.ci"
WEB_KEY = "organisations.acme.teams.search.keys.web"


@pytest.mark.parametrize(
    ("old", "new", "at", "path", "said"),
    [
        (
            "limits: {max_tokens: 2048, messages: 10}",
            "limit: {}",
            "limit",
            "organisations.acme.limit",
            "did you mean 'limits'",
        ),
        (
            "max_tokens: 2048",
            "max_tokens: 2048.5",
            "2048",
            "organisations.acme.limits.max_tokens",
            "2048.5",
        ),
        (
            "max_tokens: 2048",
            "max_tokens: 2_048",
            "2_048",
            "organisations.acme.limits.max_tokens",
            "write 2048",
        ),
        (
            "max_tokens: 2048",
            "max_tokens: 0",
            "0",
            "organisations.acme.limits.max_tokens",
            "greater than or equal to 1",
        ),
        ("wall_s: 30", "wall_s: .inf", ".inf", f"{CI_KEY}.limits.wall_s", "not a finite number"),
        (
            "limit_usd: 200",
            "limit_usd: -1",
            "-1",
            "organisations.acme.budgets.0.limit_usd",
            "greater than or equal to",
        ),
        (
            "{limit_usd: 200",
            "{limit_usd: 200, limit_tokens: 5",
            "{",
            "organisations.acme.budgets.0",
            "this has 2",
        ),
        (
            "limit_usd: 200",
            "limit_eur: 200",
            "limit_eur",
            "organisations.acme.budgets.0.limit_eur",
            "did you mean 'limit_usd'",
        ),
        ("expires: 2027-01-01", "expires: 2027-02-30", "2027", f"{CI_KEY}.expires", "no day"),
        ("expires: 2027-01-01", "expires: soon", "soon", f"{CI_KEY}.expires", "date"),
        (
            "may_set: [user, tags]",
            "may_set: [user, org]",
            "org",
            f"{WEB_KEY}.may_set.1",
            "'user' or 'tags'",
        ),
        (
            "may_set: [user, tags]",
            "may_set: [user, user]",
            "may_set",
            f"{WEB_KEY}.may_set",
            "stands twice",
        ),
        (
            "tags: [batch]\n            may",
            "tags: [bach]\n            may",
            "bach",
            f"{WEB_KEY}.tags.0",
            "one of batch, trial, night",
        ),
        ("  other:\n", "  acme:\n", "acme", "organisations.acme", "stands twice"),
        ("          web:", "          ci:", "ci", CI_KEY, "stands twice"),
        (
            "at_most: 3",
            "at_most: 0",
            "0",
            "organisations.acme.teams.search.each_user.at_most",
            "greater than or equal to 1",
        ),
        ('format_version: "1.0"', 'format_version: "2.0"', '"2.0"', "format_version", "1.0"),
        ("trial: []", "trial: {}", "trial", "organisations.acme.tags.trial", "array"),
    ],
)
def test_a_mistake_is_named_with_its_place(
    tmp_path: Path, old: str, new: str, at: str, path: str, said: str
) -> None:
    assert FILE.count(old) == 1
    before = FILE[: FILE.index(old)] + new[: new.index(at)]
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    message = refusal(tmp_path, FILE.replace(old, new))
    assert message.startswith(f"{tmp_path / 'tenants.yaml'}:{line}:{column}: {path}:")
    assert said in message


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        ("{limit_usd: 1}", "window is missing"),
        ("{window: day}", "this has 0"),
        ("{in_flight: 3, window: total}", "has no window"),
        ("{in_flight: 3, rolling: true}", "has no window"),
        ("{in_flight: 3, timezone: UTC}", "has no window"),
        ("{in_flight: 3, carry_over_usd: 1}", "has no window"),
        ("{limit_usd: 1, window: total, rolling: true}", "cannot roll"),
        ("{limit_usd: 1, window: hour, timezone: UTC}", "days, weeks and months"),
        ("{limit_usd: 1, window: day, rolling: true, timezone: UTC}", "do not roll"),
        ("{limit_usd: 1, window: day, timezone: Berlin}", "unknown time zone 'Berlin'"),
        ("{limit_usd: 1, window: day, timezone: ../../etc/passwd}", "unknown time zone"),
        ("{limit_usd: 1, window: day, timezone: ''}", "unknown time zone"),
        ('{limit_usd: 1, window: day, timezone: "\\0"}', "unknown time zone"),
        ("{limit_usd: 1, window: day, timezone: Europe}", "unknown time zone"),
        ("{limit_usd: 1, window: day, carry_over_tokens: 5}", "does not belong to limit_usd"),
        ("{limit_usd: 1, window: total, carry_over_usd: 1}", "one before it"),
        ("{limit_usd: 1, window: day, rolling: true, carry_over_usd: 1}", "one before it"),
        ("{limit_usd: 1, window: fortnight}", "'second'"),
        ("{limit_usd: 1000000001, window: day}", "less than or equal"),
        ("{limit_tokens: 9007199254740993, window: day}", "number"),
        ("{limit_tokens: 9007199254740992, window: day}", "less than or equal"),
        ("{limit_requests: 1.0, window: day}", "integer"),
        ("{limit_usd: true, window: day}", "number"),
        ("{limit_usd: '1', window: day}", "take the quotes away"),
        (
            "{limit_usd: 1, window: day}\n  - {limit_usd: 2, window: day}",
            "two budgets of one scope",
        ),
        (
            "{limit_usd: 1, window: day}\n  - {limit_usd: 2, window: day, timezone: Asia/Tokyo}",
            "two budgets",
        ),
        ("{in_flight: 1}\n  - {in_flight: 2}", "two budgets of one scope are in_flight"),
    ],
)
def test_a_budget_that_could_mean_two_things_is_refused(
    tmp_path: Path, budget: str, said: str
) -> None:
    message = refusal(tmp_path, with_budget(budget))
    assert said in message
    assert message.startswith(f"{tmp_path / 'tenants.yaml'}:")


def test_a_day_and_a_rolling_day_are_two_budgets(tmp_path: Path) -> None:
    more = "{limit_usd: 1, window: day}\n  - {limit_usd: 1, window: day, rolling: true}"
    found = tenants(tmp_path, with_budget(more))
    assert [scope.name for scope in found.scopes()] == [
        "global|nano_usd|day",
        "global|nano_usd|rolling-day",
    ]


def test_two_spellings_of_one_name_are_refused(tmp_path: Path) -> None:
    both = {name: [{"limit_usd": 1, "window": "day"}] for name in ("\xe9", "e\u0301")}
    empty: dict[str, Any] = {"format_version": "1.0", "organisations": {}}
    for more in ({"classes": both}, {"organisations": {"acme": {"tags": both}}}):
        assert "composed characters" in refusal(tmp_path, json.dumps({**empty, **more}))


def test_users_inherit_nothing(tmp_path: Path) -> None:
    text = FILE.replace(
        "{limit_usd: 1, window: day}", "{limit_usd: 1, window: day, carry_over_usd: 1}"
    )
    assert "users inherit nothing" in refusal(tmp_path, text)


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n"


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        FILE + BOMB,
        FILE + "more: &x {}\n",
        FILE + "<<: {}\n",
        "[" * 1000,
        "{" * 100_000,
        "a: " * 1000,
        "",
        "- 1",
        "null",
        "\x00",
        "\ufeff" + FILE,
        FILE * 2,
        FILE + "---\n" + FILE,
        f"{FILE}# {'x' * 5_000_000}",
        "? [a]\n: b",
        FILE.replace("acme", "a\tb"),
    ],
    ids=range(17),
)
def test_a_hostile_file_is_refused_in_words(tmp_path: Path, text: str) -> None:
    assert str(tmp_path) in refusal(tmp_path, text)


@given(st.data())
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_with_bytes_changed_at_random_is_read_or_refused(
    tmp_path: Path, data: st.DataObject
) -> None:
    content = bytearray(FILE.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        end = data.draw(st.integers(at, min(at + 8, len(content))))
        content[at:end] = data.draw(
            st.binary(max_size=6) | st.sampled_from([b"{", b"'", b"\n  ", b"&a", b"*a", b": "])
        )
    path = tmp_path / "tenants.yaml"
    path.write_bytes(bytes(content))
    said = None
    try:
        Ledger(read_tenants(path).scopes())
    except InputError as error:
        said = str(error)
    assert said is None or str(path) in said


def key_entry(number: int, **more: Any) -> dict[str, Any]:
    return {"hash": f"sha256:{hashlib.sha256(str(number).encode()).hexdigest()}", **more}


def test_ten_thousand_keys_are_read_and_each_is_found(tmp_path: Path) -> None:
    keys = {f"key-{n}": key_entry(n, tags=["t"]) for n in range(10_000)}
    file = {
        "format_version": "1.0",
        "organisations": {
            "acme": {"keys": keys, "tags": {"t": [{"limit_usd": 1, "window": "day"}]}}
        },
    }
    found = tenants(tmp_path, json.dumps(file))
    assert len(found.keys) == 10_000
    assert {key.accounts for key in found.keys} == {("org:acme/tag:t|nano_usd|day",)}


def example_of_the_page() -> str:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return str(text)


def test_the_page_s_example_is_read(tmp_path: Path) -> None:
    found = tenants(tmp_path, example_of_the_page())
    assert [key.name for key in found.keys] == ["ci", "web"]
    assert found.keys[0].where.endswith("organisations.acme.teams.search.keys.ci")


def test_the_accounts_on_the_page_are_those_of_its_example(tmp_path: Path) -> None:
    found = tenants(tmp_path, example_of_the_page())
    rows = re.findall(r"^\| `([^`]*\\\|[^`]*)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    users = {
        name for key in found.keys for each in key.each_user for name in each.accounts(word("jane"))
    }
    assert len(rows) == 7
    assert {row.replace("\\|", "|") for row in rows} <= users | {s.name for s in found.scopes()}


@pytest.mark.parametrize(
    ("heading", "models"),
    [
        ("# Tenants", [TenantsFile]),
        ("## Organisations, teams, keys", [Organisation, Team, Key]),
        ("## Budgets", [TenantBudget]),
        ("## Limits", [Limits]),
    ],
)
def test_every_key_of_the_file_is_on_the_page(heading: str, models: list[type[BaseModel]]) -> None:
    page = f"\n{PAGE.read_text(encoding='utf-8')}"
    text = re.split(r"^## ", page.partition(f"\n{heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    rows = set(re.findall(r"^\| `([a-z_]+)` \|", text, re.MULTILINE))
    assert rows == {name for model in models for name in model.model_fields}


def test_the_small_parts_of_the_file_are_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for model in (EachUserBudgets, GpuSecondsPerMillion):
        for name in model.model_fields:
            assert f"`{name}`" in page


def test_the_published_schema_is_that_of_the_file() -> None:
    published = json.loads(SCHEMA.read_text(encoding="utf-8"))
    assert published.pop("$schema").endswith("2020-12/schema")
    assert published == {**TenantsFile.model_json_schema(), "title": "inferbudget tenants"}


def test_every_key_in_the_schema_says_what_it_is() -> None:
    for part in (TenantsFile, Organisation, Team, Key, TenantBudget, EachUserBudgets, Limits):
        for name, field in part.model_fields.items():
            assert field.description, (part, name)
