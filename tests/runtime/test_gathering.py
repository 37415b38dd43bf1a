"""Requests of one turn of the event loop, decided in one run."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from test_decision import session

from profiles.errors import InputError
from runtime.decision import Decision, DecisionSession
from runtime.gathering import MOST_CHARACTERS, MOST_ROWS, Gathering, Question

pytestmark = pytest.mark.asyncio
ONE = Question("easy", 0, 0.5, None)


class Runs:
    """A decider that notes how many rows each run had."""

    provider = "none"

    def __init__(self, session: DecisionSession) -> None:
        self.rows: list[int] = []
        self._session = session

    def decide(self, *asked: Any) -> Decision:
        raise AssertionError("nothing is decided alone")

    def decide_many(self, texts: Sequence[str], *more: Any) -> list[Decision]:
        self.rows.append(len(texts))
        return self._session.decide_many(texts, *more)


async def asked(gathering: Gathering, *questions: Question) -> list[Decision | BaseException]:
    deciding = (gathering.decide(question) for question in questions)
    return await asyncio.gather(*deciding, return_exceptions=True)


async def test_what_is_asked_together_is_decided_in_one_run_as_it_would_be_alone(
    tmp_path: Path,
) -> None:
    alone = session(tmp_path, "text")
    runs = Runs(alone)
    texts = ["one two", "a " * 20, "three", ""]
    found = await asked(Gathering(runs), *(Question(text, 0, 0.3, None) for text in texts))
    assert found == [alone.decide(text, 0, 0.3) for text in texts]
    assert runs.rows == [4]


async def test_nobody_waits_for_who_comes_in_the_next_turn(tmp_path: Path) -> None:
    runs = Runs(session(tmp_path))
    gathering, deciding = Gathering(runs), []
    while len(deciding) < 8:  # there is always somebody who comes
        deciding += [asyncio.ensure_future(gathering.decide(ONE)) for _ in range(2)]
        await asyncio.sleep(0)
    await asyncio.gather(*deciding)
    assert runs.rows == [2, 2, 2, 2]


async def test_what_is_asked_later_is_decided_in_another_run(tmp_path: Path) -> None:
    runs = Runs(session(tmp_path))
    gathering = Gathering(runs)
    await asked(gathering, ONE)
    await asked(gathering, ONE, ONE)
    assert runs.rows == [1, 2]


async def test_an_unknown_label_is_refused_and_its_neighbours_are_not(tmp_path: Path) -> None:
    wrong = Question("Easy", 0, 0.5, None)
    first, second, third = await asked(Gathering(Runs(session(tmp_path))), ONE, wrong, ONE)
    assert isinstance(second, InputError)
    assert first == third == session(tmp_path).decide("easy", 0, 0.5)


async def test_a_run_has_a_bound_on_rows_and_characters(tmp_path: Path) -> None:
    runs = Runs(session(tmp_path, "text"))
    many = [Question("short", 0, 0.5, None)] * (MOST_ROWS + 1)
    await asked(Gathering(runs), *many)
    assert runs.rows == [MOST_ROWS, 1]
    runs.rows.clear()
    half = Question("x" * (MOST_CHARACTERS // 2), 0, 0.5, None)
    await asked(Gathering(runs), half, half, half)
    assert runs.rows == [2, 1]


async def test_who_no_longer_waits_is_passed_over(tmp_path: Path) -> None:
    gathering = Gathering(Runs(session(tmp_path)))
    leaving = asyncio.ensure_future(gathering.decide(ONE))
    staying = asyncio.ensure_future(gathering.decide(ONE))
    await asyncio.sleep(0)
    leaving.cancel()
    assert (await staying).class_name == "easy"
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_a_bug_reaches_all_who_wait() -> None:
    class Broken:
        provider = "none"

        def decide(self, *asked: Any) -> Decision:
            raise KeyError

        decide_many: Any = decide

    found = await asked(Gathering(Broken()), ONE, ONE)
    assert [type(one) for one in found] == [KeyError, KeyError]
