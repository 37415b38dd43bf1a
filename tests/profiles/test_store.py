import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_worlds import WORKLOAD, observation

from profiles.errors import InputError
from profiles.importing.formats.found import SetAside
from profiles.observation import Evidence, Observation
from profiles.query import Query
from profiles.store.merge import AddReport
from profiles.store.records import to_table
from profiles.store.schema import MIGRATIONS
from profiles.store.store import Store


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "store.duckdb") as opened:
        yield opened


def test_the_same_observation_twice_is_one_observation(store):
    rows = [observation("a"), observation("b", score=None)]
    assert store.add(rows).added == 2
    again = store.add(rows)
    assert (again.added, again.duplicates, again.conflicts) == (0, 2, 0)


def test_a_contradicting_observation_is_refused_and_the_stored_one_stays(store):
    store.add([observation("a", score=1.0, cost_usd=0.5)])
    report = store.add([observation("a", score=0.0, cost_usd=0.5), observation("b")])
    assert (report.added, report.duplicates, report.conflicts) == (1, 0, 1)
    assert report.examples[0].startswith("a, m/single, 0: the store holds other values")
    assert store.mean_scores(WORKLOAD)[0] == ("a", "m/single", 1.0)


def test_a_contradiction_inside_one_batch_keeps_the_first_row(store):
    report = store.add([observation("a", score=0.25), observation("a", score=0.75)])
    assert (report.added, report.conflicts) == (1, 1)
    assert store.mean_scores(WORKLOAD) == [("a", "m/single", 0.25)]


def test_provenance_alone_is_no_contradiction(store):
    east = timezone(timedelta(hours=5))
    store.add([observation("a", observed_at=datetime(2025, 1, 1, 12, tzinfo=UTC))])
    report = store.add(
        [observation("a", source="x", observed_at=datetime(2024, 1, 1, tzinfo=east))]
    )
    assert report.duplicates == 1


def test_what_was_unknown_of_a_query_is_filled_in_and_nothing_else_changes(store):
    store.add_queries(WORKLOAD, [Query("a"), Query("b", "first")])
    report = store.add_queries(WORKLOAD, [Query("a", "now known", "x"), Query("b", "second")])
    assert (report.added, report.duplicates, report.conflicts) == (0, 1, 1)
    assert store.prompts(WORKLOAD) == {"a": "now known", "b": "first"}


def test_measured_names_query_strategy_and_sample(store):
    store.add([observation("a", sample=3)])
    assert store.measured(WORKLOAD) == {("a", "m/single", 3)}
    assert store.workloads() == [WORKLOAD]
    assert store.measured("other") == set()


def test_an_error_inside_a_transaction_undoes_all_of_it(store):
    def fails():
        with store.transaction():
            store.add([observation("a")])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert store.workloads() == []
    assert store.add([observation("a")]).added == 1


def test_a_store_that_is_read_refuses_to_be_written(store, tmp_path):
    store.add([observation("a")])
    store.close()
    with Store.open(tmp_path / "store.duckdb", read_only=True) as reader:
        assert reader.workloads() == [WORKLOAD]
        with pytest.raises(InputError, match="refused an operation; got it was opened for reading"):
            reader.add([observation("b")])


def test_a_missing_store_is_not_created_by_reading(tmp_path):
    with pytest.raises(InputError, match="there is no profile store here"):
        Store.open(tmp_path / "none.duckdb", read_only=True)
    assert not (tmp_path / "none.duckdb").exists()


def test_a_file_that_is_no_database_is_refused(tmp_path):
    path = tmp_path / "text.duckdb"
    path.write_text("not a database, but long enough to look at " * 500)
    with pytest.raises(InputError, match="cannot open the profile store"):
        Store.open(path)


def test_another_programmes_database_is_refused(tmp_path):
    path = tmp_path / "other.duckdb"
    with duckdb.connect(str(path)) as other:
        other.execute("CREATE TABLE things (x INTEGER)")
    with pytest.raises(InputError, match="not a profile store; got tables things"):
        Store.open(path)


