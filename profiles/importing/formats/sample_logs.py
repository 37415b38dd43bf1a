"""Logs of the tree-of-thoughts program (Yao et al. 2023, princeton-nlp/tree-of-thought-llm).

One JSON array per file, one entry per puzzle: ``idx``, ``ys`` (the outputs), ``infos[].r`` or
``accs[]`` (1 where an exact checker found the output correct), ``usage_so_far`` (tokens and dollars
since the program was started: a run that was resumed counts from 0 again), and for tree search
``steps``. The file's name carries the settings, for instance
``gpt-4_0.7_naive_cot_sample_100_start900_end1000.json``.

Sampled outputs become one observation each, and share what their puzzle was billed. The final
states of a tree search become one observation: the search is one way to answer, and the exact
checker picks among its states.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from profiles.errors import InputError
from profiles.importing.counters import differences
from profiles.importing.formats.found import Found, SetAside
from profiles.notes import Notes
from profiles.observation import LONGEST_ANSWER, Evidence, Observation
from profiles.query import Query

_COUNTERS = ("cost", "prompt_tokens", "completion_tokens")
_SAMPLED = re.compile(r"(?P<model>.+)_(?P<temperature>\d+(?:\.\d+)?)_naive_(?P<prompt>\w+)_sample_")
_SEARCHED = re.compile(
    r"(?P<model>.+)_(?P<temperature>\d+(?:\.\d+)?)"
    r"_propose\d+_value(?P<evaluations>\d+)_greedy(?P<breadth>\d+)_"
)
_PROMPTS = {"standard": "single(prompt=io,{})", "cot": "chain_of_thought({})"}
_EXCERPT = 200
_LARGEST = 1e15  # tokens or dollars; beyond it whole numbers are no longer exact


@dataclass(frozen=True, slots=True)
class _Usage:
    """What one puzzle was billed, all outputs together; None where the log does not say."""

    cost_usd: float | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None


def read(
    path: Path,
    *,
    workload: str,
    notes: Notes,
    evidence: Evidence = Evidence.PUBLISHED,
    strategy: str | None = None,
    answers_per_call: int = 20,
) -> Found:
    """Read one log.

    Dollars of a puzzle are divided evenly among its samples, tokens and calls in whole numbers
    that add up exactly. Score and verdict are both the checker's word.

    Args:
        path: The log.
        workload: Name of the traffic.
        notes: Receives what was repaired or assumed.
        evidence: Where the numbers come from.
        strategy: Text of the strategy; None reads it from the file's name.
        answers_per_call: Most outputs that one call brought; the program asks for 20.

    Raises:
        InputError: Not such a log, or a name that does not tell the strategy.
    """
    entries = _entries(path)
    text = strategy or _strategy(path)
    usages = _usages(entries, path, notes)
    observations: list[Observation] = []
    set_aside: list[SetAside] = []
    queries: list[Query] = []
    for number, (entry, usage) in enumerate(zip(entries, usages, strict=True), start=1):
        reason = _flaw(entry)
        if reason:
            set_aside.append(SetAside(number, reason, json.dumps(entry)[:_EXCERPT]))
            continue
        base = Observation(
            workload, str(entry["idx"]), text, 0, None, evidence=evidence, source=path.name
        )
        if entry.get("steps"):
            observations.append(_searched(base, entry, usage))
            queries.append(Query(str(entry["idx"]), prompt=str(entry["steps"][0]["x"])))
        else:
            observations.extend(_sampled(base, entry, usage, answers_per_call))
            _note_shares(notes, entry, usage, answers_per_call)
    return Found(
        observations=tuple(observations),
        queries=tuple(queries),
        rows=len(entries),
        set_aside=tuple(set_aside),
    )


def final_answer(output: str) -> str:
    """The last line as a vote counts it: no mark, no "= 24", no spaces, lower case."""
    lines = output.strip().splitlines()
    line = re.sub(r"^answer:", "", lines[-1].strip().lower()) if lines else ""
    return re.sub(r"=\s*24\.?$", "", line).replace(" ", "")[:LONGEST_ANSWER]


def _entries(path: Path) -> list[Any]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError("cannot read the log", where=str(path), got=str(error)) from error
    if not isinstance(entries, list) or not entries:
        raise InputError("this is not such a log", where=str(path), expected="a JSON array")
    return entries


def _strategy(path: Path) -> str:
    """The strategy that the program's settings in the file's name amount to."""
    if found := _SEARCHED.match(path.name):
        return (
            f"{found['model']}/tree_of_thoughts(breadth={found['breadth']},"
            f"evaluations={found['evaluations']},temperature={found['temperature']})"
        )
    found = _SAMPLED.match(path.name)
    if found and found["prompt"] in _PROMPTS:
        settings = f"temperature={found['temperature']}"
        return f"{found['model']}/{_PROMPTS[found['prompt']].format(settings)}"
    raise InputError(
        "the file's name does not tell the strategy",
        where=str(path),
        expected="MODEL_TEMPERATURE_naive_standard|cot_sample_... or ..._propose_value_greedy_...",
        next_step="give the strategy's text",
    )


def _flaw(entry: Any) -> str | None:
    """Why an entry cannot be used, None where it can."""
    if not isinstance(entry, Mapping) or not _is_id(entry.get("idx")):
        return "no puzzle number (idx)"
    if entry.get("steps") and not _are_steps(entry["steps"]):
        return "steps that do not begin with the puzzle (x)"
    outputs, correct = entry.get("ys"), _correct(entry)
    if not isinstance(outputs, list) or not all(isinstance(text, str) for text in outputs):
        return "no list of outputs (ys)"
    if correct is None or len(correct) != len(outputs) or not outputs:
        return "not one checker's word (infos or accs) for each output"
    return None


def _is_id(value: Any) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _are_steps(steps: Any) -> bool:
    return isinstance(steps, list) and isinstance(steps[0], Mapping) and "x" in steps[0]


def _correct(entry: Mapping[str, Any]) -> list[float] | None:
    words = entry.get("accs")
    if words is None and isinstance(entry.get("infos"), list):
        words = [info.get("r") if isinstance(info, Mapping) else None for info in entry["infos"]]
    if not isinstance(words, list) or any(word not in (0, 1) for word in words):
        return None
    return [float(word) for word in words]


def _usages(entries: Sequence[Any], path: Path, notes: Notes) -> list[_Usage]:
    """Each puzzle's own bill; all unknown where any entry lacks a reading."""
    readings: list[Any] = [
        e.get("usage_so_far") if isinstance(e, Mapping) else None for e in entries
    ]
    lacking = [n for n, reading in enumerate(readings, start=1) if not _is_reading(reading)]
    if lacking:
        where = f"{path.name}: entry {lacking[0]}"
        notes.add("no usage_so_far: no puzzle's cost or tokens are known", where, len(lacking))
        return [_Usage()] * len(entries)
    columns = {name: [reading[name] for reading in readings] for name in _COUNTERS}
    own = {}
    for name, column in columns.items():
        own[name], restarts = differences(column)
        for index in restarts:
            notes.add(
                "a running counter fell: it was restarted and counts from 0 again",
                f"{path.name}: {name} at idx {entries[index].get('idx')} fell from "
                f"{column[index - 1]:.10g} to {column[index]:.10g}; total {sum(own[name]):.10g}",
            )
    return [
        _Usage(cost, round(prompt), round(completion))
        for cost, prompt, completion in zip(*(own[name] for name in _COUNTERS), strict=True)
    ]


