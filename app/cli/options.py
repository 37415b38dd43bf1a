"""Options and small borders that several commands share."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from profiles.errors import InputError
from profiles.visible import escaped, escaped_lines, shortened

if TYPE_CHECKING:
    from planner.plan import Figures
    from runtime.checkers import VerifierFunction

Command = TypeVar("Command", bound=Callable[..., Any])

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
INPUT = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
"""A file, or ``-`` for standard input: its folder is then the working directory."""
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
OUTPUT = click.Path(dir_okay=False, path_type=Path)
OUTPUT_OR_STDOUT = click.Path(dir_okay=False, allow_dash=True, path_type=Path)


class StorePath(click.Path):
    """A file that is a store, or can become one."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, path_type=Path)

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Path:
        """Refuse what keeps nothing, and what is no place."""
        path = Path(value)
        if str(path) == ":memory:":
            self.fail("':memory:' keeps nothing; name a file", param, ctx)
        try:
            path.stat()
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            self.fail(f"{str(value)!r}: {error}", param, ctx)
        super().convert(path, param, ctx)
        return path


class FiniteRange(click.FloatRange):
    """Numbers within a range; neither infinity nor 'nan', which is in every range."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read the number."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return number


class Name(click.ParamType[str]):
    """A name that a store keeps and files can hold."""

    name = "text"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Refuse what is blank and what is no text."""
        text = str(value)
        if not text.strip():
            self.fail("a name must not be blank", param, ctx)
        if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
            self.fail(f"{text!r} is no text that a file can hold", param, ctx)
        return text


def store_option(command: Command) -> Command:
    """`--profiles`: the DuckDB store."""
    return click.option(
        "--profiles",
        "store_path",
        type=StorePath(),
        required=True,
        help="Profile store (DuckDB file).",
    )(command)


def settings_option(command: Command) -> Command:
    """`--set`: values over those of the spec."""
    return click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="PATH=VALUE",
        help="A value over the spec's own, e.g. limits.accuracy.overall=0.9; may be repeated.",
    )(command)


def workload_option(command: Command) -> Command:
    """`--workload`: the traffic in question."""
    return click.option(
        "--workload", type=Name(), required=True, help="Name of the traffic in the store."
    )(command)


def format_option(command: Command) -> Command:
    """`--format`: for people or for scripts."""
    return _format_of(["text", "json"], "text or JSON")(command)


def report_format_option(command: Command) -> Command:
    """`--format` of what may also become a comment on a pull request."""
    return _format_of(["text", "json", "markdown"], "text, JSON or Markdown")(command)


def findings_format_option(command: Command) -> Command:
    """`--format` of findings, which other tools may show beside the lines of a file."""
    formats = ["text", "json", "sarif", "github"]
    return _format_of(formats, "text, JSON, SARIF 2.1.0 or GitHub's annotations")(command)


def _format_of(formats: list[str], named: str) -> Callable[[Command], Command]:
    return click.option(
        "--format",
        "output_format",
        type=click.Choice(formats),
        default="text",
        show_default=True,
        help=f"Result on stdout as {named}.",
    )


def emit_json(result: Mapping[str, Any]) -> None:
    """A result for scripts, with the version of its shape."""
    click.echo(json_text({"format_version": "1.0", **result}))


def json_text(value: Mapping[str, Any]) -> str:
    """JSON on lines of which none is a command to a CI job."""
    text = json.dumps(value, indent=2, allow_nan=False)
    return text.replace("##[", r"\u0023#[")  # stands only within strings


def emit_text(text: str, *, err: bool = False) -> None:
    """A result for people. What cannot be printed is escaped: it can quote what others wrote.

    So is what a CI job would take for a command at the start of a line.
    """
    click.echo(escaped_lines(text), err=err)


