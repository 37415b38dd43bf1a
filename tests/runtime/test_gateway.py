from __future__ import annotations

import asyncio
import io
import json
import re
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from fake_upstream import FakeUpstream, InMemory, reply
from hypothesis import given, settings
from hypothesis import strategies as st
from running_gateway import BODY, running
from small_policies import CHEAP, DEAR, budget, policy, service

from planner.spec import Window
from profiles.errors import InputError
from runtime.gateway import Gateway
from runtime.openai import MAX_BODY_BYTES
from runtime.upstream import ChatCall, Completion


@pytest.mark.asyncio
async def test_a_chat_is_answered_in_openais_shape_with_what_it_cost(tmp_path: Path) -> None:
    async with running(tmp_path) as at:
        status, body, headers = await at.chat()
        spent = at.service.ledger.state("global").spent
        bill = at.fake.bill_nano_usd
    assert status == 200
    assert body["object"] == "chat.completion"
    assert body["choices"][0]["message"] == {"role": "assistant", "content": "four"}
    assert body["usage"] == {"prompt_tokens": 19, "completion_tokens": 4, "total_tokens": 23}
    assert headers["x-inferbudget-class"] == "hard"
    assert headers["x-inferbudget-strategy"] == CHEAP
    assert headers["x-inferbudget-rung"] == "0"
    assert headers["x-inferbudget-cost-usd"] == f"0.{bill:09d}"
    assert body["id"] == f"chatcmpl-{headers['x-inferbudget-request-id']}"
    assert spent == bill


@pytest.mark.asyncio
async def test_content_parts_labels_and_caps_travel(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "two "}, {"type": "text", "text": "and two"}]
    async with running(tmp_path) as at:
        body = {**BODY, "messages": [{"role": "user", "content": parts}], "max_tokens": 9}
        raw = json.dumps({**body, "max_completion_tokens": 3, "stop": "\n", "seed": 4}).encode()
        status, _, headers = await at.post(raw, **{"x-inferbudget-class": "easy "})
        (call,) = at.fake.calls
    assert (status, headers["x-inferbudget-class"]) == (200, "easy")
    assert call["messages"] == [{"role": "user", "content": "two and two"}]
    assert (call["max_tokens"], call["stop"], call["seed"]) == (3, ["\n"], 4)


@pytest.mark.asyncio
async def test_a_header_that_an_edge_blanks_does_not_fall_back_to_the_body(tmp_path: Path) -> None:
    async with running(tmp_path) as at:
        status, body, _ = await at.post(json.dumps(BODY).encode(), **{"x-inferbudget-class": ""})
    assert status == 400
    expected = "expected one of its classes (2), which the operator knows; got ''"
    assert expected in body["error"]["message"]


@pytest.mark.asyncio
async def test_a_stream_brings_the_text_then_usage_when_asked_then_done(tmp_path: Path) -> None:
    async with running(tmp_path) as at:
        for options in (None, {"include_usage": True}):
            sent = {**BODY, "stream": True, "stream_options": options}
            async with at.client.post("/v1/chat/completions", json=sent) as found:
                assert found.content_type == "text/event-stream"
                assert found.headers["x-inferbudget-strategy"] == CHEAP
                lines = (await found.text()).split("\n\n")
            assert lines[-2:] == ["data: [DONE]", ""]
            events = [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]
            deltas = [choice for event in events for choice in event["choices"]]
            assert "".join(choice["delta"].get("content", "") for choice in deltas) == "four"
            assert deltas[-1]["finish_reason"] == "stop"
            usages = [event["usage"] for event in events if event.get("usage")]
            assert len(usages) == (1 if options else 0)
            assert len({event["id"] for event in events}) == 1


REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({"n": 2}, 400, "n other than 1"),
    ({"tools": [{"type": "function"}]}, 400, "tools"),
    ({"reasoning_effort": "high"}, 400, "reasoning_effort is not supported"),
    ({"top_k": 40}, 400, "top_k is not supported"),
    ({"min_p": 0.1}, 400, "min_p is not supported"),
    ({"modalities": ["text", "audio"]}, 400, "modalities is not supported"),
    ({"verbosity": "low"}, 400, "verbosity is not supported"),
    ({"repetition_penalty": 1.1}, 400, "repetition_penalty is not supported"),
    ({"tool_choice": "required"}, 400, "tool_choice"),
    ({"messages": []}, 400, "length >= 1"),
    ({"messages": [{"role": "tool", "content": "x"}]}, 400, "tool_call_id"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "type"),
    ({"max_tokens": 0}, 400, ">= 1"),
    ({"temperature": 3}, 400, "<= 2"),
    ({"seed": 2**70}, 400, ""),
    ({"model": "gpt-4"}, 404, "'gpt-4' does not exist"),
    ({"metadata": {"class": "odd"}}, 400, "not a class"),
    ({"metadata": None}, 400, "none came"),
]


@pytest.mark.asyncio
async def test_what_cannot_be_honoured_is_refused_in_words(tmp_path: Path) -> None:
    async with running(tmp_path) as at:
        for fields, expected, message in REFUSED:
            status, body, _ = await at.chat(**fields)
            assert (status, message in body["error"]["message"]) == (expected, True), (fields, body)
            assert set(body["error"]) == {"message", "type", "param", "code"}
        assert not at.fake.calls
        neutral = {"n": 1, "tools": [], "logprobs": False, "presence_penalty": 0, "user": "me"}
        assert (await at.chat(**neutral))[0] == 200
        neutral = {"modalities": ["text"], "repetition_penalty": 1.0, "top_k": -1, "min_p": 0}
        for choice in ("auto", "none"):
            assert (await at.chat(**neutral, tool_choice=choice))[0] == 200


