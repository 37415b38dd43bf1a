"""Functions that people bring: verifiers that score an answer, extractors that find it in a text.

They are named on the command line as ``checker=module:function``. What they do wrong is counted
and never ends a request: a verifier that fails has not verified anything, so its score is 0.

Each runs in a thread of its own, so a slow one keeps only its own requests waiting, and one call
at a time, so none needs to be thread-safe.
"""

from __future__ import annotations

import asyncio
import difflib
import importlib
import logging
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from profiles.errors import InputError

VerifierFunction = Callable[[str, str], float]
ExtractorFunction = Callable[[str], str]

_log = logging.getLogger(__name__)
_BOXED = re.compile(r"\\boxed\{([^{}]*)\}")
_MARKED = re.compile(r"(?:####|\banswer\s*(?:is|:|=))\s*(.+)", re.IGNORECASE)


class Verifier:
    """A verifier that always returns a number in 0..1."""

    def __init__(self, name: str, function: VerifierFunction) -> None:
        self.name = name
        self.failures = 0
        self._function = function
        self._thread = ThreadPoolExecutor(1, f"verifier-{name}")

    async def scores(self, prompt: str, answers: Sequence[str]) -> list[float]:
        """`score` of each answer, without holding up the event loop."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._thread, lambda: [self.score(prompt, answer) for answer in answers]
        )

    def score(self, prompt: str, answer: str) -> float:
        """Score of an answer to a prompt, 0..1; 0 where the function raised or returned rubbish."""
        try:
            score = float(self._function(prompt, answer))
        except (Exception, SystemExit):
            return self._failed()
        if not (math.isfinite(score) and 0.0 <= score <= 1.0):
            return self._failed()
        return score

    def _failed(self) -> float:
        self.failures += 1
        _log.warning("the verifier %s failed or left 0..1; the answer counts as wrong", self.name)
        return 0.0


class Extractor:
    """An extractor that always returns a text."""

    def __init__(self, function: ExtractorFunction) -> None:
        self.failures = 0
        self._function = function
        self._thread = ThreadPoolExecutor(1, "extractor")

    async def extract_all(self, texts: Sequence[str]) -> list[str]:
        """`extract` of each text, without holding up the event loop."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: list(map(self.extract, texts)))

    def extract(self, text: str) -> str:
        """The final answer; the whole text where the function raised or returned something else."""
        try:
            found: object = self._function(text)
        except (Exception, SystemExit):
            found = None
        if isinstance(found, str):
            return found
        self.failures += 1
        _log.warning("the extractor failed; the whole text counts as the answer")
        return text


def final_answer(text: str) -> str:
    r"""The last marked answer: ``\boxed{x}``, ``#### x``, ``answer is x``; else the last line."""
    boxed = _BOXED.findall(text)
    if boxed:
        return str(boxed[-1]).strip()
    marked = _MARKED.findall(text)
    if marked:
        return str(marked[-1]).strip().rstrip(".")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def load_function(reference: str) -> Callable[..., Any]:
    """Import ``module:function``.

    Raises:
        InputError: Not of that form, no such module, or no such function in it.
    """
    module_name, _, name = reference.partition(":")
    if not module_name or not name:
        raise InputError(
            "this does not name a function", expected="module:function", got=repr(reference)
        )
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise InputError(
            f"cannot import the module {module_name!r}", got=f"{type(error).__name__}: {error}"
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        near = difflib.get_close_matches(name, dir(module), n=1)
        raise InputError(
            f"the module {module_name!r} has no function {name!r}",
            next_step=f"did you mean {near[0]!r}?" if near else None,
        )
    return function  # type: ignore[no-any-return] # callable() narrows Any to nothing better


def load_verifiers(references: Iterable[str]) -> dict[str, Verifier]:
    """Verifiers by name from texts of the form ``name=module:function``.

    Raises:
        InputError: Names the text that cannot be used.
    """
    found: dict[str, Verifier] = {}
    for text in references:
        name, _, reference = text.partition("=")
        if not name or not reference or name in found:
            raise InputError(
                "this does not name a verifier",
                expected="name=module:function, each name once",
                got=repr(text),
            )
        found[name] = Verifier(name, load_function(reference))
    return found


def as_verifiers(functions: Mapping[str, Verifier | VerifierFunction]) -> dict[str, Verifier]:
    """Verifiers by name, plain functions wrapped."""
    return {
        name: item if isinstance(item, Verifier) else Verifier(name, item)
        for name, item in functions.items()
    }