def _is_reading(reading: Any) -> bool:
    return isinstance(reading, Mapping) and all(
        isinstance(reading.get(name), int | float)
        and not isinstance(reading[name], bool)
        and 0 <= reading[name] <= _LARGEST
        for name in _COUNTERS
    )


def _sampled(
    base: Observation, entry: Mapping[str, Any], usage: _Usage, answers_per_call: int
) -> list[Observation]:
    outputs, correct = entry["ys"], _correct(entry) or []
    count = len(outputs)
    calls = -(-count // answers_per_call)
    cost_usd = None if usage.cost_usd is None else usage.cost_usd / count
    shares = zip(
        _shares(usage.tokens_in, count),
        _shares(usage.tokens_out, count),
        _shares(calls, count),
        strict=True,
    )
    return [
        replace(
            _outcome(base, text, score, _Usage(cost_usd, tokens_in, tokens_out)),
            sample=sample,
            calls=own_calls,
        )
        for sample, (text, score, (tokens_in, tokens_out, own_calls)) in enumerate(
            zip(outputs, correct, shares, strict=True)
        )
    ]


def _searched(base: Observation, entry: Mapping[str, Any], usage: _Usage) -> Observation:
    """The state that the checker picks: the first correct one, else the first."""
    correct = _correct(entry) or []
    picked = correct.index(max(correct))
    return _outcome(base, entry["ys"][picked], correct[picked], usage)


def _outcome(base: Observation, text: str, score: float, usage: _Usage) -> Observation:
    return replace(
        base,
        score=score,
        verdict=score,
        answer=final_answer(text),
        cost_usd=usage.cost_usd,
        tokens_in=usage.tokens_in,
        tokens_out=usage.tokens_out,
    )


def _shares(total: int | None, count: int) -> list[int] | list[None]:
    """A whole number in `count` whole shares that add up to it: the largest remainders."""
    if total is None:
        return [None] * count
    share, rest = divmod(total, count)
    return [share + (index < rest) for index in range(count)]


def _note_shares(
    notes: Notes, entry: Mapping[str, Any], usage: _Usage, answers_per_call: int
) -> None:
    bill = "unknown" if usage.cost_usd is None else f"{usage.cost_usd:.6g} USD"
    notes.add(
        "samples share their puzzle's bill evenly: one sample's cost is that of a sample drawn "
        f"{answers_per_call} to a call, not of a call of its own",
        f"idx {entry['idx']}: {len(entry['ys'])} samples, {bill}",
    )