@pytest.mark.asyncio
async def test_wrong_paths_methods_and_sizes_have_their_own_status(tmp_path: Path) -> None:
    async with running(tmp_path) as at:
        assert (await at.get("/nowhere"))[0] == 404
        assert (await at.get("/v1/chat/completions"))[0] == 405
        async with at.client.post("/ledger") as found:
            assert found.status == 405
        large = io.BytesIO(b"x" * (MAX_BODY_BYTES + 1))
        async with at.client.post("/v1/chat/completions", data=large) as found:
            assert found.status == 413

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(MAX_BODY_BYTES // 65_536 + 1):
                yield b"x" * 65_536

        async with at.client.post("/v1/chat/completions", data=chunks()) as found:
            assert found.status == 413


@pytest.mark.asyncio
async def test_a_key_is_asked_for_everywhere_but_at_the_probes(tmp_path: Path) -> None:
    async with running(tmp_path, api_key="s3cret", operator_key="mine") as at:
        for path in ("/v1/models", "/metrics", "/ledger", "/nowhere"):
            assert (await at.get(path))[0] == 401
            assert (await at.get(path, authorization="Bearer wrong"))[0] == 401
        assert (await at.chat())[0] == 401
        assert (await at.get("/health"))[0] == (await at.get("/ready"))[0] == 200
        assert (await at.get("/v1/models", authorization="Bearer s3cret"))[0] == 200
        assert (await at.get("/ledger", authorization="Bearer mine"))[0] == 200
        metrics = (await at.get("/metrics", authorization="Bearer mine"))[1]
    assert 'outcome="unauthorised",strategy=""} 9.0' in metrics


@pytest.mark.asyncio
@pytest.mark.parametrize("operator_key", [None, "mine"])
async def test_no_page_that_the_client_key_opens_names_another_class(
    tmp_path: Path, operator_key: str | None
) -> None:
    async with running(tmp_path, api_key="s3cret", operator_key=operator_key) as at:
        client = {"authorization": "Bearer s3cret"}
        others = json.dumps({**BODY, "metadata": {"class": "easy"}}).encode()
        assert (await at.post(others, **client))[0] == 200
        for path in ("/health", "/ready", "/v1/models", "/ledger", "/metrics"):
            status, page = await at.get(path, **client)
            assert "easy" not in page
            assert (status == 200) == (path not in ("/metrics", "/ledger"))
        for label in ("", "tax"):
            _, refusal, _ = await at.post(
                json.dumps(BODY).encode(), **client, **{"x-inferbudget-class": label}
            )
            assert "easy" not in refusal["error"]["message"]
        status, page = await at.get("/metrics", **client)
        assert status == (403 if operator_key is None else 401)
        seen = await at.get("/metrics", authorization=f"Bearer {operator_key}")
        assert ('class="easy"' in seen[1]) == (operator_key is not None)


@pytest.mark.asyncio
async def test_the_operators_key_opens_the_operators_pages_and_no_others(tmp_path: Path) -> None:
    async with running(tmp_path, operator_key="mine") as at:
        assert (await at.chat())[0] == 200
        for path in ("/metrics", "/ledger"):
            assert (await at.get(path))[0] == 401
            assert (await at.get(path, authorization="Bearer mine"))[0] == 200
    async with running(tmp_path, api_key="s3cret", operator_key="mine") as at:
        assert (await at.get("/v1/models", authorization="Bearer mine"))[0] == 401


def test_a_useless_key_opens_nothing(tmp_path: Path) -> None:
    inner = service(policy(), tmp_path, InMemory(right))
    for key in ("", "  "):
        with pytest.raises(InputError, match="would let everybody in"):
            Gateway(inner, api_key=key)
        with pytest.raises(InputError, match=r"INFERBUDGET_OPERATOR_KEY: .*let everybody in"):
            Gateway(inner, operator_key=key)
    with pytest.raises(InputError, match="they could read /metrics and /ledger"):
        Gateway(inner, api_key="same", operator_key="same")


@pytest.mark.asyncio
async def test_models_metrics_and_ledger_show_what_happened(tmp_path: Path) -> None:
    async with running(tmp_path) as at:
        await at.chat()
        models = json.loads((await at.get("/v1/models"))[1])
        ledger = json.loads((await at.get("/ledger"))[1])
        metrics = (await at.get("/metrics"))[1].splitlines()
        bill = at.fake.bill_nano_usd
        digest = at.service.policy.digest
    assert [model["id"] for model in models["data"]] == ["inferbudget", "sums"]
    scope = ledger["scopes"]["global"]
    assert scope["spent"] == bill
    assert scope["remaining"] == scope["limit"] - bill == 10**9 - bill
    assert (ledger["open_holds"], ledger["alarms"]) == (0, 0)
    counted = (
        f'inferbudget_requests_total{{class="hard",outcome="answered",strategy="{CHEAP}"}} 1.0'
    )
    assert counted in metrics
    assert f'inferbudget_policy_info{{digest="{digest}"}} 1.0' in metrics
    assert f'inferbudget_spend_usd_total{{scope="global"}} {bill / 1e9}' in metrics
    assert 'inferbudget_onnx_provider_info{provider="CPUExecutionProvider"} 1.0' in metrics
    assert "inferbudget_decision_seconds_count 1.0" in metrics
    assert any(line.startswith("inferbudget_budget_remaining_usd") for line in metrics)


@pytest.mark.asyncio
async def test_money_that_comes_back_is_429_and_money_that_does_not_is_402(tmp_path: Path) -> None:
    for window, expected in ((Window.SECOND, 402), (Window.TOTAL, 402)):
        async with running(tmp_path, policy(budgets=(budget(1e-9, window),))) as at:
            status, body, _ = await at.chat()
        assert (status, body["error"]["code"]) == (expected, "budget_exhausted")
        assert body["error"]["message"] == "the budget cannot pay for this request"
    fake = FakeUpstream(delay_s=0.2)
    async with running(tmp_path, policy(budgets=(budget(0.00005),)), fake) as at:
        found = await asyncio.gather(*(at.chat() for _ in range(5)))
    refused = [headers for status, _, headers in found if status == 429]
    assert {status for status, _, _ in found} == {200, 429}
    assert all(headers["retry-after"] == "1" for headers in refused)
    told = {body["error"]["message"] for status, body, _ in found if status == 429}
    assert told == {"the budget has no room for this request now"}


@pytest.mark.asyncio
async def test_upstream_failures_are_502_and_timeouts_504_without_its_words(tmp_path: Path) -> None:
    async def broken(_: web.Request, __: dict[str, Any]) -> web.Response:
        return web.Response(status=500, text="secret stack trace")

    async with running(tmp_path, fake=FakeUpstream(behaviour=broken)) as at:
        status, body, _ = await at.chat()
        held = at.service.ledger.state("global").held
    assert (status, held) == (502, 0)
    assert body["error"]["message"] == "the upstream answered with status 500"
    async with running(tmp_path, fake=FakeUpstream(delay_s=1), timeout_s=0.05) as at:
        assert (await at.chat())[0] == 504


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("status", "shown", "message"),
    [
        (400, 400, "the model server rejected this request (HTTP 400)"),
        (413, 400, "the model server rejected this request (HTTP 413)"),
        (422, 400, "the model server rejected this request (HTTP 422)"),
        (429, 429, "the model server is busy"),
        (401, 502, "the upstream answered with status 401"),
        (403, 502, "the upstream answered with status 403"),
        (404, 502, "the upstream answered with status 404"),
    ],
)
async def test_what_the_upstream_rejects_costs_nothing_and_says_whose_fault_it_is(
    status: int, shown: int, message: str, tmp_path: Path
) -> None:
    async def reject(_: web.Request, __: dict[str, Any]) -> web.Response:
        return web.Response(status=status, text="secret", headers={"retry-after": "7"})

    async with running(tmp_path, fake=FakeUpstream(behaviour=reject)) as at:
        found, body, headers = await at.chat()
        state = at.service.ledger.state("global")
        metrics = (await at.get("/metrics"))[1]
    assert (found, body["error"]["message"]) == (shown, message)
    assert headers.get("retry-after") == ("7" if status == 429 else None)
    assert (state.spent, state.held) == (0, 0)
    assert f'class="hard",outcome="rejected",strategy="{CHEAP}"}} 1.0' in metrics


