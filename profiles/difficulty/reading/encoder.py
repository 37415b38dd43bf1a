"""A sentence encoder that the user points to: texts to vectors of length 1.

A folder holds `model.onnx` and `tokenizer.json` (of the `tokenizers` library). The model takes
`input_ids`, `attention_mask` and, where it knows them, `token_type_ids`, each int64[N, T]. It gives
one vector per text, float[N, D], or one per token, float[N, T, D], which are pooled: their mean,
or the first one ("cls"). The output `sentence_embedding` counts where there is one, else the first.

A text's vector must not depend on the texts beside it. Models that quantise activations break
this, since a batch then shares one scale. Each model is tried when it is opened, and one that
breaks it gets one text at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiles.difficulty.reading.encoder_contents import (
    MODEL,
    TOKENIZER,
    EncoderContents,
    Pooling,
    identity_of,
    read_contents,
    read_pinned,
)
from profiles.difficulty.reading.encoder_loading import (
    CPU,
    INPUTS,
    EncoderFacts,
    choose_pooling,
    open_model,
    open_tokenizer,
)
from profiles.errors import InputError

Vectors = NDArray[np.float32]
_Feeds = Mapping[str, NDArray[np.int64]]

#: Where neither the caller nor tokenizer.json sets a limit.
MAX_TOKENS = 512
#: Vectors of one text in different batches differ by no more than this in any number.
TOLERANCE = 1e-5

_OUTPUT = "sentence_embedding"
_FEWEST_TOKENS = 8
_CHARACTERS_PER_TOKEN = 32  # about 4 are usual; what lies behind the reach is not read
_CHUNK, _BATCH, _BATCH_TOKENS = 64, 32, 8192
_PROBES = ("a", "What is 17 times 23?", "def f(x):\n    return x + 1\n" * 4, "word " * MAX_TOKENS)


class Encoder:
    """An opened encoder; `Encoder.open` makes one.

    Attributes:
        digest: Of model, tokenizer, pooling and limit: what a vector depends on but for rounding.
        width: D, the numbers in a vector.
        max_tokens: The first so many tokens of a text count.
        pooling: How token vectors become one; without meaning where the model pools.
        provider: The execution provider that really runs the model.
        one_by_one: The model cannot take several texts at once without mixing them.
    """

    def __init__(
        self,
        folder: Path,
        session: Any,
        tokenizer: Any,
        *,
        identity: str,
        max_tokens: int,
        pooling: Pooling,
    ) -> None:
        self._folder, self._tokenizer = folder, tokenizer
        self._inputs = [value.name for value in session.get_inputs()]
        names = [value.name for value in session.get_outputs()]
        self._output = _OUTPUT if _OUTPUT in names else names[0]
        self.digest = identity
        self.max_tokens = max_tokens
        self.pooling = pooling
        self.provider = str(session.get_providers()[0])
        self._model = _model_run(session, self._output, pooling, self.provider)
        self.width, self.one_by_one = self._tried()

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        pooling: Pooling | None = None,
        max_tokens: int | None = None,
        threads: int = 1,
    ) -> Encoder:
        """Load an encoder and try it on texts of up to its limit, or 512 words.

        Args:
            folder: Holds model.onnx, the files that it keeps weights in, and tokenizer.json. Each
                is read once: a later change has no effect.
            pooling: None takes what 1_Pooling/config.json says, and the mean where there is none.
            max_tokens: At least 8; None takes the limit of tokenizer.json, and `MAX_TOKENS` where
                there is none.
            threads: For the model on a CPU; 0 takes every core.

        Raises:
            InputError: A file is missing, damaged or outside of the folder, the model's inputs or
                outputs are not an encoder's, or `tokenizers` is not installed.
        """
        return cls.of(read_contents(folder), pooling, max_tokens, threads)

    @classmethod
    def of(
        cls,
        contents: EncoderContents,
        pooling: Pooling | None = None,
        max_tokens: int | None = None,
        threads: int = 1,
    ) -> Encoder:
        """The same of files that were read already."""
        folder = contents.folder
        tokenizer = open_tokenizer(contents)
        own_limit = int((tokenizer.truncation or {}).get("max_length", MAX_TOKENS))
        limit = own_limit if max_tokens is None else max_tokens
        if limit < _FEWEST_TOKENS:
            raise InputError(
                "an encoder needs more tokens than this",
                where=f"{folder}: max_tokens",
                expected=f"at least {_FEWEST_TOKENS}",
                got=str(limit),
            )
        tokenizer.no_padding()
        tokenizer.enable_truncation(limit)
        pooling = choose_pooling(folder, pooling)
        return cls(
            folder,
            open_model(contents, threads),
            tokenizer,
            identity=identity_of(contents, pooling, limit),
            max_tokens=limit,
            pooling=pooling,
        )

    @property
    def facts(self) -> EncoderFacts:
        """What pins this encoder."""
        return EncoderFacts(self.digest, self.width, self.max_tokens, self.pooling)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """float32[N, D], each row of length 1.

        A text without tokens, or with a vector of zeros, gets zeros. Half of a surrogate pair
        counts as "?". Longest texts go first, so what is too large fails at once.

        Raises:
            InputError: Tokenizer or model fails on a text, or a number is not finite.
        """
        vectors = np.zeros((len(texts), self.width), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda index: -len(texts[index]))
        for start in range(0, len(order), _CHUNK):
            chunk = order[start : start + _CHUNK]
            tokens = self._tokens([texts[index] for index in chunk])
            for batch in _batches(tokens, 1 if self.one_by_one else _BATCH):
                vectors[[chunk[i] for i in batch]] = self._run([tokens[i] for i in batch])
        return vectors

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        reach = _CHARACTERS_PER_TOKEN * self.max_tokens
        clean = [text[:reach].encode(errors="replace").decode() for text in texts]
        try:
            return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(clean)]
        except Exception as error:  # the library raises nothing narrower
            raise InputError(
                "the encoder's tokenizer fails on a text",
                where=str(self._folder / TOKENIZER),
                got=str(error),
                next_step="take a tokenizer with a token for unknown words",
            ) from error

    def _run(self, tokens: Sequence[Sequence[int]]) -> Vectors:
        """Unit vectors of one batch, whose texts all have tokens."""
        longest = max(map(len, tokens))
        ids = np.zeros((len(tokens), longest), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, text in enumerate(tokens):
            ids[row, : len(text)] = text
            mask[row, : len(text)] = 1
        fed = dict(zip(INPUTS, (ids, mask, np.zeros_like(ids)), strict=True))
        try:
            found = self._model({name: fed[name] for name in self._inputs})
        except Exception as error:  # ONNX Runtime's exceptions share no public root
            raise InputError(
                "the encoder's model fails on a text",
                where=f"{self._folder}: {len(tokens)} texts of up to {longest} tokens",
                got=str(error).partition("\n")[0],
                next_step="set a smaller max_tokens, or take the tokenizer that belongs to it",
            ) from error
        return self._unit(self._pooled(found, mask))

    def _pooled(self, found: NDArray[Any], mask: NDArray[np.int64]) -> NDArray[np.float64]:
        rows, longest = mask.shape
        if found.ndim == 2 and len(found) == rows:
            return found.astype(np.float64)
        if found.ndim != 3 or found.shape[:2] != (rows, longest):
            raise InputError(
                "this model is not a sentence encoder",
                where=f"{self._folder / MODEL}: output {self._output}",
                expected=f"shape ({rows}, D) or ({rows}, {longest}, D)",
                got=str(found.shape),
            )
        if self.pooling == "cls":
            return found[:, 0].astype(np.float64)
        counted = np.where(mask[:, :, None] == 1, found, 0)  # padding may hold anything
        return np.asarray(counted.sum(axis=1, dtype=np.float64) / mask.sum(axis=1, keepdims=True))

    def _unit(self, vectors: NDArray[np.float64]) -> Vectors:
        if not np.isfinite(vectors).all():
            raise InputError(
                "the encoder's model gives numbers that are not finite",
                where=str(self._folder / MODEL),
                next_step="take a model of higher precision",
            )
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        return (vectors / np.where(length > 0, length, 1)).astype(np.float32)

    def _tried(self) -> tuple[int, bool]:
        """Width, and whether a probe's vector differs among others from its vector alone."""
        probes = [ids for ids in self._tokens(_PROBES) if ids]
        if len(probes) < len(_PROBES):
            raise InputError(
                "the encoder's tokenizer finds no tokens in common text",
                where=str(self._folder / TOKENIZER),
                next_step="take a tokenizer with a token for unknown words",
            )
        alone = np.concatenate([self._run([ids]) for ids in probes])
        differs = np.abs(self._run(probes) - alone).max() > TOLERANCE
        return alone.shape[1], bool(differs)