@pytest.mark.parametrize(
    ("made", "got"),
    [
        ("VIEW queries AS SELECT * FROM read_text('/etc/hostname')", "view queries"),
        ("MACRO sum(x) AS (SELECT content FROM read_text('/etc/hostname'))", "macro sum"),
        ("MACRO duckdb_views() AS TABLE SELECT 1 AS view_name", "macro duckdb_views"),
    ],
)
def test_a_store_with_queries_of_its_own_is_refused_before_they_run(store, tmp_path, made, got):
    """They could read any file of the machine, as that of a job that reviews others' changes."""
    store.close()
    with duckdb.connect(str(tmp_path / "store.duckdb")) as other:
        other.execute("DROP TABLE queries")
        other.execute(f"CREATE {made}")
    for read_only in (False, True):
        with pytest.raises(InputError, match=f"holds queries of its own.*got {got}"):
            Store.open(tmp_path / "store.duckdb", read_only=read_only)


def test_a_newer_schema_is_refused(store, tmp_path):
    store.close()
    with duckdb.connect(str(tmp_path / "store.duckdb")) as other:
        other.execute("UPDATE meta SET version = 99")
    with pytest.raises(InputError, match="written by a newer version"):
        Store.open(tmp_path / "store.duckdb")


def test_a_killed_import_leaves_the_store_readable_and_unchanged(store, tmp_path):
    store.add([observation("a"), observation("b", score=0.0)])
    before = store.profile(WORKLOAD).digest
    store.close()
    path = tmp_path / "store.duckdb"
    child = subprocess.Popen(
        [sys.executable, "-c", _KILLED, str(path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert child.stdout.readline() == b"inside\n"
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    with Store.open(path) as after:
        assert after.profile(WORKLOAD).digest == before
        assert after.add([replace(observation("c"), workload=WORKLOAD)]).added == 1


_KILLED = """
import sys, time
from profiles.observation import Observation
from profiles.store.store import Store
store = Store.open(sys.argv[1])
with store.transaction():
    store.add([Observation("w", f"n{i}", "m/single", 0, 1.0) for i in range(5000)])
    store.record_import("sha256:0", "f", 5000)
    print("inside", flush=True)
    time.sleep(60)
"""


def test_a_block_that_fails_before_anything_is_stored_leaves_no_file(tmp_path):
    path = tmp_path / "new.duckdb"
    with pytest.raises(InputError, match="cannot"), Store.open(path):
        raise InputError("cannot")
    assert list(tmp_path.iterdir()) == []


def test_a_block_that_fails_after_something_was_stored_keeps_it(tmp_path):
    def fails():
        with Store.open(tmp_path / "new.duckdb") as store:
            store.add([observation("a")])
            raise InputError("cannot")

    for _ in range(2):
        with pytest.raises(InputError, match="cannot"):
            fails()
    with Store.open(tmp_path / "new.duckdb") as store:
        assert store.workloads() == [WORKLOAD]


def test_a_store_that_was_there_before_stays_though_it_is_empty(tmp_path):
    path = tmp_path / "old.duckdb"
    Store.open(path).close()
    with pytest.raises(InputError, match="cannot"), Store.open(path):
        raise InputError("cannot")
    assert path.exists()


def test_one_outcome_may_be_measured_at_several_levels_of_concurrency(store):
    rows = [observation("a", concurrency=level, latency_s=1.0) for level in (None, 1, 8)]
    assert store.add(rows).added == 3
    assert store.add(rows).duplicates == 3
    report = store.add([observation("a", latency_s=2.0), observation("a", concurrency=2)])
    assert (report.added, report.duplicates, report.conflicts) == (1, 0, 1)
    assert [row.concurrency for row in store.observations(WORKLOAD)] == [1, 2, 8, None]


def test_columns_are_stored_as_rows_are(store, tmp_path):
    at = datetime(2026, 1, 2, 3, tzinfo=UTC)
    rows = [
        observation("a", cost_usd=0.1, answer="x", observed_at=at),
        observation("b", score=None, concurrency=3, verdict=0.5, evidence=Evidence.LIVE),
    ]
    store.add(rows)
    with Store.open(tmp_path / "other.duckdb") as other:
        assert other.add_table(to_table(rows, Observation)).added == 2
        assert other.observations(WORKLOAD) == store.observations(WORKLOAD) == rows


def test_columns_that_a_table_lacks_are_unknown(store):
    words = {"workload": WORKLOAD, "query_id": "a", "strategy": "m/single", "source": "f",
             "evidence": "replayed"}  # fmt: skip
    table = pa.table({name: [word] for name, word in words.items()} | {"sample": [0]})
    assert store.add_table(table).added == 1
    (row,) = store.observations(WORKLOAD)
    assert (row.score, row.cost_usd, row.evidence) == (None, None, Evidence.REPLAYED)


def test_a_table_with_a_column_that_is_none_of_ours_is_refused(store):
    table = to_table([observation("a")], Observation)
    with pytest.raises(InputError, match=r"none of the store's; expected workload.*got scores"):
        store.add_table(table.append_column("scores", pa.array([1.0])))
    halves = table.drop_columns("calls").append_column("calls", pa.array([1.5]))
    with pytest.raises(InputError, match="calls: a column holds what the store cannot"):
        store.add_table(halves)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"score": 1.01}, "score is in 0..1; got score 1.01 in query bad, strategy m/single"),
        ({"score": float("nan")}, "score is in 0..1"),
        ({"latency_s": float("inf")}, "latency_s is finite and at least 0"),
        ({"cost_usd": -0.1}, "cost_usd is finite and at least 0"),
        ({"cost_usd": 1e308}, "cost_usd is at most 1e+09"),
        ({"latency_s": 1e10}, "latency_s is at most 1e+09"),
        ({"gpu_s": 1e200}, "gpu_s is at most 1e+30"),
        ({"sample": -1}, "sample is at least 0"),
        ({"answer": "x" * 501}, "answer has at most 500 characters"),
        ({"workload": ""}, "workload is no empty text"),
    ],
)
def test_a_row_that_no_observation_can_be_is_refused_with_all_of_its_call(store, change, rule):
    with pytest.raises(InputError, match="1 row breaks a rule") as caught:
        store.add([observation("good"), replace(observation("bad"), **change)])
    assert f"expected {rule}" in str(caught.value)
    assert store.workloads() == []


