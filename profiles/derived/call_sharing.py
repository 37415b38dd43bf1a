"""What several samples cost where answers of one call share its prompt.

Recorded samples carry their share of the calls they came from. A strategy that draws k samples may
need more or fewer calls than k shares amount to; each call more or fewer is one prompt, priced as
the rows themselves price prompt tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from profiles.derived.recordings import Base, Recording
from profiles.errors import InputError

Floats = NDArray[np.float64]
_SAME = 1e-9
_PRICED = 1e-6  # largest relative misfit at which rows are taken to have been billed by tokens


@dataclass(frozen=True, slots=True)
class CallSharing:
    """How samples of one base come in calls.

    Attributes:
        answers_per_call: Most answers of one call; None where every sample is billed as recorded.
        usd_per_prompt_token: None where the rows do not tell.
    """

    answers_per_call: int | None = None
    usd_per_prompt_token: float | None = None

    def calls(self, recording: Recording, rounds: Sequence[float]) -> float | None:
        """Calls for rounds of so many samples; None where the rows do not tell."""
        if self.answers_per_call is None:
            own = recording.mean("calls")
            return None if own is None else own * sum(rounds)
        return float(sum(np.ceil(size / self.answers_per_call) for size in rounds))

    def prompts_beyond(self, recording: Recording, samples: float, calls: float | None) -> float:
        """Prompts that are sent beyond those which the samples' own rows paid for."""
        if self.answers_per_call is None or calls is None:
            return 0.0
        beyond = calls - samples * _own_calls(recording)
        return 0.0 if abs(beyond) < _SAME * calls else beyond

    def cost_of_prompts(self, recording: Recording, prompts: float) -> float:
        """Dollars of so many prompts; nan where unknown."""
        if prompts == 0:
            return 0.0
        price = self.usd_per_prompt_token
        return np.nan if price is None else prompts * prompt_tokens(recording) * price


def call_sharing(base: Base, answers_per_call: int | None) -> CallSharing:
    """How a base's samples come in calls: as asked for, else as its rows say.

    Raises:
        InputError: Answers that took several calls each cannot share one.
    """
    known = [r["calls"] for r in base.queries.values() if not np.isnan(r["calls"]).any()]
    if answers_per_call is not None and any(calls.mean() > 1 for calls in known):
        raise InputError(
            "answers that took several calls each cannot share a call",
            where=f"strategy {base.strategy}",
            next_step="leave out --answers-per-call",
        )
    if answers_per_call is None:
        shared = [calls for calls in known if 0 < calls.mean() < 1]
        if not shared:
            return CallSharing()
        answers_per_call = max(int(np.ceil(len(calls) / calls.sum())) for calls in shared)
    return CallSharing(answers_per_call, prompt_token_price(base))


def prompt_token_price(base: Base) -> float | None:
    """USD per prompt token where every query's bill is a sum of prompt and completion tokens.

    None where tokens or dollars are unknown, prompts were cached, or the bills do not fit.
    """
    names = ("tokens_in", "tokens_out", "cost_usd")
    sums = np.array([[r[name].sum() for name in names] for r in base.queries.values()])
    cached = any(np.nansum(r["tokens_cached"]) > 0 for r in base.queries.values())
    if cached or len(sums) < 3 or np.isnan(sums).any() or np.linalg.matrix_rank(sums[:, :2]) < 2:
        return None
    prices, *_ = np.linalg.lstsq(sums[:, :2], sums[:, 2], rcond=None)
    misfit = np.abs(sums[:, :2] @ prices - sums[:, 2]).max()
    if prices.min() < 0 or misfit > _PRICED * np.abs(sums[:, 2]).max():
        return None
    return float(prices[0])


def prompt_tokens(recording: Recording) -> float:
    """Prompt tokens of one call; nan where unknown."""
    return float(recording["tokens_in"].sum() / (_own_calls(recording) * len(recording)))


def _own_calls(recording: Recording) -> float:
    """Calls per sample; a row that does not say is taken to be a call of its own."""
    own = recording.mean("calls")
    return 1.0 if own is None or own == 0 else own
