"""A cap on dollars means the same to plan, compile, check and gateway."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from app.cli.main import cli
from planner.plan import read_plan
from policies.file import read_policy
from policies.policy import Policy
from profiles.errors import ExitCode, InfeasibleError
from profiles.money import PriceCard, TokenPrice, to_usd
from profiles.observation import Observation
from profiles.query import Query
from profiles.store.store import Store
from runtime.checkers import Verifier
from runtime.offers import Offers
from runtime.prompt_bound import prompt_tokens_bound
from runtime.strategies import Tools, build
from runtime.upstream import Message

QUERIES = 200
STRATEGIES = {  # tokens and calls of a request, and how many of ten it gets right: easy, hard
    "small/single": (90, 1, (8, 2)),
    "large/single(max_tokens=600)": (300, 1, (9, 7)),
    "large/best_of_n(batch=2,max_tokens=300,n=4,verifier=checker)": (500, 1.5, (10, 9)),
}
PRICES = PriceCard(
    models={"small": TokenPrice(input=0.1, output=0.4), "large": TokenPrice(input=1, output=8)}
)
SPEC = """format_version: "1.0"
workload: w
objective: maximize accuracy
caps: {{usd: {usd}}}
prices:
  models:
    small: {{input: 0.1, output: 0.4}}
    large: {{input: 1, output: 8}}
"""
TOOLS = Tools({"checker": Verifier("checker", lambda _prompt, _answer: 1.0)})


def prompt_of(index: int) -> str:
    """Bytes count, and not letters: hard ones are longer than they look."""
    return "\u00fc" * (3 * index) if index % 2 else "u" * (index // 2)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("caps") / "store.duckdb"
    rows = [
        Observation(
            "w",
            f"q{index}",
            strategy,
            0,
            float((index * 7 + index // 10) % 10 < right[index % 2]),
            tokens_in=20 + index // 2,
            tokens_out=tokens - index % 17,
            calls=calls,
        )
        for index in range(QUERIES)
        for strategy, (tokens, calls, right) in STRATEGIES.items()
    ]
    with Store.open(path) as store:
        store.add_queries(
            "w",
            [Query(f"q{n}", prompt_of(n), "hard" if n % 2 else "easy") for n in range(QUERIES)],
        )
        store.add(rows)
    return path


def run(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False)
    return done.exit_code, done.output


def longest(class_name: str) -> int:
    """Prompt tokens as the gateway counts them."""
    prompts = [prompt_of(n) for n in range(QUERIES) if n % 2 == (class_name == "hard")]
    return max(prompt_tokens_bound([Message("user", prompt)]) for prompt in prompts)


def bound_usd(class_name: str, strategy: str) -> float:
    """What a gateway holds for the longest prompt; 90 tokens are the longest answer of small."""
    cap = 90 if strategy == "small/single" else None
    executor = build(strategy, TOOLS)
    return to_usd(executor.bound_nano_usd(longest(class_name), cap, PRICES))


def answers(policy: Policy, class_name: str, strategy: str) -> bool:
    """Whether a gateway answers the longest prompt with the strategy that was drawn."""
    offers = Offers(policy, TOOLS).of(class_name, strategy, longest(class_name))
    return next(offers).strategy == strategy


CAPS = [0.0003, 0.004, 0.0055, 0.0061, 0.0065, 0.01, 0.012, 0.013, 0.02]


@pytest.mark.parametrize("usd", CAPS)
def test_what_a_plan_counts_on_is_what_the_gateway_answers_with(
    usd: float, store: Path, tmp_path: Path
) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC.format(usd=usd))
    plan_path, policy_path = tmp_path / "plan.json", tmp_path / "policy.yaml"
    code, said = run("plan", tmp_path / "spec.yaml", "--profiles", store, "-o", plan_path)
    assert code == ExitCode.DONE, said
    assert run("compile", plan_path, "-o", policy_path)[0] == ExitCode.DONE
    assert run("check", policy_path)[0] == ExitCode.DONE
    policy, warnings = read_policy(policy_path), read_plan(plan_path).warnings
    drawn = {
        (name, text)
        for rung in policy.rungs
        for name, shares in rung.shares.items()
        for text in shares
    }
    assert all(answers(policy, name, text) for name, text in drawn)
    for name in ("easy", "hard"):
        for text in STRATEGIES:
            left_out = any(
                warning.startswith(f"{text} is left out") and f"in class {name}" in warning
                for warning in warnings
            )
            assert left_out == (bound_usd(name, text) > usd), (name, text)


def test_a_cap_below_the_bounds_of_all_strategies_of_a_class_is_refused_by_plan(
    store: Path, tmp_path: Path
) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC.format(usd=0.00015))
    assert all(bound_usd("hard", text) > 0.00015 for text in STRATEGIES)
    with pytest.raises(InfeasibleError, match="caps: no strategy in class hard is known to keep"):
        run("plan", tmp_path / "spec.yaml", "--profiles", store)


def test_a_policy_whose_cap_was_lowered_by_hand_is_found_before_it_is_served(
    store: Path, tmp_path: Path
) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC.format(usd=0.02))
    plan_path, policy_path = tmp_path / "plan.json", tmp_path / "policy.yaml"
    run("plan", tmp_path / "spec.yaml", "--profiles", store, "-o", plan_path)
    run("compile", plan_path, "-o", policy_path)
    text = policy_path.read_text()
    policy_path.write_text(text.replace("  usd: 0.02 #", "  usd: 0.005 #"))
    code, said = run("check", policy_path)
    assert code == ExitCode.FINDING
    assert "never used: an empty prompt and its longest answers may cost" in " ".join(said.split())
