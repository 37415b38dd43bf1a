from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from fake_upstream import PRICES, FakeUpstream, served

from profiles.errors import ExitCode, InputError, UnknownValueError, UpstreamError
from profiles.measuring.measure import measure
from profiles.measuring.scorers import Task
from profiles.money import PriceCard
from profiles.store.store import Store
from runtime.experiment import Bench, Experiment
from runtime.journal import journal_of

pytestmark = pytest.mark.asyncio
SINGLE = "small/single(max_tokens=8)"
EXPERIMENT = Experiment(
    endpoint="http://127.0.0.1:9/v1",
    workload="w",
    strategies=(SINGLE,),
    scorer="exact",
    prices=PRICES,
)
TASKS = [Task(f"q{number}", f"prompt {number}", reference="four") for number in range(6)]


async def measured(store: Store, bench: Bench, **more: Any) -> Any:
    return await measure(
        store,
        workload="w",
        problems=TASKS,
        strategies=bench.experiment.strategies,
        answer=bench.answer,
        score=bench.scorers.score,
        paid=bench.paid,
        stored=bench.stored,
        **more,
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strategies": ("small/singel",)}, "did you mean 'single'"),
        ({"strategies": ("small/best_of_n(n=2,verifier=checker)",)}, "no verifier is called"),
        ({"scorer": None}, "nothing judges this task"),
        ({"scorer": "unit-tests"}, "task q0"),
        ({"verifiers": {"checker": "nowhere:check"}}, "cannot import the module 'nowhere'"),
        ({"api_key_env": "A_KEY_THAT_NOBODY_SET"}, "A_KEY_THAT_NOBODY_SET: this environment"),
        ({"endpoint": "ftp://host"}, "not the address of a model server"),
        ({"timeout_s": 1e300}, "cannot be given up after this time"),
        ({"timeout_s": float("nan")}, "cannot be given up after this time"),
    ],
)
async def test_what_cannot_work_is_found_before_anything_is_paid_for(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        replace(EXPERIMENT, **change).check(TASKS)


async def test_a_key_travels_in_the_header_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    async def look(request: web.Request, _: dict[str, Any]) -> None:
        seen.append(request.headers.get("Authorization"))

    monkeypatch.setenv("SOME_KEY", "sesame-7")
    path = tmp_path / "store.duckdb"
    async with served(FakeUpstream(behaviour=look)) as fake:
        experiment = replace(EXPERIMENT, endpoint=fake.url, api_key_env="SOME_KEY")
        async with experiment.bench(journal_of(path), None) as bench:
            with Store.open(path) as store:
                await measured(store, bench)
            content = path.read_bytes()
    assert seen == ["Bearer sesame-7"] * 6
    assert b"sesame" not in content + repr(experiment).encode()


async def test_spending_is_the_servers_bill_and_unknown_without_prices(tmp_path: Path) -> None:
    async with served(FakeUpstream()) as fake:
        for name, prices in (("known", PRICES), ("unknown", PriceCard())):
            experiment = replace(EXPERIMENT, endpoint=fake.url, prices=prices)
            with Store.open(tmp_path / name) as store:
                async with experiment.bench(tmp_path / f"{name}.calls", None) as bench:
                    report = await measured(store, bench)
            if name == "known":
                assert report.spent_usd == pytest.approx(fake.bill_nano_usd / 1e9)
            else:
                assert (report.spent_usd, report.left_usd) == (None, 0)


async def test_a_judge_is_paid_from_the_same_purse_and_asked_by_the_same_connection(
    tmp_path: Path,
) -> None:
    class Grading(FakeUpstream):
        def texts(self, body: dict[str, Any]) -> list[str]:
            return ["VERDICT: 10" if body["model"] == "large" else "four"] * body.get("n", 1)

    async with served(Grading()) as fake:
        experiment = replace(EXPERIMENT, endpoint=fake.url, scorer="judge:large")
        with Store.open(tmp_path / "store") as store:
            async with experiment.bench(tmp_path / "calls", None) as bench:
                report = await measured(store, bench)
            rows = store.observations("w")
    assert [row.score for row in rows] == [1.0] * 6
    assert report.spent_usd == pytest.approx(fake.bill_nano_usd / 1e9)
    # what an outcome costs when it is served knows no judge
    assert sum(row.cost_usd or 0 for row in rows) < report.spent_usd / 2


async def test_a_judge_that_the_cap_does_not_allow_leaves_the_outcome_for_another_run(
    tmp_path: Path,
) -> None:
    async with served(FakeUpstream(reply="VERDICT:9")) as fake:
        experiment = replace(EXPERIMENT, endpoint=fake.url, scorer="judge:large")
        with Store.open(tmp_path / "store") as store:
            async with experiment.bench(tmp_path / "calls", 60_000) as bench:
                report = await measured(store, bench, concurrency=1)
            assert (report.measured, report.left) == (0, 6)
            assert report.stopped
            calls = len(fake.calls)
            async with experiment.bench(tmp_path / "calls", None) as bench:
                again = await measured(store, bench, concurrency=1)
    assert again.measured == 6
    # the answers of the first run are not asked for again
    assert len(fake.calls) == 12
    assert calls > 0


async def test_a_cap_below_the_first_outcome_buys_nothing(tmp_path: Path) -> None:
    async with served(FakeUpstream()) as fake:
        experiment = replace(EXPERIMENT, endpoint=fake.url)
        with Store.open(tmp_path / "store") as store:
            async with experiment.bench(tmp_path / "calls", 1) as bench:
                report = await measured(store, bench)
    assert (report.measured, report.left, report.spent_usd) == (0, 6, 0)
    assert "no room" in str(report.stopped)
    assert fake.calls == []


async def test_limited_money_wants_a_price_of_the_judge_before_any_call() -> None:
    experiment = replace(EXPERIMENT, scorer="judge:dear")
    experiment.check(TASKS)
    with pytest.raises(UnknownValueError, match="dear"):
        experiment.check(TASKS, limited=True)
    with pytest.raises(UnknownValueError, match="small"):
        replace(EXPERIMENT, prices=PriceCard()).check(TASKS, limited=True)


async def test_a_judge_without_a_verdict_is_asked_again_and_the_answers_are_not(
    tmp_path: Path,
) -> None:
    class Undecided(FakeUpstream):
        def texts(self, body: dict[str, Any]) -> list[str]:
            return [self.reply if body["model"] == "large" else "four"]

    async with served(Undecided(reply="who knows")) as fake:
        experiment = replace(EXPERIMENT, endpoint=fake.url, scorer="judge:large")
        with Store.open(tmp_path / "store") as store:
            async with experiment.bench(tmp_path / "calls", None) as bench:
                with pytest.raises(UpstreamError, match="gave no verdict") as failed:
                    await measured(store, bench)
            fake.reply = "VERDICT: 10"
            async with experiment.bench(tmp_path / "calls", None) as bench:
                again = await measured(store, bench)
    assert failed.value.exit_code == ExitCode.UPSTREAM == 5
    assert (again.measured, again.failed) == (6, 0)
    assert [call["model"] for call in fake.calls[12:]] == ["large"] * 6


async def test_one_absurd_usage_makes_one_cost_unknown_and_loses_nothing(tmp_path: Path) -> None:
    class Boasting(FakeUpstream):
        def answer(self, body: dict[str, Any], texts: list[str], *tokens: int) -> web.Response:
            absurd = body["messages"][0]["content"] == "prompt 3"
            return super().answer(body, texts, tokens[0], 10**30 if absurd else tokens[1])

    async with served(Boasting()) as fake:
        experiment = replace(EXPERIMENT, endpoint=fake.url)
        with Store.open(tmp_path / "store") as store:
            async with experiment.bench(tmp_path / "calls", None) as bench:
                report = await measured(store, bench)
            rows = store.observations("w")
    assert [row.cost_usd is None for row in rows] == [row.query_id == "q3" for row in rows]
    assert (report.measured, report.at_bound, report.beyond_cap) == (6, 1, 0)


async def test_more_tokens_than_were_asked_for_are_suspicious(tmp_path: Path) -> None:
    class Greedy(FakeUpstream):
        def answer(self, body: dict[str, Any], texts: list[str], *tokens: int) -> web.Response:
            return super().answer(body, texts, tokens[0], 10**7)

    async with served(Greedy()) as fake:
        experiment = replace(EXPERIMENT, endpoint=fake.url)
        with Store.open(tmp_path / "store") as store:
            async with experiment.bench(tmp_path / "calls", None) as bench:
                report = await measured(store, bench)
    assert (report.at_bound, report.beyond_cap) == (0, 6)
    assert report.spent_usd == pytest.approx(fake.bill_nano_usd / 1e9)


async def test_a_call_that_failed_after_it_was_sent_makes_the_spend_a_bound(
    tmp_path: Path,
) -> None:
    async def sometimes(_: web.Request, body: dict[str, Any]) -> web.Response | None:
        statuses = {"prompt 1": 500, "prompt 2": 429}
        status = statuses.get(body["messages"][0]["content"])
        return web.Response(status=status) if status else None

    async with served(FakeUpstream(behaviour=sometimes)) as fake:
        experiment = replace(EXPERIMENT, endpoint=fake.url)
        with Store.open(tmp_path / "store") as store:
            async with experiment.bench(tmp_path / "calls", None) as bench:
                report = await measured(store, bench)
    assert (report.measured, report.failed, report.at_bound) == (4, 2, 1)
