"""The policy of the never-over experiment: two classes by label, two models with whole prices."""

from __future__ import annotations

from pathlib import Path

from planner.plan import Figures
from planner.spec import Window
from policies.file import CompiledPolicy, read_policy
from policies.graph import build_graph
from policies.policy import Budget, CellFigures, Graph, PolicyClasses, PolicyRung, StrategyEntry
from profiles.digest import digest_bytes
from profiles.money import PriceCard, TokenPrice

DEMO = Path("demo/policy")
CLASSES = ("easy", "hard")
MAX_TOKENS = 32
SMALL = f"small/single(max_tokens={MAX_TOKENS},temperature=0)"
VOTES = f"large/self_consistency(k=3,max_tokens={MAX_TOKENS},temperature=0.8)"
NANO_USD_PER_TOKEN = {"small": (1_000, 4_000), "large": (2_000, 8_000)}
"""In and out."""
TYPICAL_NANO_USD = 160_000
"""What a request costs on average, roughly; budgets are set by it."""
USD = 10**9


def policy_of(limit_nano_usd: int, requests: int) -> CompiledPolicy:
    """Classes by label; the hard one is answered by three votes for as long as there is money."""
    demo = read_policy(DEMO / "policy.yaml")
    cheap, dear = TYPICAL_NANO_USD / 2 / USD, 4 * TYPICAL_NANO_USD / USD
    limit_usd = limit_nano_usd / USD
    unpinned = demo.model_copy(
        update={
            "warnings": (),
            "classes": PolicyClasses(source="label", names=CLASSES, weights=(0.5, 0.5)),
            "strategies": (_entry(SMALL, cheap), _entry(VOTES, dear)),
            "rungs": (
                _rung(1.0, {SMALL: 0.75, VOTES: 0.25}, dear),
                _rung(0.2, {SMALL: 1.0}, cheap),
            ),
            "budgets": (
                Budget(
                    limit_usd=limit_usd,
                    usd_per_request=limit_usd / requests,
                    window=Window.TOTAL,
                    requests=requests,
                ),
            ),
            "prices": PriceCard(
                models={
                    model: TokenPrice(input=into / 1000, output=out / 1000)
                    for model, (into, out) in NANO_USD_PER_TOKEN.items()
                }
            ),
        }
    )
    graph = build_graph(unpinned, None)
    pin = Graph(file="policy.onnx", sha256=digest_bytes(graph))
    return CompiledPolicy(unpinned.model_copy(update={"graph": pin}).sealed(), graph)


def _entry(text: str, usd: float) -> StrategyEntry:
    cell = CellFigures(
        queries=100,
        accuracy=0.5,
        accuracy_se=0.05,
        cost_usd=usd,
        cost_se_usd=None,
        cost_max_usd=2 * usd,
        latency_p95_s=None,
    )
    return StrategyEntry(text=text, max_tokens=MAX_TOKENS, by_class=dict.fromkeys(CLASSES, cell))


def _rung(fraction: float, hard: dict[str, float], usd: float) -> PolicyRung:
    figures = Figures(accuracy=0.5, cost_usd_per_request=usd, latency_p95_s=None)
    return PolicyRung(
        budget_fraction=fraction,
        objective=None,
        shares={"easy": {SMALL: 1.0}, "hard": hard},
        expected=figures,
        promised=figures,
        by_class=dict.fromkeys(CLASSES, figures),
        limits={},
        shadow_prices={},
    )
