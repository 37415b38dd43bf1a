"""The gateway refuses a policy that was touched, or is not signed as the operator asks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import pytest
from small_encoders import encoder_folder
from small_policies import by_vectors, policy, written

from policies.findings import Severity
from policies.keys import PublicKey, read_private_key, write_key_pair
from policies.signing import sign_policy, signature_path
from policies.verify import encoder_findings, verify
from policies.whole import RefusedPolicyError
from profiles.difficulty.reading.encoder import Encoder
from profiles.errors import ExitCode, InputError
from runtime.replay import replay
from runtime.serve import serve

ROOT = Path(__file__).parents[2]
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A policy that serve would take."""
    monkeypatch.setenv("INFERBUDGET_API_KEY", "k")
    return written(policy(), tmp_path)


@pytest.fixture
def ada(tmp_path: Path) -> PublicKey:
    return write_key_pair(tmp_path / "ada", None)


def signed(path: Path, name: str = "ada") -> None:
    sign_policy(path, read_private_key(path.parent / name, lambda: b""))


def refused(path: Path, *trusted: PublicKey) -> str:
    with pytest.raises(RefusedPolicyError) as caught:
        serve(path, upstream=NOWHERE, port=0, trusted=trusted)
    assert caught.value.exit_code is ExitCode.USAGE
    return caught.value.code


def test_serve_refuses_an_unsigned_policy_a_forged_one_and_an_untrusted_key(
    path: Path, ada: PublicKey
) -> None:
    assert refused(path, ada) == "unsigned"
    bob = write_key_pair(path.parent / "bob", None)
    signed(path, "bob")
    assert refused(path, ada) == "signature-untrusted"
    assert refused(path) == "signature-untrusted"
    beside = signature_path(path)
    beside.write_text(beside.read_text().replace(bob.id, ada.id))
    assert refused(path, ada) == "signature-forged"
    beside.write_text(beside.read_text()[:-9])
    assert refused(path, ada) == "signature-invalid"


def test_serve_refuses_another_policy_under_an_old_signature(path: Path, ada: PublicKey) -> None:
    signed(path)
    written(policy(max_tokens=21), path.parent)
    assert refused(path, ada) == "signature-stale"


@pytest.mark.parametrize("is_signed", [False, True])
def test_serve_and_replay_refuse_a_policy_with_another_comment(
    path: Path, ada: PublicKey, *, is_signed: bool
) -> None:
    if is_signed:
        signed(path)
    path.write_text(path.read_text().replace("# easiest first", "# hardest first"))
    trusted = [ada] if is_signed else None
    with pytest.raises(InputError, match="signature of another" if is_signed else "byte for byte"):
        serve(path, upstream=NOWHERE, port=0, trusted=trusted)
    with pytest.raises(InputError, match="byte for byte"):
        replay(path, {"q": {}}, {"q": "easy"})


def test_serve_refuses_a_changed_graph(path: Path, ada: PublicKey) -> None:
    signed(path)
    graph = path.with_suffix(".onnx")
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.write_bytes(content)
    for trusted in (None, [ada]):
        with pytest.raises(InputError, match="not the decision graph"):
            serve(path, upstream=NOWHERE, port=0, trusted=trusted)


def test_an_encoder_with_other_weights_is_found_by_verify_and_refused_by_serve(
    path: Path, ada: PublicKey
) -> None:
    folder = encoder_folder(path.parent / "encoder")
    model = onnx.load(folder / "model.onnx")
    table = next(one for one in model.graph.initializer if one.name == "table")
    (folder / "weights.bin").write_bytes(table.raw_data)
    onnx.external_data_helper.set_external_data(table, "weights.bin")
    table.ClearField("raw_data")
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    written(policy(sorting=by_vectors(Encoder.open(folder))), path.parent)
    signed(path)
    whole = verify(path, [ada]).whole
    assert whole is not None
    assert list(encoder_findings(whole, folder)) == []
    content = bytearray((folder / "weights.bin").read_bytes())
    content[-1] ^= 1
    (folder / "weights.bin").write_bytes(content)
    (finding,) = encoder_findings(whole, folder)
    assert (finding.code, finding.severity) == ("encoder", Severity.ERROR)
    with pytest.raises(InputError, match="this is another encoder"):
        serve(path, upstream=NOWHERE, port=0, trusted=[ada], encoder=folder)


def test_an_encoder_is_no_part_of_a_policy_that_names_none(path: Path) -> None:
    whole = verify(path).whole
    assert whole is not None
    (finding,) = encoder_findings(whole, path.parent)
    assert (finding.code, finding.where.endswith(": classes")) == ("encoder", True)


@contextmanager
def gateway(path: Path, *words: str | Path) -> Iterator[subprocess.Popen[str]]:
    """The command as a process of its own."""
    call = ["serve", path, "--upstream", NOWHERE, "--port", "0", *words]
    started = subprocess.Popen(
        [sys.executable, "-c", "from app.cli.main import main; main()", *map(str, call)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


def test_the_serve_command_starts_on_a_policy_that_one_of_the_trusted_keys_signed(
    path: Path, ada: PublicKey
) -> None:
    bob = write_key_pair(path.parent / "bob", None)
    signed(path)
    trusted = (
        "--trusted-key",
        bob.name,
        "--trusted-key",
        ada.name,
        "--verifier",
        "checker=operator:eq",
    )
    with gateway(path, "--require-signature", *trusted) as started:
        assert started.stdout is not None
        assert json.loads(started.stdout.readline())["policy"] == policy().digest
        started.send_signal(signal.SIGTERM)
        assert started.wait() == 0


def test_the_serve_command_refuses_the_wrong_key_and_a_signature_without_any(
    path: Path, ada: PublicKey
) -> None:
    signed(path)
    bob = write_key_pair(path.parent / "bob", None)
    cases = {
        "signed by a key that is not trusted": ("--trusted-key", bob.name),
        "needs a key that is trusted": ("--require-signature",),
        "this is a private key": ("--trusted-key", str(path.parent / "ada")),
    }
    for said, words in cases.items():
        with gateway(path, *words) as started:
            out, err = started.communicate(timeout=60)
        assert (started.returncode, out) == (2, "")
        assert said in err
        assert "Traceback" not in err
