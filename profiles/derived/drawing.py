"""How a method uses samples of the strategy it draws from: which are drawn, which one is served.

The rules are those of the executors that serve: best-of-n serves the highest verdict, of equals the
first drawn, and with ``batch`` no round follows one with a verdict of 1; self-consistency serves
the first sample of the answer with the most votes, of equals the one that was seen first.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from profiles.derived.recordings import Recording
from profiles.derived.subsets import best_of_weights, rounds_run, times_drawn
from profiles.derived.votes import vote_weights, winner
from profiles.errors import InputError
from profiles.strategy import Strategy

Floats = NDArray[np.float64]
Places = NDArray[np.int64]
MOST = 1024  # samples, as the executors have it


@dataclass(frozen=True, slots=True)
class Drawn:
    """One draw.

    Attributes:
        rounds: Places of the samples drawn in each round.
        served: Place of the served sample.
    """

    rounds: tuple[Places, ...]
    served: int


class Drawing(Protocol):
    """A method's use of recorded samples; `Recording` lengths are at least `samples`."""

    @property
    def samples(self) -> int:
        """Most samples that one request draws."""

    @property
    def rounds(self) -> tuple[int, ...]:
        """Samples of each round."""

    def lacks(self, recording: Recording) -> str | None:
        """What the method needs and the recording does not have."""

    def weights(self, recording: Recording) -> Floats:
        """Chance of each sample to be served."""

    def run(self, recording: Recording) -> list[float]:
        """Chance of each round."""

    def drawn(self, recording: Recording) -> Floats:
        """How often each sample is drawn, in expectation."""

    def draw(self, recording: Recording, order: Places) -> Drawn:
        """What comes of samples that arrive in this order, `samples` of them."""


@dataclass(frozen=True, slots=True)
class _OneRound:
    """All samples at once."""

    samples: int

    @property
    def rounds(self) -> tuple[int, ...]:
        return (self.samples,)

    def run(self, recording: Recording) -> list[float]:  # noqa: ARG002 - part of the protocol
        return [1.0]

    def drawn(self, recording: Recording) -> Floats:
        return np.full(len(recording), self.samples / len(recording))


@dataclass(frozen=True, slots=True)
class Once(_OneRound):
    """The strategy as it was recorded: one of its samples."""

    samples: int = 1

    def lacks(self, recording: Recording) -> str | None:
        """Nothing: one sample is always there."""
        return None if len(recording) else "no sample"

    def weights(self, recording: Recording) -> Floats:
        """Every sample the same."""
        return self.drawn(recording)

    def draw(self, recording: Recording, order: Places) -> Drawn:  # noqa: ARG002 - part of the protocol
        """The first."""
        return Drawn((order,), int(order[0]))


@dataclass(frozen=True, slots=True)
class Vote(_OneRound):
    """Self-consistency (Wang et al. 2023)."""

    def lacks(self, recording: Recording) -> str | None:
        """Enough samples, and what each of them answers."""
        if len(recording) < self.samples:
            return f"fewer than {self.samples} samples"
        return "no final answers were recorded" if recording.ballots is None else None

    def weights(self, recording: Recording) -> Floats:
        """By the votes that `samples` of them would cast."""
        return vote_weights(recording.ballots or (), self.samples)

    def draw(self, recording: Recording, order: Places) -> Drawn:
        """The first sample of the answer that wins."""
        ballots = recording.ballots or ()
        return Drawn((order,), int(order[winner([ballots[place] for place in order])]))


