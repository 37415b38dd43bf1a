"""Parquet folders that are part of a store and stay where they are."""

import os
import shlex
from dataclasses import asdict
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from small_worlds import WORKLOAD, observation

from app.cli.main import cli
from profiles.errors import InputError
from profiles.observation import Evidence
from profiles.query import Query
from profiles.store.records import to_table
from profiles.store.store import Store


def table(*rows):
    return to_table(rows, type(rows[0]))


def write(folder, name, content):
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(content, folder / name)


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "store.duckdb") as opened:
        opened.add([observation("a"), observation("b", score=0.0)])
        yield opened


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "measured elsewhere's"
    at = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    rows = [observation("c", score=0.5, cost_usd=0.25, answer="7", observed_at=at)]
    write(folder, "one.parquet", table(*rows))
    write(folder / "deeper", "two.parquet", table(observation("d", concurrency=4)))
    return folder


def test_everything_that_reads_sees_stored_and_registered_rows(store, folder, tmp_path):
    report = store.register_folder(folder)
    assert (report.files, report.rows, report.missing, report.ignored) == (2, 2, (), ())
    with Store.open(tmp_path / "store.duckdb", read_only=True) as reader:
        assert [row.query_id for row in reader.observations(WORKLOAD)] == ["a", "b", "c", "d"]
        third = reader.observations(WORKLOAD)[2]
        assert third.observed_at == datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
        assert third.evidence is Evidence.MEASURED
        assert ("d", "m/single", 0) in reader.measured(WORKLOAD)
        assert ("c", "m/single", 0.5) in reader.mean_scores(WORKLOAD)
        assert reader.profile(WORKLOAD).queries == 4


def test_a_store_gives_the_same_profile_whether_rows_are_stored_or_registered(
    store, folder, tmp_path
):
    store.register_folder(folder)
    with Store.open(tmp_path / "other.duckdb") as other:
        other.add(store.observations(WORKLOAD))
        assert other.profile(WORKLOAD).digest == store.profile(WORKLOAD).digest


def test_a_workload_that_is_only_registered_is_one_too(folder, tmp_path):
    with Store.open(tmp_path / "new.duckdb") as store:
        store.register_folder(folder)
        store.add_queries(WORKLOAD, [Query("c", "text"), Query("d", "text")])
        assert store.workloads() == [WORKLOAD]
        assert store.profile(WORKLOAD).queries == 2


def test_a_profile_changes_with_the_content_of_a_folder(store, folder):
    store.register_folder(folder)
    before = store.profile(WORKLOAD).digest
    write(folder, "three.parquet", table(observation("e", score=0.125)))
    after = store.profile(WORKLOAD)
    assert after.digest != before
    assert after.queries == 5
    (folder / "three.parquet").unlink()
    assert store.profile(WORKLOAD).digest == before


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (observation("e", score=1.5), "score is in 0..1; got score 1.5 in query e"),
        (observation("e", score=float("nan")), "score is in 0..1"),
        (observation("e", verdict=-0.1), "verdict is in 0..1"),
        (observation("e", cost_usd=float("inf")), "cost_usd is finite and at least 0"),
        (observation("e", tokens_in=-1), "tokens_in is at least 0"),
        (observation("e", concurrency=0), "concurrency is at least 1"),
        (observation(""), "query_id is no empty text"),
        (observation("e", strategy="m/best_of_n(verifier=v, n=2)"), "not in its canonical form"),
        (observation("c", score=0.5), "several rows of the folder have one key"),
        (observation("a"), "rows of the folder are in the store already"),
        (observation("b", score=0.25), "rows of the folder are in the store already"),
    ],
)  # fmt: skip
def test_a_folder_with_one_bad_row_is_refused_with_the_row(store, folder, row, words):
    write(folder, "bad.parquet", table(row))
    for attempt in (store.check_folder, store.register_folder):
        with pytest.raises(InputError) as caught:
            attempt(folder)
        assert words in str(caught.value)
        assert str(folder) in str(caught.value)
    assert store.folders() == []


def test_a_key_may_not_be_unknown(store, folder):
    write(folder, "bad.parquet", table(observation("e")).set_column(1, "query_id", pa.nulls(1)))
    with pytest.raises(InputError, match=r"query_id|cannot be used"):
        store.register_folder(folder)


def test_bad_rows_that_come_later_are_refused_when_they_are_read(store, folder):
    store.register_folder(folder)
    write(folder, "later.parquet", table(observation("a", score=0.5)))
    with pytest.raises(InputError, match="in the store already"):
        store.observations(WORKLOAD)
    (folder / "later.parquet").unlink()
    assert len(store.observations(WORKLOAD)) == 4


