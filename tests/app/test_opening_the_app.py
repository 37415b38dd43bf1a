"""`inferbudget app` as a process: what it is told, what it answers, and what it leaves alone."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import aiohttp
import pytest
from click.testing import CliRunner
from programs import program
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from app import example, opened, uploads
from app.cli.main import cli
from app.cli.whatif import app_command
from app.opened import environment, ledger, policies
from profiles.errors import InputError
from profiles.store.foreign import MOST_ROWS

ROOT = Path(__file__).parents[2]
SECRET = "correct-horse-battery"  # noqa: S105 -- looked for on every page
PAGES = ("", "what-if", "compare", "sensitivity", "policy-diff", "profiles", "ledger")
BASE = "/inferbudget"


@dataclass(frozen=True)
class Running:
    """The app's process.

    Attributes:
        pid: Of the process.
        port: That it listens on.
        folder: With all that it may see: `home`, `work` (where it was started), `files`, `tmp`.
    """

    pid: int
    port: int
    folder: Path

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def get(self, path: str, method: str = "GET") -> tuple[int, bytes]:
        """An answer to a path that no client has tidied up."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.putrequest(method, path, skip_accept_encoding=True)
        connection.endheaders()
        reply = connection.getresponse()
        found = reply.status, reply.read()
        connection.close()
        return found

    def written(self) -> set[tuple[str, int]]:
        """Files outside of the folder for temporary ones, and when they were written."""
        places = (self.folder / name for name in ("home", "work", "files"))
        files = [file for place in places for file in place.rglob("*")]
        return {(str(file), file.stat().st_mtime_ns) for file in files}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(app: Running, base: str) -> None:
    for _ in range(600):
        try:
            if app.get(f"{base}/_stcore/health")[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    pytest.fail("it does not answer")


@contextmanager
def running(folder: Path, *words: str, **more: str) -> Iterator[Running]:
    for name in ("home", "work", "tmp", "files"):
        (folder / name).mkdir(exist_ok=True)
    port = free_port()
    command = str(Path(sys.executable).parent / "inferbudget")
    kept = {name: text for name, text in os.environ.items() if not name.startswith("INFERBUDGET")}
    environ = kept | {
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(ROOT),
        **more,
    }
    process = subprocess.Popen(
        [command, "app", *words, "--port", str(port)],
        cwd=folder / "work",
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    found = Running(process.pid, port, folder)
    try:
        wait_for(found, BASE if "--base-path" in words else "")
        yield found
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, opened_store: tuple[Path, Path]) -> Path:
    found = tmp_path_factory.mktemp("opening")
    (found / "files").mkdir()
    for path in opened_store:
        (found / "files" / path.name).write_bytes(path.read_bytes())
    for name in ("policy.yaml", "policy.onnx"):
        (found / "files" / name).write_bytes((ROOT / "demo/policy" / name).read_bytes())
    return found


@pytest.fixture(scope="module")
def app(folder: Path) -> Iterator[Running]:
    files = folder / "files"
    with running(
        folder,
        str(files / "spec.yaml"),
        "--profiles", str(files / "store.duckdb"),
        "--policy", str(files / "policy.yaml"),
        "--base-path", BASE,
        INFERBUDGET_LEDGER=f"redis://keeper:{SECRET}@127.0.0.1:1/0",
        STORE_PASSWORD=SECRET,
    ) as found:  # fmt: skip
        yield found


def visit(app: Running, page: str, base: str = BASE) -> bytes:
    """All that the app sends to somebody who opens a page."""

    async def visited() -> bytes:
        url = f"http://{app.host}{base}/_stcore/stream"
        sent = b""
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(url, protocols=["streamlit"], max_msg_size=0) as stream,
        ):
            asked = BackMsg()
            asked.rerun_script.page_name = page
            await stream.send_bytes(asked.SerializeToString())
            async for message in stream:
                sent += message.data
                if ForwardMsg.FromString(message.data).WhichOneof("type") == "script_finished":
                    return sent
        raise AssertionError("the page was not drawn to its end")

    return asyncio.run(asyncio.wait_for(visited(), 120))


