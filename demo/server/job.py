"""One request as the engine sees it, and what it reports back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from demo.server.errors import ApiError


@dataclass(frozen=True, slots=True)
class Sampling:
    """What to generate: `max_tokens` per sample, `temperature` >= 0, `top_p` in (0, 1]."""

    n: int
    temperature: float
    top_p: float
    seed: int
    max_tokens: int
    stop: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """New text of one sample; `finish` is `stop` or `length` on its last piece."""

    index: int
    text: str
    finish: str | None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that were read and generated; the prompt counts once however many samples."""

    prompt_tokens: int
    completion_tokens: int


Report = list[Piece] | Usage | ApiError


@dataclass(eq=False, slots=True)
class Job:
    """One request. The engine's thread owns it, but for `cancelled`, which anyone may set.

    Reports are a list of pieces per step when `stream` is set, then in any case the usage, or
    the error that ended the job. `settle` hears the usage first, and hears it even when nobody
    reads the reports any more.
    """

    prompt: list[int]
    sampling: Sampling
    stream: bool
    settle: Callable[[Usage], None]
    cancelled: bool = False
    samples: list[Sample] = field(default_factory=list)
    prompt_tokens: int = 0
    open: int = 0
    _queue: asyncio.Queue[Report] = field(default_factory=asyncio.Queue)

    def __post_init__(self) -> None:
        self.samples = [Sample(self, index) for index in range(self.sampling.n)]

    def deliver(self, report: Report) -> None:
        """Pass on a report; called on the event loop."""
        if isinstance(report, Usage):
            self.settle(report)
        self._queue.put_nowait(report)

    async def reports(self) -> AsyncIterator[list[Piece] | Usage]:
        """The reports, up to the usage.

        Raises:
            ApiError: 500 when the engine failed on this job.
        """
        while True:
            report = await self._queue.get()
            if isinstance(report, ApiError):
                raise report
            yield report
            if isinstance(report, Usage):
                return

    def usage(self) -> Usage:
        """What was spent so far."""
        return Usage(self.prompt_tokens, sum(len(sample.tokens) for sample in self.samples))


@dataclass(eq=False, slots=True)
class Sample:
    """One completion in the making; `tokens` counts the end token, `text` leaves it out."""

    job: Job
    index: int
    tokens: list[int] = field(default_factory=list)
    text: str = ""
    sent: int = 0
    finish: str | None = None

    def add(self, token: int, char: str, *, end: bool) -> None:
        """Take one generated token and see whether it ends the sample."""
        self.tokens.append(token)
        self.text += char
        sampling = self.job.sampling
        if end:
            self.finish = "stop"
        elif sampling.stop and self.text.endswith(sampling.stop):
            self.finish = "stop"
            self.text = self.text[: self._stop_at()]
        elif len(self.tokens) >= sampling.max_tokens:
            self.finish = "length"

    def piece(self) -> Piece:
        """The text since the last piece, less what may turn out to begin a stop string."""
        until = len(self.text) if self.finish else len(self.text) - self._withheld()
        text, self.sent = self.text[self.sent : until], until
        return Piece(self.index, text, self.finish)

    def _stop_at(self) -> int:
        ends = [stop for stop in self.job.sampling.stop if self.text.endswith(stop)]
        return len(self.text) - max(map(len, ends))

    def _withheld(self) -> int:
        begins = {stop[:size] for stop in self.job.sampling.stop for size in range(1, len(stop))}
        return max((len(begin) for begin in begins if self.text.endswith(begin)), default=0)
