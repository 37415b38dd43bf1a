import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import duckdb
import pytest
from small_worlds import WORKLOAD, observation

from profiles.errors import InputError
from profiles.query import Query
from profiles.store import Store


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
        with pytest.raises(InputError, match="the profile store refused an operation"):
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
from profiles.store import Store
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
