"""Names of models and methods as files write them, in the spelling strategies use."""

from __future__ import annotations

import re

from profiles.errors import InputError
from profiles.strategy import Strategy, parse

_LONGEST = 2_000
_MODEL = re.compile(r"[A-Za-z0-9_.:@+\-]+(/[A-Za-z0-9_.:@+\-]+)*")
_METHOD = re.compile(r"[a-z][a-z0-9_]*")
_NOT_IN_MODEL = re.compile(r"[^A-Za-z0-9_.:@+\-]+")
_NOT_IN_METHOD = re.compile(r"[^a-z0-9]+")


def strategy_text(strategy: str, model: str, method: str) -> str:
    """The canonical strategy of a row, from its strategy or else from its model and method.

    A strategy that names no model is taken to run on the row's model. Names with other
    characters are respelled: ``Claude 3.7 (new)`` becomes ``Claude-3.7-new``.

    Raises:
        InputError: No strategy can be made of these texts, or only by dropping letters.
    """
    if max(map(len, (strategy, model, method))) > _LONGEST:
        raise InputError("the name is too long", expected=f"at most {_LONGEST} characters")
    if not strategy:
        return str(Strategy(_method(method), _model(model)))
    parsed = _parsed(strategy)
    if parsed.models() or not model:
        return str(parsed)
    return str(Strategy(parsed.method, _model(model), parsed.params))


def _parsed(text: str) -> Strategy:
    if any(char in text for char in "()[]"):
        return parse(text)
    head, _, last = text.rpartition("/")
    return Strategy(_method(last), _model(head) if head else None)


def _model(text: str) -> str:
    if _MODEL.fullmatch(text):
        return text
    _refuse_foreign_letters(text)
    parts = (_NOT_IN_MODEL.sub("-", part).strip("-") for part in text.split("/"))
    name = "/".join(part for part in parts if part)
    if not name:
        raise InputError("this is not a model's name", got=repr(text))
    return name


def _method(text: str) -> str:
    if _METHOD.fullmatch(text):
        return text
    _refuse_foreign_letters(text)
    name = _NOT_IN_METHOD.sub("_", text.lower()).strip("_")
    if not name[:1].isalpha():
        raise InputError(
            "this is not a method's name", expected="a word such as best_of_n", got=repr(text)
        )
    return name


def _refuse_foreign_letters(text: str) -> None:
    """Without its letters a name would be another one: ``модель 2`` is not ``2``."""
    if any(char.isalnum() and not char.isascii() for char in text):
        raise InputError(
            "the name has letters that a strategy cannot carry",
            expected="letters A to Z and digits",
            got=repr(text),
            next_step="rename it in the file",
        )
