"""What a gateway adds to a request: nginx, ours and the LiteLLM proxy beside no gateway at all.

Every gateway has one core to itself; the clients and the model server share another one. In each
round all candidates run, and each cell (form, time of the upstream, clients) is measured on all of
them one after the other, so that other work on the machine meets all alike. Latencies are added to
those of no gateway in the same round; medians over the rounds. Every reply is checked: status, the
upstream's whole text, and its usage. What the upstream billed and our ledger charged must be equal.

Trust processor time per request and ratios: where the machine has other work, wall times and
latencies hold what that work took (`other_work_share` says how much of both cores).

A candidate whose program is missing is left out and named. With ``--journal`` a run that was killed
goes on where it was.

    python -m benchmarks.gateway_side_by_side [--litellm PROGRAM] [--seconds S] [--rounds N]
        [--clients 1 32 128] [--delays-ms 0 50] [--journal FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnxruntime

from benchmarks import gateways
from benchmarks.fixed_upstream import USD_PER_ANSWER
from benchmarks.gateway_load import taken
from benchmarks.gateways import Gateway
from demo.tasks import problems

RESULT = Path(__file__).parent / "results" / "gateway_side_by_side.json"
CANDIDATES = ("none", "nginx", "inferbudget", "litellm")
FORMS = ("json", "stream")
PROMPTS = 256
SEED = 8
_AIMS = {
    "requests_per_s_per_core_at_32_clients": 5000,
    "times_litellm": 30,
    "added_p50_ms_at_128_clients_50_ms": 1.5,
    "added_p99_ms_at_128_clients_50_ms": 30,
    "memory_mb": 120,
}
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Cell:
    """One load.

    Attributes:
        form: ``json`` or ``stream``.
        delay_ms: What the upstream takes.
        clients: At once, each with one request at a time.
    """

    form: str
    delay_ms: float
    clients: int


@dataclass(slots=True)
class Journal:
    """What was measured so far, a row per cell and candidate, also in a file where one is named."""

    path: Path | None
    rows: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.path and self.path.exists():
            self.rows = [json.loads(line) for line in self.path.read_text().splitlines()]

    def has(self, **key: object) -> bool:
        """Whether a row of this key is there."""
        return any(all(row.get(name) == value for name, value in key.items()) for row in self.rows)

    def put(self, row: Row) -> None:
        """Keep one."""
        self.rows.append(row)
        if self.path:
            with self.path.open("a") as file:
                file.write(json.dumps(row) + "\n")


@dataclass(frozen=True, slots=True)
class Bench:
    """What a run was asked to do.

    Attributes:
        folder: For the files of the gateways.
        litellm: Its program.
        cores: Of the gateways, and of clients and upstream.
        seconds: Of every measured load.
        candidates: By name.
        cells: To measure.
        prompts: JSON file of the clients' prompts.
        journal: Of what is done.
    """

    folder: Path
    litellm: Path
    cores: tuple[int | None, int | None]
    seconds: float
    candidates: tuple[str, ...]
    cells: tuple[Cell, ...]
    prompts: Path
    journal: Journal

    def round(self, number: int) -> None:
        """Measure what this round still lacks."""
        missing = [cell for cell in self.cells if not self._done(number, cell, self.candidates)]
        if not missing:
            return
        with ExitStack() as stack:
            upstream = stack.enter_context(gateways.fixed_upstream(self.cores[1]))
            found = self._started(stack, upstream)
            for gateway in found:
                self._note(number, gateway, "start", start_s=gateway.start_s)
            for cell in missing:
                gateways.set_delay(upstream, cell.delay_ms / 1000)
                for gateway in found:
                    if not self._done(number, cell, [gateway.name]):
                        self._measure(number, cell, gateway, upstream)
            for gateway in found:
                self._note(number, gateway, "end")

    def _started(self, stack: ExitStack, upstream: Gateway) -> list[Gateway]:
        core = self.cores[0]
        start = {
            "nginx": partial(gateways.nginx, upstream, _made(self.folder / "nginx"), core),
            "inferbudget": partial(gateways.inferbudget, upstream, self.folder / "ours", core),
            "litellm": partial(
                gateways.litellm, upstream, self.folder / "litellm", core, self.litellm
            ),
        }
        own = [stack.enter_context(start[name]()) for name in self.candidates if name in start]
        return [upstream, *own]

    def _done(self, number: int, cell: Cell, names: Iterable[str]) -> bool:
        key = {"round": number, **_key(cell)}
        return all(self.journal.has(candidate=name, **key) for name in names)

    def _note(self, number: int, gateway: Gateway, when: str, **more: object) -> None:
        memory = taken(gateway.pid)
        row = {"round": number, "candidate": gateway.name, "when": when, **more}
        self.journal.put({**row, "rss_mb": memory.rss_mb, "peak_mb": memory.peak_mb})

    def _measure(self, number: int, cell: Cell, gateway: Gateway, upstream: Gateway) -> None:
        billed, spent = gateways.bill(upstream), _spent_nano_usd(gateway)
        busy, began = _busy_s(self.cores), time.perf_counter()
        before = taken(gateway.pid).cpu_s + taken(upstream.pid).cpu_s * (gateway is not upstream)
        row = _loaded(cell, gateway, self)
        after = taken(gateway.pid).cpu_s + taken(upstream.pid).cpu_s * (gateway is not upstream)
        wall_s, own_s = time.perf_counter() - began, after - before
        other_s = _busy_s(self.cores) - busy - own_s - row.pop("load_cpu_s")
        row["other_work_share"] = round(max(other_s, 0.0) / wall_s / len(set(self.cores)), 3)
        answers = gateways.bill(upstream) - billed
        if spent is not None:
            charged = (_spent_nano_usd(gateway) or 0) - spent
            row["charged_is_billed"] = charged == answers * round(USD_PER_ANSWER * 1e9)
        self.journal.put({"round": number, "candidate": gateway.name, **_key(cell), **row})
        said = {name: row.get(name) for name in ("cpu_us_per_request", "latency_p50_ms", "wrong")}
        print(number, gateway.name, *_key(cell).values(), said, flush=True)


def _loaded(cell: Cell, gateway: Gateway, bench: Bench) -> Row:
    command = [sys.executable, "-m", "benchmarks.gateway_load", "--url", gateway.url]
    command += ["--model", gateway.model, "--clients", str(cell.clients)]
    command += ["--seconds", str(bench.seconds), "--pid", str(gateway.pid)]
    command += ["--prompts", str(bench.prompts)]
    command += ["--stream"] if cell.form == "stream" else []
    command += ["--key", gateway.key] if gateway.key else []
    core = bench.cores[1]
    pinned = [] if core is None else ["taskset", "-c", str(core)]
    done = subprocess.run([*pinned, *command], capture_output=True, text=True, check=True)  # noqa: S603
    row: Row = json.loads(done.stdout)
    return row


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def _key(cell: Cell) -> Row:
    return {"form": cell.form, "delay_ms": cell.delay_ms, "clients": cell.clients}


def _spent_nano_usd(gateway: Gateway) -> int | None:
    """What our ledger has charged on the policy's budget that never renews; None for the others."""
    if gateway.operator_key is None:
        return None
    scopes = gateways.page(f"{gateway.url}/ledger", gateway.operator_key)["scopes"]
    return int(next(one["spent"] for name, one in scopes.items() if name == "global"))


