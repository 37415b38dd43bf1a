"""The policy's own test cases: asks what each case says, and compares what comes with it.

Decisions come from whoever is given as `decide`; nothing here reckons one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from policies.case_checks import Miss, misses, unknown_names
from policies.case_file import Case, Cases
from policies.draws import Asked, Decide
from policies.policy import Policy
from policies.source import Source
from profiles.errors import InputError


@dataclass(frozen=True, slots=True)
class Failure:
    """Something that did not come as a case says.

    Attributes:
        where: ``file:line: key`` of what was expected.
        key: That key, e.g. ``class``; ``request`` where it cannot be asked.
        prompt: The text, None where only a label is sent or every text is meant.
        expected: In words.
        got: In words.
    """

    where: str
    key: str
    prompt: str | None
    expected: str
    got: str


@dataclass(frozen=True, slots=True)
class CaseResult:
    """A case and what did not come as it says.

    Attributes:
        file: Where it stands.
        where: ``file:line: key``.
        name: Its name.
        requests: Texts that it asked, or 1.
        failures: None of them where it holds.
    """

    file: str
    where: str
    name: str
    requests: int
    failures: tuple[Failure, ...]


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many cases reached each part of a policy, whether or not they expected anything of it.

    Attributes:
        classes: Cases by class.
        rungs: Cases by step, dearest first.
        strategies: Cases by strategy that answered.
    """

    classes: dict[str, int]
    rungs: tuple[int, ...]
    strategies: dict[str, int]

    def untested(self) -> tuple[str, ...]:
        """Classes and rungs that no case reached."""
        return (
            *(f"class {name}" for name, cases in self.classes.items() if not cases),
            *(f"rung {step}" for step, cases in enumerate(self.rungs) if not cases),
        )


@dataclass(frozen=True, slots=True)
class CaseReport:
    """All cases of a policy.

    Attributes:
        results: In order.
        coverage: What they reached.
    """

    results: tuple[CaseResult, ...]
    coverage: Coverage

    @property
    def failed(self) -> tuple[CaseResult, ...]:
        """Cases that do not hold."""
        return tuple(result for result in self.results if result.failures)


def run_cases(policy: Policy, files: Iterable[Cases], decide: Decide) -> CaseReport:
    """Ask every case of the policy and compare.

    Args:
        policy: Whose classes, rungs and strategies are counted.
        files: Cases, in order.
        decide: The runtime's decision of one request.
    """
    results, reached = [], Counter[_Reached]()
    for cases in files:
        for index, case in enumerate(cases.cases):
            result, parts = _run(policy, cases.source, index, case, decide)
            results.append(result)
            reached.update(parts)
    coverage = Coverage(
        classes={name: reached["class", name] for name in policy.classes.names},
        rungs=tuple(reached["rung", step] for step in range(len(policy.rungs))),
        strategies={text: reached["strategy", text] for text in policy.strategy_texts()},
    )
    return CaseReport(tuple(results), coverage)


_Reached: TypeAlias = tuple[str, str | int | None]


def _run(
    policy: Policy, source: Source, index: int, case: Case, decide: Decide
) -> tuple[CaseResult, set[_Reached]]:
    """A case's result, and the parts of the policy that it reached."""
    parts: set[_Reached] = set()
    missed: list[tuple[str | None, Miss]] = [(None, m) for m in unknown_names(policy, case.expect)]
    for prompt in case.texts():
        asked = Asked(prompt, case.label, case.rung, case.uniform, case.money())
        try:
            found = decide(asked)
        except InputError as error:
            expected = error.expected or "what this policy can be asked"
            missed.append((prompt, Miss("request", expected, error.what)))
            continue
        missed += [(prompt, miss) for miss in misses(case.expect, found)]
        for drawn in found:
            parts |= {("class", drawn.class_name), ("rung", drawn.rung)}
            parts.add(("strategy", drawn.strategy))
    failures = tuple(
        Failure(
            where=source.where(
                "cases", index, *(() if miss.key == "request" else ("expect", miss.key))
            ),
            key=miss.key,
            prompt=prompt,
            expected=miss.expected,
            got=miss.got,
        )
        for prompt, miss in missed
    )
    where = source.where("cases", index)
    return CaseResult(source.name, where, case.name, len(case.texts()), failures), parts
