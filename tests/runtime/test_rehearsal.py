"""A rehearsal says what the gateway would do, and the replay where no gateway would start."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from fake_upstream import InMemory, reply
from hypothesis import given, settings
from hypothesis import strategies as st
from small_encoders import encoder_folder
from small_policies import (
    BY_TEXT_AND_LABEL,
    CHEAP,
    DEAR,
    budget,
    by_vectors,
    measured,
    policy,
    service,
    written,
)

from planner.spec import Caps, Window
from policies.case_file import LARGEST_DRAW, Money
from policies.decide import choose
from policies.draws import Asked, Drawn
from policies.graph import build_graph
from policies.policy import Budget, Graph, Policy
from policies.whole import RefusedPolicyError
from profiles.difficulty.reading.encoder import Encoder
from profiles.digest import digest_bytes
from profiles.errors import BudgetRefusedError, InputError
from profiles.money import PriceCard, to_nano_usd
from runtime.caller import CapRefusedError
from runtime.decision import Decision, DecisionSession, Vector
from runtime.ledger import Ledger
from runtime.openai import MAX_BODY_BYTES
from runtime.pacing import Pacer
from runtime.policy_budgets import scopes
from runtime.rehearsal import Rehearsal, _runs, open_rehearsal
from runtime.replay import replay
from runtime.service import UNIFORM_BITS, Ask, Service
from runtime.upstream import ChatCall, Completion, Message

BOTH = ((DEAR, 0.001), (CHEAP, 0.0001))
NINE = "one two three four five six seven eight nine"


def asked(
    prompt: str | None = "question",
    label: str | None = "easy",
    rung: int | None = None,
    uniform: float | None = None,
    **money: float,
) -> Asked:
    return Asked(prompt, label, rung, uniform, {None: Money(**money)} if money else {})


def mixed(limit_usd: float, requests: int, window: Window = Window.TOTAL) -> Policy:
    """Two rungs, each of which mixes both strategies."""
    found = policy(rungs=BOTH, budgets=(budget(limit_usd, window, requests),))
    shares = ({CHEAP: 0.25, DEAR: 0.75}, {CHEAP: 0.9, DEAR: 0.1})
    rungs = tuple(
        rung.model_copy(update={"shares": dict.fromkeys(found.classes.names, mix)})
        for rung, mix in zip(found.rungs, shares, strict=True)
    )
    changed = found.model_copy(update={"rungs": rungs})
    pin = Graph(file="policy.onnx", sha256=digest_bytes(build_graph(changed, None)))
    return changed.model_copy(update={"graph": pin}).sealed()


def rehearsed(found: Policy, folder: Path) -> Rehearsal:
    return open_rehearsal(written(found, folder))


class Scripted(random.Random):
    """Numbers in the order in which they are given, then the seed of a request."""

    def __init__(self, draws: Iterable[float]) -> None:
        super().__init__(0)
        self._draws = [int(draw * 2**UNIFORM_BITS) for draw in draws]

    def getrandbits(self, k: int, /) -> int:
        return self._draws.pop(0) if k == UNIFORM_BITS else 7


def right(_: int, call: ChatCall) -> Completion:
    return reply(*["right"] * call.n)


async def gateway(of: Service, draws: Sequence[float]) -> tuple[int, str | None, int | None]:
    """Class, strategy and hold of a request as the gateway takes it, with fresh budgets."""
    of.ledger = Ledger(scopes(of.policy), of.ledger._clock)
    of.pacer = Pacer.of(of.policy)
    of._random = Scripted(draws)
    ask = Ask((Message("user", "question"),), "question", "easy")
    try:
        run = await of.start(ask)
    except BudgetRefusedError:
        return "easy", None, None
    held = of.ledger.state("global").held
    await run.task
    return run.class_name, run.strategy, held


def at(found: Sequence[Drawn], rung_draw: float, draw: float) -> Drawn:
    """What a rehearsal says for two numbers drawn."""
    passed = 0.0
    for rung in sorted({drawn.rung for drawn in found}):
        of_rung = [drawn for drawn in found if drawn.rung == rung]
        share = sum(drawn.share for drawn in of_rung)
        passed += share
        if rung_draw < passed:
            within = 0.0
            for drawn in of_rung:
                within += drawn.share / share
                if draw < within:
                    return drawn
    raise AssertionError(found)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Rehearsal, dict[float, Service]]:
    """A rehearsal with 1 USD for 100 requests, and gateways to which less than that is left."""
    whole = mixed(1.0, 100)
    rehearsal = rehearsed(whole, tmp_path_factory.mktemp("whole"))
    left = {0.08: 200, 0.05: 100, 0.001: 2, 0.0004: 1, 0.00008: 1, 0.00001: 1}
    return rehearsal, {
        usd: service(mixed(usd, requests), tmp_path_factory.mktemp("left"), InMemory(right))
        for usd, requests in left.items()
    }


DRAW = st.integers(0, 2**UNIFORM_BITS - 1).map(lambda bits: bits / 2**UNIFORM_BITS)


@given(st.sampled_from([0.08, 0.05, 0.001, 0.0004, 0.00008, 0.00001]), DRAW, DRAW)
@settings(deadline=None)
def test_it_says_what_the_gateway_does_for_every_draw(
    both: tuple[Rehearsal, dict[float, Service]], usd: float, rung_draw: float, draw: float
) -> None:
    rehearsal, services = both
    left = services[usd]
    requests = left.policy.budgets[0].requests
    found = rehearsal(asked(remaining_usd=usd, requests_left=float(requests)))
    assert sum(drawn.share for drawn in found) == pytest.approx(1.0, abs=1e-12)
    said = at(found, rung_draw, draw)
    class_name, strategy, held = asyncio.run(gateway(left, [rung_draw, draw]))
    assert (said.class_name, said.strategy) == (class_name, strategy)
    assert (None if said.bound_usd is None else to_nano_usd(said.bound_usd)) == held


def test_money_that_runs_short_downgrades_then_refuses(
    both: tuple[Rehearsal, dict[float, Service]],
) -> None:
    rehearsal, _ = both
    said = {
        usd: [(drawn.rung, drawn.strategy) for drawn in rehearsal(asked(rung=0, remaining_usd=usd))]
        for usd in (1.0, 0.00008, 0.00001)
    }
    assert said[1.0] == [(0, CHEAP), (0, DEAR)]
    assert said[0.00008] == [(0, CHEAP), (0, CHEAP)]
    assert said[0.00001] == [(0, None), (0, None)]
    assert {d.refused for d in rehearsal(asked(remaining_usd=0.00001))} == {"money"}


def test_a_cap_on_one_request_refuses_whatever_money_is_left(tmp_path: Path) -> None:
    """As the gateway: a long prompt may cost more than the cap, and no money changes that."""
    whole = policy(budgets=(budget(1.0, requests=100),), costs={CHEAP: 0.0001})
    (bound_usd,) = {d.bound_usd for d in rehearsed(whole, tmp_path)(asked("a" * 100))}
    capped = whole.model_copy(update={"caps": Caps.model_validate({"usd": bound_usd})}).sealed()
    found = rehearsed(capped, tmp_path)
    assert {d.strategy for d in found(asked("a" * 100))} == {CHEAP}
    assert {d.refused for d in found(asked("a" * 1000))} == {"cap"}
    assert {d.refused for d in found(asked("a" * 100, remaining_usd=0.00001))} == {"money"}
    assert {d.refused for d in found(asked("a" * 1000, remaining_usd=0.0))} == {"cap"}
    text = "a" * 1000
    with pytest.raises(CapRefusedError):
        asyncio.run(
            service(capped, tmp_path, InMemory(right)).start(
                Ask((Message("user", text),), text, "easy")
            )
        )


def test_the_largest_number_that_is_drawn_gets_the_last_strategy_as_graph_and_yaml_say(
    tmp_path: Path,
) -> None:
    found = mixed(1.0, 100)
    (only,) = rehearsed(found, tmp_path)(asked(rung=0, uniform=LARGEST_DRAW))
    assert only.strategy == DEAR == found.strategy_texts()[choose(found, 0, 0, LARGEST_DRAW)]
    of = service(found, tmp_path, InMemory(right))
    assert asyncio.run(gateway(of, [0.0, LARGEST_DRAW]))[1] == DEAR


def test_a_prompt_that_no_gateway_takes_is_no_question(tmp_path: Path) -> None:
    found = rehearsed(policy(), tmp_path)
    fits = "é" * (MAX_BODY_BYTES // 2 - 30)
    assert found(asked(fits))[0].class_name == "easy"
    for text in (fits + "é" * 100, "x" * 2_000_000, '"' * 600_000):
        with pytest.raises(InputError, match=r"no gateway takes this prompt.*at most 1,048,576"):
            found(asked(text))


def test_shares_are_those_of_all_numbers_that_can_be_drawn(tmp_path: Path) -> None:
    found = rehearsed(mixed(1.0, 100), tmp_path)(asked(rung=0))
    assert [(d.strategy, d.share) for d in found] == [(CHEAP, 0.25), (DEAR, 0.75)]
    for uniform, strategy in ((0.0, CHEAP), (0.2499, CHEAP), (0.25, DEAR), (0.99, DEAR)):
        (only,) = rehearsed(mixed(1.0, 100), tmp_path)(asked(rung=0, uniform=uniform))
        assert (only.strategy, only.share) == (strategy, 1.0)


def test_a_long_prompt_is_read_a_few_times_only(tmp_path: Path) -> None:
    found = mixed(1.0, 100)
    at = written(found, tmp_path)
    graph, texts = DecisionSession(found, found.graph_path(at)), list[str]()

    class Counted:
        def decide(
            self,
            text_or_label: str,
            rung: int,
            uniform: float,
            label: str | None = None,
            vector: Vector | None = None,
        ) -> Decision:
            texts.append(text_or_label)
            return graph.decide(text_or_label, rung, uniform, label, vector)

    drawn = Rehearsal(found, Counted())(asked(rung=0))
    assert [one.share for one in drawn] == [0.25, 0.75]
    assert len(texts) <= 5


@settings(deadline=None)
@given(st.lists(st.integers(1, 2**24 - 1), max_size=6), st.lists(st.integers(1, 2**24 - 1)))
def test_every_change_is_found_wherever_it_is_expected(real: list[int], said: list[int]) -> None:
    changes = sorted(set(real))
    runs = list(_runs(lambda u: sum(u * 2**24 >= c for c in changes), sorted([*said, *real[:2]])))
    ends = [0, *changes, 2**24]
    assert runs == [(n, (high - low) / 2**24) for n, (low, high) in enumerate(pairwise(ends))]


@pytest.mark.parametrize("window", list(Window))
def test_a_fresh_window_carries_the_first_rung_whatever_its_length(
    window: Window, tmp_path: Path
) -> None:
    found = rehearsed(mixed(0.1, 100, window), tmp_path)
    assert {drawn.rung for drawn in found(asked())} == {0}
    assert {drawn.rung for drawn in found(asked(remaining_usd=0.055))} == {0, 1}
    assert {drawn.rung for drawn in found(asked(remaining_usd=0.0099))} == {1}


def test_traffic_beyond_the_forecast_gets_the_cheapest_rung(tmp_path: Path) -> None:
    found = rehearsed(mixed(1.0, 100), tmp_path)
    assert {drawn.rung for drawn in found(asked(requests_left=0.0))} == {1}


def test_by_the_calendar_one_more_request_is_always_expected(tmp_path: Path) -> None:
    """So does the gateway's pace: what is left is then all for that one."""
    by_count = rehearsed(mixed(1.0, 100), tmp_path)
    assert {drawn.rung for drawn in by_count(asked(requests_left=0.5))} == {0}
    month = rehearsed(mixed(1.0, 100, Window.MONTH), tmp_path)
    for requests in (0.0, 0.5, 1.0):
        left = {"requests_left": requests, "remaining_usd": 0.003}
        assert {drawn.rung for drawn in month(asked(**left))} == {0}
        poor = {"requests_left": requests, "remaining_usd": 0.00009}
        assert {drawn.rung for drawn in month(asked(**poor))} == {1}


