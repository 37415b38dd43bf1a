"""Sample logs of lm-evaluation-harness: ``samples_<task>_<date>.jsonl`` of ``--log_samples``.

A line is one document under one filter. ``filtered_resps`` holds what the filter made of the
answers, and the metric is of that: with several repeats a ``maj@8`` filter is a vote over eight
answers, not a single one. The sibling ``results_<date>.json`` names the model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from profiles.errors import InputError
from profiles.importing.formats.entries import Entry, Figures, part, read_entries, set_aside, word
from profiles.importing.formats.found import Found, SetAside
from profiles.importing.numbers import BadNumberError, read_number
from profiles.importing.spelling import strategy_text
from profiles.notes import Kind, Notes
from profiles.observation import LONGEST_ANSWER, Evidence, Observation
from profiles.query import Query

_NAME = re.compile(r"samples_(?P<task>.+?)_(?P<date>\d{4}-\d{2}-\d{2}T[\d.\-]+)\.jsonl")
_MAJORITY = re.compile(r"maj(?:ority)?@(\d{1,6})")
_MODEL_ARGUMENT = re.compile(r"(?:^|,)(?:pretrained|model|engine)=([^,]+)")
_REQUIRED = ("doc_id", "filtered_resps")
_OURS = frozenset(
    (
        "doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics",
        "doc_hash", "prompt_hash", "target_hash", "task_name",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Log:
    """One file's lines and what its name and its sibling say."""

    path: Path
    task: str
    rows: tuple[tuple[int, Entry], ...]
    aside: tuple[SetAside, ...]
    model: str | None
    observed_at: datetime | None


def read(
    path: Path,
    *,
    workload: str,
    notes: Notes,
    evidence: Evidence = Evidence.MEASURED,
    metric: str | None = None,
    filter: str | None = None,  # noqa: A002 - the harness's own word
    model: str | None = None,
) -> Found:
    """Read one log, or every ``samples_*.jsonl`` of a folder with the task as class.

    Args:
        path: The log or the folder.
        workload: The traffic these documents belong to.
        notes: Collects remarks.
        evidence: Where the numbers come from.
        metric: Which metric is the score; needed where lines have several.
        filter: Which filter's lines count; needed where the log has several.
        model: Overrules the name in ``results_<date>.json``.

    Raises:
        InputError: Unreadable, not of this shape, several metrics or filters and none chosen, or
            no model is named.
    """
    paths = sorted(path.glob("samples_*.jsonl")) if path.is_dir() else [path]
    if not paths:
        raise InputError("the folder has no samples_*.jsonl", where=str(path))
    logs = [_open(item, notes) for item in paths]
    metrics = _chosen("metric", metric, [_metrics(log) for log in logs], path)
    filters = _chosen("filter", filter, [_filters(log) for log in logs], path)
    readers = [
        _Reader(log, workload, its_metric, its_filter, model, evidence, notes)
        for log, its_metric, its_filter in zip(logs, metrics, filters, strict=True)
    ]
    parts = [reader.found(labelled=len(logs) > 1) for reader in readers]
    return Found(
        observations=tuple(row for found in parts for row in found.observations),
        queries=tuple(row for found in parts for row in found.queries),
        rows=sum(found.rows for found in parts),
        set_aside=tuple(row for found in parts for row in found.set_aside),
    )


def _open(path: Path, notes: Notes) -> _Log:
    entries = read_entries(path, notes)
    rows = tuple((n, row) for n, row in entries.rows if all(key in row for key in _REQUIRED))
    if not rows:
        raise InputError(
            "this is not a sample log of lm-evaluation-harness",
            where=entries.name,
            expected=f"lines with {', '.join(_REQUIRED)}",
            got=f"the keys {', '.join(list(entries.rows[0][1])[:12]) or 'of an empty object'}",
        )
    known = {number for number, _ in rows}
    aside = entries.set_aside + tuple(
        set_aside(n, "no doc_id or no filtered_resps", row)
        for n, row in entries.rows
        if n not in known
    )
    named = _NAME.fullmatch(path.name)
    task = named["task"] if named else path.stem
    model, observed_at = _results(path, named["date"]) if named else (None, None)
    return _Log(path, task, rows, aside, model, observed_at)


def _results(path: Path, date: str) -> tuple[str | None, datetime | None]:
    """Model and time of the run, as far as a sibling says."""
    try:
        results = json.loads(path.with_name(f"results_{date}.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return None, None
    config = part(results, "config")
    arguments = config.get("model_args")
    found = _MODEL_ARGUMENT.search(arguments) if isinstance(arguments, str) else None
    name = found[1] if found else word(part(config, "model_args"), "pretrained", "model", "engine")
    seconds = Figures("", Notes()).amount(part({"results": results}, "results"), "date")
    try:
        when = None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        when = None
    return word(part({"results": results}, "results"), "model_name") or name, when


def _metrics(log: _Log) -> tuple[str, ...]:
    """The metrics of a log: as its lines list them, else whatever is not the log's own."""
    found: dict[str, None] = {}
    for _, row in log.rows:
        listed = row.get("metrics")
        names = listed if isinstance(listed, list) else [key for key in row if key not in _OURS]
        found |= dict.fromkeys(name for name in names if isinstance(name, str) and name in row)
    return tuple(found)


def _filters(log: _Log) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word(row, "filter") or "none" for _, row in log.rows))


