"""Loading a sentence encoder from its contents: its model, its tokenizer and how it pools."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import onnxruntime

from profiles.difficulty.reading.encoder_contents import (
    MODEL,
    TOKENIZER,
    EncoderContents,
    Pooling,
    loadable,
)
from profiles.errors import InputError
from profiles.external_data import AS_ONNX

INPUTS = ("input_ids", "attention_mask", "token_type_ids")

_POOLING = "1_Pooling/config.json"  # where sentence-transformers says how it pools
CPU = "CPUExecutionProvider"
_CUDA = "CUDAExecutionProvider"
_QUIET, _DEFAULT = 4, 2  # fatal only, warnings


@dataclass(frozen=True, slots=True)
class EncoderFacts:
    """Which encoder an estimator reads texts with.

    Attributes:
        digest: Of model, tokenizer, pooling and limit.
        width: D, the numbers in a vector, at least 1.
        max_tokens: The first so many tokens of a text count.
        pooling: How token vectors become one.
    """

    digest: str
    width: int
    max_tokens: int
    pooling: Pooling

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> EncoderFacts:
        """From what `to_json` gives.

        Raises:
            KeyError: A field is missing.
            TypeError: It is no mapping, or a number is none.
            ValueError: A number or the pooling makes no sense.
        """
        found = cls(
            str(value["digest"]), int(value["width"]), int(value["max_tokens"]), value["pooling"]
        )
        if found.width < 1 or found.max_tokens < 1 or found.pooling not in get_args(Pooling):
            raise ValueError(f"no encoder has {value}")
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def open_tokenizer(contents: EncoderContents) -> Any:
    """The `tokenizers.Tokenizer` of an encoder."""
    path = contents.folder / TOKENIZER
    try:
        library = import_module("tokenizers")
    except ModuleNotFoundError as error:
        raise InputError(
            "a sentence encoder needs the package 'tokenizers'",
            where=str(path),
            next_step="pip install 'inferbudget[encoder]'",
        ) from error
    try:
        return library.Tokenizer.from_buffer(contents.files[TOKENIZER])
    except Exception as error:  # the library raises nothing narrower
        raise InputError("this is not a tokenizer", where=str(path), got=str(error)) from error


def choose_pooling(folder: Path, asked: Pooling | None) -> Pooling:
    """What is asked for, else what sentence-transformers' own file says, else the mean."""
    if asked is not None and asked not in get_args(Pooling):
        raise InputError("this pooling is not known", expected="mean or cls", got=repr(asked))
    path = folder / _POOLING
    if asked is not None or not path.is_file():
        return asked or "mean"
    try:
        modes = [mode for mode, on in json.loads(path.read_text()).items() if on is True]
    except (ValueError, AttributeError) as error:
        raise InputError("cannot read the pooling", where=str(path), got=str(error)) from error
    modes = [mode for mode in modes if mode.startswith("pooling_mode_")]
    if modes not in (["pooling_mode_mean_tokens"], ["pooling_mode_cls_token"]):
        raise InputError(
            "this pooling is not known",
            where=str(path),
            expected="pooling_mode_mean_tokens or pooling_mode_cls_token, alone",
            got=", ".join(modes) or "none",
            next_step="choose mean or cls by argument",
        )
    return "mean" if modes == ["pooling_mode_mean_tokens"] else "cls"


def open_model(contents: EncoderContents, threads: int) -> Any:
    """A session, on the GPU where there really is one.

    ONNX Runtime lists CUDA wherever it was built for it: only trying proves it.
    """
    path = contents.folder / MODEL
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _QUIET
    options.add_session_config_entry(*AS_ONNX)
    providers: list[Any] = [CPU]
    if _CUDA in onnxruntime.get_available_providers():
        # TF32 keeps 10 bits of a mantissa, a CPU 23: estimators are fitted and served on either
        providers.insert(0, (_CUDA, {"use_tf32": "0"}))
    onnxruntime.set_default_logger_severity(_QUIET)
    try:
        with loadable(contents) as model:
            session = _first_that_loads(model, path, options, providers)
    finally:
        onnxruntime.set_default_logger_severity(_DEFAULT)
    _require_inputs(session, path)
    return session


def _first_that_loads(model: bytes | str, path: Path, options: Any, providers: list[Any]) -> Any:
    try:
        return onnxruntime.InferenceSession(model, options, providers=providers, enable_fallback=0)
    except Exception as error:  # ONNX Runtime's exceptions share no public root
        if len(providers) > 1:
            return _first_that_loads(model, path, options, providers[1:])
        raise InputError(
            "ONNX Runtime cannot load the encoder's model", where=str(path), got=str(error)
        ) from error


def _require_inputs(session: Any, path: Path) -> None:
    inputs = {value.name: value.type for value in session.get_inputs()}
    if (
        set(inputs.values()) != {"tensor(int64)"}
        or not inputs.keys() <= set(INPUTS)
        or not inputs.keys() >= set(INPUTS[:2])
    ):
        raise InputError(
            "this model is not a sentence encoder",
            where=f"{path}: inputs",
            expected="int64 input_ids, attention_mask and, if it likes, token_type_ids",
            got=", ".join(f"{name} {kind}" for name, kind in inputs.items()) or "none",
        )
