"""What stays with a sandboxed program, as its tests see it."""

from __future__ import annotations

import builtins
import json
import operator
import os
from collections.abc import Callable
from typing import Any

from profiles.measuring import sandbox_words as words
from profiles.measuring.sandbox_program import SPECIAL

_ENDINGS = (StopIteration, StopAsyncIteration, GeneratorExit)
_COMPARING = {f"__{name}__" for name in ("eq", "ne", "lt", "le", "gt", "ge")}
_OPERATORS = "add sub mul truediv floordiv mod divmod pow matmul and or xor lshift rshift"
_ARITHMETIC = {f"__{side}{name}__" for side in ("", "r") for name in _OPERATORS.split()}


class ProgramDiedError(BaseException):
    """The program left or answered out of turn; no test may catch this."""


class UndecidedError(BaseException):
    """The tests asked what cannot be found out here; no test may catch this."""


class ProgramError(Exception):
    """An exception of the program that Python would take for the end of an iteration."""


class Line:
    """The pipes to the program.

    Attributes:
        undecided: Why the tests cannot tell, once they could not.
    """

    def __init__(self, reading: int, writing: int) -> None:
        self._replies = os.fdopen(reading)
        self._requests = os.fdopen(writing, "w")
        self._kept: dict[Any, Any] = {}
        self.undecided: str | None = None

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """One request, one reply; an exception of the program is raised here."""
        try:
            self._requests.write(json.dumps(request) + "\n")
            self._requests.flush()
            reply = json.loads(self._replies.readline())
            if "raised" not in reply:
                return dict(reply)
            kind, text = getattr(builtins, reply["raised"], None), str(reply["text"])
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise ProgramDiedError("the program ended or broke its word") from error
        if kind is StopIteration and request.get("name") == "__next__":
            raise StopIteration
        if kind in _ENDINGS:
            raise ProgramError(f"{reply['raised']}: {text}")
        if isinstance(kind, type) and issubclass(kind, Exception):
            raise _built(kind, text)
        raise ProgramDiedError(f"the program left with {reply['raised']}")

    def undecidable(self, reason: str) -> UndecidedError:
        """The exception to raise; the reason stays known where a test catches even this."""
        self.undecided = self.undecided or reason
        return UndecidedError(reason)

    def encode(self, value: Any) -> Any:
        """A value for the program; only plain ones and what came from it can travel."""
        return words.encode(value, self._named)

    def _named(self, value: Any) -> Any:
        if isinstance(value, Remote | _Attributes):
            return {"held": object.__getattribute__(value, "_Remote__number")}
        for plain in words.PLAIN:
            if isinstance(value, plain) and type(value) is not plain:
                return self.encode(plain(value))
        kind = type(value).__name__
        raise self.undecidable(f"a test cannot hand over a {kind}: plain values only")

    def decode(self, value: Any) -> Any:
        """What the program answered, trusted for nothing but being JSON."""
        try:
            return words.decode(value, self._remote)
        except (
            ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError,
            RecursionError, MemoryError,
        ) as error:  # fmt: skip
            raise ProgramDiedError("the program broke its word") from error

    def _remote(self, word: dict[str, Any]) -> Any:
        number, name = int(word["held"]), str(word["class"])
        if "plain" in word:
            value = self.decode(word["plain"])
            return _with_attributes(value, name, self, number)
        if number not in self._kept:
            can = frozenset(map(str, word["can"])) & SPECIAL
            self._kept[number] = _class(name, can, word.get("base"))(self, number)
        return self._kept[number]


