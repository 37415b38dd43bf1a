"""The Policy diff page, driven without a browser."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from renamed_policies import HOSTILE, renamed
from streamlit.testing.v1 import AppTest

from app.charts.flow import flow_diagram
from app.cli.main import cli
from app.opened import POLICIES, SPEC
from app.pages.policy_diff import AS_WRITTEN, DROPPED, THIS_VIEW, _as_file
from app.policy_sources import MOST_MIB, of_view
from app.views import View
from policies.alone import read_alone
from policies.diff_report import Difference
from policies.policy import Policy
from policies.report_layout import code, piped, unpiped
from policies.text import policy_text

LAST_WEEK = ("limits.spend={usd_per_request: 0.002}",)


def script() -> None:
    from app.pages.policy_diff import page  # noqa: PLC0415 - its text alone is run

    page()


def run() -> AppTest:
    found = AppTest.from_function(script, default_timeout=60).run()
    assert not found.exception
    return found


def choose(page: AppTest, key: str, choice: str) -> AppTest:
    page.selectbox(key=key).set_value(choice).run()
    assert not page.exception
    return page


def drop(page: AppTest, key: str, content: bytes, name: str = "mine.yaml") -> AppTest:
    page.file_uploader(key=key).set_value((name, content, "application/yaml")).run()
    assert not page.exception
    return page


def said(page: AppTest) -> str:
    """All words of a page, below one another."""
    kinds = (page.subheader, page.markdown, page.caption, page.info, page.warning, page.success)
    tables = [piped(one.value.to_numpy().tolist(), list(one.value.columns)) for one in page.table]
    return "\n".join([*(one.value for kind in kinds for one in kind), *tables])


def flow(page: AppTest) -> dict[str, Any]:
    (chart,) = page.get("echarts_chart")
    option: dict[str, Any] = json.loads(chart.proto.spec)
    return option


@pytest.fixture(scope="module")
def last_week(opened_store: tuple[Path, Path]) -> Policy:
    return of_view(View(*opened_store, LAST_WEEK)).policy


@pytest.fixture
def opened(
    last_week: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Path, ...]]:
    """Opens policies with the app; last week's unless others are given."""
    monkeypatch.chdir(tmp_path)

    def open_all(*policies: Policy) -> tuple[Path, ...]:
        paths = []
        for place, policy in enumerate(policies or (last_week,)):
            paths.append(tmp_path / f"opened-{place}.yaml")
            paths[-1].write_text(policy_text(policy))
        monkeypatch.setenv(POLICIES, os.pathsep.join(map(str, paths)))
        return tuple(paths)

    return open_all


@pytest.fixture
def page(opened: Callable[..., tuple[Path, ...]]) -> AppTest:
    opened()
    return run()