@pytest.mark.asyncio
async def test_the_log_holds_no_words_of_the_upstream(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def echo(_: web.Request, __: dict[str, Any]) -> web.Response:
        return web.Response(status=500, text="two and two\nERROR forged")

    async with running(tmp_path, fake=FakeUpstream(behaviour=echo)) as at:
        await at.chat()
    ours = [each for each in caplog.records if each.name.startswith("runtime.gateway")]
    (line,) = [record.getMessage() for record in ours]
    assert re.fullmatch(r"request [0-9a-f]{32} failed: UpstreamError, status 500", line)


@pytest.mark.asyncio
async def test_a_reply_says_whether_the_strategy_ran_as_drawn_and_to_its_end(
    tmp_path: Path,
) -> None:
    async def fail_once(_: web.Request, body: dict[str, Any]) -> web.Response | None:
        return web.Response(status=500) if body["model"] == "small" else None

    cascade = f"cascade(accept=checker,stages=[{CHEAP},large/single])"
    fake = FakeUpstream(behaviour=fail_once)
    async with running(tmp_path, policy(rungs=((cascade, 0.1),)), fake) as at:
        assert (await at.chat())[2]["x-inferbudget-outcome"] == "incomplete"
        metrics = (await at.get("/metrics"))[1]
    assert f'class="hard",outcome="incomplete",strategy="{cascade}"}} 1.0' in metrics
    # The cheap one's bound is 25,100 nano-dollars, the dear one's 147,300.
    tight = policy(rungs=((DEAR, 1e-9), (CHEAP, 1e-10)), budgets=(budget(0.00005, requests=1),))
    async with running(tmp_path, tight) as at:
        assert (await at.chat())[2]["x-inferbudget-outcome"] == "downgraded"
    async with running(tmp_path) as at:
        assert (await at.chat())[2]["x-inferbudget-outcome"] == "answered"


@pytest.mark.asyncio
async def test_503_says_that_nothing_was_charged(tmp_path: Path) -> None:
    async def busy(_: web.Request, body: dict[str, Any]) -> web.Response | None:
        if body["model"] == "small":
            return web.Response(status=500)  # may have been paid for
        return web.Response(status=503, headers={"retry-after": "1"})

    cascade = f"cascade(accept=checker,stages=[{CHEAP},large/single])"
    for strategy, status in (("large/single", 503), (cascade, 502)):
        fake = FakeUpstream(behaviour=busy)
        async with running(tmp_path, policy(rungs=((strategy, 0.1),)), fake) as at:
            found = await at.chat()
            spent = at.service.ledger.state("global").spent
        assert (found[0], found[1]["error"]["type"]) == (status, "server_error")
        assert (spent == 0) == (status == 503)


@pytest.mark.asyncio
async def test_requests_that_never_began_are_counted(tmp_path: Path) -> None:
    async with running(tmp_path, policy(budgets=(budget(1e-9),))) as at:
        await at.chat()
        await at.chat(n=2)
        metrics = (await at.get("/metrics"))[1]
    assert 'inferbudget_requests_total{class="",outcome="refused",strategy=""} 1.0' in metrics
    assert 'inferbudget_requests_total{class="",outcome="invalid",strategy=""} 1.0' in metrics


@pytest.mark.asyncio
async def test_a_slow_verifier_keeps_nobody_else_waiting(tmp_path: Path) -> None:
    let_go = threading.Event()

    def slow(_: str, __: str) -> float:
        return float(let_go.wait(5.0))

    async with running(tmp_path, policy(rungs=((DEAR, 0.1),))) as at:
        at.service.tools.verifiers["checker"]._function = slow
        asked = asyncio.create_task(at.chat())
        while not at.fake.finished:
            await asyncio.sleep(0.005)
        async with asyncio.timeout(1.0):
            assert (await at.get("/health"))[0] == 200
        assert not asked.done()
        let_go.set()
        assert (await asked)[0] == 200


@pytest.mark.asyncio
async def test_a_gateway_that_stops_begins_nothing_new_and_says_so(tmp_path: Path) -> None:
    async with running(tmp_path, fake=FakeUpstream(delay_s=2.0), drain_s=0.2) as at:
        asked = asyncio.create_task(at.chat())
        while not at.fake.calls:
            await asyncio.sleep(0.005)
        stopping = asyncio.create_task(at.gateway.stop())
        await asyncio.sleep(0)
        assert await at.get("/ready") == (503, '{"status":"stopping"}')
        refused, given_up = await at.chat(), await asked
        # Proxies ask again at 503: the call that was sent is charged.
        assert (refused[0], refused[1]["error"]["type"]) == (503, "server_error")
        assert (given_up[0], given_up[1]["error"]["type"]) == (502, "server_error")
        assert "is charged" in given_up[1]["error"]["message"]
        await stopping
        state = at.service.ledger.state("global")
    assert len(at.fake.calls) == 1
    assert (state.spent, state.held) == ((11 + 32 + 128) * 100 + 20 * 400, 0)


@pytest.mark.asyncio
async def test_a_client_that_leaves_still_pays_what_its_call_cost(tmp_path: Path) -> None:
    async with running(tmp_path, fake=FakeUpstream(delay_s=0.3)) as at:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(at.chat(), 0.1)
        await asyncio.sleep(0.5)
        state = at.service.ledger.state("global")
        assert (state.spent, state.held) == (at.fake.bill_nano_usd, 0)
        assert at.fake.bill_nano_usd > 0
        metrics = (await at.get("/metrics"))[1]
    assert 'outcome="disconnected"' in metrics


@pytest.mark.asyncio
async def test_a_reply_without_usage_is_charged_at_its_bound(tmp_path: Path) -> None:
    async def silent(_: web.Request, __: dict[str, Any]) -> web.Response:
        return web.json_response({"choices": [{"message": {"content": "four"}}]})

    async with running(tmp_path, fake=FakeUpstream(behaviour=silent)) as at:
        status, body, headers = await at.chat()
        spent = at.service.ledger.state("global").spent
    assert (status, body["usage"]) == (200, None)
    assert headers["x-inferbudget-cost-usd"] == f"0.{spent:09d}"
    # "small" at 0.1 and 0.4 USD per million: 11 bytes, 160 tokens of template, 20 tokens out.
    assert spent == (11 + 32 + 128) * 100 + 20 * 400


@pytest.mark.asyncio
async def test_two_hundred_requests_over_http_never_overspend(tmp_path: Path) -> None:
    limit = 10.5 * ((11 + 32 + 128) * 100 + 20 * 400) / 1e9
    fake = FakeUpstream(reply="x" * 50, delay_s=0.1)
    async with running(tmp_path, policy(budgets=(budget(limit),)), fake) as at:
        found = await asyncio.gather(*(at.chat() for _ in range(200)))
        state = at.service.ledger.state("global")
    assert sum(status == 200 for status, _, _ in found) == 10
    assert {status for status, _, _ in found} == {200, 429}
    assert state.spent == fake.bill_nano_usd <= limit * 1e9


json_values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8)
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
messages = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "role": st.one_of(st.sampled_from(["user", "system", "tool"]), json_values),
            "content": json_values,
            "name": json_values,
        },
    ),
    max_size=3,
)
names = [
    "model max_tokens max_completion_tokens temperature top_p seed stop n stream stream_options",
    "response_format metadata tools logprobs logit_bias",
]
bodies = st.one_of(
    st.binary(max_size=200),
    json_values.map(lambda value: json.dumps(value).encode()),
    st.fixed_dictionaries(
        {"messages": messages},
        optional={name: json_values for line in names for name in line.split()},
    ).map(lambda value: json.dumps(value).encode()),
    st.just(b"[" * 100_000),
    st.just(b'{"messages":' + b"[" * 100_000),
    st.just(b'{"metadata":' + b'{"a":' * 100_000),
    st.just(b'{"messages":[{"role":"user","content":"\\ud800"}],"metadata":{"class":"easy"}}'),
    st.just(b'{"messages":[{"role":"user","content":"\\u0000"}],"metadata":{"class":"easy"}}'),
    st.just(b'{"messages":[{"role":"user","content":"x"}],"temperature":1e999}'),
)