def pairs(values: Iterable[str], option: str) -> dict[str, str]:
    """`name=value` words, several in one option separated by commas outside brackets.

    Raises:
        InputError: A word has no equals sign or a name stands twice.
    """
    found: dict[str, str] = {}
    for word in (part for value in values for part in _split(value) if part):
        name, equals, text = word.partition("=")
        if not equals or not name or not text:
            raise InputError(
                "this is not name=value", where=option, expected="e.g. model=single", got=word
            )
        if name in found:
            raise InputError(f"{name!r} is given twice", where=option)
        found[name] = text
    return found


def _split(text: str) -> list[str]:
    """At commas outside brackets: a strategy's own parameters stay together."""
    parts, depth = [""], 0
    for char in text:
        depth += (char in "([") - (char in ")]")
        if char == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return parts


def load_callable(reference: str) -> Callable[..., Any]:
    """The function behind `module:function`; modules of the working directory can be named.

    Raises:
        InputError: The module or the function cannot be found.
    """
    from runtime.checkers import load_function

    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    return load_function(reference)


def verifier_words(values: Iterable[str], option: str) -> dict[str, str]:
    """Verifiers by name from `name=module:function` words and `name=FORM` words.

    A form of `runtime.programmatic` may hold commas, so it has an option of its own.

    Raises:
        InputError: A word has no equals sign, or a name stands twice.
    """
    from runtime.programmatic import is_form

    found: dict[str, str] = {}
    for value in values:
        name, _, text = value.partition("=")
        words = {name: text} if name and is_form(text) else pairs([value], option)
        for name in words.keys() & found.keys():
            raise InputError(f"{name!r} is given twice", where=option)
        found |= words
    return found


def load_verifiers(values: Iterable[str], option: str) -> dict[str, VerifierFunction]:
    """Verifiers by name, as `verifier_words` reads them.

    Raises:
        InputError: A word that names none; says why.
    """
    from runtime.checkers import load_verifier

    words = verifier_words(values, option)
    return {name: load_verifier(text, load=load_callable) for name, text in words.items()}


def is_stdout(path: Path) -> bool:
    """Whether an output is ``-``."""
    return str(path) == "-"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Third parties' errors of a write as ours, with the file's name."""
    try:
        yield
    except OSError as error:
        raise InputError("cannot write the file", where=str(path), got=str(error)) from error


@contextmanager
def progress_bar(unit: str) -> Iterator[Callable[[int, int], None]]:
    """A callback (done, to do) that draws a bar on a terminal's stderr and nothing elsewhere."""
    from tqdm import tqdm

    with tqdm(unit=f" {unit}", disable=None, leave=False) as bar:

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield advance


def table(rows: Iterable[Iterable[object]], header: Iterable[str]) -> str:
    """Aligned columns; numbers to the right. What cannot be printed is escaped, the long is cut."""
    cells = [[escaped(shortened(str(value))) for value in row] for row in rows]
    head = list(header)
    widths = [max(len(row[i]) for row in [head, *cells]) for i in range(len(head))]
    numeric = [all(_is_number(row[i]) for row in cells) for i in range(len(head))]
    lines = []
    for row in [head, *cells]:
        parts = [
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(row, widths, numeric, strict=True)
        ]
        lines.append("  ".join(parts).rstrip())
    return "\n".join(lines)


def _is_number(text: str) -> bool:
    return text[:1].isdigit() or text[:1] in "-+." or text in {"", "n/a"}


def usd(value: float | None) -> str:
    """Dollars with enough digits to tell requests apart; 'n/a' where unknown."""
    return "n/a" if value is None else f"{value:.3g}" if value < 1 else f"{value:,.2f}"


def share(value: float | None) -> str:
    """A share as per cent; 'n/a' where unknown."""
    return "n/a" if value is None else f"{100 * value:.1f} %"


def figures(found: Figures) -> tuple[str, str, str]:
    """Accuracy, dollars per request and p95; 'n/a' where unknown."""
    p95 = "n/a" if found.latency_p95_s is None else f"{found.latency_p95_s:.3g}"
    return share(found.accuracy), usd(found.cost_usd_per_request), p95
