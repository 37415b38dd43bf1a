"""`inferbudget serve`: the gateway."""

from __future__ import annotations

from pathlib import Path

import click

from app.cli.options import FILE, FOLDER, FiniteRange, load_callable, load_verifiers
from app.cli.policy.keyring import read_keys


@click.command("serve")
@click.argument("policy", type=FILE)
@click.option("--upstream", help="OpenAI-compatible base URL, e.g. http://host/v1.")
@click.option(
    "--config", type=FILE, help="gateway.yaml: upstreams, shared budgets, tenants and more."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="Port to listen on, 0 for any free one.",
)
@click.option(
    "--verifier",
    "verifiers",
    multiple=True,
    help="name=module:function, or name= and a form such as regex:PATTERN; repeat.",
)
@click.option("--extractor", help="module:function(text) -> final answer, for votes.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    default=120.0,
    show_default=True,
    help="Seconds until an upstream call is given up and charged at its bound.",
)
@click.option(
    "--linger",
    "linger_s",
    type=FiniteRange(min=0),
    default=0.0,
    show_default=True,
    help="Seconds after SIGTERM that new requests are served while /ready says 503.",
)
@click.option(
    "--drain",
    "drain_s",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    help="Seconds that running requests get after that.",
)
@click.option("--encoder", type=FOLDER, help="Folder of the encoder that the policy names.")
@click.option(
    "--encoder-timeout",
    "encoder_timeout_s",
    type=FiniteRange(min=0, min_open=True),
    default=0.25,
    show_default=True,
    help="Seconds until a prompt that the encoder has not read gets the last class.",
)
@click.option(
    "--require-gpu",
    is_flag=True,
    help="Refuse to run the encoder on a CPU; without an encoder, refuse to decide on one.",
)
@click.option(
    "--require-signature",
    is_flag=True,
    help="Refuse a policy that no trusted key has signed, byte for byte.",
)
@click.option(
    "--trusted-key",
    "trusted_keys",
    type=FILE,
    multiple=True,
    help="Public key whose signature counts; repeat. It asks for a signature.",
)
def serve_command(
    policy: Path,
    upstream: str | None,
    config: Path | None,
    host: str,
    port: int,
    verifiers: tuple[str, ...],
    extractor: str | None,
    timeout_s: float,
    linger_s: float,
    drain_s: float,
    encoder: Path | None,
    encoder_timeout_s: float,
    require_gpu: bool,
    require_signature: bool,
    trusted_keys: tuple[Path, ...],
) -> None:
    """Enforce POLICY on live OpenAI-compatible traffic.

    Where calls go is said by --upstream or by --config. Prints one JSON line when it is ready.
    INFERBUDGET_API_KEY is what clients must send where there are no tenants,
    INFERBUDGET_OPERATOR_KEY opens /metrics, /ledger and /dry-run, INFERBUDGET_UPSTREAM_API_KEY is
    what the one upstream gets. SIGHUP reads policy and tenants again.
    """
    from runtime.serve import serve
    from runtime.settings import read_settings

    if require_signature and not trusted_keys:
        raise click.UsageError("--require-signature needs a key that is trusted: --trusted-key PUB")
    serve(
        policy,
        upstream=upstream,
        settings=read_settings(config) if config else None,
        host=host,
        port=port,
        verifiers=load_verifiers(verifiers, "--verifier"),
        extract=load_callable(extractor) if extractor else None,
        timeout_s=timeout_s,
        linger_s=linger_s,
        drain_s=drain_s,
        encoder=encoder,
        encoder_timeout_s=encoder_timeout_s,
        require_gpu=require_gpu,
        trusted=read_keys(trusted_keys) if trusted_keys else None,
    )