def _chosen(
    what: str, asked: str | None, offered: Sequence[tuple[str, ...]], path: Path
) -> list[str]:
    """One name per log: the one asked for where the log has it, else its only one."""
    known = tuple(dict.fromkeys(name for names in offered for name in names))
    if asked is not None and asked not in known:
        raise InputError(
            f"no line has the {what} {asked!r}",
            where=str(path),
            expected=f"one of {', '.join(known) or 'none: the lines name none'}",
        )
    chosen = []
    for names in offered:
        if asked not in names and len(names) != 1:
            raise InputError(
                f"the log has {len(names)} {what}s",
                where=str(path),
                expected=f"one of {', '.join(names)}" if names else f"lines with a {what}",
                next_step=f"choose one with --option {what}=NAME" if names else None,
            )
        chosen.append(asked if asked is not None and asked in names else names[0])
    return chosen


class _Reader:
    """Turns one log's lines into observations."""

    def __init__(  # noqa: PLR0917 - one call hands all of it over
        self,
        log: _Log,
        workload: str,
        metric: str,
        filter: str,  # noqa: A002 - the harness's own word
        model: str | None,
        evidence: Evidence,
        notes: Notes,
    ) -> None:
        found = model or log.model
        if found is None:
            raise InputError(
                "the log does not say which model answered",
                where=str(log.path),
                expected="results_<date>.json next to it",
                next_step="name it with --option model=NAME",
            )
        self._log = log
        self._workload = workload
        self._metric = metric
        self._filter = filter
        self._model = found
        self._evidence = evidence
        self._notes = notes
        self._seen: dict[str, str] = {}

    def found(self, *, labelled: bool) -> Found:
        """What the log holds under the chosen filter and metric."""
        observations: list[Observation] = []
        queries: list[Query] = []
        aside = list(self._log.aside)
        rows = [
            (n, row) for n, row in self._log.rows if (word(row, "filter") or "none") == self._filter
        ]
        label = self._log.task if labelled else None
        for number, row in rows:
            read = self._document(number, row)
            if isinstance(read, SetAside):
                aside.append(read)
                continue
            observations += read
            queries.append(Query(read[0].query_id, _prompt(row), label))
        return Found(
            observations=tuple(observations),
            queries=tuple(queries),
            rows=len(rows) + len(self._log.aside),
            set_aside=tuple(sorted(aside, key=lambda item: item.line)),
        )

    def _document(self, number: int, row: Entry) -> list[Observation] | SetAside:
        doc_id = row["doc_id"]
        if isinstance(doc_id, bool) or not isinstance(doc_id, int | str):
            return set_aside(number, "doc_id is no number and no name", row)
        query_id = f"{self._log.task}/{doc_id}"
        content = word(row, "doc_hash") or json.dumps(row.get("doc"), default=str)
        if query_id in self._seen:
            same = self._seen[query_id] == content
            why = "the document again" if same else "another document under the same doc_id"
            return set_aside(number, why, row)
        values = row.get(self._metric)
        scores = [_score(value) for value in (values if isinstance(values, list) else [values])]
        if not scores or any(score is None for score in scores):
            return set_aside(number, f"{self._metric} is no number in 0..1", row)
        self._seen[query_id] = content
        strategy, calls = self._strategy(row, len(scores), f"{self._log.path.name}:{number}")
        answers = _answers(row, len(scores))
        return [
            Observation(
                workload=self._workload,
                query_id=query_id,
                strategy=strategy,
                sample=sample,
                score=score,
                calls=calls,
                answer=answer,
                evidence=self._evidence,
                source=self._log.path.name,
                observed_at=self._log.observed_at,
            )
            for sample, (score, answer) in enumerate(zip(scores, answers, strict=True))
        ]

    def _strategy(self, row: Entry, scores: int, where: str) -> tuple[str, int | None]:
        """What the score is of, and the calls behind it where that is certain."""
        if _requests(row) > 1:  # one request per choice: likelihoods, nothing was generated
            return strategy_text("", self._model, "loglikelihood"), None
        repeats = _repeats(row)
        vote = _MAJORITY.search(self._filter)
        if vote:
            votes = int(vote[1])
            base = strategy_text("", self._model, "self_consistency")
            return f"{base}(k={votes})", votes
        single = strategy_text("", self._model, "single")
        if repeats <= 1 or scores == repeats:
            return single, 1
        if self._filter not in ("none", "take_first", "score-first"):
            text = "one score for several answers: taken as that of a single answer"
            example = f"{where}: {repeats} answers, filter {self._filter}"
            self._notes.add(text, example, kind=Kind.SUSPICIOUS)
        return single, 1


def _score(value: object) -> float | None:
    try:
        score = read_number(value)[0]
    except BadNumberError:
        return None
    return score if 0 <= score <= 1 else None


def _requests(row: Entry) -> int:
    arguments = row.get("arguments")
    return len(arguments) if isinstance(arguments, dict | list) else 1


def _repeats(row: Entry) -> int:
    resps = row.get("resps")
    first = resps[0] if isinstance(resps, list) and resps else None
    return len(first) if isinstance(first, list) else 1


def _prompt(row: Entry) -> str | None:
    """The first request's text: today's files write objects, older ones lists."""
    arguments = row.get("arguments")
    if isinstance(arguments, dict):
        return word(part(arguments, "gen_args_0"), "arg_0")
    first = arguments[0] if isinstance(arguments, list) and arguments else None
    text = first[0] if isinstance(first, list) and first else first
    return text if isinstance(text, str) else None


def _answers(row: Entry, count: int) -> list[str | None]:
    """The filtered answers; None where they are likelihoods or not one per score."""
    resps = row["filtered_resps"]
    if _requests(row) > 1 or not isinstance(resps, list):
        return [None] * count
    texts = resps[0] if len(resps) == 1 and isinstance(resps[0], list) else resps
    if len(texts) != count or not all(isinstance(text, str) for text in texts):
        return [None] * count
    return [text[:LONGEST_ANSWER] for text in texts]