def test_the_first_text_of_a_query_stays_also_within_one_call(store):
    given = [Query("a"), Query("a", "z"), Query("a", "b", "easy"), Query("a", "z", "hard")]
    report = store.add_queries(WORKLOAD, given)
    assert (report.added, report.duplicates, report.conflicts) == (1, 1, 2)
    assert report.examples == (
        "a: the store holds other values than prompt=b, class_label=easy",
        "a: the store holds other values than prompt=z, class_label=hard",
    )
    assert store.prompts(WORKLOAD) == {"a": "z"}


def test_nothing_added_is_nothing_reported(store):
    empty = to_table([], Observation)
    assert store.add([]) == store.add_table(empty) == store.add_queries(WORKLOAD, []) == AddReport()


def test_set_aside_rows_are_kept_once_with_their_place_and_reason(store):
    rows = [SetAside(3, "score is a word", "a,b" * 1000), SetAside(7, "no query", "{}")]
    for new in (2, 0):
        assert store.quarantine("sha256:1", "f.csv", rows) == new
    store.quarantine("sha256:2", "g.csv", rows[1:])
    kept = store.quarantined("f.csv")
    assert [(row.line, row.reason) for row in kept] == [(3, "score is a word"), (7, "no query")]
    assert len(kept[0].content) == 2000
    assert [row.file for row in store.quarantined()] == ["f.csv", "f.csv", "g.csv"]


