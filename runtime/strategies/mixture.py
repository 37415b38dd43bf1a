"""One of several strategies, drawn by share."""

from __future__ import annotations

from msgspec.structs import replace

from profiles.methods.mixture import MixtureParams
from profiles.strategy import Strategy
from runtime.strategies.attempt import MAX_SEED, Attempt, stage_seed
from runtime.strategies.base import StrategyExecutor, Tools, build, executes
from runtime.strategies.parts import part_request, take


@executes("mixture")
class Mixture(StrategyExecutor[MixtureParams]):
    """``mixture(shares=[0.8,0.2],strategies=[small/single,large/single])``."""

    def __init__(self, strategy: Strategy, params: MixtureParams, tools: Tools) -> None:
        super().__init__(strategy, params, tools)
        self._parts = tuple(build(part, tools) for part in params.strategies)

    async def solve(self, attempt: Attempt) -> None:
        """Run the one that is drawn; equal seeds draw the same."""
        request = attempt.request
        seed = request.seed if request.draw_seed is None else request.draw_seed
        # the parts have the seeds from 0 on
        index = self.params.drawn(stage_seed(seed, -1) / MAX_SEED)
        chosen = self._parts[index]
        attempt.note("mixture", str(chosen.strategy))
        asked = part_request(self.params, request, index)
        part = attempt.part(replace(asked, on_text=request.on_text))
        await chosen.solve(part)
        take(attempt, part)
