"""From a press of a slider's key to the new figures on the What-if page, in a real browser.

Made stores of 5 classes x 20 and 50 x 200 strategies go through the importer, the larger one with
few queries a class and with more; nothing in them was measured. `inferbudget app` opens each,
chromium opens the page, and the budget is lowered step by step, to values that were never asked
before. The page's own clock takes the times. Beside them what the planner alone takes for the same
budgets, asked through `app.solving` as the page asks.

    python -m benchmarks.slider_to_redraw
"""

from __future__ import annotations

import json
import os
import platform
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect, sync_playwright

import app.cli.main  # first: it sets what the app sets for numpy
from app.solving import Solving
from app.views import View
from planner.limit_names import SPEND
from profiles.importing.importers import import_file
from profiles.observation import Evidence
from profiles.store.store import Store

RESULT = Path("benchmarks/results/slider_to_redraw.json")
SEED = 5
SIZES = ((5, 20, 200), (50, 200, 40), (50, 200, 200))
"""Classes, strategies, queries a class."""
MOVES = 40
BUDGET_USD = 0.009
"""Per request, as the spec says."""
PATIENCE_MS = 60_000
DEFINITIONS = {
    "data": f"synthetic: accuracy and dollars by strategy and class drawn with seed {SEED}, "
    "through the importer.",
    "figures_ms": "from the key's press to another figure for USD per 1,000 requests on the page; "
    "Streamlit waits for a slider to rest before it tells the server. Moves that change no plan "
    "count for rest_ms alone.",
    "rest_ms": "from the same press to the end of the script: the pictures' data, the table, and "
    "what each limit costs are then sent too.",
    "solve_ms": "`Solving.rung` alone in a process of its own, for the same number of budgets.",
    "opening_s": "from asking for the page to its end: reading cells, the whole frontier, one "
    "strategy for everything, and drawing all.",
}
_WATCH = """label => {
  const app = document.querySelector('[data-testid=stApp]');
  const metric = () => [...document.querySelectorAll('[data-testid=stMetric]')]
    .find(one => one.innerText.includes(label));
  const figure = () => metric()?.querySelector('[data-testid=stMetricValue]')?.innerText;
  const before = figure();
  const times = window.times = {};
  addEventListener('keydown', () => { times.pressed = performance.now(); },
    {capture: true, once: true});
  const observer = new MutationObserver(() => {
    if (times.pressed === undefined) return;
    const now = performance.now(), shown = figure();
    if (times.figures === undefined && shown !== undefined && shown !== before)
      times.figures = now - times.pressed;
    if (app.dataset.testScriptState !== 'notRunning') times.ran = true;
    else if (times.ran) {
      times.rest = now - times.pressed;
      observer.disconnect();
    }
  });
  observer.observe(app,
    {subtree: true, childList: true, characterData: true, attributes: true});
}"""


def made(folder: Path, classes: int, strategies: int, queries: int) -> Path:
    """A store and a spec; dearer strategies are better, more so in harder classes."""
    rng = random.Random(SEED)
    cells = {}
    for number in range(strategies):
        dollars = 0.0002 * 200 ** (number / (strategies - 1)) * rng.uniform(0.7, 1.4)
        for place in range(classes):
            hard = place / classes
            skill = number / strategies
            accuracy = min(0.98, max(0.05, 0.95 - hard * (0.85 - 0.7 * skill)))
            cells[number, place] = (accuracy * rng.uniform(0.85, 1.0), dollars * (1 + hard))
    rows = ["query_id,strategy,score,cost_usd,latency_s,class"]
    for place in range(classes):
        for query in range(queries):
            for number in range(strategies):
                accuracy, dollars = cells[number, place]
                score = int(rng.random() < accuracy)
                seconds = rng.lognormvariate(-1 + number / strategies, 0.4)
                cost = dollars * rng.uniform(0.8, 1.2)
                rows.append(
                    f"c{place}q{query},model-{number:03}/single,{score},{cost:.7f},"
                    f"{seconds:.3f},class-{place:02}"
                )
    (folder / "outcomes.csv").write_text("\n".join(rows) + "\n")
    with Store.open(folder / "profiles.duckdb") as store:
        import_file(store, folder / "outcomes.csv", workload="made", evidence=Evidence.SIMULATED)
    spec = folder / "spec.yaml"
    spec.write_text(
        'format_version: "1.0"\nworkload: made\nobjective: maximize accuracy\n'
        f"limits: {{spend: {{usd_per_request: {BUDGET_USD}}}}}\n"
    )
    return spec


