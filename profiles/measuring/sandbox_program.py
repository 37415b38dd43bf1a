"""The program's side of the sandbox: runs it and answers the referee's calls with plain values."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import struct
import sys
from typing import Any, TextIO

_PLAIN = (bool, int, float, str)
_TAGGED = ((tuple, "tuple"), (frozenset, "frozenset"), (set, "set"))

held: list[Any] = []


def encode(value: Any) -> Any:  # noqa: PLR0911 - one per kind of value
    """A value as JSON; what is not plain stays here and travels as its number."""
    if value is None or type(value) in _PLAIN:
        return value
    for plain in _PLAIN:
        if isinstance(value, plain):
            return plain(value)
    if isinstance(value, list):
        return [encode(item) for item in value]
    if isinstance(value, dict):
        return {"dict": [[encode(key), encode(item)] for key, item in value.items()]}
    if isinstance(value, bytes | bytearray):
        return {"bytes": bytes(value).hex()}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    for kind, tag in _TAGGED:
        if isinstance(value, kind):
            return {tag: [encode(item) for item in value]}
    held.append(value)
    return {"held": len(held) - 1}


def decode(value: Any) -> Any:  # noqa: PLR0911 - one per kind of value
    """The value behind `encode`'s JSON."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    ((tag, inner),) = value.items()
    if tag == "held":
        return held[inner]
    if tag == "dict":
        return {decode(key): decode(item) for key, item in inner}
    if tag == "bytes":
        return bytes.fromhex(inner)
    if tag == "complex":
        return complex(*inner)
    return {"tuple": tuple, "set": set, "frozenset": frozenset}[tag](map(decode, inner))


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """One request of the referee: call, read an attribute, or list the items."""
    target = held[request["held"]]
    if request["do"] == "get":
        return {"value": encode(getattr(target, request["name"]))}
    if request["do"] == "iter":
        return {"value": [encode(item) for item in target]}
    args = decode(request["args"])
    named = {name: decode(item) for name, item in request["named"].items()}
    value = target(*args, **named)
    return {"value": encode(value), "args": [encode(item) for item in args]}


def limit(limits: dict[str, Any]) -> None:
    """Limits that cannot be raised again; no process and no thread beyond this one."""
    chosen = {
        "RLIMIT_CPU": limits["cpu_s"],
        "RLIMIT_AS": limits["memory_bytes"],
        "RLIMIT_FSIZE": limits["file_bytes"],
        "RLIMIT_NOFILE": limits["open_files"],
        "RLIMIT_CORE": 0,
        "RLIMIT_NPROC": 0,
    }
    for name, value in chosen.items():
        kind = getattr(resource, name, None)
        if kind is not None:
            _, hard = resource.getrlimit(kind)
            least = value if hard == resource.RLIM_INFINITY else min(value, hard)
            try:
                resource.setrlimit(kind, (least, least))
            except (ValueError, OSError):  # macOS has no limit on address space
                continue


# Audit number of the architecture and what is refused, from the kernel's tables: clone, fork,
# vfork, clone3, execve, execveat, socket, socketpair, ptrace, process_vm_readv and _writev,
# io_uring_setup.
_REFUSED = {
    "x86_64": (0xC000003E, (56, 57, 58, 435, 59, 322, 41, 53, 101, 310, 311, 425)),
    "aarch64": (0xC00000B7, (220, 435, 221, 281, 198, 199, 117, 270, 271, 425)),
}


def seal() -> None:
    """Have Linux refuse writes elsewhere, new processes, sockets and others' memory."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    libc.prctl(38, 1, 0, 0, 0)  # no new privileges: without it both need rights
    keep_to_folder(libc)
    if platform.machine() in _REFUSED:
        refuse_calls(libc, *_REFUSED[platform.machine()])


def keep_to_folder(libc: ctypes.CDLL) -> None:
    """Writes, removals and new files only below the working directory (Landlock)."""
    version = libc.syscall(444, None, 0, 1)
    if version < 1:
        return
    # write, remove and make; from version 3 on also truncate
    rights = (1 << 1) | sum(1 << bit for bit in range(4, 13)) | (1 << 14 if version >= 3 else 0)
    rules = libc.syscall(444, struct.pack("=Q", rights), 8, 0)
    for path, allowed in ((".", rights), (os.devnull, rights & (1 << 1 | 1 << 14))):
        place = os.open(path, os.O_PATH)
        libc.syscall(445, rules, 1, struct.pack("=Qi", allowed, place), 0)
        os.close(place)
    libc.syscall(446, rules, 0)
    os.close(rules)


def refuse_calls(libc: ctypes.CDLL, architecture: int, calls: tuple[int, ...]) -> None:
    """These system calls fail as not permitted (seccomp)."""
    refuse = len(calls) + 1
    steps = [(0x20, 0, 0, 4), (0x15, 1, 0, architecture), (0x06, 0, 0, 0x80000000)]
    steps += [(0x20, 0, 0, 0), (0x35, refuse, 0, 0x40000000)]  # x86-64 numbers calls twice
    steps += [(0x15, refuse - 1 - i, 0, call) for i, call in enumerate(calls)]
    steps += [(0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x00050001)]  # allow; EPERM
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("HP", len(steps), ctypes.addressof(code)))
    libc.prctl(22, 2, program, 0, 0)


def main() -> None:
    """Run the program, then answer until the referee leaves."""
    requests, replies = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):
        os.dup2(null, stream)
    sys.set_int_max_str_digits(0)
    first = json.loads(requests.readline())
    limit(first["limits"])
    seal()
    names: dict[str, Any] = {"__name__": "solution"}
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
    for kind in type(error).__mro__:
        if kind.__module__ == "builtins":
            return {"raised": kind.__name__, "text": str(error)[:500]}
    return {"raised": "Exception", "text": ""}


if __name__ == "__main__":
    main()
