"""The store on a server: lost, stopped, emptied, refused, without memory, cut off."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import signal
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from store_servers import (
    Meddler,
    RedisServer,
    Speaker,
    a_server,
    asks,
    free_port,
    leased,
    minute,
    redis_binary,
    truth,
)

from planner.spec import Window
from profiles.errors import InputError
from runtime.ledger import Scope
from runtime.ledger.leased import LeasedLedger
from runtime.ledger.redis_store import RedisStore, redis_options
from runtime.ledger.store import LogKind, StoreForgotError, StoreLostError, open_store


@pytest.mark.asyncio
async def test_a_server_that_lost_its_last_words_grants_when_everybody_was_heard(
    tmp_path: Path, started: list[RedisServer]
) -> None:
    server = a_server(started, tmp_path, "--save", "3600 1000000")
    store = open_store(server.url())
    first = await asks(store, "a", 1, truth(short=10), ttl_s=1)
    with server.client() as client:
        client.save()
    assert await leased(store, "a", 2, truth(leased=10, short=50), ttl_s=1) == 60
    assert await leased(store, "new", 1, truth(short=15), ttl_s=1) == 15
    server.signal(signal.SIGKILL)
    server.start()
    reply = await asks(store, "b", 1, truth(short=25), ttl_s=1)
    assert (reply.generation, reply.given[0].leased) == (first.generation, 0)
    assert (reply.given[0].remaining, reply.given[0].pressed) == (0, False)
    assert reply.run != first.run
    assert 0 < reply.waits_s <= 1
    number = 2
    while reply.waits_s:
        assert reply.given[0].leased == 0
        await asks(store, "a", number + 1, truth(leased=60, spent=30), ttl_s=1)
        await asks(store, "new", number, truth(leased=15), ttl_s=1)
        reply = await asks(store, "b", number, truth(short=25), ttl_s=1)
        number += 1
    assert reply.given[0].leased == 25
    await store.close()


@pytest.mark.parametrize("ends", [False, True], ids=["and lives on", "and ends"])
@pytest.mark.asyncio
async def test_a_server_that_lost_what_came_back_of_a_window_that_is_over_hears_it_again(
    tmp_path: Path, started: list[RedisServer], *, ends: bool
) -> None:
    """Else it would be charged once the replica closes: beyond the limit, with what others got."""
    server = a_server(started, tmp_path, "--save", "3600 1000000")
    scope = Scope("all", 1_000, Window.SECOND)
    async with LeasedLedger([scope], open_store(server.url()), exchange_s=0.02) as ledger:
        hold = await ledger.admit("first", 1_000)
        with server.client() as client:
            client.save()
        hold.call(1_000).settle(60)
        hold.close()
        async with asyncio.timeout(20):
            while ledger._live:
                await asyncio.sleep(0.01)
        if ends:
            assert ledger._pump is not None
            ledger._pump.cancel()
        server.signal(signal.SIGKILL)
        server.start()
        if not ends:
            async with asyncio.timeout(20):
                while not await _is_told(server, 60):
                    await asyncio.sleep(0.05)
    store = open_store(server.url())
    (record,) = [one for one in await store.accounts() if one.spent]
    assert (record.spent, record.held) == (60, 0)
    assert await store.log() == ()
    await store.close()


async def _is_told(server: RedisServer, spent: int) -> bool:
    store = open_store(server.url())
    try:
        return spent in {record.spent for record in await store.accounts()}
    finally:
        await store.close()


@pytest.mark.asyncio
async def test_a_durable_server_grants_at_once_after_a_restart(
    tmp_path: Path, started: list[RedisServer]
) -> None:
    server = a_server(started, tmp_path, "--appendonly", "yes", "--appendfsync", "always")
    store = open_store(server.url(durable="yes"))
    await asks(store, "a", 1, truth(short=60))
    server.signal(signal.SIGKILL)
    server.start()
    reply = await asks(store, "b", 1, truth(short=40))
    assert (reply.given[0].leased, reply.waits_s) == (40, 0)
    await store.close()


@pytest.mark.asyncio
async def test_a_server_that_forgot_everything_is_not_used(
    tmp_path: Path, server: RedisServer
) -> None:
    store = open_store(server.url())
    await asks(store, "a", 1, truth(short=60))
    server.signal(signal.SIGKILL)
    server.start()
    for number in (2, 3):
        with pytest.raises(StoreForgotError, match="forgot the namespace 'test'"):
            await asks(store, "a", number, truth(leased=60, short=1))
    with server.client() as client:
        assert client.keys("*") == []
    newcomer = open_store(server.url())
    assert await leased(newcomer, "b", 1, truth(short=5)) == 5
    with pytest.raises(StoreForgotError):
        await asks(store, "a", 4, truth(leased=60, short=1))
    await newcomer.close()
    await store.close()


@pytest.mark.asyncio
async def test_a_server_that_stands_still_is_a_lost_store_until_it_goes_on(
    server: RedisServer,
) -> None:
    options = redis_options(server.url().replace("timeout_s=10", "timeout_s=0.3"))
    store = RedisStore(options)
    await asks(store, "a", 1, truth(short=20))
    server.signal(signal.SIGSTOP)
    for number in (2, 3):
        with pytest.raises(StoreLostError):
            await asks(store, "a", number, truth(leased=20, short=30))
    server.signal(signal.SIGCONT)
    server.await_answer()
    given = (await asks(store, "a", 4, truth(leased=20, spent=5, short=1))).given[0]
    assert (given.leased, given.spent, given.held) == (21, 5, 16)
    await store.close()


@pytest.mark.asyncio
async def test_a_server_that_is_gone_is_a_lost_store_until_it_is_back(
    tmp_path: Path, started: list[RedisServer]
) -> None:
    redis_binary()
    server = RedisServer(tmp_path / "late", ("--appendonly", "yes")).start()
    started.append(server)
    server.stop()
    store = open_store(server.url())
    with pytest.raises(StoreLostError):
        await store.now()
    server.start()
    assert await leased(store, "a", 1, truth(short=5)) == 5
    await store.close()


@pytest.mark.asyncio
async def test_who_may_not_enter_is_told_and_the_password_is_not(
    tmp_path: Path, started: list[RedisServer]
) -> None:
    server = a_server(started, tmp_path, "--requirepass", "opensesame")
    for user in ("", ":wrongword@", "someone:wrongword@"):
        store = open_store(server.url().replace("127", f"{user}127"))
        with pytest.raises(InputError, match="the ledger store refuses") as found:
            await store.now()
        assert "wrongword" not in str(found.value)
        await store.close()
    store = open_store(server.url().replace("127", ":opensesame@127"))
    assert await leased(store, "a", 1, truth(short=5)) == 5
    await store.close()


def documented_rights() -> tuple[list[str], list[str]]:
    """For a user of the server: in groups, and one by one."""
    page = (Path(__file__).parents[2] / "docs/how-to/production.md").read_text("utf-8")
    groups, single = re.findall(r"```text\n(user inferbudget.*?|\+.*?)\n```", page, re.DOTALL)
    return re.findall(r"[+-]\S+", groups), single.split()


def give_rights(server: RedisServer, rights: list[str]) -> str:
    """The address of a user who has these and no other."""
    with server.client() as client:
        user = ["gate", "reset", "on", ">word", "~{test}:*", *rights]
        client.execute_command("ACL", "SETUSER", *user)
    return server.url().replace("127", "gate:word@127")


@pytest.mark.asyncio
@pytest.mark.parametrize("way", ["groups", "one by one"])
async def test_the_rights_that_are_documented_suffice_for_everything(
    server: RedisServer, way: str
) -> None:
    groups, single = documented_rights()
    store = open_store(give_rights(server, groups if way == "groups" else single))
    now_s = await store.now()
    rolls = truth("rolls", window_s=1, leased=6, spent=5, short=1)
    told = truth(short=5), minute(now_s - 60, short=1), minute(now_s, carry_over=9, short=1), rolls
    await asks(store, "lost", 1, *told, truth("busy", lapses=True, short=1), ttl_s=0.3)
    one = Speaker(store, "a", ttl_s=0.3)
    while not await store.log():
        await asyncio.sleep(0.02)
        await store.exchange(one.says(truth(leased=5, spent=5, limit=None), rolls))
    await asks(store, "lost", 2, truth(leased=5, spent=1))
    await store.exchange(one.says(closing=True))
    await store.adjust("org", 0, 1, "why")
    await store.adjust("rolls", 0, -1, "why")
    assert {entry.kind for entry in await store.log()} == set(LogKind)
    assert len(await store.accounts()) == 4
    await store.close()


@pytest.mark.asyncio
async def test_a_right_that_is_missing_is_found_before_anything_is_written(
    server: RedisServer,
) -> None:
    _, single = documented_rights()
    for right in single:
        store = open_store(give_rights(server, [one for one in single if one != right]))
        with pytest.raises(InputError, match=re.escape(right.removeprefix("+"))):
            await asks(store, "a", 1, truth(short=5))
        await store.close()
        with server.client() as client:
            assert set(client.keys("*")) <= {"{test}:rights"}, right
            client.flushall()


@pytest.mark.asyncio
async def test_keys_of_others_are_refused_and_left_alone(server: RedisServer) -> None:
    cases: dict[str, Callable[[Any, str], object]] = {
        "text": lambda client, key: client.set(key, "mine"),
        "hash": lambda client, key: client.hset(key, "kind", "mine"),
        "format": lambda client, key: client.hset(
            key, mapping={"kind": "inferbudget ledger", "format": "1", "generation": "x"}
        ),
    }
    for namespace, make in cases.items():
        with server.client() as client:
            make(client, f"{{{namespace}}}:ledger")
            before = client.dump(f"{{{namespace}}}:ledger")
            store = open_store(server.url(namespace))
            with pytest.raises(InputError, match="namespace"):
                await asks(store, "a", 1, truth(short=5))
            assert client.dump(f"{{{namespace}}}:ledger") == before
            assert client.keys(f"{{{namespace}}}*") == [f"{{{namespace}}}:ledger"]
            await store.close()


@pytest.mark.asyncio
async def test_ledgers_of_other_namespaces_are_other_ledgers(server: RedisServer) -> None:
    stores = [open_store(server.url(name)) for name in ("prod", "test")]
    for store in stores:
        assert await leased(store, "a", 1, truth(short=100)) == 100
    with server.client() as client:
        assert all(key.startswith(("{prod}:", "{test}:")) for key in client.keys("*"))
    for store in stores:
        await store.close()


@pytest.mark.asyncio
async def test_a_script_that_the_server_dropped_is_sent_again(server: RedisServer) -> None:
    store = open_store(server.url())
    await asks(store, "a", 1, truth(short=5))
    with server.client() as client:
        client.script_flush()
    assert await leased(store, "a", 2, truth(leased=5, short=5)) == 10
    await store.close()


@pytest.mark.asyncio
async def test_a_server_that_would_evict_charges_is_refused(server: RedisServer) -> None:
    with server.client() as client:
        client.config_set("maxmemory", "100mb")
        client.config_set("maxmemory-policy", "allkeys-lru")
    store = open_store(server.url())
    with pytest.raises(InputError, match="noeviction"):
        await store.now()
    await store.close()


@pytest.mark.asyncio
async def test_a_server_that_is_not_durable_is_not_called_so(server: RedisServer) -> None:
    store = open_store(server.url(durable="yes"))
    with pytest.raises(InputError, match="appendfsync always"):
        await store.now()
    await store.close()


@pytest.mark.asyncio
async def test_a_server_without_memory_is_lost_and_changes_nothing(server: RedisServer) -> None:
    store = open_store(server.url())
    await asks(store, "a", 1, truth(short=20))
    before = await store.accounts()
    with server.client() as client:
        client.config_set("maxmemory", "1")
        with pytest.raises(StoreLostError, match="maxmemory"):
            await asks(store, "a", 2, truth("other", short=5))
        client.config_set("maxmemory", "0")
    assert await store.accounts() == before
    assert await leased(store, "a", 3, truth(leased=20, short=5)) == 25
    await store.close()


@pytest.mark.asyncio
async def test_epochs_follow_the_servers_own_clock(server: RedisServer) -> None:
    store = open_store(server.url())
    now_s = int(await store.now())
    now = truth("now", epoch=now_s - 60, ends_s=now_s + 3_600, short=5)
    past = truth("past", epoch=now_s - 60, ends_s=now_s, short=5)
    future = truth("future", epoch=now_s + 3_600, ends_s=now_s + 7_200, short=5)
    reply = await asks(store, "a", 1, now, past, future)
    assert [given.leased for given in reply.given] == [5, 0, 0]
    assert abs(reply.now_s - now_s) < 60
    await store.close()


@pytest.mark.asyncio
async def test_an_exchange_whose_reply_was_cut_counts_once(server: RedisServer) -> None:
    async with Meddler(server) as between:
        store = open_store(between.url())
        await store.now()
        between.fate = "cut"
        with pytest.raises(StoreLostError):
            await asks(store, "a", 1, truth(short=60))
        given = (await asks(store, "a", 2, truth(short=50))).given[0]
        assert (given.leased, given.held) == (50, 50)
        await store.close()


@pytest.mark.asyncio
async def test_a_correction_whose_reply_was_cut_is_not_sent_again(server: RedisServer) -> None:
    async with Meddler(server) as between:
        store = open_store(between.url())
        await asks(store, "a", 1, truth(short=60))
        between.fate = "cut"
        with pytest.raises(StoreLostError):
            await store.adjust("org", 0, 7, "once")
        assert [record.spent for record in await store.accounts()] == [7]
        await store.close()


@pytest.mark.asyncio
async def test_the_reply_to_another_exchange_is_not_believed(server: RedisServer) -> None:
    async with Meddler(server) as between:
        store = open_store(between.url())
        await store.now()
        between.fate = "keep"
        await asks(store, "a", 1, truth(short=60))
        between.fate = "repeat"
        with pytest.raises(StoreLostError, match="another exchange"):
            await asks(store, "a", 2, truth(leased=10))
        assert await leased(store, "a", 3, truth(leased=5)) == 5
        await store.close()


@pytest.mark.asyncio
async def test_a_cancellation_is_never_swallowed(server: RedisServer) -> None:
    for steps in range(40):
        store = open_store(server.url())
        task = asyncio.create_task(asks(store, f"a{steps}", 1, truth(short=1)))
        for _ in range(steps):
            await asyncio.sleep(0)
        if task.cancel():
            with pytest.raises(asyncio.CancelledError):
                await task
        await store.close()


@pytest.mark.asyncio
async def test_a_socket_of_this_machine_is_an_address(started: list[RedisServer]) -> None:
    # A socket's path is short.
    with tempfile.TemporaryDirectory() as folder:
        a_server(started, Path(folder), "--unixsocket", f"{folder}/s")
        store = open_store(f"unix://{folder}/s?db=3&namespace=test")
        assert await leased(store, "a", 1, truth(short=5)) == 5
        with started[0].client() as client:
            assert client.info("keyspace").keys() == {"db3"}
        await store.close()


def certificate(folder: Path) -> tuple[Path, Path]:
    """A key and a certificate of this machine's address that vouches for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "store")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir(exist_ok=True)
    kept, shown = folder / "key.pem", folder / "cert.pem"
    plain = serialization.NoEncryption()
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    kept.write_bytes(key.private_bytes(pem, form, plain))
    shown.write_bytes(made.public_bytes(pem))
    return kept, shown


@pytest.mark.asyncio
async def test_a_server_with_a_certificate_is_known_by_it(
    started: list[RedisServer], tmp_path: Path
) -> None:
    key, shown = certificate(tmp_path)
    port = free_port()
    settings = ["--tls-port", str(port), "--tls-cert-file", str(shown), "--tls-key-file", str(key)]
    a_server(
        started, tmp_path, *settings, "--tls-ca-cert-file", str(shown), "--tls-auth-clients", "no"
    )
    store = open_store(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={shown}")
    assert await leased(store, "a", 1, truth(short=5)) == 5
    await store.close()
    _, other = certificate(tmp_path / "other")
    store = open_store(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={other}")
    with pytest.raises(StoreLostError):
        await store.now()
    await store.close()
