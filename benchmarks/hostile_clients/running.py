"""A gateway, its model server and a collector of traces, each in a process or thread of its own."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.hostile_clients import world
from benchmarks.never_over.processes import free_port

START_S = 60.0


@dataclass(frozen=True, slots=True)
class Running:
    """All of it, while it runs.

    Attributes:
        folder: Of its files; logs are in ``gateway.log``, traces in ``traces``.
        port: Of the gateway.
        upstream: Port of the model server.
        process: The gateway.
    """

    folder: Path
    port: int
    upstream: int
    process: subprocess.Popen[str]

    def page(self, path: str) -> bytes:
        """A page of the operator's."""
        return _got(self.port, path, {"authorization": f"Bearer {world.OPERATOR_KEY}"})

    def ledger(self) -> dict[str, Any]:
        """Every account by name."""
        found: dict[str, Any] = json.loads(self.page("/ledger"))["scopes"]
        return found

    def bill(self) -> dict[str, int]:
        """What the model server wants."""
        found: dict[str, int] = json.loads(_got(self.upstream, "/bill", {}))
        return found

    def memory_mb(self) -> dict[str, float]:
        """Of the gateway now, and at its most."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        return {
            name: round(int(lines[key].split()[0]) / 1024, 1)
            for name, key in (("now", "VmRSS"), ("most", "VmHWM"))
        }


@contextmanager
def running(folder: Path) -> Iterator[Running]:
    """Start all, and end all."""
    with _collector(folder / "traces") as traces, _upstream() as upstream:
        world.write(folder, upstream, traces)
        port = free_port()
        program = str(Path(sys.executable).with_name("inferbudget"))
        command = [program, "serve", str(folder / "policy.yaml"), "--port", str(port)]
        command += ["--config", str(folder / "gateway.yaml"), "--drain", "5"]
        environ = {
            **os.environ,
            "INFERBUDGET_OPERATOR_KEY": world.OPERATOR_KEY,
            "UPSTREAM_KEY": world.UPSTREAM_KEY,
            "OMP_NUM_THREADS": "1",
        }
        with (folder / "gateway.log").open("a") as log:
            process = subprocess.Popen(  # noqa: S603 our own command
                command, stdout=log, stderr=log, text=True, env=environ
            )
        try:
            _await_up(process, port, folder)
            yield Running(folder, port, upstream, process)
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await_up(process: subprocess.Popen[str], port: int, folder: Path) -> None:
    until_s = time.monotonic() + START_S
    while time.monotonic() < until_s and process.poll() is None:
        try:
            _got(port, "/ready", {})
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError((folder / "gateway.log").read_text()[-2000:])


def _got(port: int, path: str, headers: Mapping[str, str]) -> bytes:
    asked = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=dict(headers))
    with urllib.request.urlopen(asked, timeout=30) as reply:  # noqa: S310
        content: bytes = reply.read()
        return content


@contextmanager
def _upstream() -> Iterator[int]:
    command = [sys.executable, "-m", "benchmarks.hostile_clients.upstream"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603
    try:
        yield int(process.stdout.readline() if process.stdout else 0)
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


@contextmanager
def _collector(file: Path) -> Iterator[int]:
    """Takes traces and keeps them as they come."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["content-length"]))
            with file.open("ab") as kept:
                kept.write(content)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    file.parent.mkdir(parents=True, exist_ok=True)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