def connect(app: Running, **headers: str) -> int:
    """The status with which the app answers a stream that says it comes from elsewhere."""

    async def connected() -> int:
        async with aiohttp.ClientSession() as session:
            try:
                url = f"http://{app.host}{BASE}/_stcore/stream"
                async with session.ws_connect(url, protocols=["streamlit"], headers=headers):
                    return 101
            except aiohttp.WSServerHandshakeError as error:
                return error.status

    return asyncio.run(connected())


def test_it_answers_below_its_base_path_alone(app: Running) -> None:
    assert app.get(f"{BASE}/_stcore/health") == (200, b"ok")
    assert app.get(f"{BASE}/")[0] == 200
    assert app.get("/_stcore/health")[1] != b"ok"


def test_the_containers_health_check_finds_it(app: Running) -> None:
    text = (ROOT / "deploy/Dockerfile").read_text().partition("FROM serving AS app\n")[2]
    (line,) = re.findall(r"^    CMD (\[.*\])", text.partition("\nFROM ")[0], re.MULTILINE)
    code = json.loads(line)[2].replace("8501", str(app.port))
    for base, healthy in ((BASE, True), (f"{BASE}/", True), ("/elsewhere", False)):
        done = subprocess.run(
            [sys.executable, "-c", f"{code}.read() == b'ok' or exit(1)"],
            env={"INFERBUDGET_BASE_PATH": base},
            capture_output=True,
            check=False,
        )
        assert (done.returncode == 0) == healthy, base


@pytest.mark.parametrize("page", PAGES)
def test_every_page_is_drawn_and_shows_no_secret(app: Running, page: str) -> None:
    sent = visit(app, page)
    assert SECRET.encode() not in sent
    assert b"Traceback" not in sent
    assert b"Classes and limits that are listed" not in sent, "a page ran as a script of its own"


def test_what_was_named_is_open(app: Running) -> None:
    sent = visit(app, "")
    assert b"workload `tiny`" in sent
    assert str(app.folder / "files/store.duckdb").encode() in sent


def test_a_command_line_that_everybody_sees_has_no_password(app: Running) -> None:
    words = Path(f"/proc/{app.pid}/cmdline").read_text().split("\0")
    assert SECRET not in " ".join(words)
    pairs = dict(pairwise(words))
    assert pairs["--browser.gatherUsageStats"] == "false"
    assert pairs["--client.showErrorDetails"] == "none"
    assert pairs["--client.showErrorLinks"] == "false"
    assert pairs["--client.toolbarMode"] == "minimal"
    assert pairs["--server.enableXsrfProtection"] == "true"
    assert pairs["--server.enableCORS"] == "true"
    assert pairs["--server.fileWatcherType"] == "none"
    assert pairs["--server.maxUploadSize"] == "64"


@pytest.mark.parametrize(
    "path",
    [
        "/app/static/../../../../../../etc/passwd",
        "/app/static/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/app/static/..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/app/static/what_if.py",
        "/media/../../../../../etc/passwd",
        "/media/..%2f..%2f..%2fetc%2fpasswd",
        "/static/../../../../../../../etc/passwd",
        "/static/..%5c..%5c..%5cetc%5cpasswd",
        "/component/../../../etc/passwd",
        "/_stcore/bidi-components/../../../../etc/passwd",
        "//etc/passwd",
        "/../../../../etc/passwd",
        "/what_if.py",
        "/.streamlit/secrets.toml",
    ],
)
def test_no_address_leads_to_a_file_of_the_machine(app: Running, path: str) -> None:
    index = app.get(f"{BASE}/")[1]
    for place in (f"{BASE}{path}", path):
        status, content = app.get(place)
        assert status >= 400 or content == index or status in {301, 302, 307}, place
        assert b"root:" not in content
        assert b"import" not in content or content == index


def test_a_page_of_another_site_cannot_open_a_session(app: Running) -> None:
    assert connect(app) == 101
    assert connect(app, Origin=f"http://{app.host}") == 101
    assert connect(app, Origin="http://evil.example") == 403


