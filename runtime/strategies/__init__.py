"""Ways to answer a request, each with a cost bound that is known before it starts."""

from runtime.strategies import (  # noqa: F401 each module registers its method
    best_of_n,
    cascade,
    chain_of_thought,
    self_consistency,
    single,
)
from runtime.strategies.base import Executor, Outcome, Request, Tools, build, methods

__all__ = ["Executor", "Outcome", "Request", "Tools", "build", "methods"]
