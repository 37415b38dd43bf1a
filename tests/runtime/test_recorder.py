"""Requests become observations on disk: complete files, no waiting, every loss counted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet as pq

from app.cli.main import cli
from profiles.errors import InputError
from profiles.observation import Evidence
from profiles.store.store import Store
from runtime.recording import parquet, recorder, spool
from runtime.recording.record import Record
from runtime.recording.recorder import Recorder, RecorderSettings

NOW_S = 1_790_000_000.25


def record(number: int, **fields: Any) -> Record:
    given = {
        "workload": "sums",
        "query_id": f"r{number}",
        "observed_at_s": NOW_S + number,
        "outcome": "answered",
        "policy": "d1",
        "replica": "a",
        "strategy": "small/single",
        "class_name": "easy",
        "rung": 0,
        "cost_usd": 0.000_001 * number,
        "latency_s": 0.25,
        "tokens_in": 10 + number,
        "tokens_out": 5,
        "tokens_reasoning": 0,
        "calls": 1,
    }
    return Record(**(given | fields))


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Recorder]]:
    made: list[Recorder] = []

    def call(**given: Any) -> Recorder:
        made.append(Recorder(RecorderSettings(folder=given.pop("folder", tmp_path), **given)))
        return made[-1]

    yield call
    for found in made:
        found.close()


@pytest.fixture
def idle_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing leaves the queue before the recorder is closed."""
    monkeypatch.setattr(recorder, "POLL_S", 3600.0)


@pytest.fixture
def quick_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "POLL_S", 0.005)
    monkeypatch.setattr(recorder, "_RETRY_S", 0.0)


