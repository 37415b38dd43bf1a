"""The documentation says what the code does: commands run, names exist, links lead somewhere."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import click
import pytest
from pydantic import BaseModel

from app.cli.lazy import DefaultGroup
from app.cli.main import cli
from app.schemas import schema_of
from planner.spec import Spec, read_spec
from planner.spec.parts import Part
from policies.case_file import Case, Expected
from profiles.importing import mapping
from profiles.importing.fields import CANONICAL, FIELDS
from profiles.importing.formats import FORMATS, spans
from profiles.measuring.tasks import TaskRow
from profiles.money import Energy, Pool, PriceCard, TokenPrice
from profiles.observation import Observation
from profiles.store.schema import MIGRATIONS
from runtime.strategies import methods

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "demo").rglob("*.md")])
COMMANDS = ROOT / "docs/reference/commands.md"
FILES = ROOT / "docs/reference/files.md"


def fences(page: Path) -> list[tuple[str, str]]:
    """Language and text of every fenced block."""
    found: list[tuple[str, str]] = []
    block: list[str] | None = None
    language = ""
    for line in page.read_text().splitlines():
        if not line.strip().startswith("```"):
            if block is not None:
                block.append(line)
        elif block is None:
            block, language = [], line.strip().removeprefix("```")
        else:
            found.append((language, textwrap.dedent("\n".join(block))))
            block = None
    return found


def test_the_tutorials_commands_run(tmp_path: Path) -> None:
    blocks = fences(ROOT / "docs/tutorial/first-plan.md")
    (spec,) = [text for language, text in blocks if language == "yaml"]
    (tmp_path / "spec.yaml").write_text(spec)
    (tmp_path / "run.sh").write_text(
        "set -e\n" + "\n".join(text for language, text in blocks if not language)
    )
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    done = subprocess.run(
        ["bash", "run.sh"], cwd=tmp_path, env={"PATH": path}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "requests  400, answered 400, refused 0" in done.stdout


def test_the_tutorials_last_step_is_infeasible_as_it_says(tmp_path: Path) -> None:
    test_the_tutorials_commands_run(tmp_path)
    spec = tmp_path / "spec.yaml"
    spec.write_text(spec.read_text().replace("0.85", "0.99"))
    done = subprocess.run(
        [str(Path(sys.executable).parent / "inferbudget"), "plan", "spec.yaml", "--profiles",
         "store.duckdb"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 3
    assert "accuracy.overall" in done.stderr


def test_every_strategy_is_documented() -> None:
    page = (ROOT / "docs/reference/strategies.md").read_text()
    for method in methods():
        assert f"| `{method}` |" in page


def test_every_key_of_a_spec_is_documented() -> None:
    page = (ROOT / "docs/reference/files.md").read_text()
    parts: list[Any] = [Spec]
    seen: set[Any] = set()
    while parts:
        part = parts.pop()
        if get_args(part):
            parts += get_args(part)
        elif isinstance(part, type) and issubclass(part, Part) and part not in seen:
            seen.add(part)
            for key, field in part.model_fields.items():
                assert re.search(rf"[`{{ ]{key}[`:,}} ]", page), (part, key)
                parts.append(field.annotation)
    assert len(seen) > 15


def test_every_spec_in_the_page_about_limits_is_one(tmp_path: Path) -> None:
    page = (ROOT / "docs/how-to/limits.md").read_text()
    specs = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert len(specs) > 5
    for text in specs:
        (tmp_path / "spec.yaml").write_text(text)
        assert read_spec(tmp_path / "spec.yaml").workload == "mixed"


def test_every_metric_is_documented() -> None:
    code = (ROOT / "runtime/metrics.py").read_text()
    page = (ROOT / "docs/how-to/serve.md").read_text()
    names = set(re.findall(r"inferbudget_[a-z_]+", code))
    assert names
    for name in names:
        assert name in page, name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def anchors(page: Path) -> set[str]:
    """Fragments of a page's headings as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {text.strip().replace(" ", "-") for text in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_fragment_leads_to_a_heading(page: Path) -> None:
    for target, fragment in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text()):
        assert fragment in anchors(page.parent / target if target else page), f"{target}#{fragment}"


