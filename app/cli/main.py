"""Entry point: the command group, loaded lazily, and the mapping of errors to exit codes."""

from __future__ import annotations

import os
import sys
from io import StringIO

import click

from app.cli.lazy import Lazy, LazyGroup
from profiles.errors import ExitCode, InferbudgetError
from profiles.visible import escaped_lines

# Rows are short: threads of the linear algebra would wait for each other, not work. It reads this
# when it is loaded, which no command is yet.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

COMMANDS = {
    "profile": Lazy("app.cli.profile:profile", "Fill and read the profile store."),
    "difficulty": Lazy("app.cli.difficulty:difficulty", "Learn difficulty classes from text."),
    "plan": Lazy(
        "app.cli.plan:plan", "Solve a spec for the best allocation; explain and judge it."
    ),
    "frontier": Lazy("app.cli.frontier:frontier_command", "What accuracy costs, cheap to best."),
    "compare": Lazy("app.cli.compare:compare_command", "Scenarios of a spec side by side."),
    "break-even": Lazy("app.cli.break_even:break_even_command", "Train or think longer?"),
    "fleet": Lazy("app.cli.fleet:fleet_command", "Whole GPUs by type and hour for plans."),
    "compile": Lazy("app.cli.policy.compile:compile_command", "Turn a plan into a policy file."),
    "check": Lazy("app.cli.policy.check:check_command", "Check policy files."),
    "fmt": Lazy("app.cli.policy.fmt:fmt_command", "Write policy files in their one form."),
    "explain": Lazy(
        "app.cli.policy.explain:explain_command", "What a policy does, in words; for a prompt, why."
    ),
    "diff": Lazy("app.cli.policy.diff:diff_command", "What a change of policy means."),
    "test": Lazy("app.cli.policy.test:test_command", "Ask a policy its own test cases."),
    "verify": Lazy("app.cli.policy.verify:verify_command", "Hold a policy against what it says."),
    "review": Lazy("app.cli.policy.review:review_command", "What CI asks of a changed policy."),
    "sign": Lazy("app.cli.policy.sign:sign", "Sign a reviewed policy; make a key pair."),
    "export": Lazy("app.cli.policy.export:export_command", "A policy for another gateway."),
    "schema": Lazy("app.cli.schema:schema_command", "JSON Schema of the file formats."),
    "ask": Lazy("app.cli.ask:ask_command", "Answer one prompt by one strategy."),
    "replay": Lazy("app.cli.replay:replay_command", "Drive a policy with recorded outcomes."),
    "audit": Lazy("app.cli.audit:audit_command", "Accuracy and compute by group."),
    "serve": Lazy("app.cli.serve:serve_command", "Enforce a policy on live traffic."),
    "keys": Lazy("app.cli.keys:keys", "Make virtual keys of tenants."),
    "ledger": Lazy("app.cli.ledger:ledger", "Look at the money; prove and correct it."),
    "app": Lazy("app.cli.whatif:app_command", "Open the what-if app."),
}


EXTRA_OF_PACKAGE = {
    **dict.fromkeys(("duckdb", "highspy", "onnx", "pyarrow", "pyomo", "scipy", "tqdm"), "plan"),
    **dict.fromkeys(
        ("aiohttp", "httptools", "msgspec", "prometheus_client", "redis", "uvicorn"), "serve"
    ),
    **dict.fromkeys(("altair", "streamlit"), "app"),
    "cryptography": "sign",
    "opentelemetry": "trace",
    "ray": "ray",
}


def _missing_extra(error: ModuleNotFoundError) -> str | None:
    """Which extra would bring the missing package; None where it is none of ours."""
    package = (error.name or "").partition(".")[0]
    extra = EXTRA_OF_PACKAGE.get(package)
    if extra is None:
        return None
    return (
        f"error: this command needs {package}, which is not installed\n"
        f"  next: pip install 'inferbudget[{extra}]'"
    )


@click.group(
    cls=LazyGroup,
    commands_by_name=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="inferbudget")
def cli() -> None:
    """Decide how much inference-time compute each request deserves, and enforce it.

    measure -> plan -> compile -> serve. Results go to stdout, progress to stderr.
    """


def main() -> None:
    """Run a command and end with its documented exit code."""
    try:
        code = cli.main(standalone_mode=False)
    except click.ClickException as error:
        said = StringIO()
        error.show(said)
        click.echo(escaped_lines(said.getvalue().removesuffix("\n")), err=True)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("aborted", err=True)
        sys.exit(130)
    except InferbudgetError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except Exception as error:  # the last border: a bug ends with its own exit code
        missing = _missing_extra(error) if isinstance(error, ModuleNotFoundError) else None
        if missing:
            click.echo(missing, err=True)
            sys.exit(ExitCode.USAGE)
        import traceback

        traceback.print_exc()
        click.echo("error: this is a bug in inferbudget; please report the lines above", err=True)
        sys.exit(ExitCode.BUG)
    sys.exit(code if isinstance(code, int) else ExitCode.DONE)
