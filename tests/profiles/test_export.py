"""Exports: complete files that other tools read and other stores take back."""

import json
from datetime import UTC, datetime

import duckdb
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from small_worlds import WORKLOAD, observation

from app.cli.main import cli
from profiles.aggregate import Aggregate
from profiles.errors import InputError
from profiles.importing.importers import import_file
from profiles.query import Query, QueryGroup
from profiles.store.export import export_table
from profiles.store.groups import add_groups
from profiles.store.store import Store

AT = datetime(2026, 1, 2, 3, 4, 5, 678_900, tzinfo=UTC)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "store.duckdb"
    with Store.open(path) as store:
        store.add(
            observation(f"q{index}", strategy, score=(index % 4) / 3, cost_usd=0.1 + index / 7,
                        latency_s=1 / (index + 3), tokens_in=index + 1, observed_at=AT, calls=1)
            for index in range(40) for strategy in ("m/single", "n/best_of_n(n=2,verifier=v)")
        )  # fmt: skip
        store.add([observation("other", source="x")])
        store.add_queries(WORKLOAD, [Query(f"q{i}", f'say "{i}", ü') for i in range(40)])
        store.add_aggregates([Aggregate(WORKLOAD, "all", "big/single", 10, 0.5, source="paper")])
    return path


def run(*words):
    done = CliRunner().invoke(cli, ["profile", "export", *map(str, words)], catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def exported(path, output, *more):
    assert run("--profiles", path, "--workload", WORKLOAD, "-o", output, *more) == ""
    return output


def test_an_exported_folder_registered_elsewhere_gives_the_same_profile(path, tmp_path):
    (tmp_path / "out").mkdir()
    exported(path, tmp_path / "out" / "rows.parquet")
    with Store.open(path) as store, Store.open(tmp_path / "new.duckdb") as new:
        assert new.register_folder(tmp_path / "out").missing == ()
        assert new.observations(WORKLOAD) == store.observations(WORKLOAD)
        new.add_aggregates(store.aggregates(WORKLOAD))
        assert new.profile(WORKLOAD).digest == store.profile(WORKLOAD).digest


def test_exporting_again_what_was_registered_gives_the_same_rows(path, tmp_path):
    (tmp_path / "out").mkdir()
    first = exported(path, tmp_path / "out" / "rows.parquet")
    with Store.open(tmp_path / "new.duckdb") as new:
        new.register_folder(tmp_path / "out")
    second = exported(tmp_path / "new.duckdb", tmp_path / "again.parquet")
    assert pq.read_table(first).to_pylist() == pq.read_table(second).to_pylist()
    assert pq.read_schema(first).names == pq.read_schema(second).names
    assert pq.read_schema(first).types == pq.read_schema(second).types


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl", "json"])
def test_an_exported_file_imported_elsewhere_gives_the_same_profile(path, tmp_path, suffix):
    file = exported(path, tmp_path / f"rows.{suffix}")
    with Store.open(path) as store, Store.open(tmp_path / "new.duckdb") as new:
        known = {row.query_id: row for row in store.observations(WORKLOAD)}
        report = import_file(
            new, file, workload=WORKLOAD, evidence=known["q0"].evidence,
            columns={"query": "query_id", "strategy": "strategy"},
        )  # fmt: skip
        assert report.added == 81, report.notes
        new.add_aggregates(store.aggregates(WORKLOAD))
        assert new.profile(WORKLOAD).digest == store.profile(WORKLOAD).digest


GROUPS = [
    QueryGroup("q0", "tenant", "01"), QueryGroup("q1", "tenant", 'a "quoted", one'),
    QueryGroup("q2", 'odd "name"', "1.50"), QueryGroup("q0", 'odd "name"', "2026-01-02"),
    QueryGroup("q3", "lang", "TRUE"),
]  # fmt: skip


def groups_of(store):
    with store.reading() as execute:
        return execute("SELECT * FROM query_groups ORDER BY ALL", []).fetchall()


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl", "json"])
def test_classes_and_groups_of_queries_survive_export_and_import(path, tmp_path, suffix):
    with Store.open(path) as store:
        add_groups(store, WORKLOAD, GROUPS)
        add_groups(store, "elsewhere", [QueryGroup("q0", "never", "seen")])
        store.add_queries(WORKLOAD, [Query("labelled", "p", "hard"), Query("other", "o", "easy")])
        store.add([observation("labelled")])
    rows = exported(path, tmp_path / f"rows.{suffix}")
    queries = exported(path, tmp_path / f"queries.{suffix}", "--what", "queries")
    words = [
        "profile", "import", rows, "--prompts", queries, "--columns", "class=class_label",
        "--profiles", tmp_path / "new.duckdb", "--workload", WORKLOAD,
        *(word for name in ("tenant", "lang", 'odd "name"') for word in ("--group", name)),
    ]  # fmt: skip
    done = CliRunner().invoke(cli, [*map(str, words)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    again = [*map(str, ("--profiles", tmp_path / "new.duckdb", "--workload", WORKLOAD))]
    stdout = ("-o", "-", "--what", "queries")
    assert run(*again, *stdout) == run("--profiles", path, "--workload", WORKLOAD, *stdout)
    with Store.open(path) as store, Store.open(tmp_path / "new.duckdb") as new:
        assert groups_of(new) == [row for row in groups_of(store) if row[0] == WORKLOAD]
        assert len(groups_of(new)) == len(GROUPS)


def test_a_column_of_groups_that_is_called_like_another_column_is_refused(path, tmp_path):
    with Store.open(path) as store:
        add_groups(store, WORKLOAD, [QueryGroup("q0", "Prompt", "x")])
        with pytest.raises(InputError, match="two columns of this export would have one name"):
            export_table(store, "queries", WORKLOAD, tmp_path / "queries.csv")


def test_times_say_that_they_are_utc(path, tmp_path):
    column = pq.read_schema(exported(path, tmp_path / "rows.parquet")).field("observed_at")
    assert str(column.type) == "timestamp[us, tz=UTC]"
    lines = exported(path, tmp_path / "rows.jsonl").read_text().splitlines()
    times = {json.loads(line)["observed_at"] for line in lines}
    assert times == {"2026-01-02T03:04:05.678900Z", None}


def test_a_dash_writes_json_lines_to_stdout(path, tmp_path):
    out = run("--profiles", path, "--workload", WORKLOAD, "-o", "-")
    rows = [json.loads(line) for line in out.splitlines()]
    file = exported(path, tmp_path / "rows.jsonl").read_text().splitlines()
    assert rows == [json.loads(line) for line in file]
    assert [rows[0]["query_id"], rows[0]["cost_usd"]] == ["other", None]


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl", "json"])
@pytest.mark.parametrize(("what", "count"), [("queries", 40), ("aggregates", 1), ("cells", 3)])
def test_queries_published_cells_and_cells_are_exported(path, tmp_path, what, count, suffix):
    file = exported(path, tmp_path / f"it.{suffix}", "--what", what)
    with duckdb.connect() as reader:
        assert reader.sql(f"FROM '{file}'").count("*").fetchall() == [(count,)]
    lines = run("--profiles", path, "--workload", WORKLOAD, "-o", "-", "--what", what)
    assert len(lines.splitlines()) == count


def test_a_suffix_without_a_format_is_refused_and_nothing_is_left(path, tmp_path):
    with Store.open(path) as store:
        with pytest.raises(InputError, match=r"names no format; expected \.parquet, .*got \.xlsx"):
            export_table(store, "observations", WORKLOAD, tmp_path / "rows.xlsx")
        old = tmp_path / "rows.csv"
        old.write_text("old")
        with pytest.raises(InputError, match="the store holds no observations"):
            export_table(store, "observations", "unknown", old)
        with pytest.raises(InputError, match=r"rows\.csv"):
            export_table(store, "observations", WORKLOAD, tmp_path / "none" / "rows.csv")
    assert old.read_text() == "old"
    assert {file.name for file in tmp_path.iterdir()} == {"store.duckdb", "rows.csv"}
