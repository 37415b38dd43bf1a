"""What the kernel holds a sandboxed process to: limits, namespaces, refused calls."""

from __future__ import annotations

import ctypes
import math
import os
import platform
import resource
import signal
import struct
import sys
from typing import Any

NO_ISOLATION = 71  # exit status; the sysexits word for "an operating system error"
_NAMESPACES = 0x00020000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000  # mnt ipc user pid net
_NO_SUID_NO_DEV = 2 | 4
_NO_EXEC = 8
_PRIVATE = 1 << 18 | 1 << 14  # and all mounts below
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38


def end_with(parent: int, wall_s: float) -> None:
    """Die when the process that started this one dies, and soon after the wall-clock limit."""
    signal.alarm(math.ceil(wall_s) + 1)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def hide_memory() -> None:
    """Other processes of the same user may not read this one's memory (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def isolate(disk_bytes: int) -> None:
    """Go on in a child that has processes, network, shared memory and a small disk of its own.

    This process stays outside as the child's guard: the kernel ends all of it with the guard.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    user, group, guarded = os.getuid(), os.getgid(), os.getppid()
    _must(libc.unshare(_NAMESPACES))
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:  # noqa: PTH123 - pathlib is not loaded here
            file.write(text)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # new rights have cleared it
    ready, done = os.pipe()
    child = os.fork()
    if child:
        os.close(done)
        started = os.getppid() == guarded and os.read(ready, 1)
        os.waitpid(child, 0)
        os._exit(0 if started else NO_ISOLATION)
    os.close(ready)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    _mount(libc, disk_bytes)
    os.write(done, b"1")
    os.close(done)


def _mount(libc: ctypes.CDLL, disk_bytes: int) -> None:
    """An own process list and an own disk where this process works; then no rights to mount."""
    here = os.fsencode(os.getcwd())  # noqa: PTH109 - see above
    _must(libc.mount(b"none", b"/", None, _PRIVATE, None))
    options = f"size={disk_bytes},nr_inodes=16384,mode=700".encode()
    _must(libc.mount(b"tmpfs", here, b"tmpfs", _NO_SUID_NO_DEV, options))
    os.chdir(here)
    hidden = _NO_SUID_NO_DEV | _NO_EXEC
    if libc.mount(b"proc", b"/proc", b"proc", hidden, None):  # masked, as in a container
        _must(libc.mount(b"tmpfs", b"/proc", b"tmpfs", hidden, b"size=4096"))
    _must(libc.capset(struct.pack("=II", 0x20080522, 0), bytes(24)))


def _must(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def limit(limits: dict[str, Any]) -> None:
    """Limits that cannot be raised again; no process and no thread beyond this one."""
    chosen = {
        "RLIMIT_CPU": limits["cpu_s"],
        "RLIMIT_AS": limits["memory_bytes"],
        "RLIMIT_FSIZE": limits["file_bytes"],
        "RLIMIT_NOFILE": limits["open_files"],
        "RLIMIT_CORE": 0,
        "RLIMIT_NPROC": 0,
        "RLIMIT_MSGQUEUE": 0,
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


# Audit number of the architecture and what is refused, from the kernel's tables: processes (clone,
# fork, vfork, clone3, execve, execveat), sockets (socket, socketpair), others' memory (ptrace,
# process_vm_readv and _writev), what outlives a process (shmget, semget, msgget, mq_open, add_key,
# request_key, keyctl), what would undo the walls (prctl, unshare, setns, chroot, pivot_root, mount,
# umount2, open_tree, move_mount, fsopen, fsconfig, fsmount, fspick, mount_setattr), and
# io_uring_setup, bpf, userfaultfd, perf_event_open.
_MOUNTS = {428, 429, 430, 431, 432, 433, 442}
_REFUSED = {
    "x86_64": (
        0xC000003E,
        {56, 57, 58, 435, 59, 322, 41, 53, 101, 310, 311, 29, 64, 68, 240, 248, 249, 250}
        | {157, 272, 308, 161, 155, 165, 166, 425, 321, 323, 298}
        | _MOUNTS,
    ),
    "aarch64": (
        0xC00000B7,
        {220, 435, 221, 281, 198, 199, 117, 270, 271, 194, 190, 186, 180, 217, 218, 219}
        | {167, 97, 268, 51, 41, 40, 39, 425, 280, 282, 241}
        | _MOUNTS,
    ),
}


def seal() -> None:
    """Have Linux refuse writes elsewhere and all calls that leave the sandbox."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)  # without it both need rights
    _keep_to_folder(libc)
    if platform.machine() in _REFUSED:
        _refuse_calls(libc, *_REFUSED[platform.machine()])


def _keep_to_folder(libc: ctypes.CDLL) -> None:
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


def _refuse_calls(libc: ctypes.CDLL, architecture: int, calls: set[int]) -> None:
    """These system calls fail as not permitted (seccomp)."""
    refuse = len(calls) + 1
    steps = [(0x20, 0, 0, 4), (0x15, 1, 0, architecture), (0x06, 0, 0, 0x80000000)]
    steps += [(0x20, 0, 0, 0), (0x35, refuse, 0, 0x40000000)]  # x86-64 numbers calls twice
    steps += [(0x15, refuse - 1 - i, 0, call) for i, call in enumerate(calls)]
    steps += [(0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x00050001)]  # allow; EPERM
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("HP", len(steps), ctypes.addressof(code)))
    libc.prctl(_PR_SET_SECCOMP, 2, program, 0, 0)