@contextmanager
def app(spec: Path) -> Iterator[str]:
    """The app's address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = str(Path(sys.executable).parent / "inferbudget")
    process = subprocess.Popen(  # noqa: S603
        [command, "app", str(spec), "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{address}/_stcore/health").close()  # noqa: S310
                break
            except OSError:
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=60)


def moved(address: str) -> dict[str, Any]:
    """Times in the browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 1200})
        start_s = time.perf_counter()
        page.goto(f"{address}/what-if")
        expect(page.get_by_role("heading", name="Take it away")).to_be_visible(timeout=PATIENCE_MS)
        at_rest(page)
        opening_s = time.perf_counter() - start_s
        slider = page.get_by_role("slider", name="Budget, USD per 1,000 requests")
        slider.focus()
        times = [one_move(page) for _ in range(MOVES)]
        found = {
            "opening_s": round(opening_s, 2),
            "moves": len(times),
            "moves_with_other_figures": sum("figures" in one for one in times),
            "figures_ms": told([one["figures"] for one in times if "figures" in one]),
            "rest_ms": told([one["rest"] for one in times]),
            "last_budget_usd_per_1000": slider.input_value(),
            "chromium": browser.version,
        }
        browser.close()
    return found


def at_rest(page: Page) -> None:
    """Wait for the end of the script."""
    state = page.get_by_test_id("stApp")
    expect(state).to_have_attribute("data-test-script-state", "notRunning", timeout=PATIENCE_MS)


def one_move(page: Page) -> dict[str, float]:
    """One step less money; milliseconds."""
    at_rest(page)
    page.evaluate(_WATCH, "USD per 1,000 requests")
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("() => window.times.rest !== undefined", timeout=PATIENCE_MS)
    found: dict[str, float] = page.evaluate("() => window.times")
    return found


def solved(spec: Path) -> dict[str, float]:
    """What the planner takes."""
    found = Solving.of(View(spec, spec.with_name("profiles.duckdb")))
    times = []
    for step in range(1, MOVES + 1):
        start_s = time.perf_counter()
        found.rung({SPEND: BUDGET_USD * (1 - step / 1000)})
        times.append(1000 * (time.perf_counter() - start_s))
    return told(times)


def told(times: Sequence[float]) -> dict[str, float]:
    """Median, 95th percentile and the longest."""
    return {
        "median": round(statistics.median(times), 1),
        "p95": round(statistics.quantiles(times, n=20, method="inclusive")[-1], 1),
        "most": round(max(times), 1),
    }


def main() -> None:
    """Time and write."""
    sizes = []
    for classes, strategies, queries in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            spec = made(Path(folder), classes, strategies, queries)
            solves = solved(spec)
            with app(spec) as address:
                found = moved(address)
        about = {"classes": classes, "strategies": strategies, "queries_a_class": queries}
        sizes.append({**about, "solve_ms": solves, **found})
        print(sizes[-1], flush=True)
    result = {
        "definitions": DEFINITIONS,
        "seed": SEED,
        "sizes": sizes,
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "load_average_at_the_end": round(os.getloadavg()[0], 1),
            "python": platform.python_version(),
            **{name: version(name) for name in ("streamlit", "altair", "highspy", "playwright")},
        },
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
