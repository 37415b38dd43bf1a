"""What the files of deploy/ say is what the program knows: flags, keys, paths, ports, variables."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import click
import helm_python
import jsonschema
import kubernetes_validate
import pytest
import yaml
from programs import program

from app.cli.serve import serve_command
from app.cli.whatif import app_command
from runtime.gateway.connection import IDLE_S
from runtime.ledger.leased import TTL_S
from runtime.ledger.redis_store import redis_options
from runtime.serve import API_KEY, OPERATOR_KEY, UPSTREAM_API_KEY
from runtime.settings import GatewaySettings, read_settings
from runtime.tenants.reading import read_tenants

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose"
CHART = DEPLOY / "helm/inferbudget"
RENDERED = DEPLOY / "kubernetes/inferbudget.yaml"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
UNIT = (DEPLOY / "systemd/inferbudget.service").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
STACK: dict[str, Any] = yaml.safe_load((COMPOSE / "docker-compose.yaml").read_text())
SERVICES: dict[str, Any] = STACK["services"]
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
PAGE = (ROOT / "docs/how-to/production.md").read_text()
PAGES = set(json.loads((ROOT / "docs/reference/openapi.json").read_text())["paths"])
# Closing connections, the last of the audit log, and what else ends a process.
AFTER_DRAIN_S = 12
ALL_OPTIONS = {"autoscaling": {"enabled": True}, "serviceMonitor": {"enabled": True}}
OLDEST = "1.25"  # Kubernetes that the page and the chart ask for


def manifests(text: str) -> dict[str, Any]:
    return {found["kind"]: found for found in yaml.safe_load_all(text) if found}


KUBERNETES = manifests(RENDERED.read_text())
POD: dict[str, Any] = KUBERNETES["Deployment"]["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]


def docker_words(instruction: str, stage: str) -> list[str]:
    """The words of an instruction in JSON form, of one stage."""
    text = re.split(r"^FROM .* AS ", DOCKERFILE, flags=re.MULTILINE)
    (found,) = [part for part in text if part.startswith(f"{stage}\n")]
    (line,) = re.findall(rf"^{instruction} (\[.*\])", found, re.MULTILINE)
    words: list[str] = json.loads(line)
    return words


def unit_shell() -> str:
    """What systemd gives to the shell."""
    (line,) = re.findall(r"^ExecStart=(.*?[^\\])$", UNIT, re.MULTILINE | re.DOTALL)
    words = shlex.split(line.replace("\\\n", " "))
    assert words[:2] == ["/bin/sh", "-c"]
    return words[2].replace("$$", "$")


def unit_words() -> list[str]:
    _, _, found = unit_shell().partition("exec ")
    program, *words = shlex.split(found)
    assert program == "/opt/inferbudget/bin/inferbudget"
    return words


COMMANDS = {
    "Dockerfile": docker_words("CMD", "gateway"),
    "gateway-1": SERVICES["gateway-1"]["command"],
    "gateway-2": SERVICES["gateway-2"]["command"],
    "systemd": unit_words(),
    "kubernetes": CONTAINER["args"],
}


def options(words: list[str]) -> dict[str, Any]:
    """As `inferbudget serve` reads them, without a look at the files."""
    command, *rest = words
    assert command == "serve"
    context = click.Context(serve_command)
    found, left, _ = serve_command.make_parser(context).parse_args(list(rest))
    assert not left
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_only_options_that_serve_has(name: str) -> None:
    found = options(COMMANDS[name])
    assert found["policy"] == "/etc/inferbudget/policy/policy.yaml"
    assert found["config"] == "/etc/inferbudget/gateway/gateway.yaml"
    assert int(found["port"]) == 8080
    assert found["host"] == ("127.0.0.1" if name == "systemd" else "0.0.0.0")  # noqa: S104


def test_an_option_that_serve_lacks_would_be_found() -> None:
    with pytest.raises(click.NoSuchOption):
        options([*COMMANDS["kubernetes"], "--replicas=2"])


def settings_texts() -> dict[str, str]:
    return {
        "compose": (COMPOSE / "gateway/gateway.yaml").read_text(),
        "helm": VALUES["gateway"],
        "kubernetes": KUBERNETES["ConfigMap"]["data"]["gateway.yaml"],
    }


def tenants_texts() -> dict[str, str]:
    return {
        "compose": (COMPOSE / "gateway/tenants.yaml").read_text(),
        "helm": VALUES["tenants"],
        "kubernetes": KUBERNETES["ConfigMap"]["data"]["tenants.yaml"],
    }


def settings(name: str, folder: Path) -> GatewaySettings:
    path = folder / "gateway.yaml"
    path.write_text(settings_texts()[name])
    return read_settings(path)


@pytest.mark.parametrize("name", settings_texts())
def test_every_gateway_yaml_is_one(name: str, tmp_path: Path) -> None:
    found = settings(name, tmp_path)
    assert found.upstreams
    assert found.tenants == tmp_path / "tenants.yaml"
    assert found.ledger is not None
    assert redis_options(found.ledger.store.replace("${STORE_PASSWORD}", "word")).durable
    assert set(re.findall(r"\$\{(\w+)\}", found.ledger.store)) == {"STORE_PASSWORD"}


@pytest.mark.parametrize("name", tenants_texts())
def test_every_tenants_yaml_is_one_and_opens_for_nobody(name: str, tmp_path: Path) -> None:
    path = tmp_path / "tenants.yaml"
    path.write_text(tenants_texts()[name])
    assert len(read_tenants(path).keys) == 1
    assert re.findall(r"sha256:([0-9a-f]+)", path.read_text()) == ["0" * 64]


def test_a_durable_store_waits_for_its_disk_and_evicts_nothing() -> None:
    lines = (COMPOSE / "valkey.conf").read_text().splitlines()
    wanted = ("appendonly yes", "appendfsync always", "maxmemory-policy noeviction")
    assert set(wanted) <= set(lines)
    folder = next(line.split()[1] for line in lines if line.startswith("dir "))
    assert f"store:{folder}" in SERVICES["store"]["volumes"]


def test_the_user_who_reads_the_stores_file_again_has_his_rights() -> None:
    lines = (COMPOSE / "valkey.conf").read_text().splitlines()
    assert "user default off ~* &* +@all" in lines


def test_folders_that_the_gateway_writes_are_made_for_its_user(tmp_path: Path) -> None:
    found = settings("compose", tmp_path)
    assert found.audit is not None
    folder = str(found.audit.folder)
    assert f" {folder}" in DOCKERFILE
    (made,) = re.findall(r"^StateDirectory=(.*)$", UNIT, re.MULTILINE)
    assert f"{folder.removeprefix('/var/lib/')}" in made.split()
    for name in ("gateway-1", "gateway-2"):
        mounts = [volume.split(":")[1] for volume in SERVICES[name]["volumes"]]
        assert folder in mounts
    audits = {f"audit-{number}:{folder}" for number in (1, 2)}
    assert audits <= {volume for found in SERVICES.values() for volume in found.get("volumes", ())}


def test_the_image_installs_extras_that_there_are() -> None:
    extras = set(PROJECT["optional-dependencies"])
    (default,) = re.findall(r"^ARG EXTRAS=(\S+)$", DOCKERFILE, re.MULTILINE)
    (gpu,) = re.findall(r"--build-arg EXTRAS=(\S+)", DOCKERFILE)
    assert {"serve"} <= set(default.split(",")) < set(gpu.split(",")) <= extras


def test_the_image_runs_as_the_user_that_the_pod_asks_for() -> None:
    (user,) = re.findall(r"--uid (\d+)", DOCKERFILE)
    assert f"USER {user}:{user}" in DOCKERFILE
    assert POD["securityContext"]["runAsUser"] == int(user)


def test_what_is_copied_into_the_image_is_not_ignored() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    kept = {line[1:] for line in lines if line.startswith("!")}
    copied = set()
    for sources in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE):
        copied |= set(sources.split())
    assert copied == kept
    assert set(PROJECT["license-files"]) | {PROJECT["readme"]} <= kept
    for name in kept:
        assert (ROOT / name).exists()


def test_the_version_of_the_chart_is_the_programs() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == PROJECT["version"]


def probed_pages() -> set[str]:
    checks = " ".join(docker_words("CMD", "gateway") + docker_words("    CMD", "gateway"))
    found = set(re.findall(r"8080(/[a-z]+)", checks))
    found |= set(re.findall(r"httpchk GET (\S+)", (COMPOSE / "haproxy.cfg").read_text()))
    found |= {
        CONTAINER[f"{name}Probe"]["httpGet"]["path"]
        for name in ("startup", "liveness", "readiness")
    }
    return found


def test_probes_ask_for_pages_that_there_are() -> None:
    assert probed_pages() == {"/health", "/ready"}
    assert probed_pages() <= PAGES
    assert CONTAINER["readinessProbe"]["httpGet"]["path"] == "/ready"
    assert CONTAINER["livenessProbe"]["httpGet"]["path"] == "/health"


def test_the_balancer_lets_clients_reach_what_is_theirs() -> None:
    (condition,) = re.findall(
        r"deny deny_status 404 unless (.*)", (COMPOSE / "haproxy.cfg").read_text()
    )
    assert condition == "{ path_beg /v1/ } || { path /health }"
    assert {page for page in PAGES if not page.startswith("/v1/")} == {"/health", "/ready"}


def test_the_balancer_sends_nothing_twice_that_may_have_been_paid_for() -> None:
    text = (COMPOSE / "haproxy.cfg").read_text()
    assert re.findall(r"^    retry-on (.*)$", text, re.MULTILINE) == ["conn-failure 503"]


def test_every_stop_waits_for_linger_drain_and_what_follows() -> None:
    grace_s = {
        "gateway-1": int(SERVICES["gateway-1"]["stop_grace_period"].removesuffix("s")),
        "systemd": int(re.findall(r"^TimeoutStopSec=(\d+)$", UNIT, re.MULTILINE)[0]),
        "kubernetes": POD["terminationGracePeriodSeconds"],
    }
    for name, seconds in grace_s.items():
        found = options(COMMANDS[name])
        needed_s = float(found["linger_s"]) + float(found["drain_s"]) + AFTER_DRAIN_S
        assert seconds >= needed_s, name
    (after,) = re.findall(
        r"add .Values.lingerSeconds .Values.drainSeconds (\d+)", template("deployment")
    )
    assert int(after) >= AFTER_DRAIN_S


def test_a_gateway_that_stops_lingers_until_the_balancer_knows() -> None:
    (inter_s, fall) = re.findall(
        r"default-server check inter (\d+)s fall (\d+)", (COMPOSE / "haproxy.cfg").read_text()
    )[0]
    for name in ("gateway-1", "gateway-2"):
        assert float(options(COMMANDS[name])["linger_s"]) > int(inter_s) * int(fall)
    probe = CONTAINER["readinessProbe"]
    notices_s = probe["periodSeconds"] * probe["failureThreshold"]
    assert float(options(COMMANDS["kubernetes"])["linger_s"]) > notices_s


def template(name: str) -> str:
    return (CHART / f"templates/{name}.yaml").read_text()


def test_only_known_variables_are_set() -> None:
    known = {API_KEY, OPERATOR_KEY, UPSTREAM_API_KEY, "STORE_PASSWORD", "GRAFANA_PASSWORD"}
    of_the_app = {str(part.envvar) for part in app_command.params if part.envvar}
    of_env = re.findall(r"^(\w+)=$", (COMPOSE / ".env.example").read_text(), re.MULTILINE)
    assert set(of_env) == known - {API_KEY, UPSTREAM_API_KEY}
    text = (COMPOSE / "docker-compose.yaml").read_text()
    assert set(re.findall(r"\$\{(\w+)", text)) == set(of_env)
    assert not re.findall(r"\$\{\w+:?-", text), "a secret has a default"
    for path in sorted(DEPLOY.rglob("*")):
        if path.is_file():
            assert (
                set(re.findall(r"INFERBUDGET_[A-Z_]+", path.read_text())) <= known | of_the_app
            ), path


def test_whatever_one_service_mounts_or_needs_is_there() -> None:
    named = set()
    for name, service in SERVICES.items():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (COMPOSE / source).exists(), volume
            else:
                named.add(source)
        for needed in service.get("depends_on", ()):
            assert needed in SERVICES, name
        assert set(service["networks"]) <= set(STACK["networks"])
        for secret in service.get("secrets", ()):
            assert secret in STACK["secrets"]
        if "build" in service:
            build = service["build"]
            assert (COMPOSE / build["context"] / build["dockerfile"]).is_file()
            assert f" AS {build['target']}\n" in DOCKERFILE
    assert named == set(STACK["volumes"])


def test_every_service_is_confined() -> None:
    for name, service in SERVICES.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name
    assert STACK["networks"]["inside"]["internal"]


def test_balancer_and_prometheus_know_every_gateway() -> None:
    gateways = {f"{name}:8080" for name in SERVICES if name.startswith("gateway-")}
    assert len(gateways) == 2
    servers = re.findall(
        r"^    server \S+ (\S+)$", (COMPOSE / "haproxy.cfg").read_text(), re.MULTILINE
    )
    assert set(servers) == gateways
    (job,) = yaml.safe_load((COMPOSE / "prometheus.yaml").read_text())["scrape_configs"]
    assert set(job["static_configs"][0]["targets"]) == gateways


def test_addresses_name_services_of_the_stack() -> None:
    for path in (COMPOSE / "gateway/gateway.yaml", COMPOSE / "grafana/datasources/prometheus.yaml"):
        for host in re.findall(r"(?:http://|@)([a-z-]+):\d+", path.read_text()):
            assert host in SERVICES, path
    mounts = {volume.split(":")[1] for volume in SERVICES["grafana"]["volumes"]}
    (provider,) = yaml.safe_load((COMPOSE / "grafana/dashboards/inferbudget.yaml").read_text())[
        "providers"
    ]
    assert provider["options"]["path"] in mounts
    assert (DEPLOY / "grafana/inferbudget.json").is_file()


def test_the_pod_is_restricted() -> None:
    assert POD["automountServiceAccountToken"] is False
    assert POD["securityContext"]["runAsNonRoot"]
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert CONTAINER["resources"]["limits"]["memory"]


def test_policy_and_tenants_are_mounted_so_that_changes_arrive() -> None:
    mounts = {mount["name"]: mount for mount in CONTAINER["volumeMounts"]}
    for name, folder in (
        ("policy", "/etc/inferbudget/policy"),
        ("gateway", "/etc/inferbudget/gateway"),
    ):
        assert mounts[name] == {"name": name, "mountPath": folder, "readOnly": True}
    annotations = KUBERNETES["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert set(annotations) == {"checksum/gateway"}, "a change of tenants would restart gateways"


def test_services_budgets_and_rules_choose_the_pods() -> None:
    labels = KUBERNETES["Deployment"]["spec"]["template"]["metadata"]["labels"]
    selectors = (
        KUBERNETES["Deployment"]["spec"]["selector"]["matchLabels"],
        KUBERNETES["Service"]["spec"]["selector"],
        KUBERNETES["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        KUBERNETES["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    )
    for selector in selectors:
        assert selector.items() <= labels.items()
    assert KUBERNETES["Deployment"]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_the_values_are_as_their_schema_says_and_all_of_them_are_used() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(VALUES, schema)
    assert set(VALUES) == set(schema["properties"]) - {"global"}
    texts = " ".join(path.read_text() for path in (CHART / "templates").iterdir())
    used = set(re.findall(r"\.Values\.([A-Za-z.]+)", texts))
    for name in used:
        value: Any = VALUES
        for part in name.split("."):
            assert part in value, name
            value = value[part]
    assert {name.split(".")[0] for name in used} == set(VALUES)


@pytest.mark.parametrize(
    "wrong",
    [
        {"replicas": 0},
        {"drain": 30},
        {"policy": {}},
        {"podDisruptionBudget": {"maxUnavailable": 1, "minAvailable": 1}},
    ],
    ids=str,
)
def test_values_that_cannot_be_meant_are_refused(wrong: dict[str, Any]) -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**VALUES, **wrong}, schema)


def rendered(**values: Any) -> dict[str, str]:
    """What Helm makes of each template that says something, without the space around."""
    with helm_python.Chart.load(CHART) as chart:
        texts = chart.render(values, name="inferbudget", namespace="inferbudget")
    found = {path: text.strip() for path, text in texts.items()}
    return {path: text for path, text in found.items() if text and path.endswith(".yaml")}


def test_the_rendered_manifests_are_the_charts() -> None:
    _, *texts = RENDERED.read_text().split("---\n# Source: ")
    written = dict(text.split("\n", 1) for text in texts)
    assert {path: text.strip() for path, text in written.items()} == rendered()


def test_helm_itself_finds_the_chart_good() -> None:
    found = helm_python.lint(CHART, strict=True, kube_version=f"v{OLDEST}.0")
    assert found["errors"] == []
    assert [message["error"] for message in found["messages"]] == ["icon is recommended"]


def test_kubernetes_itself_would_take_the_manifests() -> None:
    for text in (RENDERED.read_text(), *rendered(**ALL_OPTIONS).values()):
        for kind, found in manifests(text).items():
            if kind != "ServiceMonitor":  # not Kubernetes' own
                kubernetes_validate.validate(found, OLDEST, strict=True)


def test_the_monitor_sends_the_operators_key() -> None:
    found = manifests("\n---\n".join(rendered(**ALL_OPTIONS).values()))
    (endpoint,) = found["ServiceMonitor"]["spec"]["endpoints"]
    assert endpoint["authorization"]["credentials"] == {
        "name": "inferbudget-keys",
        "key": OPERATOR_KEY,
    }
    assert "replicas" not in found["Deployment"]["spec"], "it would fight with the autoscaler"


def test_every_file_of_keys_becomes_a_variable(tmp_path: Path) -> None:
    (tmp_path / f"keys_{OPERATOR_KEY}").write_text("of the operator\n")
    (tmp_path / "keys_STORE_PASSWORD").write_text("a $word 'and' more")
    shell = unit_shell().replace("/opt/inferbudget/bin/inferbudget", "env #")
    done = subprocess.run(
        ["/bin/sh", "-c", shell],
        env={"PATH": os.environ["PATH"], "CREDENTIALS_DIRECTORY": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert f"{OPERATOR_KEY}=of the operator" in lines
    assert "STORE_PASSWORD=a $word 'and' more" in lines


def test_systemd_itself_finds_the_unit_good(tmp_path: Path) -> None:
    path = tmp_path / "inferbudget.service"
    path.write_text(UNIT)
    for words in (["verify"], ["security", "--offline=yes", "--threshold=20"]):
        done = subprocess.run(
            [program("systemd-analyze"), *words, path], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "inferbudget.service:" not in done.stderr


def test_prometheus_itself_takes_its_configuration(tmp_path: Path) -> None:
    text = (COMPOSE / "prometheus.yaml").read_text()
    text = text.replace("/etc/prometheus", str(DEPLOY / "prometheus"))
    (tmp_path / "key").write_text("k")
    text = text.replace("/run/secrets/operator_key", str(tmp_path / "key"))
    (tmp_path / "prometheus.yaml").write_text(text)
    command = [program("promtool"), "check", "config", tmp_path / "prometheus.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    done = subprocess.run(
        [program("hadolint"), DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_nginx_itself_takes_what_the_page_says(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```nginx\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    path = tmp_path / "nginx.conf"
    path.write_text(f"pid {tmp_path}/pid; error_log stderr; events {{}} http {{\n{block}}}")
    command = [program("nginx"), "-t", "-q", "-p", tmp_path, "-c", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_page_says_the_numbers_that_are_in_force() -> None:
    assert f"every `reload_s` ({GatewaySettings(format_version='1.0').reload_s:g}) seconds" in PAGE
    assert f"the longest `ttl_s` ({TTL_S:g} s)" in PAGE
    assert f'kubeVersion: ">={OLDEST}.0-0"' in (CHART / "Chart.yaml").read_text()
    assert f"### Kubernetes\n\n{OLDEST} or newer" in PAGE
    assert f"gateways close theirs after {IDLE_S} s" in PAGE


def block_of_the_page(name: str) -> str:
    (block,) = re.findall(rf"^```yaml {re.escape(name)}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return str(block)


def test_the_pages_settings_of_one_host_write_where_the_unit_may(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(block_of_the_page("gateway.yaml"))
    found = read_settings(path)
    assert found.ledger is not None
    assert found.audit is not None
    (made,) = re.findall(r"^StateDirectory=(.*)$", UNIT, re.MULTILINE)
    folders = {f"/var/lib/{name}" for name in made.split()}
    assert str(found.audit.folder) in folders
    assert str(Path(found.ledger.store.removeprefix("sqlite:///")).parent) in folders


def test_the_pages_values_trust_a_key_that_is_mounted() -> None:
    values = yaml.safe_load(block_of_the_page("values.yaml"))
    pod = manifests("\n---\n".join(rendered(**values).values()))["Deployment"]["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    (key,) = options(container["args"])["trusted_keys"]
    folders = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    (volume,) = [
        found for found in pod["spec"]["volumes"] if found["name"] == folders[str(Path(key).parent)]
    ]
    assert f"create configmap {volume['configMap']['name']} --from-file={Path(key).name}" in PAGE
    assert container["image"] == "registry.example.org/inferbudget:0.1.0"


def test_every_path_of_the_unit_is_made_by_the_pages_commands() -> None:
    found = options(unit_words())
    for path in (found["policy"], found["config"]):
        folder = str(Path(path).parent)
        assert f"install -d {folder} " in PAGE or f" {folder}\n" in PAGE
        assert re.search(rf"install -m 0644 .*{Path(path).name} .*{folder}/\n", PAGE)
    assert "install -d -m 0700 /etc/inferbudget/keys\n" in PAGE
    assert "LoadCredential=keys:/etc/inferbudget/keys\n" in UNIT
    assert "python3 -m venv /opt/inferbudget\n" in PAGE


def test_docker_itself_takes_the_compose_file() -> None:
    secrets = dict.fromkeys(("INFERBUDGET_OPERATOR_KEY", "STORE_PASSWORD", "GRAFANA_PASSWORD"), "k")
    file = COMPOSE / "docker-compose.yaml"
    done = subprocess.run(
        [program("docker-compose"), "-f", file, "config", "--quiet"],
        env={**os.environ, **secrets},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
