"""The audit log says what was charged, whether it is whole, and what the store should have."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from profiles.errors import InputError
from runtime import audit
from runtime.audit import AuditLog, AuditSettings, Charge, Entry
from runtime.audit_sums import Key, ReplicaLog, Sums, read_sums

ACME = "org:acme|nano_usd|month"
TEAM = "org:acme/team:search|tokens|day"


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., AuditLog]]:
    made: list[AuditLog] = []

    def call(replica: str = "a", **given: Any) -> AuditLog:
        made.append(AuditLog(AuditSettings(folder=tmp_path, **given), replica))
        return made[-1]

    yield call
    for found in made:
        found.close()


@pytest.fixture
def idle_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written before the log is closed."""
    monkeypatch.setattr(audit, "COMMIT_S", 3600.0)


@pytest.fixture
def quick_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "COMMIT_S", 0.002)
    monkeypatch.setattr(audit, "_RETRY_S", 0.002)


def until(fulfilled: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(12_000):
        if fulfilled():
            return
        pause.wait(0.005)
    raise AssertionError("it never came to that")


def is_whole(sums: Sums) -> bool:
    """Whether no entry is known to be missing."""
    return not sums.unreadable_lines and not any(log.missing for log in sums.replicas.values())


def by_account(amounts: dict[Key, int]) -> dict[tuple[str, int], int]:
    """The same over all replicas."""
    found: dict[tuple[str, int], int] = {}
    for (account, epoch, _), amount in amounts.items():
        found[account, epoch] = found.get((account, epoch), 0) + amount
    return found


def put(log: AuditLog, *amounts: int) -> None:
    for amount in amounts:
        log.put("r", 1.5, (Charge(ACME, 100, 2 * amount, amount), Charge(TEAM, 7, 50, 3)))


def line(number: int, amount: int, replica: str = "a") -> bytes:
    return (
        msgspec.json.encode(Entry(number, "r", 1.0, replica, (Charge(ACME, 1, 9, amount),))) + b"\n"
    )


def test_what_was_put_is_what_the_log_adds_up_to(opened, tmp_path: Path) -> None:
    first, second = opened("a"), opened("b")
    put(first, 10, 20)
    put(second, 5)
    first.close()
    second.close()
    sums = read_sums(tmp_path)
    assert sums.charged == {
        (ACME, 100, "a"): 30,
        (TEAM, 7, "a"): 6,
        (ACME, 100, "b"): 5,
        (TEAM, 7, "b"): 3,
    }
    assert by_account(sums.charged) == {(ACME, 100): 35, (TEAM, 7): 9}
    assert by_account(sums.requests) == {(ACME, 100): 3, (TEAM, 7): 3}
    assert is_whole(sums)
    assert (first.written, first.lost, first.waiting) == (2, 0, 0)


def test_a_line_says_all_of_its_request(opened, tmp_path: Path) -> None:
    log = opened()
    log.put("r1", 1_790_000_000.25, (Charge(ACME, 100, 20, 10),))
    log.close()
    (file,) = tmp_path.iterdir()
    assert msgspec.json.decode(file.read_bytes()) == {
        "number": 1,
        "request": "r1",
        "time_s": 1_790_000_000.25,
        "replica": "a",
        "charges": [[ACME, 100, 20, 10]],
    }


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from("ab"),
            st.lists(
                st.tuples(st.text(max_size=5), st.integers(0, 3), st.integers(0, 2**60)), max_size=3
            ),
        ),
        max_size=30,
    ),
    st.integers(0, 2**32),
)
def test_sums_do_not_depend_on_the_order_of_lines_or_on_repeats(
    tmp_path: Path, entries: list[tuple[str, list[tuple[str, int, int]]]], seed: int
) -> None:
    expected: dict[tuple[str, int], int] = {}
    lines, numbers = [], {"a": 0, "b": 0}
    for replica, charges in entries:
        numbers[replica] += 1
        given_charges = tuple(Charge(name, epoch, 0, amount) for name, epoch, amount in charges)
        lines.append(Entry(numbers[replica], "r", 1.0, replica, given_charges))
        for name, epoch, amount in charges:
            expected[name, epoch] = expected.get((name, epoch), 0) + amount
    mixed = [*lines, *lines[::3]]
    random.Random(seed).shuffle(mixed)
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"".join(msgspec.json.encode(item) + b"\n" for item in mixed))
    sums = read_sums(path)
    assert by_account(sums.charged) == expected
    assert is_whole(sums)
    assert sum(log.entries for log in sums.replicas.values()) == len(lines)
    assert sum(log.repeated for log in sums.replicas.values()) == len(lines[::3])


