"""A ladder of strategies: the first answer a verifier accepts (Chen et al. 2023, FrugalGPT)."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from profiles.errors import InferbudgetError, InputError
from profiles.money import PriceCard
from profiles.request_bound import bound_nano_usd, lowest
from profiles.strategy import Strategy
from runtime.strategies.base import (
    Caller,
    Executor,
    Outcome,
    Params,
    Request,
    Tools,
    build,
    outcome,
    read_params,
    register,
    stage_seed,
)
from runtime.upstream import UpstreamRejectedError


def _stage(value: object) -> Strategy:
    if isinstance(value, Strategy):
        return value
    raise ValueError("expected a strategy such as model/single")


class CascadeParams(Params):
    """Parameters of `Cascade`."""

    # Any: pydantic follows a dataclass into its fields, and a strategy's values are recursive.
    stages: tuple[Annotated[Any, AfterValidator(_stage)], ...] = Field(
        min_length=2, max_length=8, description="Strategies, usually cheapest first."
    )
    accept: str = Field(description="Name of the verifier that scores each stage's answer.")
    threshold: float = Field(default=1.0, gt=0, le=1, description="Score that ends the ladder.")


class Cascade:
    """``cascade(accept=checker,stages=[small/single,large/single])``.

    Without an accepted answer the best-scored one is returned, of equals the last stage's.
    A stage that fails is passed over; a rejection ends the climb, for the next stage would send the
    same messages.
    """

    def __init__(self, strategy: Strategy, tools: Tools) -> None:
        if strategy.model is not None:
            raise InputError(
                "a cascade has no model of its own",
                where=f"strategy {strategy}",
                expected="cascade(...), with models in its stages",
                got=strategy.model,
            )
        params = read_params(strategy, CascadeParams)
        self._strategy = strategy
        self._cap = params.max_tokens
        self._answers_per_call = tools.answers_per_call
        self._stages: tuple[Executor, ...] = tuple(build(stage, tools) for stage in params.stages)
        self._verifier = tools.verifier(params.accept, f"strategy {strategy}: accept")
        self._threshold = params.threshold

    @property
    def strategy(self) -> Strategy:
        """What it executes."""
        return self._strategy

    def bound_nano_usd(self, prompt_tokens: int, max_tokens: int | None, prices: PriceCard) -> int:
        """Every call of every stage, with capped answers."""
        asked = self._answers_per_call
        return bound_nano_usd(self._strategy, prompt_tokens, max_tokens, prices, asked)

    async def answer(self, request: Request, caller: Caller) -> Outcome:
        """Climb until an answer is accepted."""
        request = replace(request, max_tokens=lowest(self._cap, request.max_tokens))
        best: tuple[float, Outcome] | None = None
        failures: list[InferbudgetError] = []
        for index, stage in enumerate(self._stages):
            asked = replace(request, seed=stage_seed(request.seed, index))
            try:
                found = await stage.answer(asked, caller)
            except UpstreamRejectedError as error:
                failures.append(error)
                break
            except InferbudgetError as error:
                failures.append(error)
                continue
            (score,) = await self._verifier.scores(request.prompt_text, [found.text])
            if best is None or score >= best[0]:
                best = (score, found)
            if score >= self._threshold:
                break
        if best is None:
            raise failures[-1]
        _, chosen = best
        return outcome(
            chosen.text,
            chosen.finish_reason,
            caller,
            finished=chosen.finished and not failures,
        )


register("cascade", Cascade)
