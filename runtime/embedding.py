"""The encoder beside the gateway: vectors of prompts, read in a thread of their own.

Nothing waits for a batch to fill: while the thread reads, the next batch gathers. A GPU takes what
has gathered at once. So does a CPU with an encoder that only looks words up in a table: that costs
less than waking the thread. Any other encoder reads one prompt at a time on a CPU, where a batch is
no faster and all of it ends late (`benchmarks/results/encoder_gain.json`).

The newest prompt is read first. Were it the oldest, then under more traffic than the encoder can
read every prompt would be read just when nobody waits for it any more.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from policies.policy import Policy
from profiles.difficulty.reading.encoder import Encoder
from profiles.difficulty.reading.encoder_loading import CPU, EncoderFacts
from profiles.difficulty.reading.vectors import open_asked_for
from profiles.errors import InputError
from runtime.decision import Vector

TIMEOUT_S = 0.25
"""An encoder of MiniLM's size reads its longest prompts (256 tokens) in up to 0.1 s on one core
(`benchmarks/results/encoder_gain.json`): a prompt may wait behind one more."""
REASONS = ("late", "full", "failed")

_BATCH, _BATCH_CHARACTERS = 32, 65_536  # long prompts in one batch would make short ones late
_QUICK_S, _TRIES = 1e-3, 5  # tables take a tenth of it for this sample, MiniLM more than tenfold
_SAMPLE = "word " * 50
_MOST_WAITING = 1024  # prompts of at most 1 MiB each
_Waiting = dict["asyncio.Future[Vector | None]", str]

_log = logging.getLogger(__name__)


class Embedder:
    """Reads prompts for an event loop that must not wait.

    Args:
        encoder: Reads them; nobody else may use it meanwhile.
        timeout_s: Seconds from asking until a prompt counts as not read.
        most_waiting: Prompts that may wait; a further one counts as not read at once.
        unread: Goes on with these counts, of the embedder whose place it takes.

    Attributes:
        provider: The execution provider that really runs the encoder.
        unread: Prompts that were not read, by reason: "late", "full", "failed" (the encoder cannot
            read this prompt).
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        timeout_s: float = TIMEOUT_S,
        most_waiting: int = _MOST_WAITING,
        unread: Counter[str] | None = None,
    ) -> None:
        self.provider = encoder.provider
        self.unread = Counter(dict.fromkeys(REASONS, 0)) if unread is None else unread
        self._encoder = encoder
        self._timeout_s = timeout_s
        self._most_waiting = most_waiting
        self._batch = _BATCH if _gains_by_batches(encoder) else 1
        self._thread = ThreadPoolExecutor(1, "encoder")
        self._busy = False
        # Shared with the thread: each of them only adds or takes one item at once, which is atomic.
        self._waiting: _Waiting = {}

    async def embed(self, text: str) -> Vector | None:
        """float32[D] of length 1, None where the prompt was not read. May be cancelled."""
        if len(self._waiting) >= self._most_waiting:
            self.unread["full"] += 1
            return None
        found = asyncio.get_running_loop().create_future()
        self._waiting[found] = text
        self._begin()
        try:
            async with asyncio.timeout(self._timeout_s):
                vector: Vector | None = await found
        except TimeoutError:
            self.unread["late"] += 1
            return None
        finally:
            self._waiting.pop(found, None)
        if vector is None:
            self.unread["failed"] += 1
        return vector

    def _begin(self) -> None:
        if self._waiting and not self._busy:
            self._busy = True
            loop = asyncio.get_running_loop()
            loop.run_in_executor(self._thread, self._read, loop).add_done_callback(self._paused)

    def _paused(self, _: asyncio.Future[None]) -> None:
        """Looks again: a prompt may have come after the thread found none."""
        self._busy = False
        self._begin()

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        """In the thread: read until nothing waits."""
        while batch := self._take():
            vectors = embed_all(self._encoder, [*batch.values()])
            loop.call_soon_threadsafe(_deliver, [*batch], vectors)

    def _take(self) -> _Waiting:
        batch: _Waiting = {}
        characters = 0
        with suppress(KeyError):  # nothing waits any more
            while len(batch) < self._batch and characters < _BATCH_CHARACTERS:
                found, text = self._waiting.popitem()
                batch[found] = text
                characters += len(text)
        return batch


def embed_all(encoder: Encoder, texts: Sequence[str]) -> list[Vector | None]:
    """Vectors of texts, in order; None for those, and only those, that the encoder fails on."""
    try:
        return list(encoder.encode(texts))
    except Exception as error:  # whatever it is, it ends with this text
        if len(texts) == 1:
            # without the error's words, which can hold the prompt
            _log.warning("the encoder failed on a prompt: %s", type(error).__name__)
            return [None]
    return [vector for text in texts for vector in embed_all(encoder, [text])]


def open_encoder(
    policy: Policy, folder: Path | None, *, threads: int = 1, require_gpu: bool = False
) -> Encoder | None:
    """The encoder that a policy names, None where it names none.

    Args:
        policy: The policy.
        folder: Where the encoder lies, None where nobody said.
        threads: For the model on a CPU; 0 takes every core.
        require_gpu: Refuse an encoder that would run on a CPU.

    Raises:
        InputError: A folder is missing or one too many, holds another encoder, or cannot be used
            (`profiles.difficulty.reading.vectors.open_asked_for`), or there is no GPU.
    """
    pinned = policy.classes.encoder
    facts = EncoderFacts(**pinned.model_dump()) if pinned else None
    encoder = open_asked_for(facts, folder, "classes.encoder", threads=threads)
    if require_gpu and encoder and encoder.provider == CPU:
        raise InputError(
            "a GPU is required, but the encoder runs on a CPU",
            where=str(folder),
            got=encoder.provider,
            next_step="install onnxruntime-gpu with CUDA, or start without require_gpu",
        )
    return encoder


def _gains_by_batches(encoder: Encoder) -> bool:
    if encoder.one_by_one or encoder.provider != CPU:
        return not encoder.one_by_one
    seconds = []
    for _ in range(_TRIES):
        start = time.perf_counter()
        encoder.encode([_SAMPLE])
        seconds.append(time.perf_counter() - start)
    return min(seconds) < _QUICK_S


def _deliver(
    asked: Sequence[asyncio.Future[Vector | None]], vectors: Sequence[Vector | None]
) -> None:
    for found, vector in zip(asked, vectors, strict=True):
        if not found.done():
            found.set_result(vector)
