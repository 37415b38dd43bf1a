"""The file of tasks that a measuring run reads: one JSON object a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from profiles.errors import InputError
from profiles.measuring.scorers import Task


def _text(text: str) -> str:
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise ValueError("half a surrogate pair, which is no text")
    return text


def _name(text: str) -> str:
    if not text.strip() or "\0" in text:
        raise ValueError("a name must not be blank and holds no NUL")
    return text


_Text = Annotated[str, AfterValidator(_text)]
_Name = Annotated[_Text, AfterValidator(_name)]


class TaskRow(BaseModel):
    """One line of a task file."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    query: _Name | int = Field(description="Identifies the request within its workload.")
    prompt: _Text = Field(min_length=1, description="What the model is asked.")
    class_label: _Name | None = Field(default=None, alias="class", description="A known class.")
    reference: _Text | float | int | None = Field(default=None, description="The right answer.")
    answer: _Text | float | int | None = Field(default=None, description="Another name for it.")
    tests: _Text | None = Field(default=None, description="Python that passes on a right answer.")
    scorer: _Text | None = Field(default=None, description="Judges this task instead of --scorer.")

    def task(self) -> Task:
        """The task as scorers take it."""
        reference = self.answer if self.reference is None else self.reference
        return Task(
            query_id=str(self.query),
            prompt=self.prompt,
            class_label=self.class_label,
            reference=None if reference is None else str(reference),
            tests=self.tests,
            scorer=self.scorer,
        )


def read_tasks(path: Path) -> list[Task]:
    """Tasks from JSON lines; blank lines and lines that start with # are passed over.

    Raises:
        InputError: A line is no task, or two different tasks share an id; names the line. Or there
            is no task at all.
    """
    found: dict[str, Task] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("cannot read the tasks", where=str(path), got=str(error)) from error
    for number, line in enumerate(lines, start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            task = _task(line, f"{path}:{number}")
            if found.setdefault(task.query_id, task) != task:
                raise InputError(
                    f"another task has the id {task.query_id!r}", where=f"{path}:{number}"
                )
    if not found:
        raise InputError("there is no task in this file", where=str(path))
    return list(found.values())


def _task(line: str, where: str) -> Task:
    try:
        row = TaskRow.model_validate(json.loads(line))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the line"
        raise _refusal(where, f"{place}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise _refusal(where, str(error)) from error
    if row.reference is not None and row.answer is not None and row.reference != row.answer:
        raise _refusal(where, "reference and answer, which differ")
    return row.task()


def _refusal(where: str, got: str) -> InputError:
    return InputError(
        "this is not a task",
        where=where,
        expected='{"query": "...", "prompt": "..."}, perhaps with class, reference, tests, scorer',
        got=got,
    )