@pytest.mark.parametrize(
    "page",
    [
        "import",
        "derive",
        "prices",
        "published-measurements",
        "train-or-think",
        "trust-a-plan",
        "explain-a-plan",
        "check-a-policy",
        "review-a-policy",
        "test-a-policy",
        "sign-a-policy",
        "export-to-gateways",
        "ledger",
    ],
)
def test_a_how_tos_example_runs_and_prints_what_the_page_says(page: str, tmp_path: Path) -> None:
    """Blocks named after a file are written, blocks without a word run, `text` is what they say.

    A `text` block may leave out lines, never change or reorder them.
    """
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    printed: list[str] = []
    compared = 0
    for language, text in fences(ROOT / f"docs/how-to/{page}.md"):
        word, _, name = language.partition(" ")
        if name:
            (tmp_path / name).write_text(text + "\n")
        elif not word:
            done = subprocess.run(
                ["bash", "-ec", text], cwd=tmp_path, env=environment, capture_output=True,
                text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stdout + done.stderr
            printed = done.stdout.splitlines()
        elif word == "text":
            left = iter(printed)
            for line in text.splitlines():
                assert line in left, f"{line!r} is not printed (there) by the block before"
            compared += 1
    assert compared


def all_commands(
    command: click.Command = cli, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that does something, with the words that call it."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    if isinstance(command, DefaultGroup):
        yield path, command.default()
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None
        yield from all_commands(found, (*path, name))


def test_every_option_of_every_command_has_help() -> None:
    found = dict(all_commands())
    assert len(found) > 15
    for path, command in found.items():
        assert command.help, path
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.help, (path, option.opts)


def written_options(command: click.Command) -> set[str]:
    """Spellings of a command's options, those of help aside."""
    options = [part for part in command.params if isinstance(part, click.Option)]
    return {text for option in options for text in (*option.opts, *option.secondary_opts)}


def command_sections() -> dict[str, str]:
    """Heading of every command on the page to what stands below it."""
    parts = re.split(r"^#{2,3} (.+)$", COMMANDS.read_text(), flags=re.MULTILINE)
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    return {head.strip("`"): text for head, text in pairs if head.startswith("`inferbudget ")}


def test_the_page_of_commands_has_every_command_and_no_other() -> None:
    expected = set()
    for path, command in all_commands():
        context = click.Context(command)
        words = [part.make_metavar(context) for part in command.params if _is_argument(part)]
        expected.add(" ".join(("inferbudget", *path, *words)))
    assert set(command_sections()) == expected


def _is_argument(part: click.Parameter) -> bool:
    return isinstance(part, click.Argument)


@pytest.mark.parametrize("path", [path for path, _ in all_commands()], ids=" ".join)
def test_the_page_of_commands_has_every_option_with_its_default(path: tuple[str, ...]) -> None:
    command = dict(all_commands())[path]
    name = " ".join(("inferbudget", *path))
    (section,) = [
        text
        for head, text in command_sections().items()
        if head == name or head.startswith((f"{name} {{", f"{name} [")) or _plain(head) == name
    ]
    rows = [line for line in section.splitlines() if line.startswith("| `-")]
    first = {text: row for row in rows for text in re.findall(r"`(-[^`]+)`", row.split("|")[1])}
    assert set(first) == written_options(command)
    for part in command.params:
        if isinstance(part, click.Option):
            row = first[part.opts[0]]
            assert ("required" in row) == part.required, row
            if part.show_default:
                assert f"default `{part.default}`" in row or f"`{part.default}`" in row, row


def _plain(head: str) -> str:
    return re.sub(r"( \[?[A-Z.]{3,}\]?(\.\.\.)?)+$", "", head)


def shell_commands() -> Iterator[tuple[Path, list[str]]]:
    """Every call of inferbudget in a shell block of any page."""
    for page in PAGES:
        for language, text in fences(page):
            if language not in {"", "sh"}:
                continue
            for line in text.replace("\\\n", " ").splitlines():
                if re.match(r"\s*inferbudget [a-z]", line):
                    call = re.split(r"\s(?:\|\|?|&&|>)\s", line)[0]
                    yield page, shlex.split(call)


def test_commands_on_the_pages_use_options_that_exist() -> None:
    known = dict(all_commands())
    calls = list(shell_commands())
    assert len(calls) > 20
    for page, words in calls:
        path = max(
            (path for path in known if tuple(words[1 : 1 + len(path)]) == path),
            key=len,
            default=None,
        )
        assert path is not None, f"{page.name}: {' '.join(words)}"
        used = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert used <= written_options(known[path]), f"{page.name}: {' '.join(words)}"


def section(page: Path, heading: str) -> str:
    """What stands below a heading, up to the next of its level or above."""
    marks = heading.split(" ", 1)[0]
    _, _, rest = page.read_text().partition(f"\n{heading}\n")
    assert rest, heading
    return re.split(rf"^#{{1,{len(marks)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def keys_of(page: Path, heading: str) -> set[str]:
    """First cells of the table below a heading, without their marks."""
    rows = re.findall(r"^\| `([^`]+)`", section(page, heading), re.MULTILINE)
    return set(rows)


def fields_of(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


def test_every_column_of_an_observation_is_documented() -> None:
    columns = {field.name for field in dataclasses.fields(Observation)}
    assert keys_of(FILES, "### Observations") == columns


def test_every_key_of_a_case_is_documented() -> None:
    heading = "## policy.test.yaml: cases of a policy"
    row = "prompt` or `prompts"
    text = section(FILES, heading).replace(row, "prompt` | |\n| `prompts")
    found = set(re.findall(r"^\| `([^`]+)`", text, re.MULTILINE))
    assert found == fields_of(Case) | fields_of(Expected)


def test_every_table_of_the_store_is_documented() -> None:
    created = set(re.findall(r"CREATE TABLE (\w+)", " ".join(MIGRATIONS))) - {"rows"}
    text = section(FILES, "## The profile store").split("###")[0]
    assert set(re.findall(r"^\| `(\w+)`", text, re.MULTILINE)) == created


def test_every_key_of_a_mapping_is_documented() -> None:
    assert keys_of(FILES, "## Mapping YAML") == fields_of(mapping.TableMapping)
    text = section(FILES, "## Mapping YAML")
    parts = (
        mapping.Condition, mapping.NumberInText, mapping.Wide, mapping.Running, mapping.Headline,
        mapping.Expectation,
    )  # fmt: skip
    for part in parts:
        for key in fields_of(part):
            assert f"`{key}`" in text, f"{part.__name__}.{key}"


def test_every_field_of_every_kind_of_record_is_documented() -> None:
    for kind, names in FIELDS.items():
        heading = "## Tables" if names is CANONICAL else "## Mapping YAML"
        for name in names:
            assert f"`{name}`" in section(FILES, heading), f"{kind}: {name}"


def test_every_key_of_a_task_is_documented() -> None:
    assert keys_of(FILES, "## Tasks") == fields_of(TaskRow)


def test_every_key_of_a_price_card_is_documented() -> None:
    expected = {
        *(name for name in PriceCard.model_fields if name not in {"models", "pools", "energy"}),
        *(f"models.NAME.{name}" for name in TokenPrice.model_fields),
        *(f"pools.NAME.{name}" for name in Pool.model_fields),
        *(f"energy.{name}" for name in Energy.model_fields),
    }
    assert keys_of(FILES, "## Price card") == expected


def test_every_tool_format_is_documented_with_its_options() -> None:
    lines = section(FILES, "## Tool formats").splitlines()
    for name, module in FORMATS.items():
        (row,) = [line for line in lines if line.startswith(f"| `{name.replace('_', '-')}`")]
        _, _, _, _, options, evidence, _ = row.split("|")
        taken = inspect.signature(import_module(module).read).parameters
        names = set(taken) - {"path", "workload", "notes", "evidence"}
        assert set(re.findall(r"`(\w+)`", options)) == names, name
        assert evidence.strip() == taken["evidence"].default.value, name


def test_every_attribute_of_a_span_is_documented() -> None:
    text = section(FILES, "### Span attributes")
    names = re.findall(r'"((?:gen_ai|inferbudget)\.[a-z_.]+)"', inspect.getsource(spans))
    assert names
    for name in names:
        assert f"`{name}`" in text, name
    assert set(re.findall(r"`((?:gen_ai|inferbudget)\.[a-z_.]+)`", text)) == set(names)


def test_every_benchmark_is_listed() -> None:
    folder = ROOT / "benchmarks"
    scripts = {path.stem for path in folder.glob("[a-z]*.py")}
    scripts |= {path.parent.name for path in folder.glob("*/__main__.py")}
    page = (ROOT / "benchmarks/README.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == scripts


def result(name: str) -> Any:
    return json.loads((ROOT / f"benchmarks/results/{name}.json").read_text())


def test_the_figures_of_game_of_24_are_the_benchmarks() -> None:
    text = section(ROOT / "docs/how-to/derive.md", "## Game of 24")
    for name, figure in result("game_of_24")["figures"].items():
        usd = f"{figure['cost_usd']:.3f}" if figure["cost_usd"] > 0.1 else None
        row = f"| {name} | {100 * figure['accuracy']:.1f} % | "
        assert row + (usd or f"{figure['cost_usd']:.4f}") in text, name


def test_the_figures_of_measuring_are_the_benchmarks() -> None:
    text = " ".join((ROOT / "docs/how-to/measure.md").read_text().split())
    killed = result("measure_killed")
    assert f"billed {killed['billed_more_than_straight']['calls']} calls more" in text
    assert f"and {killed['calls_in_flight_at_kills']} calls were in flight at the kills" in text
    for source in result("adaptive_measuring")["sources"].values():
        for share, found in source["at_uniform_shares"].items():
            assert adaptive_row(share, found) in text


def test_the_figures_of_break_evens_are_the_benchmarks() -> None:
    text = (ROOT / "docs/explanation/train-or-think.md").read_text()
    found = result("train_or_think")
    for row in found["planner"]["rows"]:
        plans = "point estimates" if row["confidence"] == "none" else "certified"
        error = f"{100 * row['held']:.1f} ± {100 * row['standard_error']:.1f} %"
        assert f"| {row['queries_a_class']} | {plans} | {error} |" in text
    for row in found["dual"]["rows"]:
        held = f"{100 * row['held']['percentiles']:.1f} ± {100 * row['standard_error']:.1f} %"
        assert f"| {row['queries_a_class']} | point estimates | {held} |" in text


def adaptive_row(share: str, found: Any) -> str:
    certified, runs = found["uniform"]["runs_with_a_certificate"], found["uniform"]["runs"]
    queries = found["adaptive_by_value_per_query"]["per_run"]["fewer_queries"]
    dollars = found["adaptive_by_value_per_usd"]["per_run"]["fewer_dollars"]

    def mean(saved: Any) -> str:
        return f"{100 * saved['mean']:.0f} ± {100 * saved['standard_error']:.0f} %"

    return (
        f"| {100 * float(share):.0f} % | {certified} of {runs} | {mean(queries)} "
        f"| {100 * queries['median']:.0f} % | {100 * queries['runs_with_30_percent']:.0f} % "
        f"| {100 * queries['runs_that_never_reached_it']:.0f} % | {mean(dollars)} |"
    )


@pytest.mark.parametrize(
    "name", ["spec", "plan", "policy", "cases", "fleet", "tenants", "gateway", "scenarios"]
)
def test_the_published_schema_is_the_current_one(name: str) -> None:
    published = ROOT / f"docs/reference/schemas/{name}.schema.json"
    assert published.read_text(encoding="utf-8") == schema_of(name)
    assert json.loads(schema_of(name))["$schema"].endswith("2020-12/schema")
