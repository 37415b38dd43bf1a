"""Prices and the bill, in integer nano-dollars."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

import yaml

from demo.server.job import Usage


@dataclass(frozen=True, slots=True)
class Price:
    """Nano-dollars per token read and per token generated."""

    input: int
    output: int


@dataclass(slots=True)
class Line:
    """What one model has been used for."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    nano_usd: int = 0


class Bill:
    """Adds up what was used, cancelled requests included, exactly as `usage` reports it."""

    def __init__(self, prices: Mapping[str, Price]) -> None:
        """Start at zero."""
        self._prices = prices
        self.reset()

    def reset(self) -> None:
        """Start again at zero."""
        self._lines = {name: Line() for name in self._prices}

    def charge(self, model: str, usage: Usage) -> None:
        """Add one request, unless it ended before it was read."""
        if not usage.prompt_tokens:
            return
        price, line = self._prices[model], self._lines[model]
        line.requests += 1
        line.prompt_tokens += usage.prompt_tokens
        line.completion_tokens += usage.completion_tokens
        line.nano_usd += price.input * usage.prompt_tokens
        line.nano_usd += price.output * usage.completion_tokens

    def report(self) -> dict[str, object]:
        """The total and its parts, by model."""
        total = sum(line.nano_usd for line in self._lines.values())
        lines = {name: asdict(line) for name, line in self._lines.items()}
        return {"total_nano_usd": total, "by_model": lines}


def read_prices(path: Path, models: Iterable[str]) -> dict[str, Price]:
    """Read a YAML file of USD per million tokens, `models: {NAME: {input: , output: }}`.

    Raises:
        ValueError: a model without a price, or a price that is no whole number of nano-dollars
            per token (more than three decimals) or is negative.
    """
    listed = (yaml.safe_load(path.read_text()) or {}).get("models", {})
    prices = {}
    for model in models:
        if model not in listed:
            raise ValueError(f"{path}: no price for {model}, expected models.{model}")
        parts = (_nano(path, model, listed[model], side) for side in ("input", "output"))
        prices[model] = Price(*parts)
    return prices


def _nano(path: Path, model: str, listed: Mapping[str, object], side: str) -> int:
    try:
        nano = Decimal(str(listed[side])) * 1000
    except (InvalidOperation, KeyError, TypeError):
        nano = Decimal("NaN")
    if not nano.is_finite() or nano < 0 or nano % 1:
        raise ValueError(
            f"{path}: models.{model}.{side}: expected USD per million tokens, at least 0 and "
            f"with at most three decimals, got {listed!r}"
        )
    return int(nano)
