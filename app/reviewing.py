"""What a pull request does to a policy: every step of the review, by the program's own commands.

Each step runs as a process of its own and says on the log what it would say to a person; the review
goes on after a step that finds something, so that one run tells everything.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from policies.report_layout import MARKER, code, marker_of
from profiles.errors import ExitCode, InputError
from profiles.visible import escaped, escaped_lines

CHECKED = "the policy is sound"
COMPARED = "what changes against the base"
_TRUST = re.compile(r"git config --global --add safe\.directory .+")
"""What git says to do where it reads no repository of another user."""


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
        InputError: Git knows no such revision, or a file is a link out of its repository.
    """
    _require_no_way_out(files)
    before = policy_at(base, files.policy)
    spec, plan, policy = str(files.spec), str(files.plan), str(files.policy)
    if files.profiles is not None:
        yield from _planned_again(files, files.profiles)
    yield _run("the policy is what the plan compiles to", "compile", plan, "-o", policy, "--check")
    asked = ("--plan", plan, "--spec", spec, "--format", findings_format)
    yield _run(CHECKED, "check", policy, *asked)
    if files.cases is not None:
        yield _run("the policy does what its cases say", "test", policy, str(files.cases))
    old = os.devnull if before is None else "-"
    yield _run(COMPARED, "diff", old, policy, "--format", "markdown", stdin=before or "")


def _require_no_way_out(files: Files) -> None:
    """What a link leads to would be quoted in the log, were it the job's own environment."""
    for path in (files.spec, files.plan, files.policy, files.cases):
        if path is None or (real := path.resolve()) == Path(os.path.abspath(path)):  # noqa: PTH100
            continue
        root = _git("rev-parse", "--show-toplevel")
        top = root and Path(root.removesuffix("\n")).resolve()
        if top and (not real.is_relative_to(top) or ".git" in real.relative_to(top).parts):
            raise InputError(
                "a file under review is a link out of its repository",
                where=str(path),
                got=str(real),
                next_step="put the file itself there",
            )


def comment_of(steps: Sequence[Step], name: str) -> str:
    """The comment to make on the pull request, empty where there is nothing to say.

    Args:
        steps: All of a review.
        name: Which policy it is about: see `name_of`.
    """
    changes = steps[-1].result.rstrip() if steps[-1].code == ExitCode.DONE else ""
    failed = [f"- {escaped(step.name)}: **failed**" for step in steps if step.code]
    headline, _, details = changes.removeprefix(MARKER).strip().partition("\n\n")
    parts = [part for part in (headline, f"Policy: {code(name)}", details) if part]
    if failed:
        parts += ["**This cannot be merged yet**; the job's log says why and what to do:"]
        parts += ["\n".join(failed)]
    if not changes and not failed:
        return ""
    return escaped_lines("\n\n".join([marker_of(name), *parts])) + "\n"


def name_of(policy: Path) -> str:
    """A policy's path in its repository, wherever the review runs; else as it is given.

    Raises:
        InputError: Git will not read the repository.
    """
    folder = _git("-C", str(policy.parent), "rev-parse", "--show-prefix")
    return str(policy) if folder is None else folder.removesuffix("\n") + policy.name


def policy_at(base: str, policy: Path) -> str | None:
    """The policy file as a revision of git has it, None where it has none.

    Raises:
        InputError: Git will not read the repository or knows no such revision, or the policy is not
            in its repository.
    """
    if not base.strip("0"):  # a branch that was just made has no commit before
        return None
    if _git("rev-parse", "--git-dir") is None:
        raise InputError(
            "this is no git repository: there is nothing to compare with",
            where="--base",
            got=base,
            next_step="run the review in the policy's repository",
        )
    commit = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{base}^{{commit}}")
    if commit is None:
        raise InputError(
            "git knows no such revision",
            where="--base",
            got=base,
            next_step="fetch it first (a checkout with its whole history has it)",
        )
    name = Path(os.path.relpath(policy)).as_posix()
    listed = _git("ls-tree", "--name-only", commit.strip(), "--", f"./{name}")
    if listed is None:
        raise InputError(
            "git cannot tell whether the base has the policy",
            where=f"{base}:{name}",
            next_step="run the review in the policy's repository",
        )
    if not listed:
        return None
    text = _git("show", f"{commit.strip()}:./{name}")
    if text is None:
        raise InputError("git cannot read the policy", where=f"{base}:{name}")
    return text


def _git(*words: str) -> str | None:
    """What git answers, None where it has no answer.

    Raises:
        InputError: There is no git, or it reads no repository of another user.
    """
    try:
        done = subprocess.run(  # noqa: S603 - no shell
            ["git", *words],  # noqa: S607 - the one on the path is meant
            capture_output=True,
            env={**os.environ, "LC_ALL": "C"},
            check=False,
        )
    except OSError as error:
        raise InputError("cannot run git", where="--base", got=str(error)) from error
    if done.returncode == 0:
        return done.stdout.decode(errors="replace")
    said = done.stderr.decode(errors="replace")
    if trust := _TRUST.search(said):
        raise InputError(
            "git reads no repository that belongs to another user",
            got=said.partition("\n")[0],
            next_step=f"where you trust it: {trust[0]}",
        )
    return None


def _planned_again(files: Files, profiles: Path) -> Iterator[Step]:
    # In the plan's own folder, for paths in a plan are relative to it; it is written nowhere.
    folder = files.plan.parent
    spec, store = (_seen_from(folder, path) for path in (files.spec, profiles))
    made = _run("the spec has a plan", "plan", spec, "--profiles", store, "-o", "-", folder=folder)
    yield replace(made, result="")
    if made.code == ExitCode.DONE:
        yield _same(files.plan, made.result)


def _seen_from(folder: Path, path: Path) -> str:
    """A path as a command takes it that runs in this folder."""
    return os.path.relpath(path.parent.resolve() / path.name, folder.resolve())


def _same(plan: Path, fresh: str) -> Step:
    name = "the plan is what the spec and the measurements give"
    if _solved(plan.read_bytes()) == _solved(fresh.encode()):
        return Step(name, int(ExitCode.DONE), f"{plan}: up to date\n")
    step = "run 'inferbudget plan' and 'inferbudget compile', and commit what they write"
    return Step(name, int(ExitCode.FINDING), f"{plan}: stale\n  next: {step}\n")


def _solved(plan: bytes) -> object:
    """What a plan file says, but for the version of the solver; a file of no JSON is its bytes."""
    try:
        content = json.loads(plan)
    except ValueError:
        return plan
    if isinstance(content, dict):
        content.pop("solver", None)
    return content


def _run(name: str, *command: str, stdin: str = "", folder: Path | None = None) -> Step:
    done = subprocess.run(  # noqa: S603 - ourselves
        # -P: nothing is imported from the folder under review
        [sys.executable, "-P", "-c", "from app.cli.main import main; main()", *command],
        input=stdin,
        capture_output=True,
        cwd=folder,
        env={**os.environ, "PYTHONUTF8": "1"},
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    return Step(name, done.returncode, done.stdout, done.stderr)
