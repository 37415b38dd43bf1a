"""What a pull request does to a policy: every step of the review, by the program's own commands.

Each step runs as a process of its own and says on the log what it would say to a person; the review
goes on after a step that finds something, so that one run tells everything.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from policies.report_layout import MARKER
from profiles.errors import ExitCode, InputError
from profiles.visible import escaped

COMPARED = "what changes against the base"


@dataclass(frozen=True, slots=True)
class Files:
    """What is reviewed, paths relative to the working directory.

    Attributes:
        spec: The question.
        profiles: The store that it is asked of; None where plans are made elsewhere.
        plan: The committed plan.
        policy: The committed policy.
        cases: The policy's own test cases, None where it has none.
    """

    spec: Path
    profiles: Path | None
    plan: Path
    policy: Path
    cases: Path | None


@dataclass(frozen=True, slots=True)
class Step:
    """One step as it ended.

    Attributes:
        name: What was asked, in words.
        code: Its exit code, 0 where it found nothing.
        result: What it wrote to standard output.
        said: What it wrote to standard error.
    """

    name: str
    code: int
    result: str
    said: str = ""


def review(files: Files, base: str, *, findings_format: str) -> Iterator[Step]:
    """Plan again, hold the committed files against that, check, test, and compare with the base.

    The result of the last step is what changes, in Markdown; empty where nothing does.

    Args:
        files: What is reviewed.
        base: Revision of git that the policy is compared with; empty for no policy before.
        findings_format: Of `check`: ``text``, or ``github`` for annotations.

    Raises:
        InputError: Git knows no such revision.
    """
    before = policy_at(base, files.policy)
    spec, plan, policy = str(files.spec), str(files.plan), str(files.policy)
    if files.profiles is not None:
        yield from _planned_again(files, files.profiles)
    yield _run("the policy is what the plan compiles to", "compile", plan, "-o", policy, "--check")
    asked = ("--plan", plan, "--spec", spec, "--format", findings_format)
    yield _run("the policy is sound", "check", policy, *asked)
    if files.cases is not None:
        yield _run("the policy does what its cases say", "test", policy, str(files.cases))
    old = os.devnull if before is None else "-"
    yield _run(COMPARED, "diff", old, policy, "--format", "markdown", stdin=before or "")


def comment_of(steps: Sequence[Step]) -> str:
    """The comment to make on the pull request, empty where there is nothing to say."""
    changes = steps[-1].result.rstrip() if steps[-1].code == ExitCode.DONE else ""
    failed = [f"- {escaped(step.name)}: **failed**" for step in steps if step.code]
    if not failed:
        return f"{changes}\n" if changes else ""
    told = ["**This cannot be merged yet**; the job's log says why and what to do:", "", *failed]
    return "\n".join([changes or MARKER, "", *told]) + "\n"


def policy_at(base: str, policy: Path) -> str | None:
    """The policy file as a revision of git has it, None where it has none.

    Raises:
        InputError: Git knows no such revision.
    """
    if not base.strip("0"):  # a branch that was just made has no commit before
        return None
    commit = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{base}^{{commit}}")
    if commit is None:
        raise InputError(
            "git knows no such revision",
            where="--base",
            got=base,
            next_step="fetch it first (a checkout with its whole history has it)",
        )
    name = Path(os.path.relpath(policy)).as_posix()
    if not _git("ls-tree", "--name-only", commit.strip(), "--", f"./{name}"):
        return None
    text = _git("show", f"{commit.strip()}:./{name}")
    if text is None:
        raise InputError("git cannot read the policy", where=f"{base}:{name}")
    return text


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - no shell
            ["git", *words],  # noqa: S607 - the one on the path is meant
            capture_output=True,
            check=False,
        )
    except OSError as error:
        raise InputError("cannot run git", where="--base", got=str(error)) from error
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None


def _planned_again(files: Files, profiles: Path) -> Iterator[Step]:
    # beside the committed plan, for paths in a plan are relative to it
    fresh = files.plan.with_name(f".{files.plan.name}.fresh")
    where = ("--profiles", str(profiles), "-o", str(fresh))
    try:
        made = _run("the spec has a plan", "plan", str(files.spec), *where)
        yield made
        if made.code == ExitCode.DONE:
            yield _same(files.plan, fresh)
    finally:
        fresh.unlink(missing_ok=True)


def _same(plan: Path, fresh: Path) -> Step:
    name = "the plan is what the spec and the measurements give"
    if plan.read_bytes() == fresh.read_bytes():
        return Step(name, int(ExitCode.DONE), f"{plan}: up to date\n")
    step = "run 'inferbudget plan' and 'inferbudget compile', and commit what they write"
    return Step(name, int(ExitCode.FINDING), f"{plan}: stale\n  next: {step}\n")


def _run(name: str, *command: str, stdin: str = "") -> Step:
    done = subprocess.run(  # noqa: S603 - ourselves
        # -P: nothing is imported from the folder under review
        [sys.executable, "-P", "-c", "from app.cli.main import main; main()", *command],
        input=stdin,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    return Step(name, done.returncode, done.stdout, done.stderr)
