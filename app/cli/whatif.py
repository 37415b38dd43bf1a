"""`inferbudget app`: the what-if app."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from app.cli.options import FILE


@click.command("app")
@click.argument("spec", type=FILE, required=False)
@click.option("--profiles", "store_path", type=FILE, help="Profile store (DuckDB file).")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=int, default=8501, show_default=True, help="Port to listen on.")
@click.option("--browser/--no-browser", default=False, help="Open a browser window.")
def app_command(
    spec: Path | None,
    store_path: Path | None,
    host: str,
    port: int,
    browser: bool,
) -> None:
    """Ask what less money or more accuracy would mean.

    Without arguments it opens what `make demo` left in demo/out.
    """
    import streamlit  # noqa: F401 -- says which extra is missing before a process starts

    from app.opened import environment

    script = Path(__file__).parents[1] / "what_if_app.py"
    command = [
        sys.executable, "-m", "streamlit", "run", str(script),
        "--server.address", host, "--server.port", str(port),
        "--server.headless", str(not browser).lower(),
        "--browser.gatherUsageStats", "false",
    ]  # fmt: skip
    # The server takes this process's place, so that whoever stops this process stops the server.
    os.execve(sys.executable, command, os.environ | environment(spec, store_path))  # noqa: S606
