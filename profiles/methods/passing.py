"""Strategies that hand a request to one model as it is, and its reply back as it is."""

from __future__ import annotations

from functools import lru_cache

from profiles.methods import understood
from profiles.strategy import Strategy, parse


@lru_cache(maxsize=4096)
def passes_through(strategy: str | Strategy) -> bool:
    """Whether a strategy can answer requests with tools, or with a format that the reply must have.

    Votes, searches and critiques compare texts, and text is all that they return; an instruction to
    think aloud contradicts a format. So it is asked of each method.

    Raises:
        InputError: No strategy that can be executed.
    """
    method, params = understood(strategy if isinstance(strategy, Strategy) else parse(strategy))
    return method.passes_through(params)
