"""The what-if app as an image and as a service: its words, its health, its confinement."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import click
import yaml

from app.cli.whatif import app_command

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()
COMPOSE = ROOT / "deploy/compose"
SERVICES: dict[str, Any] = yaml.safe_load((COMPOSE / "docker-compose.yaml").read_text())["services"]
STAGES = {
    part.partition("\n")[0]: part
    for part in re.split(r"^FROM \S+ AS ", DOCKERFILE, flags=re.MULTILINE)
}


def options(words: list[str]) -> dict[str, Any]:
    """As `inferbudget app` reads them, without a look at the files."""
    command, *rest = words
    assert command == "app"
    context = click.Context(app_command)
    found, left, _ = app_command.make_parser(context).parse_args(list(rest))
    assert not left
    return found


def words(instruction: str) -> list[str]:
    (line,) = re.findall(rf"^{instruction} (\[.*\])", STAGES["app"], re.MULTILINE)
    found: list[str] = json.loads(line)
    return found


def test_the_image_opens_the_example_for_everybody_who_reaches_it() -> None:
    assert words("ENTRYPOINT") == ["inferbudget"]
    found = options(words("CMD"))
    assert {name for name, value in found.items() if isinstance(value, str)} == {"host", "port"}
    assert found["host"] == "0.0.0.0"  # noqa: S104 -- within a container
    assert f"EXPOSE {found['port']}\n" in STAGES["app"]


def test_its_health_is_asked_where_it_listens() -> None:
    (_, _, code) = words("    CMD")
    assert f"http://127.0.0.1:{options(words('CMD'))['port']}/" in code
    assert "_stcore/health" in code
    compile(code, "HEALTHCHECK", "exec")


def test_it_runs_as_nobody_in_particular_and_has_what_pages_need() -> None:
    assert "FROM serving AS app\n" in DOCKERFILE
    assert "USER 10001:10001" in STAGES["serving"]
    assert "USER" not in STAGES["app"]
    assert "COPY --from=build-app /opt/inferbudget /opt/inferbudget" in STAGES["app"]
    (extras,) = re.findall(r'"\.\[(.*)\]"', STAGES["build-app"])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {"serve", "app"} == set(extras.split(",")) <= set(project["optional-dependencies"])


def test_the_gateway_is_still_what_is_built_where_nothing_is_named() -> None:
    assert list(STAGES)[-1] == "gateway"


def test_the_service_writes_to_memory_alone_and_is_reached_from_this_host_alone() -> None:
    service = SERVICES["app"]
    assert service["read_only"]
    assert service["tmpfs"] == ["/tmp"]  # noqa: S108
    assert service["ports"] == ["127.0.0.1:8501:8501"]
    assert all(volume.endswith(":ro") for volume in service["volumes"])
    hosts = options(service["command"])["hosts"]
    assert hosts == ["localhost", "127.0.0.1"]


def test_the_service_looks_at_what_the_gateways_use_and_no_password_is_in_its_words() -> None:
    service = SERVICES["app"]
    found = options(service["command"])
    gateway = yaml.safe_load((COMPOSE / "gateway/gateway.yaml").read_text())
    assert found["ledger"].replace("$$", "$") == gateway["ledger"]["store"]
    assert list(service["environment"]) == ["STORE_PASSWORD"]
    assert found["policies"] == ["/etc/inferbudget/policy/policy.yaml"]
    assert found["policies"][0] in SERVICES["gateway-1"]["command"]
    assert found["host"] == "0.0.0.0"  # noqa: S104 -- within a container
