"""The canonical text form of a strategy: a method with its parameters on named models.

Grammar::

    strategy := [model "/"] method ["(" name "=" value {"," name "=" value} ")"]
    value    := number | word | strategy | "[" value {"," value} "]"

A model may itself contain slashes (``google/gemini-2.5-pro/single``); the method is the last
segment. A combination such as a cascade names no model of its own, its stages do:
``cascade(accept=checker,stages=[small/single,large/best_of_n(n=8,verifier=checker)])``.
Parameters are sorted by name, so one strategy has one text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from profiles.errors import InputError

Value: TypeAlias = "int | float | str | Strategy | tuple[Value, ...]"

_WORD = re.compile(r"[A-Za-z0-9_.:@+\-]+(?:/[A-Za-z0-9_.:@+\-]+)*")
_INTEGER = re.compile(r"-?\d+\Z")
_DECIMAL = re.compile(r"-?\d+\.\d+(?:e[+-]?\d+)?\Z|-?\d+e[+-]?\d+\Z")
_METHOD = re.compile(r"[a-z][a-z0-9_]*\Z")


@dataclass(frozen=True, slots=True)
class Strategy:
    """A method with its parameters on a model.

    Attributes:
        method: How the request is answered, e.g. ``best_of_n``.
        model: The model that answers, None for combinations whose stages name theirs.
        params: Parameters sorted by name.
    """

    method: str
    model: str | None = None
    params: tuple[tuple[str, Value], ...] = field(default=())

    def __str__(self) -> str:
        head = f"{self.model}/{self.method}" if self.model else self.method
        if not self.params:
            return head
        return f"{head}({','.join(f'{name}={_text(value)}' for name, value in self.params)})"

    def param(self, name: str) -> Value | None:
        """The value of one parameter, None where it is not set."""
        return dict(self.params).get(name)

    def models(self) -> tuple[str, ...]:
        """Every model this strategy may call, in order of first mention."""
        own = [self.model] if self.model else []
        nested = [m for _, value in self.params for m in _models(value)]
        return tuple(dict.fromkeys(own + nested))


def parse(text: str) -> Strategy:
    """Read a strategy from its text form.

    Raises:
        InputError: The text does not follow the grammar; names the position.
    """
    reader = _Reader(text)
    value = reader.value()
    reader.end()
    if isinstance(value, str):
        value = _strategy(value, (), text)
    if not isinstance(value, Strategy):
        raise _refuse(text, 0, "a strategy such as model/single")
    return value


def canonical(text: str) -> str:
    """The one spelling of a strategy text: parameters sorted, no spaces."""
    return str(parse(text))


def _models(value: Value) -> Iterator[str]:
    if isinstance(value, Strategy):
        yield from value.models()
    elif isinstance(value, tuple):
        for item in value:
            yield from _models(item)


def _text(value: Value) -> str:
    if isinstance(value, tuple):
        return f"[{','.join(map(_text, value))}]"
    return str(value)


def _strategy(head: str, params: tuple[tuple[str, Value], ...], text: str) -> Strategy:
    model, _, method = head.rpartition("/")
    if not _METHOD.match(method):
        raise _refuse(text, 0, "a method in lower case after the last slash, e.g. model/single")
    return Strategy(method=method, model=model or None, params=tuple(sorted(params)))


def _refuse(text: str, at: int, expected: str) -> InputError:
    return InputError(
        "this is not a strategy",
        where=f"strategy {text!r}, character {at + 1}",
        expected=expected,
        got=repr(text[at : at + 12]) if at < len(text) else "the end of the text",
    )


class _Reader:
    """Recursive descent over one text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0

    def peek(self) -> str:
        while self.at < len(self.text) and self.text[self.at] == " ":
            self.at += 1
        return self.text[self.at] if self.at < len(self.text) else ""

    def take(self, char: str) -> None:
        if self.peek() != char:
            raise _refuse(self.text, self.at, repr(char))
        self.at += 1

    def end(self) -> None:
        if self.peek():
            raise _refuse(self.text, self.at, "the end of the text")

    def word(self) -> str:
        self.peek()
        match = _WORD.match(self.text, self.at)
        if not match:
            raise _refuse(self.text, self.at, "a name or a number")
        self.at = match.end()
        return match.group()

    def value(self) -> Value:
        self.depth += 1
        if self.depth > 16:  # a text from outside must not exhaust the stack
            raise _refuse(self.text, self.at, "at most 8 nested strategies")
        try:
            return self._list() if self.peek() == "[" else self._item()
        finally:
            self.depth -= 1

    def _list(self) -> tuple[Value, ...]:
        self.take("[")
        items = [self.value()]
        while self.peek() == ",":
            self.take(",")
            items.append(self.value())
        self.take("]")
        return tuple(items)

    def _item(self) -> Value:
        word = self.word()
        if self.peek() == "(":
            return _strategy(word, self._params(), self.text)
        if _INTEGER.match(word):
            return int(word)
        if _DECIMAL.match(word):
            return float(word)
        return _strategy(word, (), self.text) if "/" in word else word

    def _params(self) -> tuple[tuple[str, Value], ...]:
        self.take("(")
        params: dict[str, Value] = {}
        while True:
            name = self.word()
            if name in params:
                raise _refuse(self.text, self.at, f"{name} only once")
            self.take("=")
            params[name] = self.value()
            if self.peek() != ",":
                break
            self.take(",")
        self.take(")")
        return tuple(params.items())
