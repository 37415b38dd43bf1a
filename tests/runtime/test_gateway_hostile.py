"""A gateway under clients, files and moments that nobody planned for."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from fake_upstream import PRICES, InMemory, reply
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_policies import CHEAP, budget, policy, service, written
from small_tenants import CI, FILE, STRANGER, WEB, bearer, tenants

from policies.policy import Policy
from profiles.errors import ExitCode, InputError, UnknownValueError
from profiles.money import PriceCard
from runtime import openai
from runtime.checkers import Extractor, Verifier, final_answer
from runtime.decision import DecisionSession
from runtime.deployment import Deployment
from runtime.embeddings import EmbeddingService
from runtime.files import fingerprint
from runtime.gateway import Gateway
from runtime.gathering import Gathering, Question
from runtime.ledger import Hold
from runtime.ledger.store import StoreError
from runtime.policy_budgets import scopes
from runtime.service import Service
from runtime.settings import EmbeddingPrice, GatewaySettings, LedgerSettings, read_settings
from runtime.shadow import Shadow
from runtime.sources import Sources
from runtime.strategies import Tools
from runtime.tenants import Tenants
from runtime.tenants.users import UserAccounts
from runtime.tenants.virtual_keys import NewKey
from runtime.upstream_embeddings import Embeddings
from runtime.upstreams.settings import UpstreamSettings

pytestmark = pytest.mark.asyncio
CHAT = (
    b'{"model":"inferbudget","messages":[{"role":"user","content":"two and two"}],'
    b'"metadata":{"class":"hard"}}'
)
EMBEDDING = b'{"model":"small","input":"two and two"}'
TOOLS = Tools({"checker": Verifier("checker", lambda *_: 1.0)}, Extractor(final_answer))
Headers = list[tuple[bytes, bytes]]


class Answers(InMemory):
    """Chats at once, embeddings when they may."""

    def __init__(self) -> None:
        super().__init__(lambda *_: reply("four"))
        self.may_embed = asyncio.Event()
        self.may_embed.set()
        self.embedding = asyncio.Event()

    async def embeddings(self, model: str, body: bytes) -> Embeddings:
        self.embedding.set()
        await self.may_embed.wait()
        return Embeddings(b'{"data":[]}', 3, 0.0)


class Asked:
    """One request, without a server."""

    def __init__(self, path: str, body: bytes = b"", headers: Headers | None = None) -> None:
        self.sent: list[dict[str, Any]] = []
        self.body: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.body.put_nowait({"type": "http.request", "body": body, "more_body": False})
        self.scope: dict[str, Any] = {
            "type": "http",
            "method": "POST",
            "path": path,
            "headers": headers or [],
        }

    async def of(self, gateway: Gateway) -> int:
        async def send(event: dict[str, Any]) -> None:
            self.sent.append(event)

        await gateway(self.scope, self.body.get, send)
        return self.status

    @property
    def status(self) -> int:
        found: int = self.sent[0]["status"]
        return found

    @property
    def text(self) -> str:
        return b"".join(event.get("body", b"") for event in self.sent).decode()


def gateway_of(
    folder: Path,
    upstream: Answers,
    who: Tenants | None = None,
    *,
    found: Policy | None = None,
    **options: Any,
) -> Gateway:
    found = found or policy(budgets=(budget(1.0),))
    inner = service(found, folder, upstream)
    if who is not None:
        inner.ledger.redefine(who.scopes())
        inner = Service(
            found,
            inner.decider,
            upstream,
            inner.tools,
            ledger=inner.ledger,
            counts_tokens=who.counts_tokens,
            gpu_seconds=who.gpu_seconds,
            seed=1,
        )
    embeddings = EmbeddingService(
        upstream,
        PriceCard(models={"small": PRICES.price("small")}),
        inner.ledger,
        scopes=tuple(scope.name for scope in scopes(found)),
        users=UserAccounts(inner.ledger),
        gpu_seconds=who.gpu_seconds if who else None,
    )
    return Gateway(inner, tenants=who, embeddings=embeddings, **options)


async def test_a_length_of_thousands_of_digits_is_a_body_too_long(tmp_path: Path) -> None:
    gateway = gateway_of(tmp_path, Answers())
    for digits in (b"9" * 5_000, b"0" * 5_000 + b"9" * 20):
        for path in ("/v1/chat/completions", "/v1/embeddings", "/dry-run"):
            asked = Asked(path, CHAT, [(b"content-length", digits)])
            assert await asked.of(gateway) == 413
    asked = Asked("/v1/chat/completions", CHAT, [(b"content-length", b"0" * 5_000 + b"90")])
    assert await asked.of(gateway) == 200


async def test_embeddings_are_drained_like_answers(tmp_path: Path) -> None:
    upstream = Answers()
    upstream.may_embed.clear()
    gateway = gateway_of(tmp_path, upstream)
    asked = Asked("/v1/embeddings", EMBEDDING)
    request = asyncio.create_task(asked.of(gateway))
    await upstream.embedding.wait()
    stopping = asyncio.create_task(gateway.stop())
    await asyncio.sleep(0.05)
    assert not stopping.done()
    upstream.may_embed.set()
    async with asyncio.timeout(10):
        await stopping
        assert await request == 200


async def test_embeddings_that_outlast_the_drain_are_given_up_and_charged(tmp_path: Path) -> None:
    upstream = Answers()
    upstream.may_embed.clear()
    gateway = gateway_of(tmp_path, upstream, drain_s=0.05)
    asked = Asked("/v1/embeddings", EMBEDDING)
    request = asyncio.create_task(asked.of(gateway))
    await upstream.embedding.wait()
    async with asyncio.timeout(10):
        await gateway.stop()
        assert await request == 502  # at 503 proxies would ask again
    state = gateway.service.ledger.state("global")
    bound = openai.embedding_tokens_bound(openai.read_embedding(EMBEDDING))
    assert (state.spent, state.held) == (PRICES.price("small").cost_nano_usd(bound, 0), 0)


@pytest.mark.parametrize(
    ("limits", "status"), [("usd: 1.0e-9", 400), ("tokens: 10", 400), ("wall_s: 0.02", 504)]
)
async def test_a_keys_limits_on_one_request_count_for_embeddings(
    limits: str, status: int, tmp_path: Path
) -> None:
    upstream = Answers()
    upstream.may_embed.clear()
    text = FILE.replace("may_set: [user, tags]", f"limits: {{{limits}}}")
    gateway = gateway_of(tmp_path, upstream, tenants(tmp_path, text))
    asked = Asked("/v1/embeddings", EMBEDDING, [(b"authorization", bearer(WEB))])
    async with asyncio.timeout(10):
        assert await asked.of(gateway) == status
    assert gateway.service.ledger.state("global").held == 0
    assert upstream.embedding.is_set() == (status == 504)


@pytest.mark.parametrize(
    ("path", "body"), [("/v1/chat/completions", CHAT), ("/v1/embeddings", EMBEDDING)]
)
async def test_a_key_without_money_takes_no_users_place_from_others_of_its_team(
    path: str, body: bytes, tmp_path: Path
) -> None:
    poor = "may_set: [user, tags]\n            budgets: [{limit_usd: 1.0e-9, window: day}]"
    text = FILE.replace("may_set: [user, tags]", poor).replace("labels: [hard]", "may_set: [user]")
    gateway = gateway_of(tmp_path, Answers(), tenants(tmp_path, text))

    async def of(user: str, key: NewKey) -> int:
        named = body[:-1] + b',"user":"%b"}' % user.encode()
        return await Asked(path, named, [(b"authorization", bearer(key))]).of(gateway)

    assert [await of(f"flood-{number}", WEB) for number in range(10)] == [402] * 10
    assert [await of(user, CI) for user in ("a", "b", "c")] == [200] * 3
    assert await of("one too many", CI) == 429


@pytest.mark.parametrize("key", [WEB, CI], ids=["unknown", "not-allowed"])
async def test_tags_that_a_key_may_not_set_are_counted(key: NewKey, tmp_path: Path) -> None:
    gateway = gateway_of(tmp_path, Answers(), tenants(tmp_path))
    headers = [(b"authorization", bearer(key)), (b"x-inferbudget-tags", b"nobody-knows")]
    asked = Asked("/v1/chat/completions", CHAT, headers)
    assert await asked.of(gateway) == 400
    line = 'inferbudget_requests_total{class="",outcome="invalid",strategy=""} 1.0'
    assert line in gateway.metrics.text().decode()


async def test_why_a_key_did_not_open_is_counted(tmp_path: Path) -> None:
    gateway = gateway_of(tmp_path, Answers(), tenants(tmp_path, clock=lambda: 2e9))
    asked = ([], [(b"authorization", bearer(CI))], [(b"authorization", bearer(STRANGER))])
    for headers in (*asked, asked[2]):
        assert await Asked("/v1/chat/completions", CHAT, headers).of(gateway) == 401
    text = gateway.metrics.text().decode()
    for reason, count in {"missing": 1, "unknown": 2, "expired": 1, "disabled": 0}.items():
        assert f'inferbudget_refused_keys_total{{reason="{reason}"}} {count}.0' in text


def sources(folder: Path, found: Policy, **about: Any) -> Sources:
    about.setdefault("upstreams", (UpstreamSettings(name="u", url="http://127.0.0.1:1/v1"),))
    return Sources(written(found, folder), GatewaySettings(format_version="1.0", **about), TOOLS)


async def test_an_embedding_model_without_a_budgeted_rate_is_refused_before_traffic(
    tmp_path: Path,
) -> None:
    path = tmp_path / "tenants.yaml"
    path.write_text(FILE)
    embeddings = {"embedder": EmbeddingPrice(input=0.1)}
    with pytest.raises(UnknownValueError):
        Deployment(
            sources(tmp_path, policy(budgets=(budget(1.0),)), tenants=path, embeddings=embeddings)
        )


async def test_a_policy_that_cannot_be_served_changes_no_limit(tmp_path: Path) -> None:
    found = Deployment(sources(tmp_path, policy(budgets=(budget(1.0),))))
    unknown = "small/best_of_n(n=4,verifier=nobody)"
    written(policy(budgets=(budget(9.0),), rungs=((unknown, 0.1),), costs={unknown: 0.1}), tmp_path)
    with pytest.raises(InputError):
        await found.reload()
    assert found.gateway.service.ledger.state("global").limit == 10**9
    assert found._servers._models == ("large", "small")


async def test_a_signature_or_graph_that_comes_after_its_policy_is_seen(tmp_path: Path) -> None:
    found = sources(tmp_path, policy(budgets=(budget(1.0),)))
    seen = fingerprint(found)
    (tmp_path / "next.onnx").write_bytes(b"graph")
    with_graph = fingerprint(found)
    (tmp_path / "policy.yaml.sig").write_bytes(b"signature")
    assert len({seen, with_graph, fingerprint(found)}) == 3


async def test_a_defect_in_one_reload_ends_neither_the_watch_nor_the_settling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Deployment(
        sources(
            tmp_path,
            policy(budgets=(budget(1.0),)),
            reload_s=0.01,
            ledger=LedgerSettings(store=f"sqlite:///{tmp_path / 'ledger.db'}"),
        )
    )
    tried = asyncio.Event()

    async def broken() -> None:
        tried.set()
        raise KeyError("a defect")

    async with found:
        monkeypatch.setattr(found, "reload", broken)
        found.reload_soon()
        await tried.wait()
        monkeypatch.undo()
        written(policy(budgets=(budget(2.0),)), tmp_path)
        async with asyncio.timeout(10):
            while found.gateway.service.ledger.state("global").limit != 2 * 10**9:
                await asyncio.sleep(0.01)


async def test_a_gateway_that_stops_takes_no_other_policy(tmp_path: Path) -> None:
    upstream = Answers()
    gateway = gateway_of(tmp_path, upstream)
    before = gateway.service
    await gateway.stop()
    gateway.replace(service(policy(), tmp_path, upstream), None)
    assert gateway.service is before
    assert await Asked("/v1/chat/completions", CHAT).of(gateway) == 503


async def test_what_is_uploaded_over_a_reload_and_a_stop_is_not_begun(tmp_path: Path) -> None:
    upstream = Answers()
    gateway = gateway_of(tmp_path, upstream)
    for path, body in (("/v1/chat/completions", CHAT), ("/v1/embeddings", EMBEDDING)):
        gateway = gateway_of(tmp_path, upstream)
        asked = Asked(path, body)
        whole = asked.body.get_nowait()
        asked.body.put_nowait({**whole, "body": body[:9], "more_body": True})
        request = asyncio.create_task(asked.of(gateway))
        await asyncio.sleep(0)
        gateway.replace(service(policy(), tmp_path, upstream), None)
        await gateway.stop()
        asked.body.put_nowait({**whole, "body": body[9:]})
        assert await request == 503
    assert not upstream.calls
    assert not upstream.embedding.is_set()


async def test_what_waits_for_room_when_the_drain_ends_is_never_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = Answers()
    gateway = gateway_of(tmp_path, upstream, drain_s=0.02)
    ledger, room, waits = gateway.service.ledger, asyncio.Event(), asyncio.Event()
    admit: Callable[..., Awaitable[Hold]] = ledger.admit

    async def slow(*args: Any, **named: Any) -> Hold:
        waits.set()
        await room.wait()
        return await admit(*args, **named)

    monkeypatch.setattr(ledger, "admit", slow)
    request = asyncio.create_task(Asked("/v1/chat/completions", CHAT).of(gateway))
    await waits.wait()
    await gateway.stop()
    room.set()
    assert await request == 503
    assert not upstream.calls
    assert ledger.snapshot().open_holds == 0
    assert ledger.state("global").spent == 0


async def test_a_defect_in_one_decision_leaves_nobody_waiting() -> None:
    class Broken:
        provider = "none"

        def decide(self, *_: object) -> Any:
            raise AssertionError

        def decide_many(self, texts: Any, *_: object) -> Any:
            if len(texts) > 1:
                raise InputError("one of them is wrong")
            raise RuntimeError("a defect")

    gathering = Gathering(Broken())
    async with asyncio.timeout(10):
        found = await asyncio.gather(
            *(gathering.decide(Question(text, 0, 0.5, None)) for text in "abc"),
            return_exceptions=True,
        )
    assert [type(one) for one in found] == [RuntimeError] * 3


async def test_a_store_that_cannot_be_reached_leaves_nothing_open(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.mkdir()
    found = Deployment(
        sources(
            tmp_path,
            policy(budgets=(budget(1.0),)),
            ledger=LedgerSettings(store=f"sqlite:///{path}"),
            audit={"folder": tmp_path},
        )
    )
    with pytest.raises((StoreError, InputError)):
        await found.__aenter__()
    assert found._audit is not None
    assert not found._audit._thread.is_alive()


async def test_a_process_that_cannot_reach_its_store_says_so_and_ends(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from profiles.errors import InferbudgetError
from runtime.ledger.store import StoreLostError
from runtime.serve import serve
from runtime.settings import GatewaySettings, LedgerSettings
about = GatewaySettings(format_version="1.0", ledger=LedgerSettings(store=sys.argv[2]))
try:
    serve(Path(sys.argv[1]), upstream="http://127.0.0.1:1/v1", settings=about, port=0)
except StoreLostError as error:
    print(error)
    sys.exit(error.exit_code)
"""
    path = written(policy(budgets=(budget(1.0),), costs={CHEAP: 0.0001}), tmp_path)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        script,
        str(path),
        "redis://:hunter2@127.0.0.1:1/0",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    async with asyncio.timeout(60):
        said, complained = await process.communicate()
    assert process.returncode == ExitCode.UPSTREAM
    assert b"127.0.0.1:1" in said
    assert b"hunter2" not in said + complained


