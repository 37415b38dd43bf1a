from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from aiohttp import web
from background_upstream import in_background
from click.testing import CliRunner, Result
from fake_upstream import FakeUpstream

from app.cli.main import cli
from profiles.errors import InferbudgetError, InputError, UnknownValueError, UpstreamError
from runtime.caller import CapRefusedError

ROUNDS = "small/best_of_n(n=4, batch=1, verifier=checker)"
CARD = """
models:
  small: {input: 0.1, output: 0.4}
  large: {input: 0.3, output: 1.2}
"""
BOUND = 4 * (100 * (128 + 32 + 11) + 400 * 20)


@pytest.fixture
def fake() -> Iterator[FakeUpstream]:
    with in_background(FakeUpstream()) as found:
        yield found


def ask(
    folder: Path,
    fake: FakeUpstream,
    *more: str,
    prompt: str = "two and two",
    given: bytes | None = None,
) -> Result:
    (folder / "prices.yaml").write_text(CARD)
    words = ["--upstream", fake.url, "--prices", str(folder / "prices.yaml")]
    words += ["--max-tokens", "20", "--verifier", "checker=math:isclose"]
    said = ["ask", prompt, *words, *more]
    return CliRunner().invoke(cli, said, input=given, standalone_mode=False)


def test_an_answer_is_printed_and_its_price_said_before_and_after(
    tmp_path: Path, fake: FakeUpstream
) -> None:
    for prompt, given in (("two and two", None), ("-", b"two and two")):
        found = ask(tmp_path, fake, "--strategy", ROUNDS, prompt=prompt, given=given)
        assert (found.return_value, found.stdout) == (0, "four\n")
        assert found.stderr.splitlines() == [
            f"small/best_of_n(batch=1,n=4,verifier=checker) can cost at most {BOUND / 1e9:.9f} USD",
            # 19 tokens in at 100 nano-dollars and 4 out at 400, four times
            "0.000014000 USD, 4 calls, 76 tokens in, 16 out",
        ]


def test_a_trace_shows_the_steps_as_a_table(tmp_path: Path, fake: FakeUpstream) -> None:
    found = ask(tmp_path, fake, "--strategy", ROUNDS, "--trace", "--max-calls", "2")
    lines = found.stdout.splitlines()
    assert lines[:2] == ["four", ""]
    assert lines[2].split("  ")[0] == "step"
    steps = [line.split()[0] for line in lines[3:]]
    assert steps == ["answer", "verify", "answer", "verify", "cut"]
    assert lines[3].split()[1:5] == ["small", "19", "4", "0.000003500"]
    assert "one request may not make so many calls" in lines[-1]


def test_json_says_everything_of_the_answer(tmp_path: Path, fake: FakeUpstream) -> None:
    found = ask(tmp_path, fake, "--strategy", "small/single", "--format", "json", "--trace")
    result = json.loads(found.stdout)
    (step,) = result.pop("steps")
    assert result == {
        "format_version": "1.0",
        "strategy": "small/single",
        "most_usd": BOUND / 4e9,
        "answer": "four",
        "cost_usd": 3.5e-6,
        "calls": 1,
        "tokens_in": 19,
        "tokens_out": 4,
        "usage_known": True,
        "finished": True,
        "finish_reason": "stop",
        "tokens_reasoning": None,
        "tokens_cached": None,
    }
    assert (step["what"], step["model"], step["cost_usd"]) == ("answer", "small", 3.5e-6)
    plain = ask(tmp_path, fake, "--strategy", "small/single", "--format", "json")
    assert "steps" not in json.loads(plain.stdout)


@pytest.mark.parametrize(
    "limit",
    [
        ("--max-calls", "2"),
        ("--max-usd", "0.00003"),
        ("--max-total-tokens", "230"),
    ],
)
def test_what_the_limits_cut_short_is_the_best_until_then(
    tmp_path: Path, fake: FakeUpstream, limit: tuple[str, str]
) -> None:
    found = ask(tmp_path, fake, "--strategy", ROUNDS, *limit)
    assert (found.return_value, found.stdout) == (1, "four\n")
    assert found.stderr.endswith("; cut short: this is the best answer until then\n")
    assert len(fake.calls) == 2


