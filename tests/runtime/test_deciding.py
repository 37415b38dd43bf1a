"""A bare decision: what a gateway with enough money would do, without holding any."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from fake_upstream import PRICES, InMemory, reply
from small_encoders import encoder_folder
from small_policies import (
    BY_TEXT_AND_LABEL,
    CHEAP,
    DEAR,
    budget,
    by_vectors,
    is_right,
    policy,
    written,
)

from planner.spec import Caps
from policies.file import CompiledPolicy
from policies.graph import build_graph
from policies.policy import Graph, Policy
from profiles.difficulty.reading.encoder import Encoder
from profiles.digest import digest_bytes
from profiles.errors import BudgetRefusedError, InputError
from profiles.money import PriceCard
from runtime import Executor, OpenPolicy, decide
from runtime.dry_run import dry_run
from runtime.service import Ask
from runtime.upstream import Message

LADDER = ((DEAR, 0.001), (CHEAP, 0.0001))


def sealed(found: Policy, **fields: object) -> Policy:
    return found.model_copy(update=fields).sealed()


def test_a_decision_says_how_and_what_it_costs_at_most(tmp_path: Path) -> None:
    path = written(policy(), tmp_path)
    found = decide(path, "two and two", label="hard")
    assert asdict(found) == {
        "class_name": "hard",
        "rung": 0,
        "strategy": CHEAP,
        "max_tokens": 20,
        "most_usd": (100 * (128 + 32 + 11) + 400 * 20) / 1e9,
        "expected_cost_usd": 0.0001,
        "caps": None,
    }
    lower = decide(str(path), "two and two", label="hard", max_tokens=5)
    assert (lower.max_tokens, lower.most_usd) == (5, (100 * (128 + 32 + 11) + 400 * 5) / 1e9)


def test_the_rung_and_the_number_that_draws_may_be_given(tmp_path: Path) -> None:
    opened = OpenPolicy(written(policy(rungs=LADDER), tmp_path))
    assert [decide(opened, "why", label="easy", rung=rung).strategy for rung in (0, 1, 7)] == [
        DEAR,
        CHEAP,
        CHEAP,
    ]
    rules = opened.policy
    mixed = rules.rungs[0].model_copy(
        update={"shares": {name: {CHEAP: 0.5, DEAR: 0.5} for name in ("easy", "hard")}}
    )
    rules = rules.model_copy(update={"rungs": (mixed,)})
    graph = build_graph(rules, None)
    pinned = rules.model_copy(
        update={"graph": Graph(file="policy.onnx", sha256=digest_bytes(graph))}
    ).sealed()
    compiled = OpenPolicy(CompiledPolicy(pinned, graph))
    drawn = [decide(compiled, "why", label="easy", uniform=u).strategy for u in (0.1, 0.9)]
    assert sorted(drawn) == sorted([CHEAP, DEAR])
    assert {decide(compiled, "why", label="easy").strategy for _ in range(64)} == {CHEAP, DEAR}


@pytest.mark.asyncio
async def test_it_is_what_the_service_decides_and_bounds(tmp_path: Path) -> None:
    chat = (Message("system", "be brief"), {"role": "user", "content": "short"})
    rules = policy(sorting=BY_TEXT_AND_LABEL, rungs=LADDER, budgets=(budget(1.0),))
    path = written(rules, tmp_path)
    found = decide(path, chat, label="law")
    executor = Executor(path, InMemory(lambda *_: reply("x")), verifiers={"checker": is_right})
    messages = (Message("system", "be brief"), Message("user", "short"))
    dry = await dry_run(executor._service, Ask(messages, "short", "law"))
    (draw,) = dry.draws
    assert (found.class_name, found.strategy) == (dry.class_name, draw.strategy) == (
        "law/easy",
        DEAR,
    )  # fmt: skip
    assert (found.max_tokens, found.most_usd) == (
        draw.offers[0].max_tokens,
        draw.offers[0].bound_usd,
    )


def test_what_one_request_may_not_cost_is_passed_over_as_by_a_gateway(tmp_path: Path) -> None:
    bounds = {
        name: decide(written(policy(rungs=((name, 0.1),)), tmp_path), "why", label="easy").most_usd
        for name in (CHEAP, DEAR)
    }
    capped = sealed(policy(rungs=LADDER), caps=Caps(usd=bounds[CHEAP], calls=4))
    found = decide(written(capped, tmp_path), "why", label="easy")
    assert (found.strategy, found.most_usd) == (CHEAP, bounds[CHEAP])
    assert found.caps is not None
    assert found.caps.calls == 4
    with pytest.raises(BudgetRefusedError, match="every strategy may cost more"):
        decide(tmp_path / "policy.yaml", "a longer question", label="easy")
    with pytest.raises(InputError, match="max_tokens"):
        decide(tmp_path / "policy.yaml", "why", label="easy", max_tokens=0)


def test_a_price_that_nobody_knows_is_no_bound_and_no_error(tmp_path: Path) -> None:
    small = PriceCard(models={"large": PRICES.price("large")})
    found = decide(written(policy(prices=small), tmp_path), "why", label="easy")
    assert (found.strategy, found.most_usd) == (CHEAP, None)


def test_an_encoder_reads_the_prompt(tmp_path: Path) -> None:
    folder = encoder_folder(tmp_path / "encoder")
    path = written(policy(sorting=by_vectors(Encoder.open(folder))), tmp_path)
    opened = OpenPolicy(path, encoder=str(folder))
    assert [decide(opened, text).class_name for text in ("near", "far")] == ["easy", "hard"]
    with pytest.raises(InputError, match="encoder"):
        decide(path, "near")


def test_a_label_that_is_missing_or_unknown_is_refused(tmp_path: Path) -> None:
    path = written(policy(), tmp_path)
    for label in (None, "odd"):
        with pytest.raises(InputError, match="class"):
            decide(path, "why", label=label)


def test_the_base_install_decides(tmp_path: Path) -> None:
    """Whoever only decides needs neither server nor client."""
    written(policy(), tmp_path)
    code = """
import sys
for name in ("aiohttp", "httptools", "prometheus_client", "redis", "uvicorn", "onnx"):
    sys.modules[name] = None
from runtime import decide
print(decide("policy.yaml", [{"role": "user", "content": "two and two"}], label="hard").strategy)
"""
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.strip(), done.stderr) == (CHEAP, "")
