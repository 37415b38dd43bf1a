"""Spools become Parquet files, in a process that ends afterwards.

`python -m runtime.recording.parquet SPOOL...`: pyarrow takes 45 MB of memory when it is imported
and as much again when it writes, which a gateway should not carry all day.

A request that a strategy was begun for is an observation (`observations/`). One that was refused
before has no strategy, and no store takes it: it goes to `turned_away/`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from profiles.observation import Evidence
from runtime.recording.record import Record
from runtime.recording.spool import whole_file

OBSERVATIONS = "observations"
TURNED_AWAY = "turned_away"
_RENAMED = {"class_name": "class", "observed_at_s": "observed_at"}
_ONLY_WHERE_GIVEN = ("shadow_class", "shadow_strategy", "prompt", "reply")
_COUNTS = frozenset(
    ("rung", "tokens_in", "tokens_out", "tokens_reasoning", "tokens_cached", "calls")
)
_AMOUNTS = frozenset(("cost_usd", "latency_s", "score"))
_NICENESS = 10

_decoder = msgspec.json.Decoder(Record)


def convert(spool: Path) -> None:
    """Write a spool's records as Parquet beside it, then remove it.

    Twice the same spool makes the same files under the same names.

    Raises:
        OSError: A file cannot be written; the spool stays.
    """
    try:
        content = spool.read_bytes()
    except FileNotFoundError:
        return  # another process was faster
    records = _records(spool, content)
    name = f"{spool.stem.lstrip('.')}.parquet"
    parts = (
        (OBSERVATIONS, [record for record in records if record.strategy]),
        (TURNED_AWAY, [record for record in records if not record.strategy]),
    )
    for folder, rows in parts:
        if rows:
            target = spool.parent / folder
            target.mkdir(exist_ok=True)
            _write(target / name, rows)
    spool.unlink(missing_ok=True)


def _records(spool: Path, content: bytes) -> list[Record]:
    """Those of whole lines; one torn by a kill is none."""
    *lines, torn = content.split(b"\n")
    found, unreadable = [], 0
    for line in lines:
        try:
            found.append(_decoder.decode(line))
        except ValueError:  # msgspec's errors are ValueErrors
            unreadable += 1
    if unreadable or torn:
        print(f"{spool.name}: {unreadable + bool(torn)} lines are no records", file=sys.stderr)
    return found


def _write(path: Path, records: Sequence[Record]) -> None:
    import pyarrow as pa  # noqa: PLC0415 - whoever only reads the names needs none
    from pyarrow import parquet  # noqa: PLC0415

    columns: dict[str, Any] = {}
    for name in Record.__struct_fields__:
        values = [getattr(record, name) for record in records]
        if name in _ONLY_WHERE_GIVEN and not any(values):
            continue
        if name == "observed_at_s":
            values = [datetime.fromtimestamp(value, UTC) for value in values]
        columns[_RENAMED.get(name, name)] = pa.array(values, _arrow_type(pa, name))
    columns["sample"] = pa.array([0] * len(records), pa.int64())
    columns["evidence"] = pa.array([Evidence.LIVE.value] * len(records), pa.string())
    with whole_file(path) as part:
        parquet.write_table(pa.table(columns), part, compression="zstd")


def _arrow_type(pa: Any, name: str) -> Any:
    if name in _COUNTS:
        return pa.int64()
    if name in _AMOUNTS:
        return pa.float64()
    return pa.timestamp("us", "UTC") if name == "observed_at_s" else pa.string()


def main(spools: Sequence[str]) -> int:
    """Convert spools; the exit code is 1 where one could not be."""
    os.nice(_NICENESS)
    failed = 0
    for spool in spools:
        try:
            convert(Path(spool))
        except OSError as error:
            failed = 1
            print(error, file=sys.stderr)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