def of_command(*words: str) -> str:
    done = CliRunner().invoke(cli, ["diff", *words], standalone_mode=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_nothing_changed_is_said(opened_store: tuple[Path, Path]) -> None:
    page = run()
    assert page.selectbox(key="old_policy").value == AS_WRITTEN
    assert page.selectbox(key="new_policy").value == THIS_VIEW
    assert "Nothing changed" in page.success[0].value
    assert not page.get("echarts_chart")
    assert not page.subheader[0].value.startswith("Monthly")


def test_a_moved_limit_is_told_against_the_spec_as_it_is_written(
    opened_store: tuple[Path, Path],
) -> None:
    page = run()
    page.slider(key="budget").set_value(3.0).run()
    assert not page.exception
    assert page.subheader[0].value.startswith("Spend per request -")
    assert page.get("echarts_chart")


def test_last_week_s_policy_is_compared_without_typing(page: AppTest) -> None:
    assert page.selectbox(key="old_policy").value == "opened-0.yaml"
    assert page.selectbox(key="new_policy").value == THIS_VIEW
    assert re.match(r"Spend per request \+0\.00\d+ USD", page.subheader[0].value)


def test_the_page_has_the_very_words_of_the_comment_that_its_commands_print(
    page: AppTest, tmp_path: Path
) -> None:
    page.slider(key="budget").set_value(3.0).run()
    command = page.code[0].value
    folder = str(Path(sys.executable).parent)
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shown = said(page) + "\n".join(f"<summary>{one.label}</summary>" for one in page.expander)
    headline, *lines = done.stdout.splitlines()[2:]
    assert headline == f"**{page.subheader[0].value}**"
    assert len(lines) > 10
    for line in lines:
        assert line in {"<details>", "</details>"} or line in shown, line


def test_two_plans_are_compared_by_commands_too(
    opened_store: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = run()
    page.slider(key="budget").set_value(3.0).run()
    first, second = page.code[0].value.splitlines()
    assert first.endswith("| inferbudget compile - -o - > before.yaml")
    assert second.endswith("| inferbudget diff before.yaml - --format markdown")
    assert shlex.split(first)[:2] == ["inferbudget", "plan"]


def test_the_download_is_what_the_command_prints(
    opened: Callable[..., tuple[Path, ...]], opened_store: tuple[Path, Path], last_week: Policy
) -> None:
    old, new = opened(last_week, of_view(View(*opened_store)).policy)
    page = choose(run(), "new_policy", "opened-1.yaml")
    assert page.code[0].value == ("inferbudget diff opened-0.yaml opened-1.yaml --format markdown")
    sides = read_alone(old), read_alone(new)
    printed = of_command(str(old), str(new), "--format", "markdown")
    assert _as_file(Difference.of(*sides)).decode() == printed
    assert page.get("download_button")[0].proto.disabled is False


def test_the_picture_and_the_table_show_the_flows_that_the_command_prints(
    opened: Callable[..., tuple[Path, ...]], opened_store: tuple[Path, Path], last_week: Policy
) -> None:
    old, new = opened(last_week, of_view(View(*opened_store)).policy)
    page = choose(run(), "new_policy", "opened-1.yaml")
    flows = json.loads(of_command(str(old), str(new), "--format", "json"))["flows"]
    moved = [one for one in flows if one["before"] != one["after"]]
    assert moved
    share = sum(one["of_all"] for one in moved)
    assert f"**{100 * share:.1f} %** of all requests go to another strategy." in said(page)
    links = flow(page)["series"][0]["links"]
    assert sum(link["value"] for link in links) == pytest.approx(1)
    across = [k for k in links if k["source"].split(" % ")[1] != k["target"].split(" % ")[1]]
    assert sum(link["value"] for link in across) == pytest.approx(share)
    for one in moved:
        row = f"| `{one['class_name']}` | `{one['before']}` | `{one['after']}` |"
        assert row in said(page)
    (chart,) = page.get("echarts_chart")
    assert f"from {moved[0]['before']} to" in str(chart.proto)


def test_one_class_is_shown_by_its_own_requests(page: AppTest) -> None:
    names = page.selectbox(key="flow_class").options
    assert names == ["All classes", "easy", "hard"]
    choose(page, "flow_class", "hard")
    assert "of the requests of `hard` go to another strategy" in said(page)
    links = flow(page)["series"][0]["links"]
    assert sum(link["value"] for link in links) == pytest.approx(1)


def test_a_class_that_the_next_policy_does_not_have_is_no_longer_shown(
    opened: Callable[..., tuple[Path, ...]], last_week: Policy
) -> None:
    opened(last_week, renamed(last_week, {"hard": "harder"}))
    page = choose(run(), "flow_class", "hard")
    choose(page, "old_policy", "opened-1.yaml")
    assert page.info[0].value == "No request changes its strategy on the first rung."


def test_every_figure_says_what_it_rests_on(page: AppTest) -> None:
    (old, new) = [one.value for one in page.caption if "; policy `sha256:" in one.value]
    for caption in (old, new):
        assert caption.startswith("`tiny`; 200 to 400 queries a cell (`simulated`); ")
        assert "promises hold with 95 %" in caption
        assert "prices without a date" in caption


def test_a_file_is_dropped_in(page: AppTest, last_week: Policy) -> None:
    choose(page, "new_policy", DROPPED)
    assert "Drop a policy.yaml" in page.info[0].value
    drop(page, "new_file", policy_text(last_week).encode())
    assert "Nothing changed" in page.success[0].value
    assert page.code[0].value.endswith("opened-0.yaml mine.yaml --format markdown")


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        (b"workload: [", "a.yaml", "a.yaml:2:1: workload"),
        (b"workload: x\n", "a.yaml", "'format_version' is missing"),
        (b'format_version: "9.9"\n', "a.yaml", "a newer version of inferbudget wrote this file"),
        (b"\xff\xfe", "a.yaml", "this is not UTF-8"),
        (b"#" * (MOST_MIB * 2**20 + 1), "a.yaml", "the file is too large for a policy"),
        (b"![x](http://evil.example): [", "![y](http://evil.example).yaml", "evil"),
    ],
)
def test_what_is_no_policy_is_explained(
    page: AppTest, content: bytes, name: str, words: str
) -> None:
    choose(page, "old_policy", DROPPED)
    drop(page, "old_file", content, name)
    (error,) = page.error
    assert words in error.value.replace("\\", "")
    assert not set(re.sub(r"\\.", "", error.value)) & set("`[]<>$")
    assert not page.subheader


