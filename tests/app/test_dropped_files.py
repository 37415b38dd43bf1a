"""What somebody drops, or writes into an address, opens no other file of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from streamlit.testing.v1 import AppTest

from app import example, uploads
from app.scratch import new_folder, scratch
from app.uploads import Dropped, take
from app.views import View, files_of
from planner.spec import Spec, read_spec
from profiles.errors import InputError
from profiles.store.store import Store

OUTSIDE = [
    "/etc/passwd",
    "../../etc/passwd",
    "..",
    ".",
    "",
    "sub/difficulty.onnx",
    "/etc/difficulty.onnx",
    "../difficulty.onnx",
    "..\\difficulty.onnx",
    "C:difficulty.onnx",
    "C:\\difficulty.onnx",
    "//server/share/difficulty.onnx",
    "file:///etc/difficulty.onnx",
    "~/difficulty.onnx",
    ".difficulty.onnx",
    "-difficulty.onnx",
    "difficulty.onnx\n",
    "difficulty.onnx\0",
    "prices.yaml",
    "spec.yaml",
    "profiles.duckdb",
    f"{'a' * 200}.onnx",
]
GRAPH = Dropped("difficulty.onnx", b"graph")


def what_if() -> None:
    from app.pages.what_if import page  # noqa: PLC0415 -- only this text is run

    page()


@pytest.fixture
def store(opened_store: tuple[Path, Path]) -> Dropped:
    return Dropped("s.duckdb", opened_store[1].read_bytes())


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    yield
    for folder in scratch().glob("own-*"):
        uploads.delete(folder)


def spec(**keys: str) -> Dropped:
    lines = [f"{key}: {yaml(value)}" for key, value in keys.items()]
    text = "\n".join(['format_version: "1.0"', "workload: tiny", *lines])
    return Dropped("my spec.yaml", text.encode())


def yaml(text: str) -> str:
    return '"' + "".join(f"\\x{ord(char):02x}" for char in text) + '"'


def refusal(*files: Dropped) -> str:
    before = set(scratch().iterdir())
    with pytest.raises(InputError) as raised:
        take(files)
    assert set(scratch().iterdir()) == before, "nothing is kept"
    return str(raised.value)


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_dropped_spec_names_no_graph_outside_of_what_was_dropped(name: str) -> None:
    text = refusal(spec(classes=name), GRAPH, Dropped("prices.yaml", b"models: {}"))
    assert "classes" in text
    assert "root:" not in text


@pytest.mark.parametrize("name", [*OUTSIDE, "difficulty.onnx"])
def test_nor_a_price_card(name: str) -> None:
    if name == "prices.yaml":
        name = "prices.txt"
    text = refusal(spec(prices=name), GRAPH, Dropped("prices.yaml", b"models: {}"))
    assert "prices" in text
    assert "root:" not in text


@pytest.mark.parametrize("name", ["../x.onnx", "/tmp/x.onnx", "x/../y.onnx"])  # noqa: S108
def test_a_files_own_name_is_no_path_either(name: str) -> None:
    text = refusal(spec(classes=name), Dropped(name, b"graph"))
    assert "a dropped spec names only files that were dropped with it" in text


def test_a_file_that_was_not_dropped_is_asked_for() -> None:
    text = refusal(spec(classes="other.onnx"), GRAPH)
    assert "the spec names a file that was not dropped with it" in text
    assert "expected other.onnx; got my spec.yaml, difficulty.onnx" in text
    assert "next: drop other.onnx and the spec together" in text


def test_two_files_of_one_name_are_refused() -> None:
    assert "it is not clear which" in refusal(spec(classes=GRAPH.name), GRAPH, GRAPH)


def test_files_are_kept_under_names_that_are_ours_or_the_specs(store: Dropped) -> None:
    card = Dropped("prices.yaml", b"models: {}")
    found = take([spec(classes=GRAPH.name, prices="prices.yaml"), GRAPH, card, store])
    names = {path.name for path in found.folder.iterdir()}
    assert names == {"spec.yaml", "profiles.duckdb", "difficulty.onnx", "prices.yaml"}
    assert found.folder.parent == scratch()
    assert found.folder.stat().st_mode & 0o077 == 0, "nobody else reads it"


def test_what_the_spec_does_not_name_is_not_kept(store: Dropped) -> None:
    found = take([spec(), GRAPH, store])
    assert {path.name for path in found.folder.iterdir()} == {"spec.yaml", "profiles.duckdb"}


def test_a_store_that_would_read_another_file_is_refused(
    opened_store: tuple[Path, Path], tmp_path: Path
) -> None:
    path = tmp_path / "hostile.duckdb"
    path.write_bytes(opened_store[1].read_bytes())
    with duckdb.connect(str(path)) as connection:
        connection.execute("ALTER TABLE observations RENAME TO moved")
        connection.execute(
            "CREATE VIEW observations AS SELECT moved.* REPLACE (content AS answer) "
            "FROM moved, read_text('/etc/passwd')"
        )
    text = refusal(Dropped("<b>hostile.duckdb", path.read_bytes()))
    assert "not a profile store of this version" in text
    assert "root:" not in text


def test_a_store_of_several_workloads_needs_a_spec(
    opened_store: tuple[Path, Path], tmp_path: Path
) -> None:
    path = tmp_path / "two.duckdb"
    path.write_bytes(opened_store[1].read_bytes())
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "INSERT INTO observations SELECT * REPLACE ('other' AS workload) FROM observations"
        )
    text = refusal(Dropped("two.duckdb", path.read_bytes()))
    assert "expected one workload, or a spec that names one of several; got other, tiny" in text


def test_a_store_without_observations_is_no_answer(tmp_path: Path) -> None:
    Store.open(tmp_path / "new.duckdb").close()
    text = refusal(Dropped("new.duckdb", (tmp_path / "new.duckdb").read_bytes()))
    assert "got a store without observations" in text


def test_a_file_that_is_too_large_is_refused_before_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(uploads, "MOST_MIB", 1)
    text = refusal(Dropped("large.duckdb", b"x" * (2**20 + 1)))
    assert "expected at most 1 MiB; got 1,048,577 bytes" in text


def test_a_kind_of_file_that_nobody_reads_is_refused() -> None:
    assert "expected one of .yaml, .yml, .duckdb, .onnx" in refusal(Dropped("x.sh", b""))


@pytest.mark.parametrize("setting", ["prices=/etc/passwd", "classes=/etc/passwd", "prices=../x"])
def test_a_setting_names_no_file(opened_store: tuple[Path, Path], setting: str) -> None:
    key = setting.partition("=")[0]
    with pytest.raises(InputError) as raised:
        View(*opened_store, (setting,)).ask()
    assert f"--set {key}: a page opens no other files than its spec does" in str(raised.value)
    assert "expected no file, as the spec has it" in str(raised.value)


def test_a_setting_leaves_the_specs_own_files_as_they_are() -> None:
    spec_path, store_path = example.unpacked()
    view = View(spec_path, store_path, ("classes=difficulty.onnx", "prices=prices.yaml"))
    assert view.ask().estimator == spec_path.parent / "difficulty.onnx"
    with pytest.raises(InputError, match=r"expected prices\.yaml, as the spec has it"):
        View(spec_path, store_path, ("prices=spec.yaml",)).ask()


def test_a_setting_may_leave_files_out(opened_store: tuple[Path, Path]) -> None:
    settings = ("classes=label", "prices={models: {small: {input: 1, output: 2}}}")
    question = View(*opened_store, settings).ask()
    assert question.estimator is None
    assert question.prices.models["small"].input == 1


@pytest.mark.parametrize("line", ["prices=/etc/passwd", "classes=/etc/passwd"])
def test_an_address_shows_no_file_of_the_machine(
    opened_store: tuple[Path, Path], line: str
) -> None:
    page = AppTest.from_function(what_if, default_timeout=60).run()
    page.text_area(key="set").set_value(line).run()
    assert not page.exception
    assert "a page opens no other files" in page.error[0].value
    assert not any("root:" in str(one.value) for one in page.error)


def test_every_key_of_a_spec_that_names_a_file_is_known(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text('format_version: "1.0"\nworkload: w\nclasses: c.onnx\nprices: p.yaml\n')
    assert files_of(read_spec(path)) == {"classes": "c.onnx", "prices": "p.yaml"}
    about_paths = {
        name
        for name, field in Spec.model_fields.items()
        if "path" in (field.description or "").lower()
    }
    assert about_paths == set(files_of(read_spec(path)))


def test_commands_name_dropped_files_as_their_owner_may(store: Dropped) -> None:
    found = take([spec(), store])
    view = View(found.spec, found.store or found.spec, ("confidence=0.9",))
    assert view.command("plan") == (
        "inferbudget plan spec.yaml --profiles profiles.duckdb --set confidence=0.9"
    )


def test_where_nothing_can_be_written_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        new_folder(tmp_path / "gone", "own-")
    assert "there is no place for temporary files" in str(raised.value)
    assert "next: name a folder that can be written: TMPDIR=" in str(raised.value)
