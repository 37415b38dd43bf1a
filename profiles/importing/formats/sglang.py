"""Output of SGLang's ``bench_serving``: JSON lines, one run each, ``Infinity`` written bare."""

from __future__ import annotations

from pathlib import Path

from profiles.importing.formats.entries import Entry, word
from profiles.importing.formats.found import Found
from profiles.importing.formats.load_test import flat_point, named_model, read_runs
from profiles.notes import Notes
from profiles.observation import Evidence
from profiles.serving import ServingPoint


def read(
    path: Path,
    *,
    workload: str,  # noqa: ARG001 - a load test belongs to no traffic
    notes: Notes,
    evidence: Evidence = Evidence.MEASURED,
    model: str | None = None,
    system: str | None = None,
    gpus: float | None = None,
) -> Found:
    """Read one file.

    The tool does not say which model ran, nor on what: both come from the caller, the model from
    the file's name where nobody says.

    Args:
        path: The ``.jsonl`` that ``--output-file`` names.
        workload: Not used.
        notes: Collects remarks.
        evidence: Where the numbers come from.
        model: Whose speed it is.
        system: The hardware.
        gpus: GPUs in use; without it GPU-seconds stay unknown.

    Raises:
        InputError: Unreadable, or not of this shape.
    """

    def point(line: int, entry: Entry) -> ServingPoint:
        return flat_point(
            line,
            entry,
            latency="e2e_latency",
            model=named_model(entry, model or _from_name(path, entry), path.name),
            backend=word(entry, "backend"),
            system=system,
            gpus=gpus,
            notes=notes,
            evidence=evidence,
            source=path.name,
        )

    found = read_runs(path, notes, point, "sglang bench_serving")
    if model is None and found.serving:
        text = "the tool writes no model: the file's name stands for it"
        notes.add(text, found.serving[0].model, len(found.serving))
    return found


def _from_name(path: Path, entry: Entry) -> str | None:
    return None if word(entry, "model_id", "model_name", "model") else path.stem
