"""`inferbudget ask`: one prompt, one strategy, and what it came to."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.cli.options import (
    FILE,
    FiniteRange,
    emit_json,
    emit_text,
    format_option,
    load_callable,
    load_verifiers,
    table,
)
from profiles.errors import ExitCode, FindingError
from profiles.money import to_usd

if TYPE_CHECKING:
    from runtime import Prepared
    from runtime.strategies import Outcome, Step
    from runtime.strategies.attempt import Bill

_CUT = "; cut short: this is the best answer until then"
_HEADER = ("step", "model", "tokens in", "tokens out", "usd", "seconds", "detail")


@click.command("ask")
@click.argument("prompt")
@click.option("--strategy", required=True, help="Strategy text, e.g. small/self_consistency(k=5).")
@click.option("--upstream", required=True, help="OpenAI-compatible base URL, e.g. http://host/v1.")
@click.option("--prices", "prices_path", type=FILE, required=True, help="Price card.")
@click.option(
    "--verifier",
    "verifiers",
    multiple=True,
    help="name=module:function, or name= and a form such as regex:PATTERN; repeat.",
)
@click.option("--extractor", help="module:function(text) -> final answer, for votes.")
@click.option(
    "--answers-per-call",
    type=click.IntRange(1),
    default=128,
    show_default=True,
    help="Most answers of one call; 1 for servers that do not know `n`.",
)
@click.option(
    "--max-tokens",
    type=click.IntRange(1, 1_000_000),
    help="Cap on the completion tokens of every call that has none in the strategy.",
)
@click.option("--max-usd", type=FiniteRange(0, min_open=True), help="Dollars over all calls.")
@click.option("--max-calls", type=click.IntRange(1), help="Calls, those that fail included.")
@click.option("--max-total-tokens", type=click.IntRange(1), help="Tokens in and out of all calls.")
@click.option(
    "--max-seconds",
    type=FiniteRange(0, min_open=True),
    help="Seconds until the best answer so far is the answer.",
)
@click.option(
    "--timeout-s",
    type=FiniteRange(0, min_open=True),
    default=120.0,
    show_default=True,
    help="Seconds until a call is given up.",
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), help="The same one, the same samples.")
@click.option("--trace", is_flag=True, help="Show the steps that led to the answer.")
@format_option
def ask_command(
    prompt: str,
    strategy: str,
    upstream: str,
    prices_path: Path,
    verifiers: tuple[str, ...],
    extractor: str | None,
    answers_per_call: int,
    max_tokens: int | None,
    max_usd: float | None,
    max_calls: int | None,
    max_total_tokens: int | None,
    max_seconds: float | None,
    timeout_s: float,
    seed: int | None,
    trace: bool,
    output_format: str,
) -> int:
    """Answer PROMPT (`-` for standard input) by one strategy, without a policy.

    What it can cost at most is said before the first call. INFERBUDGET_UPSTREAM_API_KEY is what the
    server gets. Where a limit or an error cut the strategy short, the best answer so far is printed
    and the exit code is 1.
    """
    from profiles.money import PriceCard
    from profiles.yaml_input import read_yaml
    from runtime import Envelope, Prepared, tools_of

    prepared = Prepared(
        strategy,
        _stdin() if prompt == "-" else prompt,
        read_yaml(prices_path, PriceCard),
        envelope=Envelope(max_calls, max_total_tokens, max_usd, max_seconds),
        max_tokens=max_tokens,
        tools=tools_of(
            load_verifiers(verifiers, "--verifier"),
            load_callable(extractor) if extractor else None,
            answers_per_call,
        ),
        seed=seed,
    )
    emit_text(f"{prepared.strategy} can cost at most {_dollars(prepared.most_usd)} USD", err=True)
    found = asyncio.run(_answered(prepared, upstream, timeout_s))
    if output_format == "json":
        emit_json(_result(prepared, found, trace=trace))
    else:
        emit_text(found.text)
        if trace:
            emit_text(f"\n{table(map(_row, found.steps), _HEADER)}")
        emit_text(_summary(prepared.bill) + ("" if found.finished else _CUT), err=True)
    return ExitCode.DONE if found.finished else ExitCode.FINDING


def _stdin() -> str:
    """Whatever the locale; bytes that are no UTF-8 are refused where the prompt is read."""
    return sys.stdin.buffer.read().decode(errors="surrogateescape")


async def _answered(prepared: Prepared, url: str, timeout_s: float) -> Outcome:
    """The answer. However the calls end, what they cost is said.

    Raises:
        UpstreamError: No call gave one.
        FindingError: There was none within the limits.
    """
    from runtime import Upstream
    from runtime.sources import UPSTREAM_API_KEY
    from runtime.strategies import TimeCapError

    key = os.environ.get(UPSTREAM_API_KEY)
    async with Upstream(url, key, timeout_s=timeout_s) as upstream:
        try:
            return await prepared.answer(upstream)
        except BaseException as error:
            if prepared.bill.calls:
                emit_text(_summary(prepared.bill), err=True)
            if isinstance(error, TimeCapError):
                raise FindingError(str(error)) from error
            raise


def _result(prepared: Prepared, found: Outcome, *, trace: bool) -> dict[str, Any]:
    from msgspec import to_builtins

    result: dict[str, Any] = to_builtins(found)
    steps = result.pop("steps")
    del result["tool_calls"]  # no tools are offered here
    result["answer"] = result.pop("text")
    result["cost_usd"] = to_usd(result.pop("cost_nano_usd"))
    shown = {"steps": [_step(step) for step in steps]} if trace else {}
    return {
        "strategy": prepared.strategy,
        "most_usd": prepared.most_usd,
        **result,
        **shown,
    }


def _step(step: dict[str, Any]) -> dict[str, Any]:
    return {**step, "cost_usd": to_usd(step.pop("cost_nano_usd"))}


def _row(step: Step) -> Iterable[str]:
    """A note has neither a model nor tokens."""
    called = step.model is not None
    unknown = "n/a" if called else ""
    yield step.what
    yield step.model or ""
    yield unknown if step.tokens_in is None else str(step.tokens_in)
    yield unknown if step.tokens_out is None else str(step.tokens_out)
    yield _dollars(to_usd(step.cost_nano_usd)) if called else ""
    yield "" if step.latency_s is None else f"{step.latency_s:.3f}"
    yield step.detail


def _summary(bill: Bill) -> str:
    """What it came to, in one line."""
    at_most = "" if bill.usage_known else "at most "
    calls = f"{bill.calls} call{'s' * (bill.calls != 1)}"
    return (
        f"{at_most}{_dollars(to_usd(bill.cost_nano_usd))} USD, {calls}, "
        f"{bill.tokens_in} tokens in, {bill.tokens_out} out"
    )


def _dollars(usd: float) -> str:
    """To the nano-dollar: a request's price is a small number."""
    return f"{usd:.9f}"
