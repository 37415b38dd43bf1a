"""`inferbudget explain`: a policy in words; for one request, what it gets and why."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.cli.markdown import Written, piped
from app.cli.options import (
    FILE,
    FOLDER,
    emit_json,
    emit_text,
    figures,
    report_format_option,
    share,
    table,
    usd,
)
from profiles.errors import InputError
from profiles.visible import escaped, shortened

if TYPE_CHECKING:
    from policies.explaining import Drawn
    from policies.policy import Policy


@click.command("explain")
@click.argument("policy", type=FILE)
@click.argument("prompt", required=False)
@click.option("--label", help="The class or label that the caller sends.")
@click.option(
    "--rung", type=click.IntRange(min=0), help="Only this rung, 0 the dearest; 0 for a request."
)
@click.option("--encoder", type=FOLDER, help="Folder of the encoder that the policy names.")
@report_format_option
def explain_command(
    policy: Path,
    prompt: str | None,
    label: str | None,
    rung: int | None,
    encoder: Path | None,
    output_format: str,
) -> None:
    """Say what POLICY does: who answers which class, what binds, what is promised, what runs out.

    With PROMPT (- for standard input), or a label where no prompt is needed: the class of that
    request and what it gets. A policy with an encoder then needs --encoder.
    """
    from policies.file import read_policy

    read = read_policy(policy)
    last = len(read.rungs) - 1
    if rung is not None and rung > last:
        raise InputError(
            "the policy has no such rung",
            where="--rung",
            expected=f"0 to {last}" if last else "0, its only one",
            got=str(rung),
        )
    if prompt is None and label is None:
        if encoder is not None:
            raise click.UsageError("--encoder reads a prompt: give one")
        _emit(_Overview(read, range(last + 1) if rung is None else (rung,)), output_format)
    else:
        text = sys.stdin.read().removesuffix("\n") if prompt == "-" else prompt
        _emit(_asked(policy, read, text, label, rung or 0, encoder), output_format)


class _Overview:
    """A policy, or some of its rungs."""

    def __init__(self, policy: Policy, rungs: range | tuple[int, ...]) -> None:
        self.policy = policy
        self.rungs = rungs

    def as_json(self) -> dict[str, Any]:
        from policies import explaining as words

        policy = self.policy
        return {
            "workload": policy.workload,
            "digest": policy.digest,
            "sorted_by": words.sorting_words(policy),
            "rungs": [self._rung_json(index) for index in self.rungs],
            "budgets": list(map(words.budget_words, policy.budgets)),
            "caps": list(words.caps_words(policy)),
            "when_money_runs_out": list(words.end_words(policy)),
            "warnings": list(policy.warnings),
        }

    def _rung_json(self, index: int) -> dict[str, Any]:
        from policies import explaining as words

        rung = self.policy.rungs[index]
        return {
            "rung": index,
            "budget_fraction": rung.budget_fraction,
            "objective": rung.objective,
            "expected": rung.expected.model_dump(),
            "promised": rung.promised.model_dump(),
            "by_class": {
                name: {
                    "strategies": rung.shares.get(name, {}),
                    "expected": found.model_dump() if found else None,
                }
                for name in self.policy.classes.names
                for found in [(rung.by_class or {}).get(name)]
            },
            "evidence": words.evidence_words(self.policy, rung),
            "limits": [words.limit_words(*item) for item in (rung.limits or {}).items()],
            "binding": list(words.binding_words(rung)),
            "against_the_first": words.giving_up_words(self.policy, index),
        }

    def lines(self, write: Written, strong: str, item: str) -> Iterator[str]:
        from policies import explaining as words

        policy = self.policy
        yield f"{strong}{_line(policy.workload)}{strong}: {words.sorting_words(policy)}"
        for index in self.rungs:
            yield from ("", f"{strong}{self._title(index)}{strong}", "")
            yield from self._rung(index, write, item)
        yield from ("", f"{strong}Money{strong}", "")
        budgets = map(words.budget_words, policy.budgets)
        for text in (*budgets, *words.caps_words(policy), *words.end_words(policy)):
            yield f"{item}{_line(text)}"
        if policy.warnings:
            yield from ("", f"{strong}Warnings{strong}", "")
            yield from (f"{item}{_line(text)}" for text in policy.warnings)

    def _title(self, index: int) -> str:
        rung = self.policy.rungs[index]
        part = "as planned" if not index else f"{rung.budget_fraction:g} of the first one's spend"
        kind = "" if rung.objective is None else f", {rung.objective}"
        return _line(f"Rung {index}: {part}{kind}")

    def _rung(self, index: int, write: Written, item: str) -> Iterator[str]:
        from policies import explaining as words

        policy, rung = self.policy, self.policy.rungs[index]
        weights = dict(zip(policy.classes.names, policy.classes.weights or (), strict=False))
        rows = []
        for name, parts in words.drawn_by_class(policy, index):
            found = (rung.by_class or {}).get(name)
            about = figures(found)[:2] if found else ("n/a", "n/a")
            for place, one in enumerate(parts):
                first = (name, share(weights.get(name)), *about) if not place else ("",) * 4
                rows.append((*first, share(one.share), one.entry.text))
        yield write(rows, ("class", "of all", "accuracy", "USD/request", "share", "strategy"))
        yield ""
        totals = [("expected", *figures(rung.expected)), ("promised", *figures(rung.promised))]
        yield write(totals, ("overall", "accuracy", "USD/request", "p95 s"))
        yield ""
        told = [words.evidence_words(policy, rung)]
        told += [words.limit_words(*found) for found in (rung.limits or {}).items()]
        told += words.binding_words(rung)
        told += [text for text in [words.giving_up_words(policy, index)] if text]
        yield from (f"{item}{_line(text)}" for text in told)


class _Request:
    """What one request gets."""

    def __init__(
        self, policy: Policy, class_name: str, why: str, rung: int, parts: tuple[Drawn, ...]
    ) -> None:
        self.policy = policy
        self.class_name = class_name
        self.why = why
        self.rung = rung
        self.parts = parts

    @property
    def expected_usd(self) -> float | None:
        """Mean dollars of such a request, None where some part is unknown."""
        costs = [(one.share, one.entry.cost_usd(self.class_name)) for one in self.parts]
        if any(cost is None for _, cost in costs):
            return None
        return sum(part * cost for part, cost in costs if cost is not None)

    @property
    def dearest_usd(self) -> float | None:
        """Of the requests measured, None where some part is unknown."""
        found = [one.entry.cost_max_usd(self.class_name) for one in self.parts]
        known = [cost for cost in found if cost is not None]
        return max(known) if known and len(known) == len(found) else None

    def as_json(self) -> dict[str, Any]:
        return {
            "class": self.class_name,
            "why": self.why,
            "rung": self.rung,
            "strategies": [
                {
                    "strategy": one.entry.text,
                    "share": one.share,
                    "uniform": [one.begins, one.ends],
                    "cost_usd": one.entry.cost_usd(self.class_name),
                    "cost_max_usd": one.entry.cost_max_usd(self.class_name),
                    "max_tokens": one.entry.max_tokens,
                }
                for one in self.parts
            ],
            "expected_cost_usd": self.expected_usd,
            "dearest_measured_usd": self.dearest_usd,
        }

    def lines(self, write: Written, strong: str, item: str) -> Iterator[str]:
        yield f"{strong}{_line(self.class_name)}{strong}: {_line(self.why)}"
        yield ""
        rows = [
            (
                one.entry.text,
                share(one.share),
                f"{one.begins:g} to {one.ends:g}",
                usd(one.entry.cost_usd(self.class_name)),
                usd(one.entry.cost_max_usd(self.class_name)),
                one.entry.max_tokens or "none",
            )
            for one in self.parts
        ]
        head = ("strategy", "share", "uniform", "USD/request", "dearest USD", "token cap")
        yield write(rows, head)
        yield ""
        yield f"{item}rung {self.rung} of {len(self.policy.rungs)}, 0 the dearest"
        yield f"{item}expected: {_dollars(self.expected_usd)} per request"
        yield f"{item}the dearest measured request: {_dollars(self.dearest_usd)}"


def _asked(
    path: Path, policy: Policy, prompt: str | None, label: str | None, rung: int,
    encoder: Path | None,
) -> _Request:  # fmt: skip
    from policies.explaining import drawn
    from runtime.decision import DecisionSession, missing_label
    from runtime.embedding import embed_all, open_encoder

    inputs = policy.classes.inputs
    if "text" in inputs and prompt is None:
        raise InputError(
            "this policy sorts requests by their prompt, and none came",
            where="PROMPT",
            next_step="give the prompt, or - for standard input",
        )
    if "label" in inputs and label is None:
        raise missing_label(policy)
    if "label" not in inputs and label is not None:
        raise InputError(
            "this policy takes no label",
            where="--label",
            expected=f"what it sorts requests by: {policy.classes.source}",
            got=repr(label),
            next_step="leave --label out",
        )
    reader = open_encoder(policy, encoder)
    vector = None if reader is None else next(iter(embed_all(reader, [prompt or ""])))
    sorted_by = label if inputs == ("label",) else prompt
    session = DecisionSession(policy, policy.graph_path(path))
    found = session.decide(sorted_by or "", rung, 0.0, label if len(inputs) > 1 else None, vector)
    why = _why(policy, found.class_index, label, unread=reader is not None and vector is None)
    return _Request(policy, found.class_name, why, rung, drawn(policy, rung, found.class_name))


def _why(policy: Policy, class_index: int, label: str | None, *, unread: bool) -> str:
    names = policy.classes.names
    place = f"class {class_index + 1} of {len(names)}, easiest first"
    if policy.classes.source == "label":
        return f"the caller sent this class ({place})"
    if unread:
        return f"the encoder cannot read this prompt, so it counts as hardest ({place})"
    beside = "" if label is None else f" with the label {label!r}"
    by = " and the encoder" if policy.classes.encoder else ""
    return f"the difficulty graph{by} sorted the prompt{beside} there ({place})"


def _line(text: str) -> str:
    return escaped(shortened(text))


def _dollars(value: float | None) -> str:
    return "unknown" if value is None else f"{usd(value)} USD"


def _emit(found: _Overview | _Request, output_format: str) -> None:
    if output_format == "json":
        emit_json(found.as_json())
    elif output_format == "markdown":
        emit_text("\n".join(found.lines(piped, "**", "- ")))
    else:
        emit_text("\n".join(found.lines(table, "", "  ")))