def test_rows_of_a_folder_are_not_stored_again(store, folder):
    store.register_folder(folder)
    report = store.add([observation("d", concurrency=4), observation("d"), observation("c")])
    assert (report.added, report.duplicates, report.conflicts) == (1, 1, 1)
    assert len(store.observations(WORKLOAD)) == 5


def test_a_folder_may_not_repeat_another(store, folder, tmp_path):
    store.register_folder(folder)
    write(tmp_path / "second", "one.parquet", table(observation("d", concurrency=4)))
    with pytest.raises(InputError, match="in the store already"):
        store.register_folder(tmp_path / "second")
    for inside in (folder / "deeper", tmp_path):
        with pytest.raises(InputError, match="a registered one are inside each other"):
            store.register_folder(inside, workload="x", evidence=Evidence.LIVE)


def test_files_with_few_columns_leave_the_others_unknown_and_unknown_ones_aside(store, tmp_path):
    content = pa.table(
        {"query_id": [7], "strategy": ["m/single"], "sample": [0.0], "score": [True],
         "note": ["x"], "latency_s": pa.array([2.5], pa.float32()),
         "observed_at": pa.array([datetime(2026, 1, 1, tzinfo=UTC)], pa.timestamp("ms", "CET"))}
    )  # fmt: skip
    write(tmp_path / "few", "x.parquet", content)
    with pytest.raises(InputError, match="no file has a column workload\n  next: give --workload"):
        store.register_folder(tmp_path / "few")
    with pytest.raises(InputError, match="give --evidence"):
        store.register_folder(tmp_path / "few", workload="few")
    report = store.register_folder(tmp_path / "few", workload="few", evidence=Evidence.LIVE)
    assert report.ignored == ("note",)
    assert "cost_usd" in report.missing
    (row,) = store.observations("few")
    assert asdict(row) == asdict(
        observation("7", latency_s=2.5, evidence=Evidence.LIVE, source=str(tmp_path / "few"),
                    observed_at=datetime(2026, 1, 1, tzinfo=UTC))
    ) | {"workload": "few"}  # fmt: skip


def test_values_that_a_cast_would_change_are_refused(store, folder):
    half = table(observation("e")).drop_columns("tokens_in")
    write(folder, "bad.parquet", half.append_column("tokens_in", pa.array([1.5])))
    with pytest.raises(InputError, match=r"tokens_in counts something.*got 1\.5"):
        store.register_folder(folder)
    text = half.drop_columns("score").append_column("score", pa.array(["0.5"]))
    for file in folder.rglob("*.parquet"):
        file.unlink()
    write(folder, "bad.parquet", text)
    with pytest.raises(InputError, match="column score has a type that cannot be used"):
        store.register_folder(folder)


def test_a_workload_for_files_that_name_their_own_is_refused(store, folder):
    with pytest.raises(InputError, match="a column workload of their own; got --workload x"):
        store.register_folder(folder, workload="x")


def test_a_folder_that_vanished_is_named_with_the_command_that_takes_it_out(store, folder):
    store.register_folder(folder)
    folder.rename(folder.with_name("moved"))
    with pytest.raises(InputError, match="there is no such folder") as caught:
        store.observations(WORKLOAD)
    words = shlex.split(caught.value.next_step.partition(" with ")[2])
    assert words == ["inferbudget", "profile", "register", str(folder), "--remove", "--profiles",
                     "STORE"]  # fmt: skip
    assert [found.path for found in store.folders()] == [folder]
    store.unregister_folder(folder)
    assert len(store.observations(WORKLOAD)) == 2
    with pytest.raises(InputError, match="this folder is not registered"):
        store.unregister_folder(folder)


def test_files_that_are_hidden_or_still_written_are_left_out(store, folder):
    write(folder, ".half.parquet", table(observation("e")))
    write(folder / "_temporary", "x.parquet", table(observation("e")))
    (folder / "notes.txt").write_text("no rows")
    assert store.register_folder(folder).rows == 2


def test_a_folder_without_a_parquet_file_is_refused(store, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="the folder holds no Parquet file"):
        store.register_folder(tmp_path / "empty")


def test_a_file_that_is_no_parquet_is_named(store, folder):
    (folder / "broken.parquet").write_bytes(b"PAR1 but not really PAR1")
    with pytest.raises(InputError, match=r"broken\.parquet"):
        store.register_folder(folder)


def test_the_command_registers_shows_and_removes(store, folder, tmp_path):
    words = ["profile", "register", str(folder), "--profiles", str(tmp_path / "store.duckdb")]
    done = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert "2 observations in 2 files, read in place" in done.output
    os.utime(folder / "one.parquet", (0, 0))
    again = CliRunner().invoke(cli, [*words, "--format", "json"], catch_exceptions=False)
    assert '"rows": 2' in again.output
    assert len(store.folders()) == 1
    assert CliRunner().invoke(cli, [*words, "--remove"]).output == ""
    assert store.folders() == []