async def test_a_process_that_would_count_as_lost_between_exchanges_is_refused(
    tmp_path: Path,
) -> None:
    path = tmp_path / "gateway.yaml"
    text = 'format_version: "1.0"\nledger: {store: "sqlite:///l.db", exchange_s: %s}\n'
    path.write_text(text % 20)
    with pytest.raises(InputError, match="4 times exchange_s"):
        read_settings(path)
    path.write_text(text % 3)
    assert read_settings(path).ledger is not None


PATHS = st.sampled_from(
    [
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/responses",
        "/v1/embeddings",
        "/v1/models",
        "/v1/models/x",
        "/v1/models/\udcff\x00",
        "/dry-run",
        "/ledger",
        "/metrics",
        "/health",
        "/ready",
        "/\u2028",
        "",
    ]
)
BYTES = st.binary(max_size=40) | st.sampled_from(
    [b"", bearer(WEB), b"Bearer \xff", b"batch,trial", b"\xe9,\xff", b"hard", b"9" * 5_000, b"-1"]
)
NAMES = st.sampled_from(
    [
        b"authorization",
        b"content-length",
        b"x-inferbudget-class",
        b"x-inferbudget-tags",
        b"x-inferbudget-user",
        b"x-inferbudget-cost-usd",
        b"transfer-encoding",
        b"traceparent",
        b"content-encoding",
    ]
)
WORDS = [
    b"\\ud800",
    b"\\u0000",
    "\u202e\U0001f600".encode(),
    b"hard",
    b"small",
    b"inferbudget",
    b"x" * 300,
    b'"}',
    b"\xff",
]
BODIES = st.binary(max_size=80) | st.builds(
    lambda model, user, text, label, tail: (
        (
            b'{"model":"%b","user":"%b","messages":[{"role":"user","content":"%b"}],'
            b'"input":"%b","prompt":"%b","metadata":{"class":"%b"}%b}'
        )
        % (model, user, text, text, text, label, tail)
    ),
    *[st.sampled_from(WORDS)] * 4,
    st.sampled_from([b"", b',"stream":true', b',"max_tokens":1e400', b',"dimensions":0', b"}"]),
)


