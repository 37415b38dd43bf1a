"""How long an answer may take: `--time-limit` of plan and of what explains and judges a plan."""

from __future__ import annotations

import click

from app.cli.options import Command, FiniteRange

SECONDS = 60.0


def time_limit_option(command: Command) -> Command:
    """`--time-limit`: seconds for one answer, all solves behind it together."""
    return click.option(
        "--time-limit",
        "time_limit_s",
        type=FiniteRange(min=0, min_open=True),
        default=SECONDS,
        show_default=True,
        help="Seconds that one answer may take; without a proof by then it is exit code 4.",
    )(command)
