"""What an allocation may look like, and what an answer is worth."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from planner.spec.parts import Count, Number, Part, Positive, without


class Allocation(Part):
    """Shapes that people can run or review more easily; each makes the plan an integer one."""

    one_strategy_per_class: bool = Field(
        default=False, description="A class is answered by one strategy, not by a mixture."
    )
    at_most_strategies: Count | None = Field(
        default=None, description="Different strategies in the whole plan."
    )
    minimum_share: Annotated[Number, Field(gt=0, le=0.5)] | None = Field(
        default=None, description="A strategy answers at least this share of a class, or none."
    )

    @model_validator(mode="after")
    def _says_something(self) -> Allocation:
        if not self.one_strategy_per_class and not self.at_most_strategies:
            if self.minimum_share is None:
                raise ValueError("give one_strategy_per_class, at_most_strategies or minimum_share")
        elif self.one_strategy_per_class and self.minimum_share is not None:
            raise ValueError("one_strategy_per_class leaves nothing to minimum_share")
        return self

    @model_serializer(mode="wrap")
    def _without_absent(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        return without(written, tuple(written))


class Value(Part):
    """What a correct answer is worth, for the objective 'maximize value'."""

    usd_per_correct: Positive = Field(description="Dollars of a score of 1 over one of 0.")
    by_class: dict[str, Positive] = Field(
        default_factory=dict, description="The same in classes where it differs."
    )

    @model_serializer(mode="wrap")
    def _without_absent(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        return without(written, ("by_class",))

    def of(self, class_name: str) -> float:
        """Dollars of a correct answer in a class."""
        return self.by_class.get(class_name, self.usd_per_correct)