def test_of_several_budgets_each_can_be_short(tmp_path: Path) -> None:
    budgets = (budget(1.0, Window.DAY), budget(2.0, Window.MONTH))
    found = rehearsed(policy(rungs=BOTH, budgets=budgets), tmp_path)
    for name in ("global/day", "global/month"):
        short = {name: Money(remaining_usd=0.0001, requests_left=1.0)}
        assert {d.strategy for d in found(Asked("q", "easy", 0, None, short))} == {CHEAP}
    with pytest.raises(InputError, match=r"has 2 budgets.*expected under 'budgets', one of"):
        found(asked(remaining_usd=0.1))
    with pytest.raises(InputError, match=r"no budget 'global'.*global/day, global/month"):
        found(Asked("q", "easy", 0, None, {"global": Money(remaining_usd=0.1)}))


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (asked(rung=2), r"no rung 2; expected a rung from 0 to 1"),
        (asked(remaining_usd=1.5), r"more than the whole budget 'global'; expected at most 1 USD"),
        (asked(prompt=None, remaining_usd=0.5), r"no prompt is given.*grows with it"),
    ],
)
def test_what_the_policy_cannot_be_asked_is_said(
    request_: Asked, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        rehearsed(mixed(1.0, 100), tmp_path)(request_)


def test_money_of_a_policy_without_budgets_is_no_question(tmp_path: Path) -> None:
    found = rehearsed(policy(rungs=BOTH), tmp_path)
    assert {drawn.rung for drawn in found(asked())} == {0}
    with pytest.raises(InputError, match="has 0 budgets"):
        found(asked(remaining_usd=0.5))


def test_a_budget_that_is_only_a_mean_needs_both_numbers_or_a_rung(tmp_path: Path) -> None:
    mean = (Budget(usd_per_request=0.001),)
    found = rehearsed(policy(rungs=BOTH, budgets=mean), tmp_path)
    assert {drawn.rung for drawn in found(asked())} == {0}
    for money in ({"remaining_usd": 0.001}, {"requests_left": 3.0}):
        with pytest.raises(InputError, match="only a mean"):
            found(asked(**money))
    assert {d.rung for d in found(asked(remaining_usd=0.0009, requests_left=10.0))} == {1}
    assert {d.strategy for d in found(asked(rung=0, remaining_usd=0.0003))} == {CHEAP}


def test_a_budget_that_no_gateway_would_serve_is_said_to_be_one(tmp_path: Path) -> None:
    mean = policy(budgets=(Budget(usd_per_request=0.001),))
    with pytest.raises(InputError) as raised:
        service(mean, tmp_path, InMemory(right))
    found = rehearsed(mean, tmp_path)
    assert found.measured_because is not None
    assert raised.value.what in found.measured_because


def test_prompts_and_labels_are_sorted_as_the_gateway_sorts_them(tmp_path: Path) -> None:
    beside = rehearsed(policy(sorting=BY_TEXT_AND_LABEL), tmp_path)
    assert {drawn.class_name for drawn in beside(asked(NINE, "law"))} == {"law/hard"}
    with pytest.raises(InputError, match="no prompt"):
        beside(asked(None, "law"))
    for label in (None, "physics"):
        (refused,) = beside(asked(NINE, label))
        assert (refused.refused, refused.class_name, refused.share) == ("label", None, 1.0)
    named = rehearsed(policy(), tmp_path)
    assert {drawn.class_name for drawn in named(asked(None, "hard"))} == {"hard"}
    assert named(asked("q", "odd"))[0].refused == "label"


def test_a_bound_that_grows_with_the_prompt_is_unknown_without_one(tmp_path: Path) -> None:
    found = rehearsed(policy(), tmp_path)
    assert found(asked(None, "easy"))[0].bound_usd is None
    short, long = (found(asked(text))[0].bound_usd for text in ("a", "a" * 1000))
    assert short is not None
    assert long is not None
    assert long > short


def test_a_policy_with_an_encoder_reads_prompts_with_it(tmp_path: Path) -> None:
    folder = encoder_folder(tmp_path / "encoder")
    path = written(policy(sorting=by_vectors(Encoder.open(folder))), tmp_path)
    with pytest.raises(InputError, match="encoder"):
        open_rehearsal(path)
    found = open_rehearsal(path, folder)
    classes = {text: found(asked(text, None))[0].class_name for text in ("near", "far", "broken")}
    assert classes == {"near": "easy", "far": "hard", "broken": "hard"}


def test_what_a_gateway_refuses_to_obey_is_not_rehearsed(tmp_path: Path) -> None:
    path = written(policy(), tmp_path)
    path.write_text(path.read_text().replace("# easiest first", "# hardest first"))
    with pytest.raises(RefusedPolicyError, match="byte for byte"):
        open_rehearsal(path)


def test_where_no_gateway_would_start_bounds_are_those_of_a_replay(tmp_path: Path) -> None:
    path = written(policy(rungs=BOTH, prices=PriceCard()), tmp_path)
    found = open_rehearsal(path)
    assert found.measured_because is not None
    assert "no price is known" in found.measured_because
    (only,) = found(asked(None, "easy"))
    assert (only.strategy, only.bound_usd) == (DEAR, 0.002)
    assert open_rehearsal(written(policy(), tmp_path)).measured_because is None


@pytest.mark.parametrize("usd", [0.0001, 0.0003, 0.0011, 0.0019, 0.0021, 0.01])
def test_and_so_is_what_fits(usd: float, tmp_path: Path) -> None:
    means = (Budget(usd_per_request=usd),)
    path = written(policy(rungs=BOTH, prices=PriceCard(), budgets=means), tmp_path)
    said = open_rehearsal(path)(asked(None, "easy", remaining_usd=usd, requests_left=1.0))
    expected = {drawn.strategy for drawn in said}
    outcomes = {"q": {DEAR: (1.0, 0.00001, None), CHEAP: (1.0, 0.00001, None)}}
    got = set()
    for seed in range(40):
        report = replay(path, outcomes, {"q": "easy"}, seed=seed)
        got |= set(report.by_strategy) or {None}
    assert got == expected


def test_where_nothing_was_measured_a_limit_cannot_be_held(tmp_path: Path) -> None:
    found = policy(prices=PriceCard(), costs={CHEAP: 0.0001})
    bare = found.strategies[0].model_copy(
        update={"by_class": dict.fromkeys(("easy", "hard"), measured(None))}
    )
    unknown = found.model_copy(update={"strategies": (bare,)})
    unlimited = Rehearsal(unknown, rehearsed(found, tmp_path)._decider)
    (only,) = unlimited(asked(None, "easy"))
    assert (only.strategy, only.bound_usd, only.refused) == (CHEAP, None, None)
    limited = unknown.model_copy(update={"budgets": (budget(1.0),)})
    with pytest.raises(InputError, match="nothing bounds"):
        Rehearsal(limited, unlimited._decider)(asked(None, "easy"))