def _model_run(
    session: Any, output: str, pooling: Pooling, provider: str
) -> Callable[[_Feeds], NDArray[Any]]:
    """What a model gives of a batch; token vectors on a GPU are pooled there."""
    if provider == CPU:
        return lambda fed: np.asarray(session.run([output], fed)[0])
    # It writes a graph with onnx, which a gateway loads for nothing else.
    from profiles.difficulty.reading.on_device import DeviceRun  # noqa: PLC0415

    return DeviceRun(session, output, pooling, "cuda")


def open_pinned(folder: Path, facts: EncoderFacts, *, threads: int = 1) -> Encoder:
    """Open the very encoder that an estimator was fitted with.

    Args:
        folder: Holds its model.onnx, what that keeps weights in, and tokenizer.json.
        facts: What pins it; its limit and its pooling are taken from here.
        threads: For the model on a CPU; 0 takes every core.

    Raises:
        InputError: The folder holds another encoder, or none that can be opened.
    """
    contents = read_pinned(folder, facts.digest, facts.pooling, facts.max_tokens)
    return Encoder.of(contents, facts.pooling, facts.max_tokens, threads)


def _batches(tokens: Sequence[Sequence[int]], most: int) -> Iterator[list[int]]:
    """Positions of texts with tokens, longest first, few enough to bound the memory."""
    order = sorted((i for i, ids in enumerate(tokens) if ids), key=lambda i: -len(tokens[i]))
    start = 0
    while start < len(order):
        fitting = max(1, _BATCH_TOKENS // len(tokens[order[start]]))
        end = start + min(most, fitting)
        yield order[start:end]
        start = end
