"""Scenarios: settings over a spec, each with a name, and the file that keeps them.

A file is ``scenarios.yaml``; on one line the same text stands in the address of a page.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError

from policies.yaml_values import block_key, word
from policies.yaml_values import flow as in_one_line
from profiles.errors import InputError
from profiles.visible import escaped, quoted
from profiles.yaml_input import parse_yaml, read_text
from profiles.yaml_settings import flow, parted

FORMAT_VERSION = "1.0"
MOST = 20
"""Scenarios in a file."""
LONGEST_NAME = 60
LONGEST_FILE = 100_000
"""Characters."""
MOST_SETTINGS = 100
"""Of one scenario."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


def _plain(name: str) -> str:
    if name != name.strip() or name != escaped(name):
        raise ValueError("a name is one line without outer blanks or what cannot be printed")
    return name


def _path(text: str) -> str:
    """The text, where it is a path as we spell it: every path then stands once."""
    try:
        spelled, value = parted(f"{text}=null")
    except InputError as error:
        raise ValueError(f"this is no path: {error.what}") from error
    if value is not None:
        raise ValueError("this is no path: its value stands behind the colon")
    if spelled != text:
        raise ValueError(f"this path is written {spelled}")
    return text


class Scenario(_Part):
    """A name, and values over those of a spec."""

    name: Annotated[str, Field(min_length=1, max_length=LONGEST_NAME), AfterValidator(_plain)] = (
        Field(description="What people call it; no other scenario of the file is called so.")
    )
    values: dict[Annotated[str, AfterValidator(_path)], JsonValue] = Field(
        default_factory=dict,
        alias="set",
        max_length=MOST_SETTINGS,
        description="Values over the spec's own, one after the other, by paths as `--set` takes "
        "them, e.g. `limits.accuracy.overall: 0.9`; null takes a part away.",
    )

    @classmethod
    def of(cls, name: str, settings: Iterable[str]) -> Scenario:
        """Settings under a name; what a later one replaces is left out.

        Args:
            name: At most `LONGEST_NAME` characters.
            settings: ``path=value`` each.

        Raises:
            InputError: A setting is no path and value, or this is no name.
        """
        values: dict[str, Any] = {}
        for text in settings:
            path, value = parted(text)
            values = {old: kept for old, kept in values.items() if not _lies_in(old, path)}
            values[path] = value
        try:
            return cls.model_validate({"name": name, "set": values}, strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise InputError(
                first["msg"].removeprefix("Value error, "),
                where=f"scenario {quoted(name)!r}",
                next_step="choose another name" if first["loc"][:1] == ("name",) else None,
            ) from error

    @property
    def settings(self) -> tuple[str, ...]:
        """``path=value`` each, in their order."""
        return tuple(f"{path}={flow(value)}" for path, value in self.values.items())

    def moved(self, settings: Iterable[str]) -> Scenario:
        """The same scenario with more settings behind its own.

        Raises:
            InputError: As of `of`.
        """
        return Scenario.of(self.name, (*self.settings, *settings))


_Items = TypeVar("_Items", bound=Sequence[Scenario])


def _each_once(scenarios: _Items) -> _Items:
    names = [one.name for one in scenarios]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two scenarios are called {name!r}")
    return scenarios


class ScenariosFile(_Part):
    """Scenarios of one spec, to be compared."""

    format_version: Literal["1.0"] = Field(description="Version of this file format.")
    scenarios: Annotated[tuple[Scenario, ...], AfterValidator(_each_once)] = Field(
        min_length=1, max_length=MOST, description="In the order in which they are shown."
    )


def read_scenarios(path: Path) -> tuple[Scenario, ...]:
    """Read scenarios.yaml, or standard input for ``-``.

    Raises:
        InputError: Names file, line and key of the first thing that is wrong.
    """
    return parse_scenarios(read_text(path), str(path))


def parse_scenarios(text: str, name: str) -> tuple[Scenario, ...]:
    """The scenarios of a file's text, or of a page's address.

    Args:
        text: YAML, of at most `LONGEST_FILE` characters.
        name: Stands for the file in errors.

    Raises:
        InputError: As of `read_scenarios`.
    """
    if len(text) > LONGEST_FILE:
        raise InputError(
            "this is too long for scenarios",
            where=name,
            expected=f"at most {LONGEST_FILE:,} characters",
            got=f"{len(text):,}",
        )
    return parse_yaml(text, ScenariosFile, name).scenarios


def chosen(scenarios: Sequence[Scenario], names: Sequence[str], where: str) -> list[Scenario]:
    """Scenarios by name, in the names' order; all of them where none is named.

    Raises:
        InputError: There is no such scenario, or one is named twice.
    """
    known = {one.name: one for one in scenarios}
    for place, name in enumerate(names):
        if name not in known or name in names[:place]:
            what = "two columns are" if name in known else "no scenario is"
            raise InputError(
                f"{what} called {quoted(name)!r}",
                where=where,
                expected=f"of {', '.join(map(quoted, known))} each once",
            )
    return [known[name] for name in names] or list(scenarios)


def file_text(scenarios: Iterable[Scenario]) -> str:
    """scenarios.yaml; the same scenarios give the same text."""
    return "\n".join(_lines(scenarios)) + "\n"


def address_text(scenarios: Iterable[Scenario]) -> str:
    """The same on one line."""
    parts = [{"name": one.name, **({"set": one.values} if one.values else {})} for one in scenarios]
    return in_one_line({"format_version": FORMAT_VERSION, "scenarios": parts})


def _lines(scenarios: Iterable[Scenario]) -> Iterator[str]:
    yield f'format_version: "{FORMAT_VERSION}"'
    yield "scenarios:"
    for one in scenarios:
        yield f"  - name: {word(one.name)}"
        if one.values:
            yield "    set:"
            for path, value in one.values.items():
                yield f"      {block_key(path, 6)}: {in_one_line(value)}"


def _lies_in(path: str, whole: str) -> bool:
    """Whether a setting is replaced when a path is set as a whole."""
    return path == whole or path.startswith(f"{whole}.")
