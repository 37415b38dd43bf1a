"""`inferbudget app`: the what-if app."""

from __future__ import annotations

import ipaddress
import os
import re
import sys
from pathlib import Path

import click

from app.cli.options import FILE

_BASE = re.compile(r"/?[A-Za-z0-9_~-][A-Za-z0-9._~-]*(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/?\Z")
_COLOURS = {
    "theme.light.textColor": "#0d0d0d",
    "theme.light.codeTextColor": "#0d0d0d",
    "theme.light.primaryColor": "#00629b",
    "theme.dark.codeTextColor": "#ededed",
    "theme.dark.primaryColor": "#4898da",
}
"""Small and grey text too has a contrast of 4.5, which Streamlit's own colours have not."""
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


def _base_path(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    if value.strip("/") and not _BASE.match(value):
        raise click.BadParameter(f"{value!r} is no path like /inferbudget")
    return value.strip("/")


@click.command("app")
@click.argument("spec", type=FILE, required=False, envvar="INFERBUDGET_SPEC")
@click.option(
    "--profiles",
    "store_path",
    type=FILE,
    envvar="INFERBUDGET_PROFILES",
    help="Profile store (DuckDB file); profiles.duckdb beside the spec where absent.",
)
@click.option(
    "--policy",
    "policies",
    type=FILE,
    multiple=True,
    envvar="INFERBUDGET_POLICIES",
    help="A policy to compare; may be repeated.",
)
@click.option(
    "--ledger",
    metavar="ADDRESS",
    envvar="INFERBUDGET_LEDGER",
    help="Ledger store, as `ledger show` takes it, or the http(s) address of a gateway. ${NAME} "
    "stands for a variable, so that no password is written here.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=8501,
    show_default=True,
    help="Port to listen on.",
)
@click.option(
    "--base-path",
    default="",
    metavar="PATH",
    envvar="INFERBUDGET_BASE_PATH",
    callback=_base_path,
    help="Below which path a proxy shows the app, e.g. /inferbudget.",
)
@click.option(
    "--allowed-host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="A name by which browsers may reach it, e.g. tools.example.org; may be repeated. Absent, "
    "this machine's own where only it is listened to, else any.",
)
@click.option("--browser/--no-browser", default=False, help="Open a browser window.")
def app_command(
    spec: Path | None,
    store_path: Path | None,
    policies: tuple[Path, ...],
    ledger: str | None,
    host: str,
    port: int,
    base_path: str,
    hosts: tuple[str, ...],
    browser: bool,
) -> None:
    """Ask what less money or more accuracy would mean.

    Without a spec it opens what `make demo` left in demo/out, else measurements of that demo which
    come with the program.
    """
    import streamlit  # noqa: F401 -- says which extra is missing before a process starts

    from app.opened import environment
    from app.uploads import MOST_MIB

    script = Path(__file__).parents[1] / "script/what_if.py"
    # -P: of the folder that it is started in, which may be anybody's, no file is run.
    command = [sys.executable, "-P", "-m", "streamlit", "run", str(script)]
    settings = {
        "server.address": host,
        "server.port": port,
        "server.baseUrlPath": base_path,
        "server.headless": not browser,
        "server.showEmailPrompt": False,
        "server.enableCORS": True,
        "server.enableXsrfProtection": True,
        "server.enableStaticServing": False,
        "server.maxUploadSize": MOST_MIB,
        "server.fileWatcherType": "none",
        "server.runOnSave": False,
        "browser.gatherUsageStats": False,
        "client.showErrorDetails": "none",
        "client.showErrorLinks": False,
        "client.toolbarMode": "minimal",
        "runner.magicEnabled": False,
        **_COLOURS,
    }
    for name, value in settings.items():
        command += [f"--{name}", str(value).lower() if isinstance(value, bool) else str(value)]
    for name in hosts or (_THIS_MACHINE if _is_this_machine(host) else ()):
        command += ["--server.allowedHosts", name]
    told = environment(spec, store_path, policies, ledger)
    # The server takes this process's place, so that whoever stops this process stops the server.
    os.execve(sys.executable, command, os.environ | told)  # noqa: S606


def _is_this_machine(host: str) -> bool:
    """Whether nobody else can reach this address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
