"""Many processes and threads on one store, killed ones and full disks included."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from small_worlds import WORKLOAD, observation

from profiles.errors import InputError
from profiles.store.store import Store

ROOT = Path(__file__).parents[2]


def start(code: str, *words: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "store.duckdb"
    with Store.open(path) as store:
        store.add([observation("a"), observation("b", score=0.0)])
    return path


_HOLDER = """
import sys
from profiles.observation import Observation
from profiles.store.store import Store
with Store.open(sys.argv[1]) as store, store.transaction():
    store.add([Observation("w", "held", "m/single", 0, 1.0)])
    print("inside", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(path):
    child = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert child.stdout.readline() == b"inside\n"
    yield child
    if child.poll() is None:
        child.communicate(b"\n")


def test_a_process_that_waited_too_long_says_who_has_the_store(path, holder):
    with pytest.raises(InputError, match="the profile store is in use") as caught:
        Store.open(path, read_only=True, wait_s=0.1)
    assert f"PID {holder.pid}" in str(caught.value)
    assert "within 0.1 s" in str(caught.value)


def test_a_reader_waits_for_the_end_of_another_process_transaction(path, holder):
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(lambda: Store.open(path, read_only=True).measured(WORKLOAD))
        holder.communicate(b"\n")
        assert ("held", "m/single", 0) in reading.result(timeout=60)


def test_an_open_store_that_does_nothing_keeps_nobody_out(path):
    with Store.open(path) as store:
        code = "import sys; from profiles.store.store import Store; "
        code += "print(len(Store.open(sys.argv[1], wait_s=0.5).measured('w')))"
        out, err = start(code, path).communicate(timeout=60)
        assert (out, err) == (b"2\n", b"")
        assert len(store.measured(WORKLOAD)) == 2


_WRITER = """
import sys
from profiles.observation import Observation
from profiles.store.store import Store
name = sys.argv[2]
with Store.open(sys.argv[1]) as store:
    for turn in range(8):
        store.add([Observation("w", f"{name}-{turn}-{i}", "m/single", 0, 1.0) for i in range(5)])
        store.add([Observation("w", f"shared-{turn}", "m/single", 0, 1.0)])
"""


def test_processes_that_write_at_the_same_time_lose_nothing_and_repeat_nothing(tmp_path):
    path = tmp_path / "new.duckdb"  # all of them find no file at first
    children = [start(_WRITER, path, name) for name in "xyz"]
    errors = [child.communicate(timeout=120)[1] for child in children]
    assert errors == [b"", b"", b""]
    with Store.open(path, read_only=True) as store:
        rows = [(row.query_id, row.sample) for row in store.observations(WORKLOAD)]
    assert len(rows) == len(set(rows)) == 3 * 8 * 5 + 8


def test_a_reader_sees_whole_batches_while_another_process_writes(path):
    writer = start(_WRITER, path, "x")
    seen = []
    with Store.open(path, read_only=True) as store:
        while writer.poll() is None:
            seen.append(sum(query.startswith("x-") for query, _, _ in store.measured(WORKLOAD)))
        seen.append(sum(query.startswith("x-") for query, _, _ in store.measured(WORKLOAD)))
    assert writer.communicate() == (b"", b"")
    assert seen == sorted(seen)
    assert all(count % 5 == 0 for count in seen)
    assert seen[-1] == 8 * 5


def test_threads_share_a_store(path):
    with Store.open(path) as store:

        def work(name: int) -> int:
            for turn in range(5):
                store.add([observation(f"{name}-{turn}"), observation(f"shared-{turn}")])
                assert len(store.measured(WORKLOAD)) >= 2 * turn
            return len(store.observations(WORKLOAD))

        with ThreadPoolExecutor(4) as pool:
            counts = list(pool.map(work, range(4)))
        assert max(counts) == len(store.measured(WORKLOAD)) == 2 + 4 * 5 + 5


def test_readers_of_the_same_process_do_not_see_an_open_transaction(path):
    with Store.open(path) as writer, Store.open(path, read_only=True) as reader:
        with writer.transaction(), ThreadPoolExecutor(1) as pool:
            writer.add([observation("c")])
            assert len(pool.submit(reader.measured, WORKLOAD).result(timeout=60)) == 2
        assert len(reader.measured(WORKLOAD)) == 3


def test_several_reads_in_one_block_see_one_state(path):
    with ThreadPoolExecutor(1) as pool, Store.open(path) as store, store.reading() as execute:
        before = execute("SELECT count(*) FROM all_observations", []).fetchone()
        adding = pool.submit(store.add, [observation("c")])
        time.sleep(0.1)
        assert execute("SELECT count(*) FROM all_observations", []).fetchone() == before == (2,)
        with pytest.raises(InputError, match="a block that reads cannot write"):
            store.add([observation("d")])
        assert not adding.done()


def test_two_threads_that_write_take_turns_and_the_second_gives_up_in_time(path):
    first, second = Store.open(path), Store.open(path, wait_s=0.1)
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with first.transaction():
            inside.set()
            assert leave.wait(60)

    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(hold)
        assert inside.wait(60)
        with pytest.raises(InputError, match="got a thread of this process"):
            second.add([observation("c")])
        leave.set()
        holding.result(timeout=60)
    assert second.add([observation("c")]).added == 1


_IMPORT = """
import sys
from pathlib import Path
from profiles.observation import Observation
from profiles.query import Query
from profiles.store.store import Store
with Store.open(sys.argv[1]) as store:
    print("open", flush=True)
    with store.transaction():
        rows = (Observation("w", f"n{i}", "m/single", 0, 1.0, 0.5) for i in range(6_000))
        store.add(rows)
        store.add_queries("w", [Query(f"n{i}", "text") for i in range(6_000)])
        store.record_import("sha256:0", "f", 6_000)
"""


def test_an_import_killed_at_any_moment_happened_wholly_or_not_at_all(path):
    clock = random.Random(0)
    with Store.open(path) as store:
        before = store.profile(WORKLOAD).digest
    for _ in range(6):
        child = start(_IMPORT, path)
        assert child.stdout.readline() == b"open\n"
        time.sleep(clock.uniform(0, 0.3))
        os.kill(child.pid, signal.SIGKILL)
        child.communicate()
        with Store.open(path) as store:
            rows = len(store.measured(WORKLOAD))
            done = store.has_import("sha256:0")
            assert (rows, len(store.prompts(WORKLOAD))) == ((6_002, 6_000) if done else (2, 0))
            if not done:
                assert store.profile(WORKLOAD).digest == before
    if not done:
        assert start(_IMPORT, path).communicate(timeout=60) == (b"open\n", b"")
        assert Store.open(path).has_import("sha256:0")


def test_the_log_of_a_killed_writer_is_read_without_writing(path):
    code = "import sys, os; from profiles.store.store import Store; import small_worlds as w; "
    code += "s = Store.open(sys.argv[1]); c = s._session; "
    code += "t = c.transaction(write=True, prepare=s._registry.create_view); t.__enter__(); "
    code += "c.execute('PRAGMA disable_checkpoint_on_shutdown'); s.add([w.observation('c')]); "
    code += "c.execute('COMMIT'); os.kill(os.getpid(), 9)"
    child = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
        check=False,
    )
    assert child.returncode == -signal.SIGKILL
    assert path.with_name("store.duckdb.wal").exists()
    with Store.open(path, read_only=True) as reader:
        assert len(reader.measured(WORKLOAD)) == 3


_FULL = """
import resource, sys
from profiles.errors import InputError
from profiles.observation import Observation
from profiles.store.store import Store
with Store.open(sys.argv[1]) as store:
    resource.setrlimit(resource.RLIMIT_FSIZE, (700_000, 700_000))
    try:
        store.add(Observation("w", f"n{i}-{hash(str(i))}", "m/single", 0, i / 60_000, i * 0.37)
                  for i in range(60_000))
    except InputError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of file sizes are POSIX's")
def test_a_disk_that_is_full_is_said_and_leaves_the_store_as_it_was(path):
    with Store.open(path) as store:
        before = store.profile(WORKLOAD).digest
    out, err = start(_FULL, path).communicate(timeout=120)
    assert b"the profile store refused an operation" in out, err
    assert err == b""
    with Store.open(path) as store:
        assert store.profile(WORKLOAD).digest == before
        assert store.add([observation("c")]).added == 1
