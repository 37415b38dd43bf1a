"""Every error that inferbudget raises on purpose, and the exit code it ends a command with."""

from __future__ import annotations

from enum import IntEnum

from profiles.visible import escaped_lines, shortened

_NEXT_LINE = "\n    "


class ExitCode(IntEnum):
    """Exit codes of every command."""

    DONE = 0
    FINDING = 1
    USAGE = 2
    INFEASIBLE = 3
    UNPROVEN = 4
    UPSTREAM = 5
    BUG = 70


class InferbudgetError(Exception):
    """Root of the tree. Only subclasses are raised.

    Its text can quote what others wrote (names of groups, labels, prompts), so what a terminal
    would obey is escaped in it.
    """

    exit_code = ExitCode.BUG

    def __str__(self) -> str:
        return escaped_lines(super().__str__())


class InputError(InferbudgetError):
    """Something a person wrote or passed cannot be used.

    In its text further lines of a part are indented, so that none of them passes for our own. What
    is too long to read is cut in its middle, and says how much is missing.

    Args:
        what: What is wrong, as one clause.
        where: File, line, key or cell, e.g. ``spec.yaml:7: limits.accuracy.overall``.
        expected: What would have been accepted.
        got: What was found instead.
        next_step: What to do about it.
    """

    exit_code = ExitCode.USAGE

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        expected: str | None = None,
        got: str | None = None,
        next_step: str | None = None,
    ) -> None:
        self.what = shortened(what)
        self.where = where and shortened(where)
        self.expected = expected and shortened(expected)
        self.got = got and shortened(got)
        self.next_step = next_step and shortened(next_step)
        parts = [f"{self.where}: {self.what}" if where else self.what]
        parts += [f"expected {self.expected}"] if expected else []
        parts += [f"got {self.got}"] if got else []
        text = "; ".join(parts)
        lines = [text, f"next: {self.next_step}"] if next_step else [text]
        super().__init__("\n  ".join(line.replace("\n", _NEXT_LINE) for line in lines))


class UnknownValueError(InputError):
    """A number that a decision needs was never measured or given. Unknown is never free."""


class FindingError(InferbudgetError):
    """A check found something: a stale file, a failed case, a breached budget."""

    exit_code = ExitCode.FINDING


class InfeasibleError(InferbudgetError):
    """No allocation keeps all limits. The message names those that clash and what would help."""

    exit_code = ExitCode.INFEASIBLE


class UnprovenError(InferbudgetError):
    """The solver stopped before it could prove its answer.

    Args:
        message: What happened; `what` afterwards, without the figures.
        incumbent: Objective of the best answer found so far, minimised, in the units of whoever
            raises it; None where none was found.
        bound: What no answer's objective is below; None where nothing was proven.
    """

    exit_code = ExitCode.UNPROVEN

    def __init__(
        self, message: str, *, incumbent: float | None = None, bound: float | None = None
    ) -> None:
        self.what = message
        self.incumbent = incumbent
        self.bound = bound
        known = [] if incumbent is None else [f"the best answer found has {incumbent:.9g}"]
        known += [] if bound is None else [f"none can have less than {bound:.9g}"]
        super().__init__(f"{message}; of the objective, {', '.join(known)}" if known else message)


class UpstreamError(InferbudgetError):
    """A model server failed or answered with something unusable.

    Args:
        message: What happened.
        status: HTTP status that the upstream sent, None when none arrived.
        sent: False only on proof that no byte of the request left: the one case without a charge.
    """

    exit_code = ExitCode.UPSTREAM

    def __init__(self, message: str, *, status: int | None = None, sent: bool = True) -> None:
        self.status = status
        self.sent = sent
        super().__init__(message)


class BudgetRefusedError(InferbudgetError):
    """No budget holds this request.

    Args:
        message: Which scope and limit refused.
        retry_after_s: Seconds until the window that refused renews, None when it never does.
    """

    exit_code = ExitCode.FINDING

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)
