"""The scorer that runs a task's tests against the program in an answer."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field

from profiles.errors import InputError
from profiles.measuring.answers import program
from profiles.measuring.sandbox import Limits, run_tests
from profiles.measuring.scorers import Scored, Task
from profiles.observation import LONGEST_ANSWER


@dataclass(frozen=True, slots=True)
class UnitTests:
    """All of the task's tests pass on the answer's longest code block.

    Args:
        limits: What one run may use.
    """

    limits: Limits = field(default_factory=Limits)
    # More runs than cores would stretch each other over the wall-clock limit.
    _cores: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(os.cpu_count() or 1), repr=False, compare=False
    )

    def check(self, task: Task) -> None:
        """See `Scorer`."""
        self._tests(task)

    async def score(self, task: Task, answer_text: str) -> Scored:
        """See `Scorer`."""
        tests, code = self._tests(task), program(answer_text)
        if code is None:
            return Scored(0.0)
        async with self._cores:
            verdict = await run_tests(code, tests, self.limits)
        return Scored(float(verdict.passed), extracted=code[:LONGEST_ANSWER])

    def _tests(self, task: Task) -> str:
        where = f"task {task.query_id}"
        if task.tests is None or not task.tests.strip():
            raise InputError("the task has no tests", where=where)
        try:
            compile(task.tests, "tests", "exec")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise InputError("the tests are not Python", where=where, got=str(error)) from error
        return task.tests
