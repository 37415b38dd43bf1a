"""What one token or one GPU-second of a strategy costs, where a single model answers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """Prices of one strategy's units. None where no card names them: unknown is never free.

    Attributes:
        strategy: Canonical text form.
        usd_per_token_in: Dollars per prompt token that came from no cache.
        usd_per_token_out: Dollars per completion token that was no hidden reasoning.
        usd_per_token_cached: Dollars per prompt token served from a cache.
        usd_per_token_reasoning: Dollars per completion token of hidden reasoning.
        usd_per_gpu_s: Dollars per second of one GPU.
    """

    strategy: str
    usd_per_token_in: float | None = None
    usd_per_token_out: float | None = None
    usd_per_token_cached: float | None = None
    usd_per_token_reasoning: float | None = None
    usd_per_gpu_s: float | None = None
