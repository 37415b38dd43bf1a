"""A method: parameters, worst case, source."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Annotated, Any, Generic, TypeAlias, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from profiles.errors import InputError, UnknownValueError
from profiles.methods.counting import lowest
from profiles.strategy import Strategy


class Params(BaseModel):
    """Parameters of a method: strict, bounded, nothing unknown."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)

    max_tokens: int | None = Field(
        default=None, ge=1, le=1_000_000, description="Cap on completion tokens of every call."
    )


class Sampled(Params):
    """Parameters of methods that draw samples."""

    temperature: float | None = Field(default=None, ge=0, le=2, description="None: upstream's.")
    top_p: float | None = Field(default=None, gt=0, le=1, description="None: upstream's.")


class Varied(Sampled):
    """Parameters of methods to which equal samples are worth nothing."""

    temperature: float | None = Field(default=None, gt=0, le=2, description="None: upstream's.")


def _strategy(value: object) -> Strategy:
    if isinstance(value, Strategy):
        return value
    raise ValueError("expected a strategy such as model/single")


# Any: pydantic follows a dataclass into its fields, and a strategy's values are recursive.
Part = Annotated[Any, AfterValidator(_strategy)]
"""A parameter that is a strategy."""


def model_as(method: str, params: type[Params], value: object) -> Strategy:
    """A parameter that names a model for one job, e.g. ``small/critic(max_tokens=80)``, checked."""
    if isinstance(value, Strategy) and value.model and value.method == method:
        read_params(value, params)
        return value
    raise ValueError(f"expected model/{method}")


@dataclass(frozen=True, slots=True)
class Room:
    """What a method is asked with.

    Attributes:
        strategy: Whose worst case is asked for.
        prompt_tokens: Most tokens of the chat, see `profiles.methods.counting.chat_tokens`.
        max_tokens: Cap on every answer: of strategy, policy and client the lowest. None where
            nobody gives one.
        answers_per_call: Most answers that one call asks for.
    """

    strategy: Strategy
    prompt_tokens: int
    max_tokens: int | None
    answers_per_call: int

    def cap(self, own: int | None = None) -> int:
        """The cap on completion tokens of a call that has one of its own, or not.

        Raises:
            UnknownValueError: Nobody gives one.
        """
        found = lowest(own, self.max_tokens)
        if found is None:
            raise UnknownValueError(
                "nothing caps the completion tokens, so the cost has no bound",
                where=f"strategy {self.strategy}",
                expected="max_tokens in the strategy, the policy or the request",
            )
        return found

    def longer_by(self, tokens: int) -> Room:
        """The same with a longer prompt."""
        return replace(self, prompt_tokens=self.prompt_tokens + tokens)


@dataclass(frozen=True, slots=True)
class Calls:
    """Equal calls that could happen.

    Attributes:
        model: That is called.
        prompt_tokens: Most of one call.
        max_tokens: Cap on completion tokens of each answer.
        answers: Answers of one call.
        times: How many of these calls.
    """

    model: str
    prompt_tokens: int
    max_tokens: int
    answers: int = 1
    times: int = 1


@dataclass(frozen=True, slots=True)
class OneOf:
    """Ways to go on, of which a run takes one: the dearest of them bounds its cost.

    Attributes:
        ways: The calls of each.
    """

    ways: tuple[tuple[Worst, ...], ...]


Worst: TypeAlias = Calls | OneOf
"""What a worst case is made of."""

P = TypeVar("P", bound=Params)


def capped(params: Params, room: Room) -> int:
    """Most tokens of an answer that comes from one call."""
    return room.cap(params.max_tokens)


def never(_: Params) -> bool:
    """The answer is chosen, made of several, or given to another request than the client's."""
    return False


def always(_: Params) -> bool:
    """The answer is the one reply to the client's request, whatever the parameters."""
    return True


@dataclass(frozen=True, slots=True)
class Method(Generic[P]):
    """What can be known of a method before it runs.

    Attributes:
        name: As strategies write it.
        params: Its parameters.
        worst_case: Every call that could happen. No run sends a call that is not among them, and
            each of them at most once, so their prices bound what a request can cost; where it is
            decided on the way which of several calls follow, they are in a `OneOf`.
        source: Where the method is from, or empty where it is nobody's.
        combines: Its parts name the models, it has none of its own.
        answer_tokens: Most tokens of the answer that it returns.
        passes_through: Whether its answer is one upstream's reply to the client's own messages,
            unchanged. Only then can tools, and formats that the reply must have, travel with them.
    """

    name: str
    params: type[P]
    worst_case: Callable[[P, Room], Iterable[Worst]]
    source: str = ""
    combines: bool = False
    answer_tokens: Callable[[P, Room], int] = capped
    passes_through: Callable[[P], bool] = never


def read_params(strategy: Strategy, model: type[P]) -> P:
    """The parameters of a strategy, checked.

    Raises:
        InputError: Names the parameter, and the nearest known one where it is unknown.
    """
    try:
        return model.model_validate(dict(strategy.params))
    except ValidationError as error:
        # a parameter that is misspelt is missing too: the misspelling says more
        first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
        name = ".".join(map(str, first["loc"]))
        place = f"strategy {strategy}: {name}" if name else f"strategy {strategy}"
        if first["type"] == "extra_forbidden":
            import difflib  # noqa: PLC0415 only a slip needs it

            near = difflib.get_close_matches(name, model.model_fields, n=1)
            hint = f"did you mean {near[0]!r}?" if near else None
            known = ", ".join(sorted(model.model_fields))
            raise InputError(
                "unknown parameter", where=place, expected=f"one of {known}", next_step=hint
            ) from error
        if first["type"] == "missing":
            raise InputError("this parameter is missing", where=place) from error
        what = first["msg"].removeprefix("Value error, ")
        raise InputError(what, where=place, got=str(first["input"])) from error
