"""The difference of two policies as a reviewer reads it: the answer first, then what it is made of.

Text for a terminal, Markdown for a comment on a pull request, plain values for scripts. A terminal
sees everything; a comment folds what most reviewers skip. Nothing is said where nothing changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_jsonable_python

from policies.decimals import nearest, plain
from policies.diff import diff
from policies.diff_notes import asked_words, notes, promised_words
from policies.edits import Edit, as_dict
from policies.edits_in_words import other_changes
from policies.effects import ClassEffect, Effects, RungEffect, effects
from policies.figures_in_words import (
    UNKNOWN,
    added,
    moved,
    per_cent,
    points_change,
    points_decimals,
    seconds,
    seconds_change,
    usd,
    usd_change,
    usd_decimals,
    whole,
    with_interval,
)
from policies.policy import Policy
from policies.promises import Turn
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
            "edits": [as_dict(edit) for edit in self.edits],
        }


def text(found: Difference) -> str:
    """The report for a terminal; empty where nothing changed."""
    return "" if found.is_empty else as_text(headline(found), _sections(found, TEXT))


def markdown(found: Difference) -> str:
    """The report as a comment on a pull request; empty where nothing changed."""
    return "" if found.is_empty else as_markdown(headline(found), _sections(found, MARKDOWN))


def headline(found: Difference) -> str:
    """The answer in one line."""
    if found.is_empty:
        return "Nothing changed"
    rung, spend = found.effects.first, _spend(found.effects)
    if found.before is None or found.after is None:
        policy, was = ("New policy", "") if found.before is None else ("Policy removed", " was")
        levels = _levels(rung, new=found.before is None)
        return f"{policy}: {spend}{was} {levels}" + (f"; {_kept(rung)}" if found.after else "")
    changes = _changes(rung)
    if set(changes) == {"unchanged"}:
        return f"{spend.capitalize()}, accuracy and p95 unchanged; {_kept(rung)}"
    money, accuracy, p95 = changes
    return f"{spend.capitalize()} {money}, accuracy {accuracy}, p95 {p95}; {_kept(rung)}"


def _spend(found: Effects) -> str:
    return f"mean {_SPEND[found.per]}" if found.grown else _SPEND[found.per]


def _changes(rung: RungEffect) -> tuple[str, str, str]:
    return (
        usd_change(rung.spend.change),
        points_change(rung.accuracy.change),
        seconds_change(rung.latency_p95_s),
    )


def _levels(rung: RungEffect, *, new: bool) -> str:
    changes = (rung.spend.change, rung.accuracy.change, rung.latency_p95_s)
    money, accuracy, p95 = (c.after if new else c.before for c in changes)
    return f"{usd(money)} USD, accuracy {per_cent(accuracy)}, p95 {seconds(p95)}"


def _kept(rung: RungEffect) -> str:
    """Of the new policy."""
    if rung.limits is None:
        return "its limits are not recorded"
    if rung.limits == 1:
        return "the limit holds" if rung.limits_kept else "the limit does not hold"
    return f"{rung.limits_kept} of {rung.limits} limits hold" if rung.limits else "no limits"


def _named(policy: Policy | None) -> dict[str, str] | None:
    return {"workload": policy.workload, "digest": policy.digest} if policy else None


def _sections(found: Difference, form: Form) -> Iterator[Section]:
    first, per = found.effects.first, found.effects.per
    said = notes(found.before, found.after, found.edits, found.effects, form.name)
    if lines := list(said):
        yield Section("", "\n".join(f"- {line}" for line in lines))
    spend = f"mean {_UNIT[per]}" if found.effects.grown else _UNIT[per]
    header: tuple[str, ...] = ("class", "requests", "accuracy", "USD per request", "p95")
    if first.state == "both":
        rows = list(_class_rows(first, form))
        title = f"Classes; points and {spend} are what each adds to the whole"
        header = (*header, "points", "adds USD" if per == "request" else spend)
    else:
        rows, title = [_class_figures(one, form, label=False) for one in first.classes], "Classes"
    if _rung_differs(first):
        yield Section(title, form.table(rows, header))
    rungs = [first, *found.effects.lower]
    if rows := list(_share_rows(rungs, form)):
        header = ("rung", "class", "before", "after", "strategy")
        yield Section("Who answers", form.table(rows, header), folded=True)
    if _rung_differs(first):
        header = ("promise", "asked", "promised", "", "holds")
        rows = list(_promise_rows(first, form))
        yield Section("Promises", form.table(rows, header), folded=True)
    both = first.state == "both"
    if rows := [_rung_row(rung, label=both) for rung in rungs[1:] if _rung_differs(rung)]:
        header = ("rung", _spend(found.effects), "accuracy", "p95", "limits")
        yield Section("Lower rungs", form.table(rows, header), folded=True)
    if lines := other_changes(found.edits, form.name):
        body = "\n".join(f"- {line}" for line in lines)
        yield Section("Everything else in the file", body, folded=True)
    if lines := list(_conventions(found.effects)):
        yield Section("How to read this", "\n".join(lines), folded=True)


def _class_rows(rung: RungEffect, form: Form) -> Iterator[tuple[str, ...]]:
    """Changed classes with what they add, then the mix, the volume and the sum."""
    points = added(rung.accuracy, 100, points_decimals)
    money = added(rung.spend, 1, usd_decimals)
    columns = [{(p.kind, p.class_name): shown for p, shown in c.items()} for c in (points, money)]
    for one in rung.classes:
        keys = [(kind, one.name) for kind in ("class", "new class", "class gone")]
        adds = [next((c[k] for k in keys if k in c), UNKNOWN) for c in columns]
        if _class_differs(one) or any(map(_counts, adds)):
            yield (*_class_figures(one, form, label=True), *adds)
    for kind in ("mix of classes", "volume", "rest"):
        adds = [column.get((kind, None), "") for column in columns]
        if any(map(_counts, adds)):
            yield (kind, "", "", "", "", *(shown if _counts(shown) else "" for shown in adds))
    yield (
        "all",
        "",
        moved(rung.accuracy.change, per_cent),
        moved(rung.usd_per_request, usd),
        moved(rung.latency_p95_s, seconds),
        whole(rung.accuracy, 100, points_decimals),
        with_interval(whole(rung.spend, 1, usd_decimals), rung.spend.change),
    )


def _counts(shown: str) -> bool:
    """Whether a part is known and not nothing."""
    return any(digit in shown for digit in "123456789")


def _class_figures(one: ClassEffect, form: Form, *, label: bool) -> tuple[str, ...]:
    which = f" ({one.state})" if label and one.state != "both" else ""
    return (
        form.name(one.name) + which,
        moved(one.weight, per_cent, one.state),
        moved(one.accuracy, per_cent, one.state),
        moved(one.usd_per_request, usd, one.state),
        moved(one.latency_p95_s, seconds, one.state),
    )


def _class_differs(one: ClassEffect) -> bool:
    changes = (one.weight, one.accuracy, one.usd_per_request, one.latency_p95_s)
    return one.shares_before != one.shares_after or any(c.before != c.after for c in changes)


def _share_rows(rungs: Iterable[RungEffect], form: Form) -> Iterator[tuple[str, ...]]:
    for rung in rungs:
        for one in rung.classes:
            old, new = one.shares_before or {}, one.shares_after or {}
            for strategy in {**new, **old}:
                if old.get(strategy) != new.get(strategy):
                    shares = (_share(row.get(strategy)) for row in (old, new))
                    name = form.name(one.name)
                    yield (f"{rung.budget_fraction:g}", name, *shares, form.name(strategy))


def _share(value: float | None) -> str:
    return "" if value is None else f"{plain(nearest(100 * value, 4))} %"


def _promise_rows(rung: RungEffect, form: Form) -> Iterator[tuple[str, ...]]:
    for what, change, write, unit in (
        ("accuracy", rung.promised_accuracy, per_cent, ""),
        ("spend per request", rung.promised_usd_per_request, usd, " USD"),
        ("p95", rung.promised_latency_p95_s, seconds, ""),
    ):
        yield (what, "", f"{moved(change, write, rung.state)}{unit}", "", "")
    for promise in rung.promises or ():
        sides = [side for side in (promise.before, promise.after) if side]
        asked = dict.fromkeys(asked_words(promise.limit, side) for side in sides)
        words = dict.fromkeys(promised_words(promise.limit, side) for side in sides)
        holds = "" if promise.after is None else "yes" if promise.after.kept else "no"
        turn = promise.turn if rung.state == "both" else ""
        yield (form.name(promise.limit), " -> ".join(asked), " -> ".join(words), turn, holds)


def _rung_row(rung: RungEffect, *, label: bool) -> tuple[str, ...]:
    which = f" ({rung.state})" if label and rung.state != "both" else ""
    name = f"{rung.budget_fraction:g}{which}"
    if rung.state == "both":
        return (name, *_changes(rung), _kept(rung))
    new = rung.state == "new"
    changes = (rung.spend.change, rung.accuracy.change, rung.latency_p95_s)
    money, accuracy, p95 = (c.after if new else c.before for c in changes)
    levels = (f"{usd(money)} USD", per_cent(accuracy), seconds(p95))
    return (name, *levels, _kept(rung) if new else "")


def _rung_differs(rung: RungEffect) -> bool:
    changes = (
        rung.spend.change,
        rung.accuracy.change,
        rung.latency_p95_s,
        rung.promised_accuracy,
        rung.promised_usd_per_request,
        rung.promised_latency_p95_s,
    )
    turned = any(promise.turn is not Turn.SAME for promise in rung.promises or ())
    return (
        turned
        or any(c.before != c.after for c in changes)
        or any(map(_class_differs, rung.classes))
    )


def _conventions(found: Effects) -> Iterator[str]:
    if found.first.state == "both":
        yield _CONVENTION
    if found.first.promises is None:
        yield "A file of an older format does not say what it promised, nor how sure it was."
    if found.month_days is not None:
        yield f"A month counts as {found.month_days} days where traffic is per another window."
    if found.per == "request":
        yield "Spend is per request: it is not known of both sides how many requests there are."
