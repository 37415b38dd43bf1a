"""Gateways as processes, each pinned to one core and told to forward to the fixed upstream.

* ``none``: the upstream itself.
* ``nginx``: one worker, pass-through over kept connections.
* ``inferbudget``: ``inferbudget serve``: the demo's classes of text, a virtual key, and metrics.
  Every request holds on eight budgets: three of the policy, dollars of an organisation, of a team
  and of a key, the key's requests per minute and its requests in flight.
* ``litellm``: the LiteLLM proxy, one worker, no database: a custom auth function hands out a key
  with a budget, which it reserves on; a budget of its provider; its Prometheus callback. Budgets by
  organisation, team or user need its database.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from benchmarks.fixed_upstream import MODEL, USD_IN, USD_OUT, USD_PER_ANSWER
from planner.plan import Figures
from planner.spec import Window
from policies.file import CompiledPolicy, read_policy, write_policy
from policies.graph import build_graph
from policies.policy import Budget, CellFigures, Graph, Policy, PolicyRung, StrategyEntry
from profiles.digest import digest_bytes
from profiles.money import PriceCard, TokenPrice
from runtime.gateway import MODEL as OUR_MODEL
from runtime.tenants.virtual_keys import new_key

DEMO = Path("demo/policy")
SMALL = "fixed/single(max_tokens=64,temperature=0)"
LARGE = "fixed-large/single(max_tokens=64,temperature=0)"
MAX_TOKENS = 64
MUCH_USD = 1e6
START_S = 120.0
STOP_S = 20.0
_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running gateway.

    Attributes:
        name: Of the candidate.
        url: Where it listens.
        pid: Of its process, whose children count as its own.
        key: What clients send, None where it asks for none.
        model: What clients ask for.
        operator_key: Opens our pages of the operator.
        start_s: From the start of the process to its first right answer.
    """

    name: str
    url: str
    pid: int
    key: str | None = None
    model: str = MODEL
    operator_key: str | None = None
    start_s: float | None = None


def page(url: str, key: str | None = None, body: object = None) -> dict[str, Any]:
    """Ask for a page of JSON, or post to it."""
    headers = {"content-type": "application/json"}
    if key:
        headers["authorization"] = f"Bearer {key}"
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(url, data, headers)  # noqa: S310 our own addresses
    with urllib.request.urlopen(asked, timeout=30) as reply:  # noqa: S310
        found: dict[str, Any] = json.load(reply)
        return found


def bill(upstream: Gateway) -> int:
    """Answers that the upstream has given."""
    return int(page(f"{upstream.url}/bill")["answers"])


def set_delay(upstream: Gateway, delay_s: float) -> None:
    """How long its next answers take."""
    page(f"{upstream.url}/delay/{delay_s}")


@contextmanager
def fixed_upstream(core: int | None, delay_s: float = 0.0) -> Iterator[Gateway]:
    """The model server, which is also the candidate without a gateway."""
    command = [sys.executable, "-m", "benchmarks.fixed_upstream", "--delay-s", str(delay_s)]
    with _running(command, core) as process:
        port = int(_first_line(process))
        yield Gateway("none", f"http://127.0.0.1:{port}", process.pid)


def nginx_program() -> str | None:
    """Where nginx is, None where it is not."""
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@contextmanager
def nginx(upstream: Gateway, folder: Path, core: int | None) -> Iterator[Gateway]:
    """Pass-through.

    Raises:
        FileNotFoundError: There is no nginx here.
    """
    program = nginx_program()
    if program is None:
        raise FileNotFoundError("nginx")
    port = _free_port()
    config = folder / "nginx.conf"
    config.write_text(_nginx_config(upstream.url.removeprefix("http://"), port, folder))
    command = [program, "-p", str(folder), "-c", str(config)]
    began = time.perf_counter()
    with _running(command, core) as process:
        yield _answering(Gateway("nginx", f"http://127.0.0.1:{port}", process.pid), process, began)


