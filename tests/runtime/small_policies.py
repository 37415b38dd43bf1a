"""Policies small enough to reckon with by hand, each with its real decision graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import onnx.parser
from fake_upstream import PRICES

from planner.plan import Figures
from planner.spec import Limits, Window
from policies.file import CompiledPolicy, write_policy
from policies.graph import build_graph
from policies.policy import (
    Budget,
    CellFigures,
    Graph,
    Policy,
    PolicyClasses,
    PolicyEncoder,
    PolicyRung,
    Provenance,
    StrategyEntry,
)
from profiles.difficulty.reading.encoder import Encoder
from profiles.digest import digest_bytes
from profiles.money import PriceCard
from runtime.caller import Chat
from runtime.checkers import Verifier
from runtime.decision import DecisionSession
from runtime.service import Service
from runtime.strategies import Tools

FIXTURES = Path(__file__).parents[1] / "policies" / "fixtures"
CHEAP = "small/single"
DEAR = "large/best_of_n(n=4,verifier=checker)"
BY_LABEL = PolicyClasses(source="label", names=("easy", "hard"), weights=(0.5, 0.5))
BY_TEXT_AND_LABEL = PolicyClasses(
    source="text+label",
    names=("art/all", "law/easy", "law/hard"),
    weights=(0.5, 0.25, 0.25),
    labels=("art", "law"),
)


def by_vectors(encoder: Encoder, *, labels: bool = False) -> PolicyClasses:
    """Classes of text, or of text and label, that read the encoder's vectors too."""
    sorting = BY_TEXT_AND_LABEL if labels else BY_LABEL.model_copy(update={"source": "text"})
    pinned = PolicyEncoder.model_validate(encoder.facts.to_json())
    return sorting.model_copy(update={"encoder": pinned})


def figures(usd: float) -> Figures:
    return Figures(accuracy=0.5, cost_usd_per_request=usd, latency_p95_s=None)


def measured(usd: float | None) -> CellFigures:
    return CellFigures(
        queries=100,
        accuracy=0.5,
        accuracy_se=0.05,
        cost_usd=usd,
        cost_se_usd=None,
        cost_max_usd=None if usd is None else 2 * usd,
        latency_p95_s=None,
    )


def policy(
    *,
    budgets: tuple[Budget, ...] = (),
    rungs: tuple[tuple[str, float], ...] = ((CHEAP, 0.0001),),
    costs: Mapping[str, float] | None = None,
    max_tokens: int | None = 20,
    prices: PriceCard = PRICES,
    sorting: PolicyClasses = BY_LABEL,
) -> Policy:
    """A policy for the classes easy and hard; each rung gives all traffic to one strategy."""
    known = costs or {CHEAP: 0.0001, DEAR: 0.001}
    texts = sorted({text for text, _ in rungs} | set(known), key=lambda text: known.get(text, 9.0))
    classes = sorting.names
    entries = tuple(
        StrategyEntry(
            text=text,
            max_tokens=max_tokens,
            by_class=dict.fromkeys(classes, measured(known.get(text))),
        )
        for text in texts
    )
    unpinned = Policy(
        workload="sums",
        confidence=None,
        classes=sorting,
        traffic=None,
        graph=Graph(file="policy.onnx", sha256=""),
        strategies=entries,
        rungs=tuple(
            PolicyRung(
                budget_fraction=1.0,
                shares={name: {text: 1.0} for name in classes},
                expected=figures(usd),
                promised=figures(usd),
                objective="minimize cost",
                by_class=dict.fromkeys(classes, figures(usd)),
                limits={},
                shadow_prices={},
            )
            for text, usd in rungs
        ),
        limits=Limits(),
        budgets=budgets,
        prices=prices,
        provenance=Provenance(plan="p", spec="s", profile="f", solver="none", evidence=()),
    )
    graph = build_graph(unpinned, _estimator(unpinned))
    pin = Graph(file="policy.onnx", sha256=digest_bytes(graph))
    return unpinned.model_copy(update={"graph": pin}).sealed()


def written(found: Policy, folder: Path) -> Path:
    path = folder / "policy.yaml"
    write_policy(CompiledPolicy(found, build_graph(found, _estimator(found))), path)
    return path


def _estimator(found: Policy) -> bytes | None:
    """More than eight words are hard; with an encoder what is far or unread too. Art is art."""
    classes = found.classes
    if classes.source == "label":
        return None
    reads = ["words", *["labels"] * bool(classes.labels), *["vectors"] * bool(classes.encoder)]
    name = "_".join([*reads[:-1], "and", reads[-1]])
    model = onnx.parser.parse_model((FIXTURES / f"{name}.onnxtxt").read_text())
    content: bytes = model.SerializeToString()
    return content


def budget(usd: float, window: Window = Window.TOTAL, requests: int = 10) -> Budget:
    return Budget(limit_usd=usd, usd_per_request=usd / requests, window=window, requests=requests)


def is_right(_: str, answer: str) -> float:
    return float(answer == "right")


def service(
    found: Policy,
    folder: Path,
    upstream: Chat,
    *,
    clock: Callable[[], float] = lambda: 1_000_000.0,
) -> Service:
    path = written(found, folder)
    tools = Tools({"checker": Verifier("checker", is_right)})
    decider = DecisionSession(found, found.graph_path(path))
    return Service(found, decider, upstream, tools, clock=clock, seed=1)