class Remote:
    """Something that stays with the program: it can be called, read and iterated, never trusted.

    A subclass has the methods of Python's syntax that the object has. Whether the object equals or
    precedes a value of the tests is not for the program to say: it is left undecided.
    """

    __slots__ = ("_Remote__line", "_Remote__number")

    def __init__(self, line: Line, number: int) -> None:
        object.__setattr__(self, "_Remote__line", line)
        object.__setattr__(self, "_Remote__number", number)

    def __getattr__(self, name: str) -> Any:
        """One attribute."""
        if name.startswith("_Remote__"):
            raise AttributeError(name)
        return _ask(self, "get", name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set it where the object is."""
        _ask(self, "set", name, value)

    def __delattr__(self, name: str) -> None:
        """Delete it where the object is."""
        _ask(self, "delete", name)


class _Attributes:
    """The attributes of a plain value whose class is the program's, as of a named tuple."""

    __getattr__ = Remote.__getattr__
    __setattr__ = Remote.__setattr__

    def __missing__(self, key: Any) -> Any:
        """A key that only the program's kind of dict knows, as a counter's 0."""
        return _ask(self, "special", "__getitem__", key)


def _ask(remote: Any, do: str, name: str, *args: Any, **named: Any) -> Any:
    line: Line = object.__getattribute__(remote, "_Remote__line")
    reply = line.ask(
        {
            "do": do,
            "held": object.__getattribute__(remote, "_Remote__number"),
            "name": name,
            "args": [line.encode(item) for item in args],
            "named": {key: line.encode(item) for key, item in named.items()},
        }
    )
    changed = reply.get("args")
    if isinstance(changed, list) and len(changed) == len(args):
        for mine, theirs in zip(args, changed, strict=True):
            if isinstance(mine, list | dict | set):
                _copy_into(mine, line.decode(theirs))
    return line.decode(reply.get("value"))


def _copy_into(mine: Any, theirs: Any) -> None:
    if isinstance(mine, list) and isinstance(theirs, list):
        mine[:] = theirs
    elif (isinstance(mine, dict) and isinstance(theirs, dict)) or (
        isinstance(mine, set) and isinstance(theirs, set)
    ):
        mine.clear()
        mine.update(theirs)


def _class(name: str, can: frozenset[str], base: str | None) -> type[Remote]:
    methods: dict[str, Any] = {method: _method(method) for method in can}
    methods["__doc__"] = property(lambda self: _ask(self, "get", "__doc__"))
    if base is not None:
        kind = words.MUTABLE[base]
        methods["__class__"] = property(lambda _: kind)
    if "__await__" in can:
        methods |= dict.fromkeys(("__await__", "send", "throw", "close"), _never_awaited)
    if "__iter__" in can and "__next__" in can:
        methods["__iter__"] = lambda self: self
    return type(name, (Remote,), {"__slots__": (), **methods})


def _method(name: str) -> Callable[..., Any]:
    if name == "__call__":
        return lambda self, *args, **named: _ask(self, "call", name, *args, **named)
    if name in _COMPARING:
        return lambda self, other: _compared(self, name, other)
    if name in _ARITHMETIC:
        return lambda self, other: _calculated(self, name, other)
    if name == "__exit__":
        return lambda self, kind, error, trace: _ask(self, "special", name, kind, error, trace)
    if name == "__instancecheck__":
        return _is_instance
    return lambda self, *args: _ask(self, "special", name, *args)


def _compared(remote: Remote, name: str, other: Any) -> Any:
    if isinstance(other, Remote):
        return _ask(remote, "special", name, other)
    if not isinstance(other, words.PLAIN):  # the tests' own object may know
        return NotImplemented
    if remote.__class__ is not type(remote):  # a list of the program's own making is still a list
        return getattr(operator, name)(_ask(remote, "plain", ""), other)
    line: Line = object.__getattribute__(remote, "_Remote__line")
    raise line.undecidable(
        f"only the program could compare its {type(remote).__name__} with a {type(other).__name__}"
    )


def _calculated(remote: Remote, name: str, other: Any) -> Any:
    value = _ask(remote, "special", name, other)
    if isinstance(other, Remote) or isinstance(value, Remote) or value is NotImplemented:
        return value
    line: Line = object.__getattribute__(remote, "_Remote__line")
    raise line.undecidable(
        f"only the program could calculate with its {type(remote).__name__} and the tests' value"
    )


def _is_instance(remote: Remote, value: Any) -> bool:
    ours = isinstance(value, Remote | _Attributes)
    return ours and _ask(remote, "special", "__instancecheck__", value) is True


def _never_awaited(remote: Remote, *_: Any) -> Any:
    line: Line = object.__getattribute__(remote, "_Remote__line")
    raise line.undecidable("coroutines of the program cannot be awaited by the tests")


def _with_attributes(value: Any, name: str, line: Line, number: int) -> Any:
    kind = type(value)
    if kind in (bool, type(None)):
        return value
    named = type(name, (_Attributes, kind), {})(value)
    named.__dict__.update({"_Remote__line": line, "_Remote__number": number})
    return named


def _built(kind: type[Exception], text: str) -> Exception:
    try:
        return kind(text)
    except TypeError:  # some, such as UnicodeDecodeError, want more than a text
        return RuntimeError(f"{kind.__name__}: {text}")
