"""A store from somebody unknown is read only where it is a store and nothing else."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from profiles.errors import InputError
from profiles.observation import Evidence, Observation
from profiles.store import foreign
from profiles.store.foreign import require_plain_store
from profiles.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "store.duckdb"
    with Store.open(path) as opened:
        opened.add(
            [
                Observation(
                    workload="w", query_id="q", strategy="small/single", sample=0, score=1.0,
                    evidence=Evidence.MEASURED, source="here",
                )
            ]
        )  # fmt: skip
    return path


def changed(store: Path, *statements: str) -> Path:
    with duckdb.connect(str(store)) as connection:
        for statement in statements:
            connection.execute(statement)
    return store


def refusal(store: Path) -> str:
    before = store.read_bytes()
    with pytest.raises(InputError) as raised:
        require_plain_store(store, "dropped.duckdb")
    assert store.read_bytes() == before
    assert str(store) not in str(raised.value)
    return str(raised.value)


def test_a_store_of_this_version_is_accepted_and_stays_as_it_is(store: Path) -> None:
    before = store.read_bytes()
    require_plain_store(store, "dropped.duckdb")
    assert store.read_bytes() == before


def test_an_empty_store_is_a_store(tmp_path: Path) -> None:
    Store.open(tmp_path / "new.duckdb").close()
    require_plain_store(tmp_path / "new.duckdb", "new.duckdb")


@pytest.mark.parametrize(
    ("statements", "named"),
    [
        (["CREATE VIEW leak AS SELECT * FROM read_text('/etc/passwd')"], "view leak"),
        (
            [
                "DROP TABLE observations",
                "CREATE VIEW observations AS SELECT * FROM read_csv('/etc/passwd')",
            ],
            "table observations, view observations",
        ),
        (["CREATE MACRO read_it() AS (SELECT 1)"], "macro read_it"),
        (["CREATE MACRO read_it() AS TABLE SELECT * FROM read_text('/etc/passwd')"], "read_it"),
        (["CREATE SCHEMA other", "CREATE TABLE other.observations(a INT)"], "table observations"),
        (["CREATE TABLE more(a INT)"], "table more"),
        (["DROP TABLE meta", "CREATE TABLE meta(version INT, b INT AS (1 + 1))"], "table meta"),
        (["ALTER TABLE observations ALTER score SET DEFAULT 1"], "table observations"),
        (["ALTER TABLE observations ADD COLUMN extra INT"], "table observations"),
        (["DROP TABLE serving"], "table serving"),
        (["CREATE TYPE mood AS ENUM ('a', 'b')"], "type mood"),
        (["CREATE SEQUENCE numbers"], "sequence numbers"),
        (["CREATE INDEX quick ON observations(query_id)"], "index quick"),
    ],
)
def test_a_store_with_anything_of_its_own_is_refused(
    store: Path, statements: list[str], named: str
) -> None:
    text = refusal(changed(store, *statements))
    assert "dropped.duckdb: this DuckDB file is not a profile store of this version" in text
    assert named in text


def test_a_store_of_another_version_says_how_it_is_brought_up_to_date(store: Path) -> None:
    text = refusal(changed(store, "DROP TABLE query_groups"))
    assert "next: an older store is brought up to date by any command that opens it" in text


@pytest.mark.parametrize(
    "statement", ["UPDATE meta SET version = 0", "DELETE FROM meta", "INSERT INTO meta VALUES (99)"]
)
def test_a_store_that_pretends_to_be_of_another_version_is_not_rewritten(
    store: Path, statement: str
) -> None:
    assert "other, or missing: version" in refusal(changed(store, statement))


def test_a_store_that_reads_a_folder_of_its_senders_is_refused(store: Path) -> None:
    registered = (
        "INSERT INTO parquet_folders VALUES ('/etc', TIMESTAMP '2026-01-01', NULL, NULL, '')"
    )
    text = refusal(changed(store, registered))
    assert "this store reads a folder outside of itself" in text
    assert "got /etc" in text


def test_a_store_of_too_many_rows_is_refused(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "MOST_ROWS", 1)
    text = refusal(
        changed(store, "INSERT INTO queries SELECT 'w', i, NULL, NULL FROM range(9) t(i)")
    )
    assert "this store is too large to be opened here" in text
    assert "expected at most 1 rows" in text


@pytest.mark.parametrize("content", [b"", b"no database", b"\0" * 5000, b"SQLite format 3\0" * 500])
def test_what_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.duckdb"
    path.write_bytes(content)
    assert "expected a profile store (a DuckDB file)" in refusal(path)


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        ("UPDATE observations SET score = -5", "score is in 0..1"),
        ("UPDATE observations SET calls = -1", "calls is at least 0"),
        ("UPDATE observations SET cost_usd = 1e308", "cost_usd is at most 1e+09"),
        ("UPDATE observations SET evidence = 'divined'", "evidence is one of"),
        (
            "UPDATE observations SET observed_at = 'infinity'",
            "observed_at is in the years 1 to 9999",
        ),
    ],
)
def test_rows_that_no_store_of_ours_takes_are_refused(
    store: Path, statement: str, rule: str
) -> None:
    text = refusal(changed(store, statement))
    assert "dropped.duckdb: 1 row breaks a rule" in text
    assert f"expected {rule}" in text


def test_a_store_that_is_cut_is_refused(store: Path) -> None:
    store.write_bytes(store.read_bytes()[:6000])
    refusal(store)
