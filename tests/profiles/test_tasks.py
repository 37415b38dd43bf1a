from __future__ import annotations

from pathlib import Path

import pytest

from profiles.errors import InputError
from profiles.measuring.scorers import Task
from profiles.measuring.tasks import read_tasks


def written(folder: Path, *lines: str) -> Path:
    path = folder / "tasks.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_task_has_a_query_a_prompt_and_what_judges_its_answer(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "# a remark",
        '{"query": "a", "prompt": "2 + 2?", "class": "easy", "reference": "4"}',
        "",
        '{"query": 7, "prompt": "one\u2028line", "answer": 0.5, "scorer": "numeric"}',
        '{"query": "c", "prompt": "f?", "tests": "assert f(1) == 1"}',
    )
    assert read_tasks(path) == [
        Task("a", "2 + 2?", "easy", "4"),
        Task("7", "one\u2028line", reference="0.5", scorer="numeric"),
        Task("c", "f?", tests="assert f(1) == 1"),
    ]


@pytest.mark.parametrize(
    ("line", "got"),
    [
        ('{"query": "a"}', "prompt: Field required"),
        ('{"query": "a", "prompt": ""}', "prompt: String should have at least 1 character"),
        ('{"query": "a", "prompt": "x", "refernce": "4"}', "refernce: Extra inputs"),
        ('{"query": "a", "prompt": "x", "reference": "4", "answer": "5"}', "which differ"),
        ('["a", "x"]', "the line: Input should be a valid dictionary"),
        ("{query: a}", "Expecting property name"),
        ("[" * 100_000, "got"),
    ],
)
def test_a_line_that_is_no_task_is_refused_with_its_number(
    tmp_path: Path, line: str, got: str
) -> None:
    path = written(tmp_path, '{"query": "first", "prompt": "x"}', line)
    with pytest.raises(InputError, match=r"tasks.jsonl:2: this is not a task") as refusal:
        read_tasks(path)
    assert got in str(refusal.value)


def test_two_tasks_do_not_share_an_id_but_one_may_stand_twice(tmp_path: Path) -> None:
    one = '{"query": "a", "prompt": "x"}'
    assert len(read_tasks(written(tmp_path, one, one))) == 1
    with pytest.raises(InputError, match=r"tasks.jsonl:2: another task has the id 'a'"):
        read_tasks(written(tmp_path, one, '{"query": "a", "prompt": "y"}'))


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot read the tasks"):
        read_tasks(path)


def test_a_byte_order_mark_and_indented_remarks_are_no_tasks(tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"query": "a", "prompt": "x"}\r\n  # remark\r\n')
    assert read_tasks(path) == [Task("a", "x")]


@pytest.mark.parametrize("lines", [(), ("# nothing",), ("", " ")])
def test_a_file_without_a_task_is_refused(tmp_path: Path, lines: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match=r"tasks.jsonl: there is no task in this file"):
        read_tasks(written(tmp_path, *lines))


@pytest.mark.parametrize(
    ("words", "got"),
    [
        (r'"query": "a\ud800", "prompt": "x"', "query.* surrogate pair"),
        (r'"query": "a\u0000", "prompt": "x"', "query.* no NUL"),
        (r'"query": " ", "prompt": "x"', "query.* must not be blank"),
        (r'"query": "a", "prompt": "\udfff"', "prompt: .* unicode"),
        (r'"query": "a", "prompt": "x", "class": "\ud800"', "class: .* surrogate pair"),
        (r'"query": "a", "prompt": "x", "class": ""', "class: .* must not be blank"),
        (r'"query": "a", "prompt": "x", "reference": "\ud800"', "reference.* surrogate pair"),
        (r'"query": "a", "prompt": "x", "tests": "\ud800"', "tests: .* surrogate pair"),
    ],
)
def test_what_no_file_can_hold_is_refused_with_its_line(
    tmp_path: Path, words: str, got: str
) -> None:
    with pytest.raises(InputError, match=f"tasks.jsonl:1: this is not a task; .*{got}"):
        read_tasks(written(tmp_path, f"{{{words}}}"))