def right(_: int, call: ChatCall) -> Completion:
    return reply(*["right"] * call.n)


async def ask_app(gateway: Gateway, body: bytes, headers: list[tuple[bytes, bytes]]) -> int:
    sent: list[dict[str, Any]] = []
    waiting = asyncio.Event()
    events: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if events:
            return events.pop()
        await waiting.wait()
        raise AssertionError

    async def send(event: dict[str, Any]) -> None:
        sent.append(event)

    scope = {
        "type": "http",
        "path": "/v1/chat/completions",
        "method": "POST",
        "headers": headers,
    }
    await gateway(scope, receive, send)
    content = json.loads(sent[1]["body"]) if not sent[1]["body"].startswith(b"data: ") else {}
    assert ("error" in content) == (sent[0]["status"] != 200)
    return int(sent[0]["status"])


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    folder = tmp_path_factory.mktemp("gateway")
    return Gateway(service(policy(budgets=(budget(10.0),)), folder, InMemory(right)))


@settings(max_examples=400, deadline=None)
@given(body=bodies, label=st.one_of(st.none(), st.binary(max_size=12), st.just(b"easy")))
def test_nothing_a_client_sends_ends_in_a_server_error(
    offline: Gateway, body: bytes, label: bytes | None
) -> None:
    headers = [] if label is None else [(b"x-inferbudget-class", label)]
    assert asyncio.run(ask_app(offline, body, headers)) in (200, 400, 404)
    assert offline._flow.service.ledger.snapshot().open_holds == 0
