"""The difference of two policies as a reviewer reads it: the answer first, then what it is made of.

Text for a terminal, Markdown for a comment on a pull request, plain values for scripts. A terminal
sees everything; a comment folds what most reviewers skip. Nothing is said where nothing changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_jsonable_python

from policies.diff import diff
from policies.diff_notes import notes
from policies.diff_tables import (
    class_figures,
    class_rows,
    kept,
    overall_changes,
    promise_rows,
    rung_differs,
    rung_row,
    share_rows,
)
from policies.edits import Edit, as_dict
from policies.edits_in_words import other_changes
from policies.effects import Effects, RungEffect, effects
from policies.figures_in_words import (
    per_cent,
    seconds,
    usd,
)
from policies.moved_traffic import flows
from policies.policy import Policy
from policies.report_layout import MARKDOWN, TEXT, Form, Section, as_markdown, as_text

_SPEND = {"month": "monthly spend", "total": "total spend", "request": "spend per request"}
_UNIT = {"month": "USD per month", "total": "USD in all", "request": "USD per request"}
_CONVENTION = (
    "In brackets: 95 % intervals of a change, from the standard errors of the measured cells. What "
    "the same measurement says of both policies counts once; strategies of a class err together. "
    "Nothing is known of the errors of p95s."
)


@dataclass(frozen=True, slots=True)
class Difference:
    """Two policies, the edits from one to the other and what they mean.

    Attributes:
        before: The old policy, None where there was none.
        after: The new one, None where it is gone.
        edits: From old to new; none where one of them is not there.
        effects: What the change means.
    """

    before: Policy | None
    after: Policy | None
    edits: tuple[Edit, ...]
    effects: Effects

    @classmethod
    def of(cls, before: Policy | None, after: Policy | None) -> Difference:
        """Compare two policies, one of which may be missing."""
        edits = diff(before, after) if before and after else ()
        return cls(before, after, edits, effects(before, after))

    @property
    def is_empty(self) -> bool:
        """Whether both policies are the same."""
        return bool(self.before and self.after and not self.edits)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "differ": not self.is_empty,
            "headline": headline(self),
            "before": _named(self.before),
            "after": _named(self.after),
            "effects": to_jsonable_python(self.effects),
            "flows": to_jsonable_python(flows(self.effects.first)),
            "edits": [as_dict(edit) for edit in self.edits],
        }


def text(found: Difference) -> str:
    """The report for a terminal; empty where nothing changed."""
    return "" if found.is_empty else as_text(headline(found), sections(found, TEXT))


def markdown(found: Difference) -> str:
    """The report as a comment on a pull request; empty where nothing changed."""
    return "" if found.is_empty else as_markdown(headline(found), sections(found, MARKDOWN))


def headline(found: Difference) -> str:
    """The answer in one line."""
    if found.is_empty:
        return "Nothing changed"
    rung, spend = found.effects.first, _spend(found.effects)
    if found.before is None or found.after is None:
        policy, was = ("New policy", "") if found.before is None else ("Policy removed", " was")
        levels = _levels(rung, new=found.before is None)
        return f"{policy}: {spend}{was} {levels}" + (f"; {kept(rung)}" if found.after else "")
    changes = overall_changes(rung)
    if set(changes) == {"unchanged"}:
        return f"{spend.capitalize()}, accuracy and p95 unchanged; {kept(rung)}"
    money, accuracy, p95 = changes
    return f"{spend.capitalize()} {money}, accuracy {accuracy}, p95 {p95}; {kept(rung)}"


def _spend(found: Effects) -> str:
    return f"mean {_SPEND[found.per]}" if found.grown else _SPEND[found.per]


def _levels(rung: RungEffect, *, new: bool) -> str:
    changes = (rung.spend.change, rung.accuracy.change, rung.latency_p95_s)
    money, accuracy, p95 = (c.after if new else c.before for c in changes)
    return f"{usd(money)} USD, accuracy {per_cent(accuracy)}, p95 {seconds(p95)}"


def _named(policy: Policy | None) -> dict[str, str] | None:
    return {"workload": policy.workload, "digest": policy.digest} if policy else None


def sections(found: Difference, form: Form) -> Iterator[Section]:
    """What stands below the headline of policies that differ."""
    first, per = found.effects.first, found.effects.per
    said = notes(found.before, found.after, found.edits, found.effects, form.name)
    if lines := list(said):
        yield Section("", "\n".join(f"- {line}" for line in lines))
    spend = f"mean {_UNIT[per]}" if found.effects.grown else _UNIT[per]
    header: tuple[str, ...] = ("class", "requests", "accuracy", "USD per request", "p95")
    if first.state == "both":
        rows = list(class_rows(first, form))
        title = f"Classes; points and {spend} are what each adds to the whole"
        header = (*header, "points", "adds USD" if per == "request" else spend)
    else:
        rows, title = [class_figures(one, form, label=False) for one in first.classes], "Classes"
    if rung_differs(first):
        yield Section(title, form.table(rows, header))
    rungs = [first, *found.effects.lower]
    if rows := list(share_rows(rungs, form)):
        header = ("rung", "class", "before", "after", "strategy")
        yield Section("Who answers", form.table(rows, header), folded=True)
    if rung_differs(first):
        header = ("promise", "asked", "promised", "", "holds")
        rows = list(promise_rows(first, form))
        yield Section("Promises", form.table(rows, header), folded=True)
    both = first.state == "both"
    if rows := [rung_row(rung, label=both) for rung in rungs[1:] if rung_differs(rung)]:
        header = ("rung", _spend(found.effects), "accuracy", "p95", "limits")
        yield Section("Lower rungs", form.table(rows, header), folded=True)
    if lines := other_changes(found.edits, form.name):
        body = "\n".join(f"- {line}" for line in lines)
        yield Section("Everything else in the file", body, folded=True)
    if lines := list(_conventions(found.effects)):
        yield Section("How to read this", "\n".join(lines), folded=True)


def _conventions(found: Effects) -> Iterator[str]:
    if found.first.state == "both":
        yield _CONVENTION
    if found.first.promises is None:
        yield "A file of an older format does not say what it promised, nor how sure it was."
    if found.month_days is not None:
        yield f"A month counts as {found.month_days} days where traffic is per another window."
    if found.per == "request":
        yield "Spend is per request: it is not known of both sides how many requests there are."