def test_an_import_that_fails_leaves_nothing_in_quarantine(store):
    def fails():
        with store.transaction():
            store.quarantine("sha256:1", "f.csv", [SetAside(1, "bad", "x")])
            store.record_import("sha256:1", "f.csv", 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert (store.quarantined(), store.imports()) == ([], [])


def test_the_import_log_names_every_import(store):
    store.record_import("sha256:1", "f.csv", 10)
    (entry,) = store.imports()
    assert (entry.digest, entry.file, entry.rows) == ("sha256:1", "f.csv", 10)
    assert entry.imported_at.tzinfo is UTC


def test_price_cards_are_kept_by_their_day(store):
    for day in (2, 1, 2):
        store.add_price_card(f"sha256:{day}", date(2026, 1, day), "site", '{"m": 1}')
    cards = store.price_cards()
    assert [card.as_of for card in cards] == [date(2026, 1, 1), date(2026, 1, 2)]
    assert cards[0].card == '{"m": 1}'


def test_a_store_of_the_first_version_is_brought_up_to_date_even_for_reading(tmp_path):
    path = tmp_path / "old.duckdb"
    with duckdb.connect(str(path)) as old:
        old.execute(MIGRATIONS[0])
        old.execute("UPDATE meta SET version = 1")
        old.execute(
            "INSERT INTO observations (workload, query_id, strategy, sample, score, evidence, "
            "source) VALUES ('w', 'a', 'm/single', 0, 0.5, 'measured', '')"
        )
    with Store.open(path, read_only=True) as store:
        assert store.observations(WORKLOAD) == [observation("a", score=0.5)]


def test_a_store_that_is_closed_says_so(store):
    store.close()
    with pytest.raises(InputError, match="the store is closed"):
        store.workloads()


KEYS = st.tuples(st.sampled_from("abc"), st.sampled_from(["m/single", "n/single"]),
                 st.integers(0, 1), st.sampled_from([None, 1, 2]))  # fmt: skip


def of_key(query: str, strategy: str, sample: int, level: int | None) -> Observation:
    """Values follow from the key, so rows of one key never disagree."""
    seed = hash((len(query), ord(query), strategy == "m/single", sample, level or 0))
    return observation(query, strategy, sample, concurrency=level, score=seed % 7 / 6,
                       cost_usd=seed % 11 / 10, latency_s=seed % 5 + 0.1)  # fmt: skip


@settings(max_examples=10, deadline=None)
@given(st.lists(KEYS, min_size=1, max_size=30), st.randoms(use_true_random=False), st.data())
def test_order_and_batches_do_not_change_what_is_stored_or_its_cells(keys, shuffle, data):
    rows = [of_key(*key) for key in keys]
    cut = data.draw(st.integers(0, len(rows)))
    whole, parts = Store.open(":memory:"), Store.open(":memory:")
    with whole, parts:
        assert whole.add(rows).conflicts == 0
        shuffle.shuffle(rows)
        reports = [parts.add(rows[:cut]), parts.add_table(to_table(rows[cut:], Observation))]
        assert sum(report.added for report in reports) == len(set(keys))
        assert sum(report.duplicates for report in reports) == len(keys) - len(set(keys))
        assert parts.observations(WORKLOAD) == whole.observations(WORKLOAD)
        assert parts.profile(WORKLOAD).digest == whole.profile(WORKLOAD).digest


@settings(max_examples=10, deadline=None)
@given(st.lists(st.tuples(KEYS, st.sampled_from([0.0, 0.5, None])), min_size=1, max_size=20))
def test_the_first_row_of_a_key_wins_as_a_dictionary_would_have_it(offered):
    expected, duplicates = {}, 0
    for key, score in offered:
        duplicates += key in expected and expected[key] == score
        expected.setdefault(key, score)
    with Store.open(":memory:") as store:
        rows = [replace(of_key(*key), score=score) for key, score in offered]
        report = store.add(rows[:5]) + store.add(rows[5:])
        stored = {(r.query_id, r.strategy, r.sample, r.concurrency): r.score
                  for r in store.observations(WORKLOAD)}  # fmt: skip
    assert stored == expected
    assert (report.added, report.duplicates) == (len(expected), duplicates)
    assert report.conflicts == len(offered) - len(expected) - duplicates