def _busy_s(cores: Iterable[int | None]) -> float:
    """Processor seconds that anybody has had on these cores."""
    lines = Path("/proc/stat").read_text().splitlines()
    wanted = {"cpu" if core is None else f"cpu{core}" for core in cores}
    fields = [line.split() for line in lines if line.split()[0] in wanted]
    idle = (4, 5)  # and iowait
    ticks = sum(
        int(ticks) for one in fields for at, ticks in enumerate(one[:9]) if 0 < at not in idle
    )
    return ticks / _TICKS_PER_S


def summary(rows: Sequence[Row], cells: Sequence[Cell], names: Sequence[str]) -> list[Row]:
    """Medians over the rounds, per cell and candidate."""
    return [_medians(rows, cell, name) for cell in cells for name in names]


def _medians(rows: Sequence[Row], cell: Cell, name: str) -> Row:
    mine = _of(rows, cell, name)
    bare = {row["round"]: row for row in _of(rows, cell, "none")}
    numbers = sorted({key for row in mine for key, value in row.items() if _counts(key, value)})
    found: Row = {**_key(cell), "candidate": name, "rounds": len(mine)}
    for key in numbers:
        found[key] = _median([row[key] for row in mine if row.get(key) is not None])
    found["requests"] = sum(row["requests"] for row in mine)
    for key in ("wrong", "broken", "late"):
        found[key] = sum(row[key] for row in mine)
    cpu_us = found.get("cpu_us_per_request")
    if cpu_us:
        found["requests_per_s_per_core"] = round(1e6 / cpu_us)
    if name != "none":
        for key in [key for key in numbers if key.endswith("_ms")]:
            found[f"added_{key}"] = _median(_added(mine, bare, key))
    if any("charged_is_billed" in row for row in mine):
        found["charged_is_billed"] = all(row["charged_is_billed"] for row in mine)
    return found


def _added(mine: Sequence[Row], bare: Mapping[int, Row], key: str) -> list[float]:
    """By round, beyond what the same takes without a gateway."""
    pairs = [(row.get(key), bare.get(row["round"], {}).get(key)) for row in mine]
    return [ours - theirs for ours, theirs in pairs if ours is not None and theirs is not None]


