"""A small store and spec that the pages open."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import browsing, serving
from newcomer import OPENED, newcomers_folder
from playwright.sync_api import Browser
from programs import program

from app.opened import SPEC, STORE
from profiles.importing.importers import import_file
from profiles.observation import Evidence
from profiles.store.store import Store

# accuracy, dollars and seconds per class: cheap and fast, or dear and good where it is hard
STRATEGIES = {
    "small/single": {"easy": (0.95, 0.0010, 0.2), "hard": (0.30, 0.0010, 0.3)},
    "small/best_of_n(n=8,verifier=checker)": {
        "easy": (0.97, 0.0060, 0.7),
        "hard": (0.60, 0.0060, 0.9),
    },
    "large/single": {"easy": (0.97, 0.0100, 0.8), "hard": (0.85, 0.0100, 1.2)},
}


@pytest.fixture(scope="session")
def opened_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """Spec and store, named in the environment as `inferbudget app` names them."""
    folder = tmp_path_factory.mktemp("app")
    rng = random.Random(7)
    rows = ["query_id,strategy,score,cost_usd,latency_s,class"]
    for index in range(600):
        name = "hard" if index % 3 == 0 else "easy"
        for text, cells in STRATEGIES.items():
            accuracy, cost, latency = cells[name]
            score = int(rng.random() < accuracy)
            cost *= rng.uniform(0.8, 1.2)
            latency *= rng.lognormvariate(0, 0.3)
            rows.append(f'q{index},"{text}",{score},{cost:.6f},{latency:.3f},{name}')
    (folder / "outcomes.csv").write_text("\n".join(rows) + "\n")
    store, spec = folder / "store.duckdb", folder / "spec.yaml"
    with Store.open(store) as opened:
        import_file(opened, folder / "outcomes.csv", workload="tiny", evidence=Evidence.SIMULATED)
    spec.write_text(
        'format_version: "1.0"\nworkload: tiny\nobjective: maximize accuracy\n'
        "limits: {spend: {usd_per_request: 0.004}, latency: {p95_s: 2.0}}\n"
    )
    before = {name: os.environ.get(name) for name in (SPEC, STORE)}
    os.environ.update({SPEC: str(spec), STORE: str(store)})
    yield spec, store
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})


@pytest.fixture(scope="session")
def chromium() -> str:
    """A browser on this machine."""
    return program("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """Closed with the module, for its thread has a running event loop until then."""
    with browsing(chromium) as found:
        yield found


@pytest.fixture(scope="session")
def newcomers_files(
    tmp_path_factory: pytest.TempPathFactory, opened_store: tuple[Path, Path]
) -> Path:
    """A folder with a spec, its store, last week's policy and a ledger."""
    return newcomers_folder(tmp_path_factory.mktemp("newcomer"), opened_store[1])


@pytest.fixture(scope="session")
def newcomers_app(newcomers_files: Path) -> Iterator[str]:
    """The address of `inferbudget app`, opened with them."""
    with serving(newcomers_files, *OPENED) as address:
        yield address
