"""Names of models and methods as files write them, in the spelling strategies use."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from contextlib import suppress
from string import ascii_letters, ascii_lowercase, digits

from profiles.errors import InputError
from profiles.strategy import Strategy, parse

_LONGEST = 2_000
_MODEL = re.compile(r"[A-Za-z0-9_.:@+\-]+(/[A-Za-z0-9_.:@+\-]+)*")
_METHOD = re.compile(r"[a-z][a-z0-9_]*")
_IN_MODEL = frozenset(ascii_letters + digits + "_.:@+-")
_IN_METHOD = frozenset(ascii_lowercase + digits)


def strategy_text(strategy: str, model: str, method: str) -> str:
    """The canonical strategy of a row, from its strategy or else from its model and method.

    A strategy that names no model is taken to run on the row's model. Names with other
    characters are respelled: ``Claude 3.7 (new)`` becomes ``Claude-3.7-new``. Letters beyond
    ASCII are kept in Punycode (RFC 3492), which can be read back: ``модель`` is ``xn--d1acpjx3f``.

    Raises:
        InputError: No strategy can be made of these texts.
    """
    if max(map(len, (strategy, model, method))) > _LONGEST:
        raise InputError("the name is too long", expected=f"at most {_LONGEST} characters")
    if not strategy:
        named = _with_brackets(method)
        return str(Strategy(named.method, _model(model), named.params))
    parsed = _parsed(strategy)
    if parsed.models() or not model:
        return str(parsed)
    return str(Strategy(parsed.method, _model(model), parsed.params))


def _with_brackets(text: str) -> Strategy:
    """A method that carries parameters, ``best_of_n(n=8)``; other brackets are respelled."""
    if text.endswith(")"):
        with suppress(InputError):
            found = parse(text)
            if found.model is None:
                return found
    return Strategy(_method(text))


def with_params(text: str, params: Mapping[str, str]) -> str:
    """A strategy's text with further parameters.

    Raises:
        InputError: A parameter is there already, or its value cannot be a word.
    """
    strategy = parse(text)
    words = {name: _respelled(value, _IN_MODEL, "-") for name, value in params.items() if value}
    twice = sorted(words.keys() & dict(strategy.params))
    if twice or not all(word and word.isascii() for word in words.values()):
        raise InputError("this parameter cannot be added", got=", ".join(twice or params.values()))
    added = ",".join(f"{name}={word}" for name, word in words.items())
    known = text.removesuffix(")") + "," if strategy.params else text + "("
    return str(parse(f"{known}{added})")) if added else text


def _parsed(text: str) -> Strategy:
    if any(char in text for char in "()[]"):
        return parse(text)
    head, _, last = text.rpartition("/")
    return Strategy(_method(last), _model(head) if head else None)


def _model(text: str) -> str:
    if _MODEL.fullmatch(text):
        return text
    parts = (_respelled(part, _IN_MODEL, "-") for part in text.split("/"))
    name = "/".join(
        f"xn--{_punycode(part)}" if not part.isascii() else part for part in parts if part
    )
    if not name:
        raise InputError("this is not a model's name", got=repr(text))
    return name


def _method(text: str) -> str:
    if _METHOD.fullmatch(text):
        return text
    name = _respelled(text.lower(), _IN_METHOD, "_")
    if not name.isascii():
        return f"xn_{_punycode(name).replace('-', '_')}"
    if not name[:1].isalpha():
        raise InputError(
            "this is not a method's name", expected="a word such as best_of_n", got=repr(text)
        )
    return name


def _respelled(text: str, allowed: frozenset[str], between: str) -> str:
    """The name with one `between` for every run of characters that no name can carry."""
    words = "".join(char if char in allowed or _is_letter(char) else " " for char in text).split()
    return between.join(words).strip(between)


def _is_letter(char: str) -> bool:
    """Beyond ASCII: without its letters and marks a name would be another one."""
    return not char.isascii() and unicodedata.category(char)[0] in "LMN"


def _punycode(text: str) -> str:
    return unicodedata.normalize("NFC", text).encode("punycode").decode("ascii")