@dataclass(frozen=True, slots=True)
class BestOf:
    """Best-of-n with a verifier (Cobbe et al. 2021), all at once or in rounds of `batch`.

    `judged_by` is the column that holds what its own verifier says.
    """

    samples: int
    batch: int | None = None
    judged_by: str = "verdict"

    @property
    def rounds(self) -> tuple[int, ...]:
        """Full rounds and a rest."""
        size = min(self.batch or self.samples, self.samples)
        full, rest = divmod(self.samples, size)
        return (size,) * full + ((rest,) if rest else ())

    def lacks(self, recording: Recording) -> str | None:
        """Enough samples, and a verdict on each of them."""
        if len(recording) < self.samples:
            return f"fewer than {self.samples} samples"
        return "no verdict" if np.isnan(recording[self.judged_by]).any() else None

    def weights(self, recording: Recording) -> Floats:
        """By rank of the verdict; rounds do not change which sample is served."""
        return best_of_weights(recording[self.judged_by], self.samples)

    def run(self, recording: Recording) -> list[float]:
        """A round runs if no sample before it was found right."""
        satisfying = int((recording[self.judged_by] >= 1.0).sum())
        return rounds_run(satisfying, len(recording), self.rounds)

    def drawn(self, recording: Recording) -> Floats:
        """Rounds that do not run draw nothing."""
        return times_drawn(recording[self.judged_by] >= 1.0, self.rounds)

    def draw(self, recording: Recording, order: Places) -> Drawn:
        """Round by round until one holds a verdict of 1."""
        verdicts = recording[self.judged_by][order]
        end = len(order)
        for stop in np.cumsum(self.rounds):
            if verdicts[:stop].max() >= 1.0:
                end = int(stop)
                break
        edges = [int(edge) for edge in np.cumsum(self.rounds) if edge < end]
        return Drawn(tuple(np.split(order[:end], edges)), int(order[int(verdicts[:end].argmax())]))


_OWN_PARAMETERS = {
    "best_of_n": ("n", "verifier", "batch", "of"),
    "self_consistency": ("k", "of"),
}
"""What the methods that draw several samples add to the strategy that they draw from."""


def drawing_of(
    strategy: Strategy, exact: Collection[str] = frozenset()
) -> tuple[Drawing, Strategy]:
    """How a strategy draws, and from which strategy's samples.

    ``m/best_of_n(n=8,temperature=1.0,verifier=v)`` draws from ``m/single(temperature=1.0)``; where
    the samples come from another method, ``of`` names it: ``of=chain_of_thought``.

    Args:
        strategy: What is to be derived.
        exact: Names of the verifiers whose verdict is the score.

    Raises:
        InputError: A method that does not draw samples, or a parameter that is missing or cannot
            be used.
    """
    own = _OWN_PARAMETERS.get(strategy.method)
    if own is None or strategy.model is None:
        raise InputError(
            "this strategy cannot be derived from recorded samples",
            where=f"strategy {strategy}",
            expected=f"MODEL/ one of {', '.join(sorted(_OWN_PARAMETERS))}, or a cascade",
        )
    kept = tuple((name, value) for name, value in strategy.params if name not in own)
    base = Strategy(str(strategy.param("of") or "single"), strategy.model, kept)
    if strategy.method == "self_consistency":
        return Vote(_count(strategy, "k", 2)), base
    batch = None if strategy.param("batch") is None else _count(strategy, "batch", 1)
    judged_by = judged_in(_verifier(strategy), exact)
    return BestOf(_count(strategy, "n", 2), batch, judged_by), base


def judged_in(judge: str, exact: Collection[str]) -> str:
    """The column that holds a verifier's verdicts."""
    return "score" if judge in exact else "verdict"


def drawing_from(
    base: Strategy, method: str, samples: int, *, verifier: str = "", batch: int | None = None
) -> Strategy:
    """The strategy that draws `samples` of a base: the inverse of `drawing_of`."""
    added: dict[str, int | str] = {"k" if method == "self_consistency" else "n": samples}
    if method == "best_of_n":
        added |= {"verifier": verifier} | ({} if batch is None else {"batch": batch})
    if base.method != "single":
        added["of"] = base.method
    return Strategy(method, base.model, tuple(sorted((*base.params, *added.items()))))


def _count(strategy: Strategy, name: str, least: int) -> int:
    value = strategy.param(name)
    if isinstance(value, int) and least <= value <= MOST:
        return value
    raise InputError(
        "this is not a number of samples",
        where=f"strategy {strategy}: {name}",
        expected=f"{least}..{MOST}",
        got="nothing" if value is None else str(value),
    )


def _verifier(strategy: Strategy) -> str:
    name = strategy.param("verifier")
    if isinstance(name, str):
        return name
    raise InputError(
        "best-of-n needs the name of a verifier",
        where=f"strategy {strategy}: verifier",
        expected="a name, as in verifier=checker",
        got="nothing" if name is None else str(name),
    )