def until(fulfilled: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(12_000):
        if fulfilled():
            return
        pause.wait(0.005)
    raise AssertionError("it never came to that")


def read(folder: Path, kind: str = parquet.OBSERVATIONS) -> list[dict[str, Any]]:
    files = sorted((folder / kind).glob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def ids(folder: Path, kind: str = parquet.OBSERVATIONS) -> list[str]:
    return [row["query_id"] for row in read(folder, kind)]


def test_a_registered_folder_holds_the_numbers_that_were_recorded(opened, tmp_path: Path) -> None:
    sent = [record(1, tenant="acme"), record(2, strategy="large/single", tokens_cached=3)]
    sent.append(record(3, outcome="failed", tokens_in=None, tokens_out=None, cost_usd=0.5))
    found = opened()
    for item in sent:
        found.put(item)
    found.close()
    store = tmp_path / "store.duckdb"
    folder = str(tmp_path / parquet.OBSERVATIONS)
    words = ["profile", "register", folder, "--profiles", str(store), "--format", "json"]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert (report["files"], report["rows"]) == (1, 3)
    names = {"class", "outcome", "policy", "replica", "rung", "tenant"}
    assert set(report["ignored"]) == names
    with Store.open(store) as opened_store, opened_store.reading() as sql:
        rows = sql(
            "SELECT query_id, strategy, sample, score, cost_usd, latency_s, tokens_in, tokens_out, "
            "tokens_reasoning, tokens_cached, calls, evidence, workload, observed_at "
            "FROM all_observations ORDER BY query_id",
            [],
        ).fetchall()
    assert rows == [
        (
            item.query_id,
            item.strategy,
            0,
            None,
            item.cost_usd,
            item.latency_s,
            item.tokens_in,
            item.tokens_out,
            item.tokens_reasoning,
            item.tokens_cached,
            item.calls,
            "live",
            "sums",
            datetime.fromtimestamp(item.observed_at_s, UTC).replace(tzinfo=None),
        )
        for item in sent
    ]


def test_an_import_of_scored_records_gets_the_numbers_classes_and_tenants(
    opened, tmp_path: Path
) -> None:
    sent = [record(n, score=n % 2, tenant=f"t{n % 3}", tokens_cached=2) for n in range(1, 41)]
    found = opened()
    for item in sent:
        found.put(item)
    found.close()
    (file,) = (tmp_path / parquet.OBSERVATIONS).iterdir()
    store = tmp_path / "store.duckdb"
    words = ["profile", "import", str(file), "--profiles", str(store), "--workload", "sums"]
    words += ["--evidence", "live", "--group", "tenant", "--report", "json"]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert (report["rows"], report["kept"], report["set_aside"]) == (40, 40, {})
    assert report["groups"] == {"tenant": 40}
    with Store.open(store) as opened_store:
        kept = {row.query_id: row for row in opened_store.observations("sums")}
        profile = opened_store.profile("sums")
    for item in sent:
        row = kept[item.query_id]
        assert (row.score, row.cost_usd, row.latency_s) == (item.score, item.cost_usd, 0.25)
        assert (row.tokens_in, row.tokens_out, row.tokens_cached) == (item.tokens_in, 5, 2)
        assert (row.strategy, row.calls, row.evidence) == ("small/single", 1, Evidence.LIVE)
    assert profile.classes == ("easy",)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.builds(
            Record,
            workload=st.just("sums"),
            query_id=st.text(min_size=1),
            observed_at_s=st.integers(0, 4_000_000_000).map(float),
            outcome=st.sampled_from(["answered", "refused"]),
            policy=st.text(),
            replica=st.text(),
            strategy=st.none() | st.just("small/single"),
            class_name=st.none() | st.text(),
            rung=st.none() | st.integers(0, 9),
            cost_usd=st.none() | st.floats(0, 1e6),
            tokens_in=st.none() | st.integers(0, 2**62),
            tenant=st.none() | st.text(),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_what_a_spool_says_its_parquet_says(tmp_path: Path, records: list[Record]) -> None:
    folder = tmp_path / os.urandom(8).hex()
    folder.mkdir()
    found = spool.Spool(folder)
    found.write([msgspec.json.encode(item) + b"\n" for item in records])
    found.close()
    parquet.convert(found.path)
    for kind in (parquet.OBSERVATIONS, parquet.TURNED_AWAY):
        expected = [item for item in records if (item.strategy is None) == (kind != "observations")]
        rows = read(folder, kind) if expected else []
        assert len(rows) == len(expected)
        for row, item in zip(rows, expected, strict=True):
            assert row["class"] == item.class_name
            assert row["observed_at"].timestamp() == item.observed_at_s
            for name in ("query_id", "outcome", "rung", "cost_usd", "tokens_in", "tenant"):
                assert row[name] == getattr(item, name)


def test_every_field_of_a_record_has_the_type_that_its_column_has() -> None:
    kinds = {int: pa.int64(), float: pa.float64(), str: pa.string()}
    for field in msgspec.structs.fields(Record):
        if field.name in {"outcome", "observed_at_s"}:
            continue
        inside = [
            kind for kind in kinds if kind in (field.type, *getattr(field.type, "__args__", ()))
        ]
        assert parquet._arrow_type(pa, field.name) == kinds[inside[0]], field.name


def test_requests_without_a_strategy_lie_apart_from_observations(opened, tmp_path: Path) -> None:
    found = opened()
    found.put(record(1))
    found.put(record(2, strategy=None, outcome="refused", cost_usd=None))
    found.close()
    assert ids(tmp_path) == ["r1"]
    assert ids(tmp_path, parquet.TURNED_AWAY) == ["r2"]


def test_a_file_ends_after_its_rows_and_a_reader_never_sees_half_of_one(
    opened, quick_writer: None, tmp_path: Path
) -> None:
    found = opened(rows=50)
    seen = []
    for number in range(300):
        found.put(record(number))
        if number % 50 == 49:
            until(lambda: found.waiting == 0)
            seen.append(len(read(tmp_path)))  # each file that has a name can be read whole
    found.close()
    assert sorted(seen) == seen
    assert len(list((tmp_path / parquet.OBSERVATIONS).glob("*.parquet"))) > 1
    assert sorted(ids(tmp_path)) == sorted(f"r{n}" for n in range(300))
    assert (found.written, found.lost) == (300, 0)


def test_a_file_ends_after_its_minutes(opened, quick_writer: None, tmp_path: Path) -> None:
    found = opened(minutes=0.0001)
    found.put(record(1))
    until(lambda: bool(list(tmp_path.glob("observations/*.parquet"))))
    assert ids(tmp_path) == ["r1"]
    assert not found._stop.is_set()


def test_no_file_comes_of_no_requests(opened, tmp_path: Path) -> None:
    opened().close()
    assert list(tmp_path.iterdir()) == []


def test_a_full_queue_loses_records_counts_them_and_makes_nobody_wait(
    opened, idle_writer: None, tmp_path: Path
) -> None:
    found = opened(queue=10)
    for number in range(1000):
        found.put(record(number))
    assert (found.lost, found.waiting) == (990, 10)
    found.close()
    assert (found.written, found.lost) == (10, 990)
    found.put(record(1))  # a request that ends after the recorder
    assert found.lost == 991


def test_prompts_fill_the_queue_by_their_length(
    opened, idle_writer: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "_MOST_WAITING_CHARACTERS", 1000)
    found = opened(prompts=True)
    for number in range(10):
        found.put(record(number, prompt="x" * 400))
    assert (found.waiting, found.lost) == (3, 7)


def test_prompts_and_replies_are_kept_only_where_they_are_asked_for(opened, tmp_path: Path) -> None:
    for asked in (False, True):
        folder = tmp_path / str(asked)
        folder.mkdir()
        found = opened(folder=folder, prompts=asked)
        found.put(record(1, prompt="my secret", reply="its answer"))
        found.close()
        content = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
        assert (b"my secret" in content) == asked
        (row,) = read(folder)
        assert row.get("prompt") == ("my secret" if asked else None)
        assert row.get("reply") == ("its answer" if asked else None)


def test_a_text_that_is_no_unicode_costs_one_record(
    opened, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = opened()
    found.put(record(1, tenant="\ud800"))
    found.put(record(2))
    found.close()
    assert ids(tmp_path) == ["r2"]
    assert (found.written, found.lost) == (1, 1)
    assert "cannot be written" in caplog.text


def test_a_folder_that_goes_is_said_once_and_recording_goes_on_when_it_is_back(
    opened, quick_writer: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    found = opened(folder=folder)
    found.put(record(1))
    until(lambda: found.written == 1)
    folder.rename(tmp_path / "away")
    for number in range(2, 6):
        found.put(record(number))
        until(lambda number=number: found.lost == number)  # the first one went with the folder
    assert found.written == 1
    (tmp_path / "back").mkdir()
    (tmp_path / "back").rename(folder)
    found.put(record(7))
    until(lambda: found.written == 2)
    found.close()
    assert ids(folder) == ["r7"]
    assert found.lost == 5
    assert caplog.text.count("recording stopped") == 1
    assert caplog.text.count("recording again; 5 records are lost") == 1


FULL_DISK = """
import logging, resource, sys
from pathlib import Path
from runtime.recording import recorder
from runtime.recording.record import Record
from runtime.recording.recorder import Recorder, RecorderSettings
recorder.POLL_S, recorder._RETRY_S = 0.005, 0.0
logging.basicConfig(stream=sys.stdout, format="%(message)s")
found = Recorder(RecorderSettings(folder=Path(sys.argv[1])))
def put(numbers):
    for n in numbers:
        found.put(Record("w", f"r{n}", 1.0, "answered", "d", "a", "small/single"))
    while found.waiting:
        pass
resource.setrlimit(resource.RLIMIT_FSIZE, (0, -1))
put(range(100))
while found.lost < 100:
    pass
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, -1))
put(range(100, 200))
while found.lost + found.written < 200:
    pass
partly = found.written
resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
put(range(200, 300))
found.close()
print("counted", partly, found.written, found.lost)
"""


def test_a_full_disk_costs_records_that_are_counted_and_nothing_else(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    partly, written, lost = map(int, lines[-1].split()[1:])
    assert 0 < partly < 100
    assert written + lost == 300
    assert sum("recording stopped" in line for line in lines) <= 2  # once per time it filled up
    assert sum("recording again" in line for line in lines) >= 1
    assert not any("are no records" in line for line in lines)  # no torn line is left
    found = ids(tmp_path)
    assert len(found) == written
    assert {f"r{n}" for n in range(200, 300)} <= set(found)


KILLED = """
import sys
from pathlib import Path
from runtime.recording.record import Record
from runtime.recording.recorder import Recorder, RecorderSettings
found = Recorder(RecorderSettings(folder=Path(sys.argv[1])))
for n in range(1000):
    found.put(Record("w", f"r{n}", 1.0, "answered", "d", "a", "small/single"))
while found.written < 1000:
    pass
print("written", flush=True)
sys.stdin.read()
"""


def killed_gateway(folder: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        process.send_signal(signal.SIGKILL)


def test_after_sigkill_the_next_start_brings_in_what_was_written(opened, tmp_path: Path) -> None:
    killed_gateway(tmp_path)
    (left,) = tmp_path.glob(".*.jsonl")
    with left.open("ab") as file:
        file.write(b'{"workload":"w","query_id":"torn')
    (tmp_path / parquet.OBSERVATIONS).mkdir()
    torn = tmp_path / parquet.OBSERVATIONS / ".x.parquet.1.part"
    torn.write_bytes(b"PAR1")
    found = opened()
    found.put(record(5000))
    found.close()
    assert sorted(ids(tmp_path)) == sorted([*(f"r{n}" for n in range(1000)), "r5000"])
    assert not left.exists()
    assert not torn.exists()


def test_a_spool_that_a_living_gateway_writes_is_no_leftover(opened, tmp_path: Path) -> None:
    first = opened()
    first.put(record(1))
    until(lambda: first.written == 1)
    opened().close()
    assert not (tmp_path / parquet.OBSERVATIONS).exists()
    first.close()
    assert ids(tmp_path) == ["r1"]


def test_a_conversion_killed_before_it_removed_its_spool_counts_nothing_twice(
    opened, tmp_path: Path
) -> None:
    killed_gateway(tmp_path)
    (left,) = tmp_path.glob(".*.jsonl")
    content = left.read_bytes()
    parquet.convert(left)
    left.write_bytes(content)
    opened().close()
    assert len(ids(tmp_path)) == 1000


def test_a_conversion_that_fails_is_said_and_done_again(
    opened, quick_writer: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    in_the_way = tmp_path / parquet.OBSERVATIONS
    in_the_way.write_text("no folder")
    found = opened()
    found.put(record(1))
    found.close()
    assert "not all made Parquet" in caplog.text
    assert found.written == 1
    in_the_way.unlink()
    opened().close()
    assert ids(tmp_path) == ["r1"]


def test_a_file_has_no_name_before_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    with spool.whole_file(path) as part:
        part.write_bytes(b"half")
        assert part.name.startswith(".")  # which readers of folders pass over
        assert not path.exists()
        assert spool.is_locked(part)
        part.write_bytes(b"whole")
    assert path.read_bytes() == b"whole"
    writing = spool.whole_file(path)
    writing.__enter__().write_bytes(b"ha")
    full = OSError("the disk is full")
    assert not writing.__exit__(OSError, full, None)
    assert path.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [path]


def test_a_recorder_without_a_folder_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        Recorder(RecorderSettings(folder=tmp_path / "none"))
    assert refused.value.next_step == "make the folder, and let the gateway's user write in it"


def test_without_pyarrow_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError) as refused:
        Recorder(RecorderSettings(folder=tmp_path))
    assert "inferbudget[record]" in (refused.value.next_step or "")


def test_a_gateway_that_records_does_not_import_pyarrow() -> None:
    code = "import sys, runtime.recording.recorder; sys.exit('pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