@given(st.lists(st.integers(1, 40), max_size=60))
def test_gaps_are_the_numbers_that_never_came(numbers: list[int]) -> None:
    log = ReplicaLog()
    counted = [number for number in numbers if log.take(number)]
    assert sorted(counted) == sorted(set(numbers))
    missing = {n for first, last in log.gaps for n in range(first, last + 1)}
    assert missing == set(range(1, max(numbers, default=0))) - set(numbers)
    assert log.missing == len(missing)


def test_entries_that_the_queue_has_no_room_for_are_gaps_in_the_log(
    opened, idle_writer: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = opened(queue=10)
    put(log, *range(30))
    assert (log.lost, log.waiting) == (20, 10)
    log.close()
    put(log, 1)  # a request that is settled after the end
    assert log.lost == 21
    assert caplog.text.count("loses entries") == 1
    sums = read_sums(tmp_path)
    assert sums.charged[ACME, 100, "a"] == sum(range(10))


def test_a_gap_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(line(1, 1) + line(4, 1) + b'{"number": 5}\n' + line(6, 1) + b'{"numb')
    sums = read_sums(path)
    assert sums.replicas["a"].gaps == [(2, 3), (5, 5)]
    assert sums.replicas["a"].missing == 3
    assert sums.unreadable == [f"{path}:3"]
    assert sums.torn == 1
    assert not is_whole(sums)
    assert sums.charged == {(ACME, 1, "a"): 3}


def test_a_negative_amount_is_no_entry(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(line(1, -1))
    assert read_sums(path).unreadable_lines == 1


def test_what_has_gathered_is_one_write_and_one_wait_for_the_disk(
    opened, idle_writer: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log = opened()
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_size))
    put(log, *range(1000))
    log.close()
    (file,) = tmp_path.iterdir()
    assert synced == [file.stat().st_size]


def test_nothing_counts_as_written_before_the_disk_has_it(
    opened, quick_writer: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log = opened()

    def failing(_: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", failing)
        put(log, 1, 2)
        until(lambda: log._failing)
        assert (log.written, log.waiting, log.lost) == (0, 2, 0)
    until(lambda: log.written == 2)
    log.close()
    sums = read_sums(tmp_path)
    assert sums.charged[ACME, 100, "a"] == 3
    assert sums.replicas["a"].repeated == 0
    assert is_whole(sums)


def test_a_file_ends_at_its_size_and_the_next_goes_on(
    opened, quick_writer: None, tmp_path: Path
) -> None:
    log = opened(megabytes=0.001)
    for number in range(30):
        put(log, number)
        until(lambda: log.waiting == 0)
    log.close()
    assert len(list(tmp_path.iterdir())) > 2
    sums = read_sums(tmp_path)
    assert sums.charged[ACME, 100, "a"] == sum(range(30))
    assert is_whole(sums)


FULL_DISK = """
import logging, resource, sys
from pathlib import Path
from runtime import audit
from runtime.audit import *
audit.COMMIT_S = audit._RETRY_S = 0.002
logging.basicConfig(stream=sys.stdout, format="%(message)s")
log = AuditLog(AuditSettings(folder=Path(sys.argv[1]), queue=500), "a")
def put(count):
    for n in range(count):
        log.put("r", 1.0, (Charge("acc", 1, 9, 1),))
put(100)
while log.written < 100:
    pass
limit = log._size + 1000  # room for some lines and a part of one
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, -1))
put(1000)
while not log._failing:
    pass
while log.written + log.lost < 600:
    pass
resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
while log.waiting:
    pass
put(10)
log.close()
print("counted", log.written, log.lost)
"""


def test_a_full_disk_makes_entries_wait_and_then_lose_and_never_writes_one_twice(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    written, lost = map(int, lines[-1].split()[1:])
    assert written + lost == 1110
    assert lost > 0
    assert sum("cannot be written" in found for found in lines) == 1
    assert sum("is written again" in found for found in lines) == 1
    sums = read_sums(tmp_path)
    assert sums.charged == {("acc", 1, "a"): written}
    assert sums.replicas["a"].repeated == 0
    assert sums.replicas["a"].missing == lost
    assert (sums.unreadable_lines, sums.torn) == (0, 0)


def test_a_file_that_goes_is_replaced(opened, quick_writer: None, tmp_path: Path) -> None:
    log = opened()
    put(log, 1)
    until(lambda: log.written == 1)
    (file,) = tmp_path.iterdir()
    away = tmp_path.with_name(tmp_path.name + "-away")
    away.mkdir()
    shutil.move(file, away / file.name)
    put(log, 2)
    until(lambda: log.written == 2)
    log.close()
    assert read_sums(tmp_path).charged[ACME, 100, "a"] == 2
    shutil.move(away / file.name, tmp_path)
    assert is_whole(read_sums(tmp_path))


KILLED = """
import sys
from pathlib import Path
from runtime.audit import *
log = AuditLog(AuditSettings(folder=Path(sys.argv[1]), megabytes=0.1), "a")
n = 0
while True:
    n += 1
    while log.waiting > 1000:
        pass
    log.put(str(n), 1.0, (Charge("acc", 1, 9, 1),))
    if n % 500 == 0:
        print(log.written, flush=True)
"""


def test_sigkill_loses_nothing_that_was_said_to_be_on_the_disk(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        said = 0
        while said < 5_000:
            said = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
    sums = read_sums(tmp_path)
    assert sums.charged["acc", 1, "a"] >= said
    assert is_whole(sums)
    assert sums.torn <= 1


def test_a_text_that_is_no_unicode_is_a_gap_and_the_others_stay(opened, tmp_path: Path) -> None:
    log = opened()
    put(log, 1)
    log.put("r", 1.0, (Charge("user:\ud800", 1, 1, 1),))
    put(log, 2)
    log.close()
    assert (log.written, log.lost) == (2, 1)
    sums = read_sums(tmp_path)
    assert sums.charged[ACME, 100, "a"] == 3
    assert sums.replicas["a"].gaps == [(2, 2)]


def test_a_replica_begins_no_second_log_under_one_name(opened) -> None:
    opened("a").close()
    with pytest.raises(InputError, match="takes no file of this replica"):
        opened("a")


@pytest.mark.parametrize("name", ["", "../a", "a/b", "a\n", "a" * 101])
def test_a_name_that_leaves_the_folder_is_refused(opened, name: str) -> None:
    with pytest.raises(InputError, match="no name of a replica"):
        opened(name)


def test_a_log_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such audit log"):
        read_sums(tmp_path / "none")


def test_reading_says_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.audit_sums._PIECE_BYTES", 100)
    for name in ("one", "two"):
        line = {"request": "r", "time_s": 0.5, "replica": name, "charges": [["global", 0, 9, 3]]}
        lines = [json.dumps({"number": number, **line}) + "\n" for number in range(1, 10)]
        (tmp_path / f"{name}.jsonl").write_text("".join(lines) + "no entry\n")
    told: list[tuple[int, int]] = []
    found = read_sums(tmp_path, lambda done, total: told.append((done, total)))
    total = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert told == sorted(told)
    assert len(told) > 4
    assert {each[1] for each in told} == {total}
    assert told[-1][0] == total
    assert found == read_sums(tmp_path)
    assert found.unreadable == [f"{tmp_path / name}.jsonl:10" for name in ("one", "two")]
