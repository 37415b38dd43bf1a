"""Names of strategies that fit into a picture: what tells them apart, without what they share."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from profiles.errors import InputError
from profiles.strategy import Strategy, Value, parse

_Differing = Mapping[tuple[str, str], set[str]]


def short_names(strategies: Iterable[str]) -> dict[str, str]:
    """A short name for each: model, method and those parameters that differ among them all.

    ``a/best_of_n(max_tokens=56,n=4)`` beside ``a/best_of_n(max_tokens=56,n=16)`` is ``a/best_of_n
    n=4``; the stages of a combination stand one after the other. Where two would have the same
    short name, and for what is no strategy, it is the whole text.
    """
    texts = list(dict.fromkeys(strategies))
    parsed = {text: found for text in texts if (found := _parsed(text)) is not None}
    values: dict[tuple[str, str], set[str]] = defaultdict(set)
    for strategy in parsed.values():
        for part in _parts(strategy):
            for name, value in part.params:
                values[part.method, name].add(str(value))
    short = {text: _short(strategy, values) for text, strategy in parsed.items()}
    taken = list(short.values())
    return {
        text: short[text] if text in short and taken.count(short[text]) == 1 else text
        for text in texts
    }


def labels_expression(strategies: Iterable[str]) -> str:
    """The same as Vega's expression of an axis whose values are whole texts."""
    return f"{json.dumps(short_names(strategies))}[datum.value] || datum.value"


def _parsed(text: str) -> Strategy | None:
    try:
        return parse(text)
    except InputError:
        return None


def _parts(value: Value) -> Iterator[Strategy]:
    if isinstance(value, Strategy):
        yield value
        for _, inner in value.params:
            yield from _parts(inner)
    elif isinstance(value, tuple):
        for inner in value:
            yield from _parts(inner)


def _short(strategy: Strategy, values: _Differing) -> str:
    stages = [part for _, value in strategy.params for part in _own_parts(value)]
    told = [
        f"{name}={value}"
        for name, value in strategy.params
        if not any(True for _ in _own_parts(value)) and len(values[strategy.method, name]) > 1
    ]
    head = f"{strategy.model}/{strategy.method}" if strategy.model else strategy.method
    name = " ".join([head, *told])
    return f"{name}: {' → '.join(_short(part, values) for part in stages)}" if stages else name


def _own_parts(value: Value) -> Iterator[Strategy]:
    """Those of a value itself, not of what they are made of."""
    if isinstance(value, Strategy):
        yield value
    elif isinstance(value, tuple):
        for inner in value:
            yield from _own_parts(inner)