def test_a_name_that_was_pointed_at_this_machine_is_refused(app: Running) -> None:
    """DNS rebinding: the browser takes the attacker's page and this app for one site."""
    assert connect(app, Host="evil.example", Origin="http://evil.example") == 403
    assert connect(app, Host=f"localhost:{app.port}", Origin=f"http://localhost:{app.port}") == 101


def test_nobody_uploads_without_a_session_and_its_token(app: Running) -> None:
    status, _ = app.get(f"{BASE}/_stcore/upload_file/session/file", "PUT")
    assert status in {400, 403}


def test_it_writes_nothing_but_below_its_own_temporary_folder(folder: Path, app: Running) -> None:
    before = app.written()
    for page in PAGES:
        visit(app, page)
    assert app.written() == before
    assert all(path.name.startswith("inferbudget-") for path in (folder / "tmp").iterdir())


def test_a_newcomer_sees_an_example_which_is_gone_with_the_process(tmp_path: Path) -> None:
    with running(tmp_path) as app:
        sent = visit(app, "", base="")
        assert b"workload `demo`, 1,000 queries" in sent
        assert b"These are this project's own measurements" in sent
        assert len(list((tmp_path / "tmp").iterdir())) == 1
    assert list((tmp_path / "tmp").iterdir()) == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_no_file_of_the_folder_that_it_is_started_in_is_run(tmp_path: Path) -> None:
    """It may be anybody's, and an innocent `random.py` would stand in for Python's own."""
    (tmp_path / "work").mkdir()
    for name in ("random", "streamlit", "app", "profiles"):
        (tmp_path / f"work/{name}.py").write_text("raise SystemExit('this was run')\n")
    with running(tmp_path) as app:
        assert b"workload `demo`" in visit(app, "", base="")


def test_variables_name_what_is_opened_too(folder: Path, tmp_path: Path) -> None:
    files = folder / "files"
    named = {
        "INFERBUDGET_SPEC": str(files / "spec.yaml"),
        "INFERBUDGET_PROFILES": str(files / "store.duckdb"),
        "INFERBUDGET_POLICIES": os.pathsep.join([str(files / "policy.yaml")] * 2),
    }
    with running(tmp_path, "--allowed-host", "tools.example.org", **named) as app:
        assert app.get("/_stcore/health") == (200, b"ok")
        words = Path(f"/proc/{app.pid}/environ").read_text().split("\0")
        assert f"INFERBUDGET_POLICIES={named['INFERBUDGET_POLICIES']}" in words


def test_what_is_told_is_what_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    files = folder / "files"
    told = environment(
        files / "spec.yaml",
        files / "store.duckdb",
        [files / "policy.yaml", files / "policy.yaml"],
        "redis://${PASSWORD}@host",
    )
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert opened.opened() == (files / "spec.yaml", files / "store.duckdb")
    assert policies() == (files / "policy.yaml",) * 2
    assert ledger() == "redis://${PASSWORD}@host"


def test_what_was_not_named_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (opened.SPEC, opened.STORE, opened.POLICIES, opened.LEDGER):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    assert environment(None, None) == {}
    assert opened.opened() == example.unpacked()
    assert policies() == ()
    assert ledger() is None
    monkeypatch.setenv(opened.LEDGER, " ")
    assert ledger() is None