def test_what_was_not_said_of_the_usage_is_charged_at_its_bound(
    tmp_path: Path, fake: FakeUpstream
) -> None:
    async def silent(_: web.Request, __: dict[str, Any]) -> web.Response:
        return web.json_response({"choices": [{"message": {"content": "four"}}]})

    fake.behaviour = silent
    found = ask(tmp_path, fake, "--strategy", "small/single", "--trace")
    assert found.stderr.splitlines()[-1].startswith(f"at most {BOUND / 4e9:.9f} USD, 1 call,")
    assert found.stdout.splitlines()[-1].split()[2:4] == ["n/a", "n/a"]


@pytest.mark.parametrize(
    ("more", "error", "code", "message"),
    [
        (("--strategy", "small/singel"), InputError, 2, "did you mean 'single'"),
        (("--strategy", "huge/single"), UnknownValueError, 2, "no price is known"),
        (("--strategy", "small/single", "--upstream", "x"), InputError, 2, "not the address"),
        (("--strategy", "small/single", "--max-usd", "1e-8"), CapRefusedError, 1, "so much"),
        (
            ("--strategy", "small/single", "--max-seconds", "0.05"),
            InferbudgetError,
            1,
            r"no answer within 0\.05 s",
        ),
        (("--strategy", "small/single", "--timeout-s", "0.05"), UpstreamError, 5, "not answer"),
    ],
)
def test_errors_end_with_their_exit_code(
    tmp_path: Path,
    fake: FakeUpstream,
    more: tuple[str, ...],
    error: type[InferbudgetError],
    code: int,
    message: str,
) -> None:
    fake.delay_s = 0.5
    found = ask(tmp_path, fake, *more)
    assert isinstance(found.exception, error)
    assert found.exception.exit_code == code
    with pytest.raises(error, match=message):
        raise found.exception


def test_what_a_failure_cost_is_said(tmp_path: Path, fake: FakeUpstream) -> None:
    async def broken(_: web.Request, __: dict[str, Any]) -> web.Response:
        return web.Response(status=500)

    fake.behaviour = broken
    found = ask(tmp_path, fake, "--strategy", "small/single")
    assert isinstance(found.exception, UpstreamError)
    said = found.stderr.splitlines()[-1]
    assert said == f"at most {BOUND / 4e9:.9f} USD, 1 call, 0 tokens in, 0 out"
    refused = ask(tmp_path, fake, "--strategy", "small/single", "--max-usd", "1e-8")
    assert len(refused.stderr.splitlines()) == 1  # nothing was sent


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Shells start what runs in the background with interruptions ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_what_was_paid_until_an_interruption_is_said(tmp_path: Path, fake: FakeUpstream) -> None:
    async def interrupts(request: web.Request, _: dict[str, Any]) -> None:
        if len(fake.calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(1200):  # a busy machine takes long to see it
                if request.transport is None or request.transport.is_closing():
                    break
                await asyncio.sleep(0.05)

    fake.behaviour = interrupts
    found = ask(tmp_path, fake, "--strategy", ROUNDS, "--format", "json")
    assert isinstance(found.exception, KeyboardInterrupt | click.Abort)
    cost = 2 * 3500 + BOUND / 4
    said = f"at most {cost / 1e9:.9f} USD, 3 calls, 38 tokens in, 8 out"
    assert (found.stdout, found.stderr.rstrip().splitlines()[-1]) == ("", said)


@pytest.mark.parametrize("given", ["caf\udce9", None])
def test_a_prompt_that_is_no_text_is_refused(
    given: str | None, tmp_path: Path, fake: FakeUpstream
) -> None:
    found = ask(tmp_path, fake, "--strategy", "small/single", prompt=given or "-", given=b"caf\xe9")
    with pytest.raises(InputError, match="half a character"):
        raise found.exception or AssertionError
    assert not fake.calls


def test_words_that_cannot_be_are_usage_errors(tmp_path: Path, fake: FakeUpstream) -> None:
    for more in (("--max-usd", "0"), ("--max-calls", "0"), ("--max-seconds", "nan")):
        found = ask(tmp_path, fake, "--strategy", "small/single", *more)
        assert isinstance(found.exception, click.UsageError)
    assert not fake.calls