def _of(rows: Sequence[Row], cell: Cell, name: str) -> list[Row]:
    key = {**_key(cell), "candidate": name}
    return [row for row in rows if all(row.get(part) == key[part] for part in key)]


def _counts(key: str, value: object) -> bool:
    named = key in {"round", "clients", "delay_ms", "requests", "seconds", "charged_is_billed"}
    return isinstance(value, int | float) and not named


def _median(values: Sequence[float]) -> float | None:
    return round(statistics.median(values), 3) if values else None


def at_rest(rows: Sequence[Row], names: Sequence[str]) -> dict[str, Row]:
    """Start and memory per candidate."""
    found: dict[str, Row] = {}
    for name in names:
        mine = [row for row in rows if row["candidate"] == name]
        starts = [row for row in mine if row.get("when") == "start"]
        ends = [row for row in mine if row.get("when") == "end"]
        found[name] = {
            "start_s": _median([row["start_s"] for row in starts if row["start_s"]]),
            "rss_at_start_mb": _median([row["rss_mb"] for row in starts]),
            "peak_mb": _median([row["peak_mb"] for row in ends]),
        }
    return found


def times_litellm(table: Sequence[Row]) -> list[Row]:
    """Processor time of the LiteLLM proxy over ours, per cell."""
    by_cell: dict[tuple[str, float, int], dict[str, float]] = {}
    for row in table:
        if row.get("cpu_us_per_request"):
            cell = by_cell.setdefault((row["form"], row["delay_ms"], row["clients"]), {})
            cell[row["candidate"]] = row["cpu_us_per_request"]
    return [
        {
            **_key(Cell(*cell)),
            "times_litellm": round(cpu["litellm"] / cpu["inferbudget"], 1),
        }
        for cell, cpu in by_cell.items()
        if {"litellm", "inferbudget"} <= set(cpu)
    ]


def _versions(litellm: Path) -> dict[str, str | None]:
    own = {name: version(name) for name in ("aiohttp", "httptools", "uvicorn", "uvloop")}
    more = {"nginx": _nginx_version(), "litellm": litellm_version(litellm)}
    return {
        "python": platform.python_version(),
        **own,
        "onnxruntime": onnxruntime.__version__,
        **more,
    }


def _nginx_version() -> str | None:
    program = gateways.nginx_program()
    if program is None:
        return None
    said = subprocess.run([program, "-v"], capture_output=True, text=True, check=False)  # noqa: S603
    found = re.search(r"nginx/(\S+)", said.stderr)
    return found[1] if found else None


def litellm_version(program: Path) -> str | None:
    """Of the environment that the program is in, None where it is not there."""
    python = program.parent / "python"
    if not python.exists():
        return None
    code = "from importlib.metadata import version; print(version('litellm'))"
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout.strip() or None


def _present(litellm: Path) -> tuple[tuple[str, ...], dict[str, str]]:
    """The candidates that can run here, and why the others cannot."""
    missing: dict[str, str] = {}
    if not gateways.nginx_program():
        missing["nginx"] = "no program nginx"
    if not litellm.is_file():
        missing["litellm"] = "no program litellm; name it with --litellm"
    return tuple(name for name in CANDIDATES if name not in missing), missing


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--litellm", type=Path, default=Path("litellm"))
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 32, 128])
    parser.add_argument("--delays-ms", type=float, nargs="+", default=[0, 50])
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--journal", type=Path)
    parser.add_argument("--result", type=Path, default=RESULT)
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # else the gateways would live on
    names, left_out = _present(asked.litellm)
    cells = tuple(
        Cell(form, delay_ms, clients)
        for form in asked.forms
        for delay_ms in asked.delays_ms
        for clients in asked.clients
    )
    known = sorted(os.sched_getaffinity(0))
    cores = (known[0], known[1]) if len(known) > 1 else (None, None)
    with tempfile.TemporaryDirectory() as folder:
        prompts = Path(folder) / "prompts.json"
        prompts.write_text(json.dumps([one.prompt for one in problems(SEED, PROMPTS)]))
        bench = Bench(
            Path(folder),
            asked.litellm,
            cores,
            asked.seconds,
            names,
            cells,
            prompts,
            Journal(asked.journal),
        )
        for number in range(asked.rounds):
            bench.round(number)
    table = summary(bench.journal.rows, cells, names)
    result = {
        "rounds": asked.rounds,
        "seconds": asked.seconds,
        "left_out": left_out,
        "aims": _AIMS,
        "at_rest": at_rest(bench.journal.rows, names),
        "times_litellm": times_litellm(table),
        "rows": table,
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "core_of_gateways": cores[0],
            "core_of_clients_and_upstream": cores[1],
            **_versions(asked.litellm),
        },
    }
    asked.result.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({name: result[name] for name in ("at_rest", "times_litellm")}, indent=1))


if __name__ == "__main__":
    main()