@given(
    path=PATHS,
    method=st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "PUT", "\udcff", ""]),
    headers=st.lists(st.tuples(NAMES, BYTES), max_size=5),
    body=BODIES,
    known=st.booleans(),
)
@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_nothing_that_a_client_sends_fails_inside_the_gateway(
    path: str, method: str, headers: Headers, body: bytes, *, known: bool, shared: Gateway
) -> None:
    own = [(b"authorization", bearer(WEB))] if known else []
    asked = Asked(path, body, [*own, *headers])
    asked.scope["method"] = method
    async with asyncio.timeout(10):
        status = await asked.of(shared)
    assert status < 500
    elsewhere = [value for name, value in headers if name != b"authorization"]
    assert bearer(WEB) in elsewhere or WEB.secret not in asked.text
    assert "nano_usd" not in asked.text
    assert shared.service.ledger.snapshot().open_holds == 0


@pytest.fixture
def shared(tmp_path: Path) -> Gateway:
    who = tenants(tmp_path, FILE.replace("at_most: 3", "at_most: 1000"))
    return gateway_of(tmp_path, Answers(), who)


async def test_no_key_comes_into_logs_errors_or_metrics(
    shared: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for secret in (WEB.secret, WEB.secret[:-1] + "!", "sk-other-than-ours"):
        for name in (b"authorization", b"x-inferbudget-tags", b"x-inferbudget-class"):
            value = f"Bearer {secret}".encode()
            asked = Asked("/v1/chat/completions", CHAT, [(name, value)])
            assert await asked.of(shared) < 500
            assert secret not in caplog.text
            assert secret not in shared.metrics.text().decode()


async def test_a_shadow_with_a_defect_costs_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Kept:
        class settings:  # noqa: N801
            prompts = False

        def __init__(self) -> None:
            self.records: list[object] = []

        def put(self, record: object) -> None:
            self.records.append(record)

    found = policy()
    path = written(found, tmp_path)
    other = Shadow(found, DecisionSession(found, found.graph_path(path)), TOOLS)
    failed = asyncio.Event()

    async def broken(_: object) -> Any:
        failed.set()
        raise RuntimeError("a defect")

    monkeypatch.setattr(other, "_decide", broken)
    kept = Kept()
    upstream = Answers()
    gateway = gateway_of(tmp_path, upstream, shadow=other, recorder=kept)
    assert await Asked("/v1/chat/completions", CHAT).of(gateway) == 200
    assert failed.is_set()
    assert len(kept.records) == 1