def test_a_store_lies_beside_its_spec(folder: Path, tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_bytes((folder / "files/spec.yaml").read_bytes())
    with pytest.raises(InputError, match=r"profiles\.duckdb: there is nothing to open"):
        environment(spec, None)
    (tmp_path / "profiles.duckdb").write_bytes(b"")
    assert environment(spec, None)[opened.STORE] == str(tmp_path / "profiles.duckdb")


def test_a_spec_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a spec"):
        environment(tmp_path / "spec.yaml", tmp_path)


def test_a_store_without_a_spec_is_no_question(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(opened.SPEC, raising=False)
    done = CliRunner().invoke(cli, ["app", "--profiles", str(folder / "files/store.duckdb")])
    assert isinstance(done.exception, InputError)
    assert "a store alone is no question" in str(done.exception)


@pytest.mark.parametrize(
    "path", ["/a b", "../x", "/a/../b", "/a//b", "http://host/x", "/.hidden", "/ü"]
)
def test_a_base_path_is_a_path(path: str) -> None:
    done = CliRunner().invoke(cli, ["app", "--base-path", path])
    assert done.exit_code == 2
    assert "is no path like /inferbudget" in done.output


@pytest.mark.parametrize(
    "words", [["--port", "0"], ["--port", "70000"], ["--policy", "none.yaml"], ["gone.yaml"]]
)
def test_words_that_cannot_be_meant_are_refused(words: list[str]) -> None:
    assert CliRunner().invoke(cli, ["app", *words]).exit_code == 2


def test_the_example_is_small_and_is_what_the_demo_asks() -> None:
    assert example.ARCHIVE.stat().st_size < 500_000
    spec, store = example.unpacked()
    assert store.read_bytes()[12:20] == (65).to_bytes(8, "little"), "what DuckDB 1.2 and later read"
    assert spec.read_bytes() == (ROOT / "demo/spec.yaml").read_bytes()
    assert (spec.parent / "prices.yaml").read_bytes() == (ROOT / "demo/prices.yaml").read_bytes()
    call = ["profile", "show", "--profiles", str(store), "--workload", "demo", "--format", "json"]
    found = json.loads(CliRunner().invoke(cli, call).stdout)
    assert {cell["queries"] for cell in found["cells"]} == {1000}
    assert len({cell["strategy"] for cell in found["cells"]}) == 8


def test_the_page_about_it_says_the_limits_that_are_in_force() -> None:
    page = (ROOT / "docs/how-to/what-if-app.md").read_text()
    assert f"at most {uploads.MOST_MIB} MiB a file, {uploads.MOST_FILES} files" in page
    assert f"{MOST_ROWS:,} rows in a store" in page
    assert f"{uploads.KEPT_S / 3600:g} hours at most; the files of {uploads.MOST_FOLDERS} " in page
    assert f"({uploads.GONE_S / 60:g} minutes later)".replace("2", "two") in page
    assert f"client_max_body_size {uploads.MOST_MIB}m;" in page
    for option in app_command.params:
        if option.envvar:
            assert f"`{option.envvar}`" in page


@pytest.fixture
def proxy(app: Running, tmp_path: Path) -> Iterator[Running]:
    """nginx as the page has it, on another port and for everybody."""
    page = (ROOT / "docs/how-to/what-if-app.md").read_text()
    (block,) = re.findall(r"^```nginx\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    port = free_port()
    block = block.replace("127.0.0.1:8443", f"127.0.0.1:{port}").replace("8501", str(app.port))
    block = re.sub(r"^ *auth_basic.*\n", "", block, flags=re.MULTILINE)
    temporary = "".join(
        f"{kind}_temp_path {tmp_path}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    path = tmp_path / "nginx.conf"
    path.write_text(
        f"daemon off; pid {tmp_path}/pid; error_log stderr; events {{}} "
        f"http {{ access_log off; {temporary}\n{block}}}"
    )
    command = [program("nginx"), "-p", str(tmp_path), "-c", str(path)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    found = Running(process.pid, port, app.folder)
    try:
        wait_for(found, BASE)
        yield found
    finally:
        process.terminate()
        process.wait(timeout=20)


def test_pages_are_drawn_behind_the_proxy_that_the_page_has(proxy: Running) -> None:
    assert b"workload `tiny`" in visit(proxy, "")
    assert connect(proxy, Origin=f"http://{proxy.host}") == 101
    assert connect(proxy, Origin="http://evil.example") == 403


def test_nginx_itself_takes_what_the_page_says(tmp_path: Path) -> None:
    page = (ROOT / "docs/how-to/what-if-app.md").read_text()
    (block,) = re.findall(r"^```nginx\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    path = tmp_path / "nginx.conf"
    path.write_text(f"pid {tmp_path}/pid; error_log stderr; events {{}} http {{\n{block}}}")
    command = [program("nginx"), "-t", "-q", "-p", tmp_path, "-c", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
