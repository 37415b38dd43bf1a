"""Recorded traffic from a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from profiles.errors import InputError

if TYPE_CHECKING:
    from profiles.arrival import Arrival


def read_trace(path: Path, mapping: str | None) -> tuple[list[Arrival], list[str]]:
    """Requests of a trace, and what its reader has to say.

    Args:
        path: The file.
        mapping: How it is read: a file, or a name of the mappings that come with the product; by
            the names of its columns where absent.

    Raises:
        InputError: Not readable, or not recorded traffic.
    """
    from profiles.importing.importers import read_outcomes
    from profiles.importing.mapping import RecordKind, TableMapping, load_mapping

    rules = load_mapping(mapping) if mapping else TableMapping(kind=RecordKind.TRAFFIC)
    outcomes = read_outcomes(path, workload="trace", mapping=rules)
    if outcomes.kind != RecordKind.TRAFFIC.value:
        raise InputError(
            "this mapping does not read recorded traffic",
            where="--mapping",
            expected="kind: traffic",
            got=f"kind: {outcomes.kind}",
        )
    return list(outcomes.arrivals), [str(note) for note in outcomes.notes]