def test_a_file_that_was_edited_by_hand_is_refused(page: AppTest, last_week: Policy) -> None:
    choose(page, "old_policy", DROPPED)
    edited = policy_text(last_week).replace("workload: tiny", "workload: tinier")
    drop(page, "old_file", edited.encode())
    assert "the policy was changed after it was compiled" in page.error[0].value


def test_an_opened_file_that_is_gone_is_explained(
    opened: Callable[..., tuple[Path, ...]],
) -> None:
    (path,) = opened()
    path.unlink()
    page = run()
    assert "opened-0.yaml" in page.error[0].value
    assert not page.subheader


def test_another_workload_is_pointed_out(
    opened: Callable[..., tuple[Path, ...]], last_week: Policy
) -> None:
    opened(renamed(last_week, {"tiny": "$huge$"}))
    page = run()
    (warning,) = page.warning
    assert warning.value.startswith("These are policies for different workloads, `$huge$` and")


def test_classes_of_another_difficulty_graph_are_pointed_out(
    opened: Callable[..., tuple[Path, ...]], last_week: Policy
) -> None:
    origin = last_week.provenance.model_copy(update={"estimator": "sha256:0123"})
    opened(last_week.model_copy(update={"provenance": origin}).sealed())
    (warning,) = run().warning
    assert "different difficulty graphs" in warning.value


def test_a_view_without_a_plan_is_explained_with_its_fixes(page: AppTest) -> None:
    page.slider(key="accuracy").set_value(99.0).run()
    assert not page.exception
    assert "No plan keeps these limits" in page.error[0].value
    assert [one for one in page.button if one.label.startswith("Move accuracy.overall to")]
    assert not page.subheader
    choose(page, "new_policy", "opened-0.yaml")
    assert "Nothing changed" in page.success[0].value


def test_a_spec_without_a_plan_is_explained(
    opened_store: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        'format_version: "1.0"\nworkload: tiny\nobjective: minimize cost\n'
        "limits: {accuracy: {overall: 0.999}}\n"
    )
    monkeypatch.setenv(SPEC, str(spec))
    page = run()
    page.slider(key="accuracy").set_value(50.0).run()
    assert not page.exception
    (error,) = page.error
    assert "no plan keeps all limits: accuracy.overall" in error.value


