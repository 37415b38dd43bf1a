"""The services of deploy/compose as processes of this host, with the very files of that folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import yaml
from programs import program

from runtime.tenants.virtual_keys import new_key

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "deploy/compose"
SERVICES: dict[str, Any] = yaml.safe_load((COMPOSE / "docker-compose.yaml").read_text())["services"]
OPERATOR = "operator-of-the-test"
PASSWORD = "letters0and1digits"  # noqa: S105 of a server that lives as long as the test


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def mounted(volume: Path, files: dict[str, bytes]) -> None:
    """Put files into a folder as Kubernetes puts a ConfigMap: all of them at once, by one link."""
    volume.mkdir(exist_ok=True)
    version = volume / f"..{time.monotonic_ns()}"
    version.mkdir()
    for name, content in files.items():
        (version / name).write_bytes(content)
        if not (volume / name).is_symlink():
            (volume / name).symlink_to(f"..data/{name}")
    fresh = volume / "..data_tmp"
    fresh.symlink_to(version.name)
    former = (volume / "..data").resolve() if (volume / "..data").is_symlink() else None
    fresh.rename(volume / "..data")
    if former is not None:
        shutil.rmtree(former)


@dataclass
class Stack:
    """Store, model server, two gateways and the balancer before them.

    Attributes:
        folder: Where everything is that is written.
        limit_usd: In place of the day's limit in tenants.yaml.
        secret: Of the client's key.
    """

    folder: Path
    limit_usd: str = "0.05"
    secret: str = ""
    ports: dict[str, int] = field(default_factory=dict)
    running: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    _logs: list[IO[str]] = field(default_factory=list)

    def __enter__(self) -> Self:
        names = ("store", "models", "gateway-1", "gateway-2", "balancer")
        self.ports = {name: free_port() for name in names}
        self._write_files()
        try:
            self.start_store()
            port = str(self.ports["models"])
            self._start("models", [sys.executable, "-m", "demo.server", "--port", port])
            for name in ("gateway-1", "gateway-2"):
                self.start_gateway(name)
            self._start_balancer()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    @property
    def url(self) -> str:
        """The balancer."""
        return f"http://127.0.0.1:{self.ports['balancer']}"

    @property
    def store_url(self) -> str:
        """The budget store, as gateway.yaml names it."""
        settings = (COMPOSE / "gateway/gateway.yaml").read_text()
        (url,) = re.findall(r"store: (\S+)", settings)
        here = url.replace("store:6379", f"127.0.0.1:{self.ports['store']}")
        return str(here.replace("${STORE_PASSWORD}", PASSWORD))

    def kill(self, service: str) -> None:
        """Without a word."""
        self.running[service].kill()
        self.running[service].wait()

    def page(self, service: str, path: str, key: str = OPERATOR) -> str:
        """The body of a page, whatever its status."""
        url = f"http://127.0.0.1:{self.ports[service]}{path}"
        request = Request(url, headers={"authorization": f"Bearer {key}"})
        try:
            with urlopen(request, timeout=10) as found:  # noqa: S310 ours
                return str(found.read().decode())
        except HTTPError as error:
            with error:
                return error.read().decode()

    def digest(self, gateway: str) -> str:
        """Of the policy in force."""
        found = re.search(
            r'inferbudget_policy_info\{digest="([^"]+)"', self.page(gateway, "/metrics")
        )
        assert found is not None
        return found[1]

    def scope(self, gateway: str, name: str) -> dict[str, Any]:
        """How an account stands."""
        found: dict[str, Any] = json.loads(self.page(gateway, "/ledger"))["scopes"][name]
        return found

    def log(self, service: str) -> str:
        return (self.folder / f"{service}.log").read_text()

    def start_gateway(self, name: str) -> None:
        """As its service's command says, but for the places."""
        words = [self._here(word, name) for word in SERVICES[name]["command"]]
        environ = {"INFERBUDGET_OPERATOR_KEY": OPERATOR, "STORE_PASSWORD": PASSWORD}
        program = [sys.executable, "-c", "from app.cli.main import main; main()"]
        self._start(name, [*program, *words], environ)

    def _here(self, word: str, gateway: str) -> str:
        word = word.replace("/etc/inferbudget", str(self.folder / gateway))
        return word.replace("0.0.0.0", "127.0.0.1").replace(  # noqa: S104
            "--port=8080", f"--port={self.ports[gateway]}"
        )

    def _write_files(self) -> None:
        key = new_key()
        self.secret = key.secret
        tenants = (COMPOSE / "gateway/tenants.yaml").read_text()
        tenants = re.sub(r"sha256:0{64}", key.hash, tenants)
        assert "limit_usd: 0.05" in tenants
        tenants = tenants.replace("limit_usd: 0.05", f"limit_usd: {self.limit_usd}")
        settings = (COMPOSE / "gateway/gateway.yaml").read_text()
        for service, port in (("models", 8001), ("store", 6379)):
            assert f"{service}:{port}" in settings
            settings = settings.replace(f"{service}:{port}", f"127.0.0.1:{self.ports[service]}")
        settings = settings.replace("reload_s: 5", "reload_s: 0.2")
        policy = ROOT / "demo/policy"
        for name in ("gateway-1", "gateway-2"):
            here = self.folder / name
            (here / "audit").mkdir(parents=True)
            written = settings.replace("/var/lib/inferbudget", str(here))
            mounted(
                here / "gateway",
                {"gateway.yaml": written.encode(), "tenants.yaml": tenants.encode()},
            )
            files = ("policy.yaml", "policy.onnx")
            mounted(here / "policy", {file: (policy / file).read_bytes() for file in files})

    def start_store(self) -> None:
        """With the settings and the user of the compose file."""
        (self.folder / "data").mkdir(exist_ok=True)
        settings = (COMPOSE / "valkey.conf").read_text()
        settings = settings.replace("dir /data", f"dir {self.folder / 'data'}")
        (self.folder / "valkey.conf").write_text(settings)
        shell = SERVICES["store"]["command"][2].replace("$$", "$")
        shell = shell.replace("/etc/valkey", str(self.folder))
        shell = shell.replace("valkey-server", program("valkey-server", "redis-server"))
        shell += f" --bind 127.0.0.1 --port {self.ports['store']}"
        self._start(
            "store", ["sh", "-c", shell], {"STORE_PASSWORD": PASSWORD}, ready="eady to accept"
        )

    def _start_balancer(self) -> None:
        settings = (COMPOSE / "haproxy.cfg").read_text()
        settings = settings.replace("bind :8080", f"bind 127.0.0.1:{self.ports['balancer']}")
        for name in ("gateway-1", "gateway-2"):
            assert f"{name}:8080" in settings
            settings = settings.replace(f"{name}:8080", f"127.0.0.1:{self.ports[name]}")
        path = self.folder / "haproxy.cfg"
        path.write_text(settings)
        self._start(
            "balancer",
            [program("haproxy"), "-W", "-f", str(path)],
            ready="(New worker|Loading success)",
        )

    def _start(
        self,
        name: str,
        command: list[str],
        environ: dict[str, str] | None = None,
        ready: str = '"url"',
    ) -> None:
        log = (self.folder / f"{name}.log").open("a")
        self._logs.append(log)
        begins = log.tell()
        self.running[name] = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            text=True,
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(environ or {})},
        )
        for _ in range(6_000):
            if re.search(ready, self.log(name)[begins:]):
                return
            assert self.running[name].poll() is None, self.log(name)
            time.sleep(0.01)
        pytest.fail(self.log(name))

    def _end(self) -> None:
        for process in reversed(self.running.values()):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.running.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for log in self._logs:
            log.close()
