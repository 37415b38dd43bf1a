"""`inferbudget compare`, beside what `plan` and `diff` say of the same scenarios."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from app.cli.main import cli
from app.comparing import compared, planned
from app.comparison_classes import shares
from app.comparison_rows import NOT_MEASURED, figure_rows
from app.planning import ask
from profiles.errors import ExitCode, InputError, UnprovenError
from profiles.importing.importers import import_file
from profiles.observation import Evidence
from profiles.store.store import Store

CHEAPER = "limits.spend={usd_per_request: 0.003}"
SCENARIOS = """format_version: "1.0"
scenarios:
  - name: too much
    set: {limits.accuracy.overall: 0.99}
  - name: as written
  - name: cheaper
    set:
      limits.spend: {usd_per_request: 0.003}
"""


@pytest.fixture
def scenarios(tmp_path: Path) -> Path:
    path = tmp_path / "scenarios.yaml"
    path.write_text(SCENARIOS)
    return path


def run(*words: str | Path, ends: int = 0, given: str | None = None) -> Result:
    done = CliRunner().invoke(cli, list(map(str, words)), input=given, catch_exceptions=False)
    assert done.exit_code == ends, done.output
    return done


def compare(files: tuple[Path, Path], scenarios: Path, *more: str, ends: int = 0) -> Result:
    spec, store = files
    return run("compare", spec, "--profiles", store, "--scenarios", scenarios, *more, ends=ends)


def as_json(files: tuple[Path, Path], scenarios: Path, *more: str, ends: int = 0) -> Any:
    done = compare(files, scenarios, "--format", "json", *more, ends=ends)
    return json.loads(done.stdout)


def plan(files: tuple[Path, Path], folder: Path, *sets: str) -> Path:
    spec, store = files
    path = folder / f"plan{len(list(folder.iterdir()))}.json"
    words = [word for text in sets for word in ("--set", text)]
    run("plan", spec, "--profiles", store, "-o", path, *words)
    return path


def test_every_column_is_the_plan_of_its_settings(
    opened_store: tuple[Path, Path], scenarios: Path, tmp_path: Path
) -> None:
    found = as_json(opened_store, scenarios)
    _, written, cheaper = found["scenarios"]
    for column, sets in ((written, ()), (cheaper, (CHEAPER,))):
        expected = json.loads(plan(opened_store, tmp_path, *sets).read_text())
        assert column["plan"]["rung"] == expected["rungs"][0]
        assert column["plan"]["workload"] == "tiny"
        assert column["plan"]["queries"] == 600
    assert cheaper["plan"]["binding"] == ["spend.usd_per_request"]


def test_a_difference_is_that_of_the_policies(
    opened_store: tuple[Path, Path], scenarios: Path, tmp_path: Path
) -> None:
    policies = []
    for name, sets in (("old.yaml", ()), ("new.yaml", (CHEAPER,))):
        policies.append(tmp_path / name)
        run("compile", plan(opened_store, tmp_path, *sets), "-o", policies[-1])
    expected = json.loads(run("diff", *policies, "--format", "json").stdout)["effects"]["first"]
    column = as_json(opened_store, scenarios)["scenarios"][2]
    for key in ("usd_per_request", "latency_p95_s"):
        assert column["difference"][key] == pytest.approx(expected[key])
    assert column["difference"]["accuracy"] == pytest.approx(expected["accuracy"]["change"])
    (hard,) = [one for one in expected["classes"] if one["name"] == "hard"]
    assert column["difference"]["accuracy_by_class"]["hard"] == pytest.approx(hard["accuracy"])


def test_the_base_is_the_first_that_has_a_plan(
    opened_store: tuple[Path, Path], scenarios: Path
) -> None:
    found = as_json(opened_store, scenarios)
    assert found["base"] == "as written"
    refused, written, cheaper = found["scenarios"]
    assert refused["plan"] is refused["difference"] is written["difference"] is None
    assert cheaper["difference"]["accuracy"]["change"] < 0
    assert cheaper["refused"] is None
    other = as_json(opened_store, scenarios, "--scenario", "cheaper", "--scenario", "as written")
    assert other["base"] == "cheaper"
    change = other["scenarios"][1]["difference"]["accuracy"]["change"]
    assert change == pytest.approx(-cheaper["difference"]["accuracy"]["change"])


def test_a_scenario_without_a_plan_says_why_and_its_fix_helps(
    opened_store: tuple[Path, Path], scenarios: Path, tmp_path: Path
) -> None:
    refused = as_json(opened_store, scenarios)["scenarios"][0]["refused"]
    assert refused["error"].startswith("no plan keeps all limits: accuracy.overall 0.99")
    (fix,) = refused["fixes"]
    assert fix["limit"] == "accuracy.overall"
    plan(opened_store, tmp_path, "limits.accuracy.overall=0.99", *fix["settings"])
    said = compare(opened_store, scenarios).stdout
    assert "No plan for too much:" in said
    assert f"accuracy.overall moves by --set {fix['settings'][0]}" in said


def test_no_plan_at_all_is_exit_code_3(opened_store: tuple[Path, Path], scenarios: Path) -> None:
    found = as_json(opened_store, scenarios, "--set", "limits.latency.p95_s=0.01", ends=3)
    assert found["base"] is None
    assert all(column["plan"] is None for column in found["scenarios"])
    said = compare(opened_store, scenarios, "--set", "limits.latency.p95_s=0.01", ends=3).stdout
    assert "In brackets" not in said
    assert said.count("No plan for") == 3


def test_what_is_not_proven_in_time_is_said_in_its_column(
    opened_store: tuple[Path, Path], scenarios: Path
) -> None:
    done = compare(opened_store, scenarios, "--time-limit", "1e-9", ends=ExitCode.UNPROVEN)
    assert "No plan for as written" in done.stdout
    assert "Time limit reached" in done.stdout


def test_differences_come_first_and_the_same_last(
    opened_store: tuple[Path, Path], scenarios: Path
) -> None:
    said = compare(opened_store, scenarios).stdout
    titles = ["What differs", "Who answers, where", "Accuracy by class, where", "The same in all"]
    places = [said.index(title) for title in titles]
    assert places == sorted(places)
    differs, same = said[places[0] : places[1]], said[places[3] :]
    assert "set limits.spend" in differs
    assert "USD per 1,000 requests" in differs
    assert "objective" in same
    assert "600 queries, simulated" in same
    assert "1 class is answered alike in all plans" in same
    for line in differs.splitlines():
        if line.startswith("- against as written"):
            assert line.count("..") + line.count("ms") == 1, line


def test_markdown_writes_names_as_code(opened_store: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "scenarios.yaml"
    path.write_text(SCENARIOS.replace("cheaper", '"[a](http://e) | @b"'))
    said = compare(opened_store, path, "--format", "markdown").stdout
    assert "`[a](http://e) \\| @b`" in said
    assert "| set `limits.spend` | as in the spec | as in the spec | `{usd_per_request:" in said
    assert "**No plan** for `too much`" in said


def test_a_wrong_setting_names_its_scenario(
    opened_store: tuple[Path, Path], scenarios: Path
) -> None:
    scenarios.write_text(SCENARIOS.replace("usd_per_request: 0.003", "usd_per_reqest: 0.003"))
    with pytest.raises(InputError, match=r"^scenario cheaper: .*unknown key"):
        compare(opened_store, scenarios)


@pytest.mark.parametrize("names", [["cheaper"], []])
def test_fewer_than_two_or_more_than_four_are_refused_before_anything_is_solved(
    opened_store: tuple[Path, Path], scenarios: Path, names: list[str]
) -> None:
    if not names:
        scenarios.write_text(SCENARIOS + "  - name: d\n  - name: e\n")
    words = [word for name in names for word in ("--scenario", name)]
    with pytest.raises(InputError, match="expected 2 to 4"):
        compare(opened_store, scenarios, *words)
    with pytest.raises(InputError, match="expected 2 to 4"):
        compared([])


def test_scenarios_come_from_stdin(opened_store: tuple[Path, Path], scenarios: Path) -> None:
    spec, store = opened_store
    words = ("compare", spec, "--profiles", store, "--scenarios")
    assert run(*words, "-", given=SCENARIOS).stdout == run(*words, scenarios).stdout


def comparison(files: tuple[Path, Path], *columns: tuple[str, ...]) -> Any:
    found = [(f"s{i}", own, planned(ask(*files, own))) for i, own in enumerate(columns)]
    return compared(found)


def cells(found: Any, head: str) -> tuple[str, ...]:
    (row,) = [row for row in figure_rows(found, str) if row.head == (head,)]
    return row.cells


def test_the_same_cells_count_once_whatever_latencies_are_counted(
    opened_store: tuple[Path, Path],
) -> None:
    alike = comparison(opened_store, (), ("limits.latency.p95_s=1.9",))
    found = alike.columns[1].against.accuracy
    assert found.change == found.low == found.high == 0


def test_traffic_and_fixed_costs_are_compared_by_their_window(
    opened_store: tuple[Path, Path],
) -> None:
    traffic = "traffic={requests: 1000, per: month}"
    rent = "fixed_costs=[{name: rent, pays_for: [large], usd: 1, per: month}]"
    cheap = ("objective=minimize cost", "limits={accuracy: {overall: 0.85}}", traffic)
    found = comparison(opened_store, cheap, (*cheap, rent))
    first = found.columns[0].planned
    assert first.spend == (
        "month",
        pytest.approx(1000 * first.rung.expected.cost_usd_per_request, rel=1e-4),
    )
    assert float(cells(found, "expected USD per month")[0]) == pytest.approx(
        first.spend[1], rel=1e-3
    )
    assert cells(found, "fixed costs paid") == ("none", "rent")
    assert cells(found, "USD with fixed costs")[0] == "no fixed costs"
    assert cells(found, "USD with fixed costs")[1].endswith("per month")


def test_point_estimates_promise_nothing(opened_store: tuple[Path, Path]) -> None:
    found = comparison(opened_store, (), ("confidence=none",))
    assert cells(found, "promises") == ("with 95 % confidence", "none, point estimates")
    assert cells(found, "accuracy")[1].endswith("(point estimate)")


def test_tenants_have_no_single_policy_so_intervals_are_not_known(
    opened_store: tuple[Path, Path],
) -> None:
    tenants = "tenants={a: {share: 0.5}, b: {share: 0.5}}"
    found = comparison(opened_store, (), (tenants,))
    against = found.columns[1].against
    assert against.accuracy.change is not None
    assert against.accuracy.low is None
    assert set(against.accuracy_by_class) == {"easy", "hard"}
    assert found.columns[1].planned.spend[0] == "request"
    (row,) = [row for row in figure_rows(found, str) if row.head == ("accuracy",)]
    assert "interval unknown" in row.against[1]


def unpriced(folder: Path, queries: int, *, timed: bool) -> tuple[Path, Path]:
    """Spec and store of a workload whose dollars nobody knows."""
    lines = ["query,model,method,score,class,latency_s"]
    lines += [
        f"q{i},{model},single,{int(i % 10 < right)},c{i % 2},{0.1 + i % 7 if timed else ''}"
        for i in range(queries)
        for model, right in (("small", 6), ("large", 9))
    ]
    (folder / "rows.csv").write_text("\n".join(lines))
    with Store.open(folder / "store.duckdb") as opened:
        import_file(opened, folder / "rows.csv", workload="w", evidence=Evidence.MEASURED)
    (folder / "spec.yaml").write_text(
        'format_version: "1.0"\nworkload: w\nobjective: maximize accuracy\n'
    )
    return folder / "spec.yaml", folder / "store.duckdb"


def test_what_was_not_measured_is_said(tmp_path: Path) -> None:
    files = unpriced(tmp_path, 100, timed=False)
    found = comparison(files, (), ("strategies=[small/single]",))
    assert set(cells(found, "p95 latency")) == {NOT_MEASURED}
    assert all(NOT_MEASURED in cell for cell in cells(found, "USD per 1,000 requests"))
    assert cells(found, "prices") == ("no dollars known",) * 2


def test_a_tail_that_cannot_be_promised_is_not_called_unmeasured(tmp_path: Path) -> None:
    found = comparison(unpriced(tmp_path, 30, timed=True), (), ("confidence=none",))
    promised, point = cells(found, "p95 latency")
    assert promised.endswith("s (promised: over 6.1 s)")
    assert point.endswith("s (point estimate)")


def test_classes_with_most_moved_traffic_come_first(opened_store: tuple[Path, Path]) -> None:
    found = shares(comparison(opened_store, (), (CHEAPER,)))
    assert [one.class_name for one in found] == ["hard", "easy"]
    assert found[0].differ
    assert not found[1].differ
    parts = found[0].by_strategy["large/single"]
    before, after = (part or 0.0 for part in parts)
    assert found[0].moved == pytest.approx((before - after) / 3, abs=1e-6)


def test_a_question_that_cannot_be_solved_is_no_column(opened_store: tuple[Path, Path]) -> None:
    with pytest.raises(UnprovenError):
        planned(ask(*opened_store), 1e-9)