def _nginx_config(upstream: str, port: int, folder: Path) -> str:
    user = "user root;" if os.geteuid() == 0 else ""
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""{user} daemon off; worker_processes 1; pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{ worker_connections 2048; }}
http {{
  access_log off; {temporary} keepalive_requests 1000000000;
  upstream model {{ server {upstream}; keepalive 512; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    location / {{
      proxy_pass http://model; proxy_http_version 1.1; proxy_set_header Connection "";
    }}
  }}
}}
"""


@contextmanager
def inferbudget(
    upstream: Gateway, folder: Path, core: int | None, limit_usd: float = MUCH_USD
) -> Iterator[Gateway]:
    """Ours."""
    folder.mkdir(parents=True, exist_ok=True)
    path, key, operator_key = served_policy(folder, limit_usd), new_key(), secrets.token_hex(24)
    (folder / "tenants.yaml").write_text(json.dumps(_tenants(key.hash, limit_usd)))
    config = folder / "gateway.yaml"
    config.write_text(yaml.safe_dump({"format_version": "1.0", "tenants": "tenants.yaml"}))
    program = str(Path(sys.executable).with_name("inferbudget"))
    command = [program, "serve", str(path), "--upstream", f"{upstream.url}/v1", "--port", "0"]
    command += ["--config", str(config)]
    own = {
        "INFERBUDGET_OPERATOR_KEY": operator_key,
        "INFERBUDGET_UPSTREAM_API_KEY": secrets.token_hex(24),
    }
    began = time.perf_counter()
    with _running(command, core, own) as process:
        url = json.loads(_first_line(process))["url"]
        found = Gateway("inferbudget", url, process.pid, key.secret, OUR_MODEL, operator_key)
        yield _answering(found, process, began)


def _tenants(key_hash: str, limit_usd: float) -> dict[str, Any]:
    """One organisation with one team with one key."""
    dollars = [{"limit_usd": limit_usd, "window": "month"}]
    often = [{"limit_requests": 10**9, "window": "minute"}, {"in_flight": 10_000}]
    key = {"hash": key_hash, "budgets": [*dollars, *often]}
    team = {"budgets": dollars, "keys": {"ci": key}}
    acme = {"budgets": dollars, "teams": {"search": team}}
    return {"format_version": "1.0", "organisations": {"acme": acme}}


def served_policy(folder: Path, limit_usd: float) -> Path:
    """The demo's classes of text, two plain strategies, and a budget in each of three windows."""
    demo = read_policy(DEMO / "policy.yaml")
    classes = demo.classes.names
    costs = {SMALL: USD_PER_ANSWER, LARGE: USD_PER_ANSWER}
    unpinned = demo.model_copy(
        update={
            "warnings": (),
            "strategies": tuple(_entry(text, usd, classes) for text, usd in costs.items()),
            "rungs": (_rung(1.0, SMALL, LARGE, classes), _rung(0.5, SMALL, SMALL, classes)),
            "budgets": tuple(
                Budget(
                    limit_usd=limit_usd,
                    usd_per_request=limit_usd / _MILLION,
                    window=window,
                    requests=_MILLION,
                )
                for window in (Window.DAY, Window.MONTH, Window.TOTAL)
            ),
            "prices": _prices(),
        }
    )
    path = folder / "policy.yaml"
    write_policy(_compiled(unpinned, (DEMO / "difficulty.onnx").read_bytes()), path)
    return path


def _compiled(unpinned: Policy, estimator: bytes) -> CompiledPolicy:
    graph = build_graph(unpinned, estimator)
    pin = Graph(file="policy.onnx", sha256=digest_bytes(graph))
    return CompiledPolicy(unpinned.model_copy(update={"graph": pin}).sealed(), graph)


def _prices() -> PriceCard:
    price = TokenPrice(input=round(1e6 * USD_IN, 6), output=round(1e6 * USD_OUT, 6))
    return PriceCard(models={"fixed": price, "fixed-large": price})


def _entry(text: str, usd: float, classes: Sequence[str]) -> StrategyEntry:
    cell = CellFigures(
        queries=100,
        accuracy=0.5,
        accuracy_se=0.05,
        cost_usd=usd,
        cost_se_usd=None,
        cost_max_usd=2 * usd,
        latency_p95_s=None,
    )
    return StrategyEntry(text=text, max_tokens=MAX_TOKENS, by_class=dict.fromkeys(classes, cell))


def _rung(fraction: float, easy: str, hard: str, classes: Sequence[str]) -> PolicyRung:
    """Each class's requests go half to one strategy, half to the other."""
    shares = {easy: 1.0} if easy == hard else {easy: 0.5, hard: 0.5}
    figures = Figures(accuracy=0.5, cost_usd_per_request=USD_PER_ANSWER, latency_p95_s=None)
    return PolicyRung(
        budget_fraction=fraction,
        objective=None,
        shares=dict.fromkeys(classes, shares),
        expected=figures,
        promised=figures,
        by_class=dict.fromkeys(classes, figures),
        limits={},
        shadow_prices={},
    )


