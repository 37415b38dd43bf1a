"""A language model on ONNX Runtime: its session, its tokens and its cache."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from demo.server.sampling import Floats, Ints


class LanguageModel:
    """One ONNX file written by `demo.models.graph`; the metadata says how to feed it."""

    def __init__(self, path: Path) -> None:
        """Open the file on CUDA where the session truly gets it, else on the CPU."""
        self.name = path.stem
        self._session = _open(path)
        meta = self._session.get_modelmeta().custom_metadata_map
        self.vocabulary: str = meta["vocabulary"]
        self.pad, self.eos, self.other = (int(meta[key]) for key in ("pad", "eos", "other"))
        self.prompt_width = int(meta["prompt_width"])
        self.context = int(meta["context"])
        shapes = {value.name: value.shape for value in self._session.get_inputs()}
        self._heads, self._head_width = shapes["past_key_0"][1:3]
        self._layers = sum(name.startswith("past_key_") for name in shapes)
        self._ids = {char: index for index, char in enumerate(self.vocabulary) if index > self.eos}

    @property
    def provider(self) -> str:
        """The execution provider that the session really has."""
        return str(self._session.get_providers()[0])

    @property
    def max_prompt_tokens(self) -> int:
        """Room for the prompt, in tokens; its separator takes one slot more."""
        return self.prompt_width - 1

    @property
    def max_new_tokens(self) -> int:
        """Room for the answer, in tokens."""
        return self.context - self.prompt_width

    def encode(self, text: str) -> list[int]:
        """One token per character, in lower case."""
        return [self._ids.get(char, self.other) for char in text.lower()]

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of tokens that are neither padding nor the end."""
        return "".join(self.vocabulary[token] for token in tokens)

    def cache(self, rows: int) -> Cache:
        """An empty cache for this many rows."""
        keys = (rows, self._heads, self._head_width, self.context)
        values = (rows, self._heads, self.context, self._head_width)
        return Cache(
            [np.zeros(keys, np.float32) for _ in range(self._layers)],
            [np.zeros(values, np.float32) for _ in range(self._layers)],
        )

    def prefill(self, prompts: Sequence[Sequence[int]]) -> tuple[Floats, list[NDArray[np.float32]]]:
        """Logits (prompts, vocabulary) and new keys and values, layer by layer."""
        count, width = len(prompts), self.prompt_width
        tokens = np.full((count, width), self.pad, np.int64)
        tokens[:, -1] = self.eos
        for row, prompt in enumerate(prompts):
            tokens[row, : len(prompt)] = prompt
        used = np.array([len(prompt) for prompt in prompts], np.int64)
        nothing = self.cache(count).of(count, slots=0)
        return self._run(tokens, used, np.zeros(count, np.int64), nothing)

    def step(self, tokens: Ints, used: Ints, length: Ints, cache: Cache) -> Floats:
        """Feed one token to each of the first rows of the cache; logits (rows, vocabulary)."""
        rows = len(tokens)
        logits, new = self._run(tokens[:, None], used, length, cache.of(rows))
        cache.append(np.arange(rows), length, new)
        return logits

    def _run(
        self, tokens: Ints, used: Ints, length: Ints, past: list[Floats]
    ) -> tuple[Floats, list[NDArray[np.float32]]]:
        feed: dict[str, NDArray[np.generic]] = {"tokens": tokens, "used": used, "length": length}
        for layer in range(self._layers):
            feed[f"past_key_{layer}"] = past[2 * layer]
            feed[f"past_value_{layer}"] = past[2 * layer + 1]
        logits, *new = self._session.run(None, feed)
        # An answer holds neither padding nor the stand-in for unknown characters.
        logits[:, (self.pad, self.other)] = -np.inf
        return logits, new


class Cache:
    """Keys (rows, heads, width, slots) and values (rows, heads, slots, width) of every layer."""

    def __init__(self, keys: list[Floats], values: list[Floats]) -> None:
        self._keys = keys
        self._values = values

    def of(self, rows: int, slots: int | None = None) -> list[Floats]:
        """The first rows, keys and values by turns; all slots unless told."""
        pairs = zip(self._keys, self._values, strict=True)
        return [
            part
            for key, value in pairs
            for part in (key[:rows, ..., :slots], value[:rows, :, :slots])
        ]

    def fill(self, rows: Ints, prompt: int, new: list[NDArray[np.float32]]) -> None:
        """Write the prefilled prompt with this number to all of these rows."""
        width = new[0].shape[-1]
        for layer, (key, value) in enumerate(zip(self._keys, self._values, strict=True)):
            key[rows, ..., :width] = new[2 * layer][prompt]
            value[rows, :, :width] = new[2 * layer + 1][prompt]

    def append(self, rows: Ints, length: Ints, new: list[NDArray[np.float32]]) -> None:
        """Write one new slot per row, at each row's length."""
        for layer, (key, value) in enumerate(zip(self._keys, self._values, strict=True)):
            key[rows, :, :, length] = new[2 * layer][..., 0]
            value[rows, :, length] = new[2 * layer + 1][:, :, 0]

    def move(self, source: int, target: int) -> None:
        """Copy a row over another."""
        for part in (*self._keys, *self._values):
            part[target] = part[source]


def _open(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # A CUDA build without a device says so at length and falls back; we report the truth.
    options.log_severity_level = 4
    available = ort.get_available_providers()
    wanted = [name for name in ("CUDAExecutionProvider",) if name in available]
    return ort.InferenceSession(path, options, providers=[*wanted, "CPUExecutionProvider"])
