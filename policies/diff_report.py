"""The difference of two policies as a reviewer reads it: the answer first, then what it is made of.

Text for a terminal, Markdown for a comment on a pull request, plain values for scripts. A terminal
sees everything; a comment folds what most reviewers skip. Nothing is said where nothing changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_jsonable_python

from planner.limit_names import in_words, is_floor, is_latency
from planner.plan import LimitFigures
from policies.decimals import nearest, plain
from policies.diff import diff
from policies.edits import Edit, FactChanged, WarningChanged, as_dict
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
from policies.promises import Promise, Turn
from policies.report_layout import MARKDOWN, TEXT, Form, Section, as_markdown, as_text

_SPEND = {"month": "monthly spend", "total": "total spend", "request": "spend per request"}
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
    rung, spend = found.effects.first, _SPEND[found.effects.per]
    if found.before is None or found.after is None:
        policy, was = ("New policy", "") if found.before is None else ("Policy removed", " was")
        levels = _levels(rung, new=found.before is None)
        return f"{policy}: {spend}{was} {levels}" + (f"; {_kept(rung)}" if found.after else "")
    changes = _changes(rung)
    if set(changes) == {"unchanged"}:
        return f"{spend.capitalize()}, accuracy and p95 unchanged; {_kept(rung)}"
    money, accuracy, p95 = changes
    return f"{spend.capitalize()} {money}, accuracy {accuracy}, p95 {p95}; {_kept(rung)}"


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
    if notes := list(_notes(found, form)):
        yield Section("", "\n".join(f"- {note}" for note in notes))
    spend = {"month": "USD per month", "total": "USD in all", "request": "USD per request"}[per]
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
        header = ("rung", _SPEND[per], "accuracy", "p95", "limits")
        yield Section("Lower rungs", form.table(rows, header), folded=True)
    if lines := other_changes(found.edits, form.name):
        body = "\n".join(f"- {line}" for line in lines)
        yield Section("Everything else in the file", body, folded=True)
    if lines := list(_conventions(found.effects)):
        yield Section("How to read this", "\n".join(lines), folded=True)


def _notes(found: Difference, form: Form) -> Iterator[str]:
    """What a reviewer must not miss: promises that move, limits that are not kept, warnings."""
    rung = found.effects.first
    order = (Turn.VANISHED, Turn.LOOSENED, Turn.TIGHTENED, Turn.APPEARED)
    for promise in rung.promises or ():
        if promise.after and not promise.after.kept:
            yield f"limit does not hold: {_promise_words(promise, form)}"
    if found.before is None or found.after is None:
        return
    for turn in order:
        for promise in rung.promises or ():
            if promise.turn is turn:
                yield f"promise {turn}: {_promise_words(promise, form)}"
    for edit in found.edits:
        if isinstance(edit, FactChanged) and edit.key == "confidence":
            yield f"confidence of every promise: {_level(edit.before)} -> {_level(edit.after)}"
        if isinstance(edit, WarningChanged):
            which = "new warning" if edit.after else "warning gone"
            yield f"{which}: {form.name(edit.text)}"


def _level(confidence: Any) -> str:
    return "none, point estimates" if confidence is None else f"{confidence:g}"


def _promise_words(promise: Promise, form: Form) -> str:
    limit = promise.limit
    sides = [side for side in (promise.before, promise.after) if side]
    words = [_promised(limit, side) for side in sides]
    asked = [_asked(limit, side) for side in sides]
    return (
        f"{form.name(limit)} {' -> '.join(dict.fromkeys(words))} "
        f"(asked: {' -> '.join(dict.fromkeys(asked))})"
    )


def _asked(limit: str, found: LimitFigures) -> str:
    return f"{'at least' if is_floor(limit) else 'at most'} {_words(limit, found.asked)}"


def _promised(limit: str, found: LimitFigures) -> str:
    if is_latency(limit):
        return f"{per_cent(found.promised)} of requests slower"
    return _words(limit, found.promised)


def _words(limit: str, value: float) -> str:
    """With its unit; of a limit that we do not know, the number alone."""
    words = in_words(limit, value)
    return words if re.fullmatch(r"[\w.+-]+( [A-Za-z-]+)*", words) else f"{value:g}"


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
        asked = dict.fromkeys(_asked(promise.limit, side) for side in sides)
        words = dict.fromkeys(_promised(promise.limit, side) for side in sides)
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