def test_files_are_compared_where_nothing_else_can_be_read(
    opened: Callable[..., tuple[Path, ...]],
    opened_store: tuple[Path, Path],
    last_week: Policy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened(last_week, of_view(View(*opened_store)).policy)
    broken = tmp_path / "broken.yaml"
    broken.write_text("workload: 1")
    monkeypatch.setenv(SPEC, str(broken))
    page = run()
    assert len(page.error) == 1
    assert page.selectbox(key="new_policy").value == "opened-1.yaml"
    assert THIS_VIEW not in page.selectbox(key="new_policy").options
    assert flow(page)["series"][0]["links"]


def outside_code(text: str) -> str:
    """What Markdown does not show letter by letter."""
    return re.sub(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", "", text)


@pytest.mark.parametrize("name", HOSTILE)
def test_names_of_others_stand_as_code_wherever_markdown_is_read(
    opened: Callable[..., tuple[Path, ...]],
    opened_store: tuple[Path, Path],
    last_week: Policy,
    name: str,
) -> None:
    now = of_view(View(*opened_store)).policy
    names = {"hard": name, "large/single": f"{name}/single"}
    opened(renamed(last_week, names), renamed(now, {**names, "tiny": name}))
    page = choose(run(), "new_policy", "opened-1.yaml")
    assert not page.error
    choose(page, "flow_class", name)
    shown = [one.value for kind in (page.subheader, page.warning, page.info) for one in kind]
    bodies = [*(one.value for one in page.markdown), *(one.value for one in page.caption)]
    bodies += [cell for one in page.table for row in one.value.to_numpy() for cell in row]
    labels = [one.label for one in page.expander]
    for text in [*shown, *bodies, *labels]:
        rest = outside_code(text.replace("`git show HEAD~5:policy.yaml`", ""))
        assert not set(rest) & set("`$<[]!{\\"), text
        assert "evil" not in rest
        assert ":red" not in rest
        assert ":material" not in rest
    assert f"of the requests of {code(name)} go" in said(page)


def test_many_rows_are_counted_where_they_are_not_drawn() -> None:
    def long() -> None:
        import streamlit  # noqa: PLC0415 - its text alone is run

        from app.tables import draw_table  # noqa: PLC0415

        rows = [[str(place)] for place in range(205)]
        draw_table(streamlit.container(), rows, ["place"], alt="Places.", command="count")

    page = AppTest.from_function(long, default_timeout=60).run()
    assert len(page.table[0].value) == 200
    assert page.caption[0].value == "5 more rows: `count` prints them."


def test_a_file_with_very_many_flows_is_not_drawn(
    page: AppTest, last_week: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1 MiB can hold millions; counting them is as cheap as reading the file."""
    monkeypatch.setattr("app.moved_traffic.MOST_FLOWS", 1)
    monkeypatch.setattr("app.moved_traffic.flows", None)
    choose(page, "new_policy", DROPPED)
    drop(page, "new_file", policy_text(last_week).encode())
    choose(page, "old_policy", THIS_VIEW)
    assert "too many to draw" in page.info[0].value


@given(
    st.integers(1, 4).flatmap(
        lambda width: st.lists(
            st.lists(st.just("") | st.text().map(code), min_size=width, max_size=width), min_size=1
        )
    )
)
def test_a_table_of_a_comment_is_taken_apart_into_its_cells(rows: list[list[str]]) -> None:
    assert unpiped(piped(rows[1:], rows[0])) == rows
    assert unpiped(f"- {rows[0][0]}") == []


def test_without_a_common_class_no_traffic_is_followed(
    opened: Callable[..., tuple[Path, ...]], opened_store: tuple[Path, Path], last_week: Policy
) -> None:
    opened(renamed(last_week, {"easy": "a", "hard": "b"}))
    page = run()
    assert "No class is in both policies" in page.info[0].value
    assert not page.get("echarts_chart")


def test_a_class_of_one_policy_alone_is_named(
    opened: Callable[..., tuple[Path, ...]], last_week: Policy
) -> None:
    opened(renamed(last_week, {"easy": "simple"}))
    page = run()
    assert "left out: `easy` (new), `simple` (gone)." in said(page)


def test_without_a_recorded_mix_classes_are_shown_one_by_one(
    opened: Callable[..., tuple[Path, ...]], opened_store: tuple[Path, Path], last_week: Policy
) -> None:
    now = of_view(View(*opened_store)).policy
    classes = now.classes.model_copy(update={"weights": None})
    opened(last_week, now.model_copy(update={"classes": classes}).sealed())
    page = choose(run(), "new_policy", "opened-1.yaml")
    assert page.selectbox(key="flow_class").options == ["easy", "hard"]
    assert "does not record how many requests each class has" in said(page)


def test_facts_that_no_request_notices_move_nothing(
    opened: Callable[..., tuple[Path, ...]], last_week: Policy
) -> None:
    other = last_week.model_copy(update={"confidence": 0.9}).sealed()
    opened(last_week, other)
    page = choose(run(), "new_policy", "opened-1.yaml")
    assert page.info[0].value == "No request changes its strategy on the first rung."
    assert "confidence of every promise" in said(page)


def test_a_picture_draws_the_smallest_of_many_strategies_as_one() -> None:
    rows = [{"before": f"s{i}", "after": f"s{(i * 7) % 200}", "share": 1 / 200} for i in range(200)]
    rows += [{"before": "big", "after": "s0", "share": 1.0}]
    option = flow_diagram(rows, {"big": "#0072B2"}, ink="black", most=5)
    series = option["series"][0]
    names = [node["name"] for node in series["data"]]
    assert len(names) <= 10
    assert any("197 other strategies" in name for name in names)
    (big,) = [node for node in series["data"] if node["name"] == "100.0 % big"]
    assert big["itemStyle"]["color"] == "#0072B2"
    assert sum(link["value"] for link in series["links"]) == pytest.approx(2)
    assert len(set(names)) == len(names)
    assert {end for k in series["links"] for end in (k["source"], k["target"])} == set(names)