_AUTH = """from fastapi import HTTPException
from litellm.proxy._types import UserAPIKeyAuth


async def authenticate(request, api_key):
    if api_key != {key!r}:
        raise HTTPException(401, "wrong key")
    return UserAPIKeyAuth(api_key="ci", token="ci", key_alias="ci", user_id="jane", **{budget!r})
"""


@contextmanager
def litellm(
    upstream: Gateway,
    folder: Path,
    core: int | None,
    program: Path,
    *,
    key_usd: float | None = MUCH_USD,
    provider_usd: float | None = MUCH_USD,
) -> Iterator[Gateway]:
    """The LiteLLM proxy.

    Args:
        upstream: Where it sends.
        folder: For its files.
        core: That it is pinned to.
        program: Its command in an environment of its own.
        key_usd: The client key's budget, None for none.
        provider_usd: The provider's, likewise.

    Raises:
        FileNotFoundError: There is no such program.
    """
    if not program.is_file():
        raise FileNotFoundError(str(program))
    folder.mkdir(parents=True, exist_ok=True)
    key, port = f"sk-{secrets.token_hex(24)}", _free_port()
    budget = {} if key_usd is None else {"max_budget": key_usd, "budget_duration": "30d"}
    (folder / "keys.py").write_text(_AUTH.format(key=key, budget=budget))
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(_litellm_config(upstream, provider_usd)))
    command = [str(program), "--config", str(config), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--num_workers", "1"]
    own = {
        "LITELLM_MASTER_KEY": f"sk-{secrets.token_hex(24)}",
        "LITELLM_LOG": "ERROR",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_TELEMETRY": "False",
        "PATH": f"{program.parent}:{os.environ['PATH']}",
    }
    began = time.perf_counter()
    with _running(command, core, own, folder / "log.txt") as process:
        found = Gateway("litellm", f"http://127.0.0.1:{port}", process.pid, key)
        yield _answering(found, process, began)


def _litellm_config(upstream: Gateway, provider_usd: float | None) -> dict[str, Any]:
    prices = {"input_cost_per_token": USD_IN, "output_cost_per_token": USD_OUT}
    called = {"model": f"openai/{MODEL}", "api_base": f"{upstream.url}/v1", "api_key": "sk-none"}
    known = {"max_tokens": MAX_TOKENS, "max_output_tokens": MAX_TOKENS, "mode": "chat"}
    provider = {"openai": {"budget_limit": provider_usd, "time_period": "30d"}}
    return {
        "model_list": [
            {
                "model_name": MODEL,
                "litellm_params": called | prices,
                "model_info": known | prices,
            }
        ],
        "router_settings": {} if provider_usd is None else {"provider_budget_config": provider},
        "litellm_settings": {"callbacks": ["prometheus"], "telemetry": False},
        "general_settings": {
            "custom_auth": "keys.authenticate",
            "custom_auth_run_common_checks": True,
        },
    }


@contextmanager
def _running(
    command: Sequence[str],
    core: int | None,
    own: Mapping[str, str] | None = None,
    log: Path | None = None,
) -> Iterator[subprocess.Popen[str]]:
    """A process in a group of its own, which is ended with it."""
    pinned = [] if core is None else ["taskset", "-c", str(core)]
    with (log or Path(os.devnull)).open("w") as noise:
        process = subprocess.Popen(  # noqa: S603 our own commands
            [*pinned, *command],
            stdout=noise if log else subprocess.PIPE,
            stderr=noise,
            text=True,
            env={**os.environ, **(own or {})},
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.stdout:
            process.stdout.close()


def _first_line(process: subprocess.Popen[str]) -> str:
    line = process.stdout.readline() if process.stdout else ""
    if not line:
        raise RuntimeError(f"{process.args!r} ended before it was ready")
    return line


def _answering(found: Gateway, process: subprocess.Popen[str], began: float) -> Gateway:
    """The gateway once it has answered, with the time that took.

    Raises:
        RuntimeError: It ended, or took too long.
    """
    asked = {
        "model": found.model,
        "messages": [{"role": "user", "content": "add 17 25"}],
        "max_tokens": MAX_TOKENS,
    }
    while time.perf_counter() - began < START_S and process.poll() is None:
        try:
            if page(f"{found.url}/v1/chat/completions", found.key, asked).get("usage"):
                return replace(found, start_s=round(time.perf_counter() - began, 2))
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.02)
    raise RuntimeError(f"{found.name} did not start")


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
