"""Cases of a policy as people write them: what is asked, and what must come of it (YAML)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from policies.source import Source
from profiles.errors import InputError
from profiles.strategy import parse
from profiles.yaml_input import read_text, validated

SHARE_TOLERANCE = 0.001
"""Shares are compared to a tenth of a per cent, so that a third can be written as 0.333."""

LARGEST_DRAW = 1 - 2**-24
"""Of the numbers that a gateway draws. In float32, as graphs take it, a larger one may be 1."""


def _as_list(value: Any) -> Any:
    """One value where several may stand."""
    return [value] if isinstance(value, (str, int, float)) else value


def _canonical(text: str) -> str:
    """A strategy in the one spelling that policies use.

    Raises:
        ValueError: It is none.
    """
    try:
        return str(parse(text))
    except InputError as error:
        raise ValueError(str(error)) from error


def _as_sent(label: str) -> str:
    """A label that arrives as it was written, in a header too.

    Raises:
        ValueError: Blanks around it, which servers take from a header's value.
    """
    if label != label.strip(" \t"):
        raise ValueError("blanks around a label are lost in a header: leave them out")
    return label


Absent = SkipJsonSchema[None]
Amount = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Step = Annotated[int, Field(ge=0)]
Name = Annotated[str, Field(min_length=1)]
StrategyText = Annotated[str, AfterValidator(_canonical)]
OneOrMoreNames = Annotated[
    list[Name],
    Field(min_length=1),
    BeforeValidator(_as_list, json_schema_input_type=Name | list[Name]),
]
OneOrMoreSteps = Annotated[
    list[Step],
    Field(min_length=1),
    BeforeValidator(_as_list, json_schema_input_type=Step | list[Step]),
]
OneOrMoreStrategies = Annotated[
    list[StrategyText],
    Field(min_length=1),
    BeforeValidator(_as_list, json_schema_input_type=str | list[str]),
]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _no_empty_value(cls, data: Any) -> Any:
        """`class:` without a value would check nothing and look as if it did."""
        empty = [key for key, value in data.items() if value is None] if type(data) is dict else []
        if empty:
            raise ValueError(f"{empty[0]!r} has no value: give one, or leave the key out")
        return data


RemainingUsd = Annotated[
    Amount,
    Field(description="Dollars that are neither spent nor held; the whole limit where absent."),
]
RequestsLeft = Annotated[
    Amount,
    Field(
        description="Requests that still share the window's money, this one included; the whole "
        "forecast where absent. Of a window by the calendar at least 1, so less counts as 1."
    ),
]


class Money(_Part):
    """What is left of one budget in its window when the request comes."""

    remaining_usd: RemainingUsd | Absent = None
    requests_left: RequestsLeft | Absent = None


class Expected(_Part):
    """What must come of every request of a case; what is left out is not checked."""

    classes: OneOrMoreNames | Absent = Field(
        default=None, alias="class", description="The class, or those of which it must be one."
    )
    rung: OneOrMoreSteps | Absent = Field(
        default=None,
        description="The step of the ladder that decides, 0 the dearest, or those of which it must "
        "be one. Whatever is drawn, where the money lies between two steps.",
    )
    strategy: OneOrMoreStrategies | Absent = Field(
        default=None,
        description="The strategy that answers, or those of which it must be one, whatever is "
        "drawn.",
    )
    shares: dict[StrategyText, Share] | Absent = Field(
        default=None,
        description="Share of all draws that each strategy answers; they sum to 1. Compared to "
        "0.001.",
    )
    bound_usd_at_most: Amount | Absent = Field(
        default=None,
        description="Most dollars that may be held for the request, whatever is drawn.",
    )
    refused: Literal["never", "money", "cap", "label"] | Absent = Field(
        default=None,
        description="'never': an answer, whatever is drawn. 'money': no strategy fits what is "
        "left. 'cap': none fits caps.usd, whatever is left. 'label': the label is missing or "
        "unknown.",
    )

    @model_validator(mode="after")
    def _something_that_can_be(self) -> Expected:
        if not self.model_fields_set:
            raise ValueError("nothing is expected: name at least one of its keys")
        answer = {"strategy", "shares", "bound_usd_at_most"} & self.model_fields_set
        if self.refused not in (None, "never") and answer:
            raise ValueError(f"a refused request has no {sorted(answer)[0]}")
        if self.refused == "label" and self.classes:
            raise ValueError("a request refused for its label has no class")
        if self.shares is not None:
            total = sum(self.shares.values())
            if abs(total - 1) > SHARE_TOLERANCE * max(len(self.shares), 1):
                raise ValueError(f"shares sum to 1; these sum to {total:g}")
        return self


class Case(_Part):
    """One claim about a policy."""

    name: Name = Field(description="What is claimed, as a sentence; unique in the file.")
    prompt: str | Absent = Field(default=None, description="The request's text.")
    prompts: Annotated[list[str], Field(min_length=1)] | Absent = Field(
        default=None, description="Several texts; the claim must hold for each."
    )
    label: Annotated[str, AfterValidator(_as_sent)] | Absent = Field(
        default=None,
        description="The class or label that the caller sends beside the text; no blanks around "
        "it.",
    )
    rung: Step | Absent = Field(
        default=None,
        description="Step of the ladder, 0 the dearest. Where absent, the runtime's pace finds it "
        "from the money that is left.",
    )
    uniform: Annotated[float, Field(ge=0, le=LARGEST_DRAW)] | Absent = Field(
        default=None,
        description="The number by which the strategy is drawn, from 0 to 0.99999994, the largest "
        "that a gateway draws; every one where absent.",
    )
    remaining_usd: RemainingUsd | Absent = None
    requests_left: RequestsLeft | Absent = None
    budgets: Annotated[dict[str, Money], Field(min_length=1)] | Absent = Field(
        default=None,
        description="The same two by budget, for a policy with several: 'global/day'; 'global' "
        "for the total.",
    )
    expect: Expected = Field(description="What must come of it.")

    @model_validator(mode="after")
    def _one_request(self) -> Case:
        if self.prompt is not None and self.prompts is not None:
            raise ValueError("give either 'prompt' or 'prompts'")
        if self.prompt is None and self.prompts is None and self.label is None:
            raise ValueError("nothing is asked: give 'prompt', 'prompts' or 'label'")
        if self.uniform is not None and self.expect.shares is not None:
            raise ValueError("a fixed 'uniform' draws one strategy: leave it out to see shares")
        return self

    @model_validator(mode="after")
    def _one_state(self) -> Case:
        plain = self.remaining_usd is not None or self.requests_left is not None
        if plain and self.budgets:
            raise ValueError("give either 'budgets' or what is left of the only one")
        paced = any(money.requests_left is not None for money in self.money().values())
        if self.rung is not None and paced:
            raise ValueError("with a 'rung' no pace is kept: leave 'requests_left' out")
        return self

    def texts(self) -> tuple[str | None, ...]:
        """A text per request; None where only a label is sent."""
        return (self.prompt,) if self.prompts is None else tuple(self.prompts)

    def money(self) -> dict[str | None, Money]:
        """What is left by budget; None stands for the only one."""
        if self.budgets:
            return dict(self.budgets.items())
        plain = self.model_dump(include={"remaining_usd", "requests_left"}, exclude_none=True)
        return {None: Money(**plain)} if plain else {}


class CaseFile(_Part):
    """Cases of a policy."""

    format_version: Literal["1.0"] = Field(description="Version of this file format.")
    cases: Annotated[list[Case], Field(min_length=1)] = Field(description="In order of report.")


@dataclass(frozen=True, slots=True)
class Cases:
    """A file of cases, with the lines where they stand."""

    source: Source
    cases: tuple[Case, ...]


def default_cases(policy_path: Path) -> Path:
    """Where a policy's cases lie where nobody says: policy.yaml has policy.test.yaml."""
    return policy_path.with_name(f"{policy_path.stem}.test.yaml")


def read_cases(path: Path) -> Cases:
    """Read a file of cases.

    Raises:
        InputError: Unreadable, unknown or missing keys, wrong values, or a name that stands twice;
            with file, line and key.
    """
    source = Source.of(str(path), read_text(path))
    cases = validated(source.data, CaseFile, source.root, source.name).cases
    names: set[str] = set()
    for index, case in enumerate(cases):
        if case.name in names:
            raise InputError(
                "two cases share a name",
                where=source.where("cases", index, "name"),
                got=repr(case.name),
                next_step="say what this one claims",
            )
        names.add(case.name)
    return Cases(source, tuple(cases))
