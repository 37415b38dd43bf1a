"""Logs as JSON are JSON, whoever writes them."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
from small_policies import CHEAP, budget, policy, written

from runtime.trace_export import TracingSettings, open_tracing

SCRIPT = """
import sys
from pathlib import Path
from profiles.errors import InferbudgetError
from runtime.serve import serve
from runtime.settings import GatewaySettings, LedgerSettings
about = GatewaySettings(
    format_version="1.0", ledger=LedgerSettings(store="redis://127.0.0.1:1/0"), logs="json"
)
try:
    serve(Path(sys.argv[1]), upstream="http://127.0.0.1:1/v1", settings=about, port=0)
except InferbudgetError as error:
    sys.exit(error.exit_code)
"""


@pytest.mark.asyncio
async def test_lines_of_the_http_server_are_json_too(tmp_path: Path) -> None:
    path = written(policy(budgets=(budget(1.0),), costs={CHEAP: 0.0001}), tmp_path)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SCRIPT,
        str(path),
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    async with asyncio.timeout(60):
        _, said = await process.communicate()
    entries = [json.loads(line) for line in said.splitlines()]
    assert "uvicorn.error" in {entry["logger"] for entry in entries}


def test_what_a_client_calls_a_trace_is_not_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    tracing = open_tracing(
        TracingSettings(endpoint="http://127.0.0.1:1/v1/traces", sample=0.0),
        version="0",
        replica="r",
    )
    trace = b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-00"
    for name, value in (
        (b"traceparent", b"my secret words " * 99),
        (b"traceparent", b"\xff\x00"),
        (b"tracestate", b"my=secret,words/../=\xff," + b"x" * 999),
    ):
        tracing.request("POST", "/v1/responses", [(b"traceparent", trace), (name, value)])
        tracing.request("POST", "/v1/responses", [(name, value), (b"traceparent", trace)])
    tracing.close()
    assert not caplog.records
