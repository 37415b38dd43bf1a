"""The program's side of the sandbox: runs it and answers the referee's requests."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

sys.path.append(str(Path(__file__).parents[2]))  # isolated Python finds only what is installed

from profiles.measuring import sandbox_walls as walls
from profiles.measuring import sandbox_words as words

# What the tests may do to an object by Python's own syntax; equality and order are a case apart.
_SPECIAL_WORDS = (
    "call len getitem setitem delitem contains iter next reversed bool str repr format hash "
    "int float index complex abs neg pos invert round trunc floor ceil enter exit await "
    "eq ne lt le gt ge instancecheck "
    "add sub mul truediv floordiv mod divmod pow matmul and or xor lshift rshift "
    "radd rsub rmul rtruediv rfloordiv rmod rdivmod rpow rmatmul rand ror rxor rlshift rrshift"
)
SPECIAL = frozenset(f"__{name}__" for name in _SPECIAL_WORDS.split())

_BASES: tuple[Any, ...] = (*words.SCALARS, *words.COLLECTIONS, list, dict, bytes)

held: list[Any] = []
_numbers: dict[int, int] = {}


def encode(value: Any) -> Any:
    """A value as JSON; what is not plain stays here and travels as its number."""
    return words.encode(value, _keep)


def decode(value: Any) -> Any:
    """The value behind `encode`'s JSON."""
    return words.decode(value, lambda word: held[word["held"]])


def _keep(value: Any) -> dict[str, Any]:
    number = _numbers.setdefault(id(value), len(held))
    if number == len(held):
        held.append(value)
    kind = type(value)
    word: dict[str, Any] = {"held": number, "class": kind.__name__}
    base = next((plain for plain in _BASES if isinstance(value, plain)), kind)
    if base is not kind and not (kind.__module__ == "solution" and base.__name__ in words.MUTABLE):
        return word | {"plain": encode(_plain(value, base))}
    word["can"] = sorted(name for name in SPECIAL if _special(kind, name) is not None)
    return word if base is kind else word | {"base": base.__name__}


def _plain(value: Any, base: Any) -> Any:
    """The value that an object of a subclass holds, past what the subclass says of itself."""
    if base is dict:
        return {key: dict.__getitem__(value, key) for key in dict.__iter__(value)}
    return base(base.__iter__(value)) if hasattr(base, "__iter__") else base(value)


def _special(kind: type, name: str) -> Any:
    """A class's own method; None where it has only what every object has."""
    found = next((base.__dict__[name] for base in kind.__mro__ if name in base.__dict__), None)
    return None if found is object.__dict__.get(name) else found


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """One request of the referee: an attribute, a call, or what Python's syntax stands for."""
    target, name = held[request["held"]], str(request["name"])
    args = decode(request.get("args", []))
    if request["do"] == "get":
        return {"value": encode(getattr(target, name))}
    if request["do"] == "plain":
        base = next(plain for plain in _BASES if isinstance(target, plain))
        return {"value": encode(_plain(target, base))}
    if request["do"] == "set":
        setattr(target, name, args[0])
        return {"value": None}
    if request["do"] == "delete":
        delattr(target, name)
        return {"value": None}
    if request["do"] == "special":
        value = _special(type(target), name).__get__(target, type(target))(*args)
    else:
        value = target(*args, **{key: decode(item) for key, item in request["named"].items()})
    return {"value": encode(value), "args": [encode(item) for item in args]}


def main() -> None:
    """Run the program, then answer until the referee leaves."""
    parent, wall_s, disk_bytes = sys.argv[1:]
    walls.end_with(int(parent), float(wall_s))
    if int(disk_bytes):
        try:
            walls.isolate(int(disk_bytes))
        except (OSError, AttributeError):
            os._exit(walls.NO_ISOLATION)
    requests, replies = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):
        os.dup2(null, stream)
    sys.set_int_max_str_digits(0)
    first = requests.readline()
    if first:
        serve(json.loads(first), requests, replies)


def serve(first: dict[str, Any], requests: TextIO, replies: TextIO) -> None:
    """Run one program behind its walls and answer requests to it."""
    walls.limit(first["limits"])
    walls.seal()
    sys.path.pop()
    module = sys.modules["solution"] = ModuleType("solution")  # dataclasses look their module up
    names = module.__dict__
    try:
        exec(compile(first["program"], "solution.py", "exec"), names)  # noqa: S102 - the task
        send(replies, {"names": {n: encode(v) for n, v in names.items() if n[:2] != "__"}})
    except BaseException as error:  # a program may raise anything
        send(replies, refusal(error))
        return
    for line in requests:
        try:
            reply = answer(json.loads(line))
        except BaseException as error:  # likewise
            reply = refusal(error)
        send(replies, reply)


def send(replies: TextIO, reply: dict[str, Any]) -> None:
    """One line to the referee."""
    replies.write(json.dumps(reply) + "\n")
    replies.flush()


def refusal(error: BaseException) -> dict[str, Any]:
    """An exception as its class's nearest built-in name and its text."""
    kind = next((kind for kind in type(error).__mro__ if kind.__module__ == "builtins"), Exception)
    try:
        return {"raised": kind.__name__, "text": str(error)[:500]}
    except Exception:  # a program's own __str__ may raise anything
        return {"raised": kind.__name__, "text": ""}


if __name__ == "__main__":
    main()
