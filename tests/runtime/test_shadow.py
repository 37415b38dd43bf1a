"""A policy that decides beside the one in force, and changes nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from running_gateway import running
from small_policies import CHEAP, DEAR, budget, policy, written

from profiles.errors import InputError
from runtime.checkers import Verifier
from runtime.decision import DecisionSession
from runtime.service import Ask
from runtime.shadow import MOST_WAITING, Shadow
from runtime.strategies import Tools
from runtime.upstream import Message

pytestmark = pytest.mark.asyncio
ASK = Ask((Message("user", "two and two"),), "two and two", "hard")


def shadow(folder: Path, **about: object) -> Shadow:
    about.setdefault("rungs", ((CHEAP, 0.1),))
    found = policy(**about)
    path = written(found, folder)
    tools = Tools({"checker": Verifier("checker", lambda *_: 1.0)})
    return Shadow(found, DecisionSession(found, found.graph_path(path)), tools)


async def test_it_counts_what_it_would_have_done_and_leaves_the_answers_alone(
    tmp_path: Path,
) -> None:
    (tmp_path / "shadow").mkdir()
    other = shadow(tmp_path / "shadow", rungs=((CHEAP, 0.1),), costs={CHEAP: 0.25})
    async with running(tmp_path, policy(rungs=((CHEAP, 0.1),)), shadow=other) as at:
        before = at.fake.calls
        status, _, headers = await at.chat()
        assert (status, headers["x-inferbudget-strategy"]) == (200, CHEAP)
        assert len(at.fake.calls) == len(before) or at.fake.calls == before
        metrics = (await at.get("/metrics"))[1]
    assert (
        'inferbudget_shadow_requests_total{agrees="true",class="hard",outcome="answered"} 1.0'
        in metrics
    )
    assert "inferbudget_shadow_expected_usd_total 0.25" in metrics


async def test_its_budgets_are_its_own_and_run_out(tmp_path: Path) -> None:
    found = shadow(tmp_path, rungs=((CHEAP, 0.1),), costs={CHEAP: 1e-6}, budgets=(budget(1.5e-4),))
    outcomes = []
    for _ in range(200):
        task = found.watch(ASK)
        assert task is not None
        outcomes.append((await task).outcome)
    assert outcomes[0] == "answered"
    assert outcomes[-1] == "refused"


async def test_a_label_that_it_does_not_know_is_no_error(tmp_path: Path) -> None:
    found = shadow(tmp_path)
    task = found.watch(Ask((Message("user", "x"),), "x", "unheard of"))
    assert task is not None
    assert (await task).outcome == "invalid"


async def test_requests_beyond_its_bound_are_passed_over_and_counted(tmp_path: Path) -> None:
    found = shadow(tmp_path)
    tasks = [found.watch(ASK) for _ in range(MOST_WAITING + 3)]
    assert [task is None for task in tasks[-4:]] == [False, True, True, True]
    assert found.passed_over == 3
    await asyncio.gather(*(task for task in tasks if task is not None))


async def test_what_could_not_be_served_cannot_be_a_shadow(tmp_path: Path) -> None:
    path = written(policy(rungs=((DEAR, 0.1),)), tmp_path)
    found = policy(rungs=((DEAR, 0.1),))
    with pytest.raises(InputError, match="no verifier"):
        Shadow(found, DecisionSession(found, found.graph_path(path)), Tools())
