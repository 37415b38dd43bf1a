"""Logs are JSON lines that no text can forge, without prompts and keys."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime import logs
from runtime.logs import HIDDEN, REQUEST_ID, TRACE_ID, JsonLines, LogWriter

KEY = "sk-live-0123456789abcdef"


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def logged(
    event: str, *args: object, secrets: tuple[str, ...] = (), **given: Any
) -> dict[str, Any]:
    stream = io.StringIO()
    with LogWriter(stream, secrets=secrets):
        logging.getLogger("runtime.gateway").warning(event, *args, **given)
    (found,) = lines(stream)
    return found


@pytest.fixture(autouse=True)
def no_request() -> Iterator[None]:
    tokens = [(variable, variable.set(None)) for variable in (REQUEST_ID, TRACE_ID)]
    yield
    for variable, token in tokens:
        variable.reset(token)


def test_a_line_says_when_what_and_how_bad() -> None:
    record = logging.LogRecord("runtime.x", logging.ERROR, "f", 1, "it %s", ("broke",), None)
    record.created = 1_790_000_000.25
    assert json.loads(JsonLines().format(record)) == {
        "time": "2026-09-21T14:13:20.250Z",
        "level": "error",
        "event": "it broke",
        "logger": "runtime.x",
    }


@pytest.mark.asyncio
async def test_every_line_names_the_request_whose_task_logged_it() -> None:
    stream = io.StringIO()

    async def request(name: str) -> None:
        REQUEST_ID.set(name)
        TRACE_ID.set(f"trace of {name}")
        await asyncio.sleep(0)
        logging.getLogger("x").info("said by %s", name)

    with LogWriter(stream):
        await asyncio.gather(*(asyncio.create_task(request(f"r{n}")) for n in range(5)))
        logging.getLogger("x").info("said by nobody")
    for line in lines(stream)[:-1]:
        assert line["event"] == f"said by {line['request_id']}"
        assert line["trace_id"] == f"trace of {line['request_id']}"
    assert "request_id" not in lines(stream)[-1]


@given(st.text(max_size=50), st.text(max_size=10))
def test_no_text_can_break_a_line_or_hide_in_one(event: str, name: str) -> None:
    stream = io.StringIO()
    token = REQUEST_ID.set(name or None)
    with LogWriter(stream):
        logging.getLogger("x").info("%s", event)
    REQUEST_ID.reset(token)
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert text.endswith("\n")
    assert text.isascii()
    assert text[:-1].isprintable()
    assert isinstance(json.loads(text)["event"], str)


@pytest.mark.parametrize(
    "text",
    [
        f"header authorization: Bearer {KEY}",
        f"Basic {KEY}",
        f"the key {KEY} is wrong",
        "the key ib-0123456789abcdef is wrong",
    ],
)
def test_what_looks_like_a_key_is_hidden(text: str) -> None:
    found = json.dumps(logged("%s", text))
    assert "0123456789abcdef" not in found
    assert HIDDEN in found


def test_keys_that_are_known_are_hidden_wherever_they_stand() -> None:
    secrets = ("correct horse", "correct horse battery", "short", "with.dots")
    REQUEST_ID.set("r with.dots")
    found = logged("a correct horse battery, short; with-dots", secrets=secrets)
    assert found["event"] == f"a {HIDDEN}, short; with-dots"
    assert found["request_id"] == f"r {HIDDEN}"


def test_an_error_is_named_without_its_words() -> None:
    try:
        try:
            raise ValueError("the prompt was: my secret")
        except ValueError as inner:
            raise RuntimeError("because of my secret") from inner
    except RuntimeError:
        found = logged("request failed", exc_info=True)
    assert found["error"] == "RuntimeError"
    assert "test_logs.py" in found["at"][-1]
    assert found["at"][-1].endswith("test_an_error_is_named_without_its_words")
    assert "secret" not in json.dumps(found)


def test_a_very_long_text_is_cut() -> None:
    event = logged("x" * 100_000)["event"]
    assert event == "x" * 2_000 + "... (100000 characters)"


def test_a_call_that_does_not_fit_its_text_is_logged_as_it_is() -> None:
    assert logged("%d and %d", "one")["event"] == "%d and %d"


def test_what_is_less_than_the_level_is_not_logged() -> None:
    stream = io.StringIO()
    with LogWriter(stream, level="WARNING"):
        logging.getLogger("x").info("no")
        logging.getLogger("x").warning("yes")
    assert [line["event"] for line in lines(stream)] == ["yes"]


def test_a_reader_that_stands_still_stops_nobody_and_lost_lines_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logs, "_MOST_WAITING", 10)
    begun = threading.Event()

    class Slow(io.StringIO):
        def write(self, text: str) -> int:
            begun.set()
            released.wait()
            return super().write(text)

    released = threading.Event()
    stream = Slow()
    with LogWriter(stream) as writer:
        logging.getLogger("x").info("first")
        begun.wait()
        for number in range(100):
            logging.getLogger("x").info("line %d", number)
        assert writer.lost == 90
        released.set()
    assert len(lines(stream)) == 11


def test_what_happens_again_and_again_cannot_fill_the_log() -> None:
    stream = io.StringIO()
    with LogWriter(stream):
        for number in range(5_000):
            logging.getLogger("x").info("refused: %d", number)
        logging.getLogger("x").info("something else")
    found = lines(stream)
    assert 101 <= len(found) < 200
    assert found[-1]["event"] == "something else"


def test_lines_that_were_left_out_are_counted_in_the_next_one() -> None:
    now_s = 0.0
    sparing = logs.Sparing(lambda: now_s)
    record = logging.LogRecord("x", logging.INFO, "f", 1, "refused", (), None)
    assert sum(sparing.filter(record) for _ in range(500)) == 100
    now_s = 1.0
    assert sparing.filter(record)
    assert json.loads(JsonLines().format(record))["left_out"] == 400
    assert not sparing.filter(record)
    now_s = 1_000.0
    assert sum(sparing.filter(record) for _ in range(500)) == 100


def test_a_reader_that_is_gone_stops_nobody() -> None:
    code = (
        "import logging, sys\n"
        "from runtime.logs import LogWriter\n"
        "sys.stdin.read()\n"
        "with LogWriter() as writer:\n"
        "    for n in range(10): logging.getLogger('x').info('line %d', n)\n"
        "print(writer.lost)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stderr.close()
        process.stdin.close()
        assert process.stdout.read() == b"10\n"


def test_logging_is_as_before_when_it_ends() -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    with LogWriter(io.StringIO(), level="DEBUG"):
        assert root.level == logging.DEBUG
    assert (root.handlers, root.level) == before


def test_a_process_writes_its_lines_to_standard_error_to_the_last() -> None:
    code = (
        "import logging\n"
        "from runtime.logs import LogWriter\n"
        "x = logging.getLogger('x')\n"
        "with LogWriter():\n"
        "    for n in range(1000):\n"
        "        x.handle(x.makeRecord('x', logging.INFO, 'f', n, 'line %d', (n,), None))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [json.loads(line)["event"] for line in done.stderr.splitlines()] == [
        f"line {n}" for n in range(1000)
    ]
