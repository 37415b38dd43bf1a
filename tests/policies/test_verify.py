"""A policy is what was compiled, reviewed and signed, or it is refused: every byte counts."""

from __future__ import annotations

import base64
import random
from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper
from policy_examples import FIXTURES, SMALL, cell, compiled, elsewhere, plan, rung

from planner.plan import Classes, Figures, Plan, Rung
from planner.spec import Limits
from policies.compile import compile_plan
from policies.file import CompiledPolicy, write_policy
from policies.findings import Severity, failed
from policies.format_1_0 import PolicyOf10
from policies.graph import build_graph
from policies.keys import PublicKey, read_private_key, read_public_key, write_key_pair
from policies.policy import Graph
from policies.signing import Signature, sign_policy, signature_path, statement
from policies.source import Source
from policies.verify import provenance_findings, read_enforceable, verify
from policies.versions import parse_policy
from policies.whole import RefusedPolicyError, read_whole
from profiles.digest import digest_bytes
from profiles.errors import InputError


def smallest() -> CompiledPolicy:
    """One class, one strategy, one rung."""
    figures = Figures(accuracy=0.8, cost_usd_per_request=0.005, latency_p95_s=None)
    only = Rung(
        budget_fraction=1.0,
        objective="minimize cost",
        allocation={"all": {SMALL: 1.0}},
        expected=figures,
        promised=figures,
        by_class={"all": figures},
        shadow_prices={},
    )
    tiny = plan(
        classes=Classes(source="label", names=("all",), weights=(1.0,)),
        cells={"all": {SMALL: cell(0.8, 0.005)}},
        rungs=(only,),
        limits=Limits(),
        traffic=None,
    )
    return compile_plan(tiny, estimator=None)


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    write_policy(compiled(), path)
    return path


@pytest.fixture
def ada(tmp_path: Path) -> PublicKey:
    return write_key_pair(tmp_path / "ada", None)


def signed(policy: Path) -> None:
    sign_policy(policy, read_private_key(policy.parent / "ada", lambda: b""))


def codes(policy: Path, *trusted: PublicKey) -> list[str]:
    return [finding.code for finding in verify(policy, trusted).findings]


def test_nothing_is_found_of_what_compile_wrote(policy: Path) -> None:
    found = verify(policy)
    assert found.findings == ()
    assert found.whole is not None
    assert found.whole.policy == read_enforceable(policy) == compiled().policy


def refused_everywhere(path: Path, content: bytes, policy: Path) -> None:
    """Flip one drawn bit of every byte of a file; `policy` must then be refused, each time."""
    rng = random.Random(20260101)
    for at in range(len(content)):
        changed = bytearray(content)
        changed[at] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        assert failed(verify(policy).findings), at
        with pytest.raises(InputError):
            read_enforceable(policy)
    path.write_bytes(content)
    assert verify(policy).findings == ()


@pytest.mark.slow
def test_every_flipped_byte_of_the_yaml_is_found_and_refused(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    write_policy(smallest(), policy)
    refused_everywhere(policy, policy.read_bytes(), policy)


@pytest.mark.slow
def test_every_flipped_byte_of_the_graph_is_found_and_refused(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    write_policy(smallest(), policy)
    graph = policy.with_suffix(".onnx")
    refused_everywhere(graph, graph.read_bytes(), policy)


@pytest.mark.parametrize("end", [b"\n", b" ", b"#\n", b"\r\n", b"\0", b"\xef\xbb\xbf", b"...\n"])
def test_bytes_that_are_added_or_left_out_are_refused(policy: Path, end: bytes) -> None:
    content = policy.read_bytes()
    for changed in (content + end, end + content, content[:-1], content.replace(b"\n", b"\r\n")):
        policy.write_bytes(changed)
        assert failed(verify(policy).findings)
        with pytest.raises(InputError):
            read_enforceable(policy)


def test_a_comment_that_lies_is_refused_with_its_line(policy: Path) -> None:
    text = policy.read_text()
    policy.write_text(text.replace("# the caller says", "# the graph reads the prompt"))
    line = 1 + text[: text.index("# the caller says")].count("\n")
    (finding,) = verify(policy).findings
    assert (finding.code, finding.where) == ("format", f"{policy}:{line}")
    with pytest.raises(InputError, match=f"policy.yaml:{line}: .*byte for byte"):
        read_enforceable(policy)


def test_a_policy_of_one_byte_or_none_is_refused(policy: Path) -> None:
    for content in (b"", b"a", b"\xff", b"[]", b"{}"):
        policy.write_bytes(content)
        assert codes(policy) == ["invalid"]
    policy.unlink()
    assert codes(policy) == ["unreadable"]


def test_a_graph_that_is_missing_is_found(policy: Path) -> None:
    policy.with_suffix(".onnx").unlink()
    (finding,) = verify(policy).findings
    assert (finding.code, finding.where) == ("graph", str(policy.with_suffix(".onnx")))


def test_a_policy_of_an_older_format_is_enforced_where_it_was_signed(
    policy: Path, ada: PublicKey
) -> None:
    """Nobody can tell any more whether its comments are those that were written."""
    text = (FIXTURES / "v1.0" / "labels.policy.yaml").read_text()
    old = parse_policy(text, "old").policy
    graph = build_graph(old, None)
    text = text.replace(old.graph.sha256, digest_bytes(graph))
    data = Source.of("old", text).data
    text = text.replace(data["digest"], PolicyOf10.model_validate(data).content_digest())
    policy.write_text(text)
    policy.with_suffix(".onnx").write_bytes(graph)
    assert codes(policy) == ["format-old"]
    with pytest.raises(RefusedPolicyError, match=r"policy\.yaml:4:1: format_version: .*too old"):
        read_enforceable(policy)
    with pytest.raises(RefusedPolicyError):
        signed(policy)
    sign_as_it_lies(policy)
    assert codes(policy, ada) == []
    assert read_enforceable(policy, trusted=[ada]).format_version == "1.1"


def sign_as_it_lies(policy: Path) -> None:
    """As a version did for which this was today's format."""
    whole, key = read_whole(policy), read_private_key(policy.parent / "ada", lambda: b"")
    both = (digest_bytes(whole.content), digest_bytes(whole.graph))
    made = Signature(
        key_id=key.id,
        policy_sha256=both[0],
        graph_sha256=both[1],
        signature=base64.b64encode(key.sign(statement(*both))).decode(),
    )
    signature_path(policy).write_text(made.to_json())


def test_a_graph_that_decides_otherwise_is_found_although_it_is_pinned(policy: Path) -> None:
    swapped = plan(rungs=(rung(1.0, {SMALL: 0.6, **easy_rest()}, hard(), 0.005), plan().rungs[1]))
    graph = compile_plan(swapped, estimator=None).graph
    pin = Graph(file="policy.onnx", sha256=digest_bytes(graph))
    repinned = compiled().policy.model_copy(update={"graph": pin}).sealed()
    write_policy(CompiledPolicy(repinned, graph), policy)
    (finding,) = verify(policy).findings
    assert finding.code == "graph-disagrees"


def test_a_graph_with_shares_in_another_file_is_refused_for_nothing_pins_them(
    policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime would read them in the working directory, whatever they then say."""
    shares = numpy_helper.to_array(
        next(
            one
            for one in onnx.load_from_string(compiled().graph).graph.initializer
            if one.name == "decision/cumulative"
        )
    )
    (policy.parent / "cumulative.bin").write_bytes(shares.tobytes())
    monkeypatch.chdir(policy.parent)
    graph = elsewhere(compiled().graph, "decision/cumulative")
    pin = Graph(file="policy.onnx", sha256=digest_bytes(graph))
    repinned = compiled().policy.model_copy(update={"graph": pin}).sealed()
    write_policy(CompiledPolicy(repinned, graph), policy)
    (finding,) = verify(policy).findings
    assert finding.code == "graph"
    assert "numbers in other files" in finding.message
    with pytest.raises(InputError, match=r"numbers in other files.*got 'cumulative.bin'"):
        read_enforceable(policy)


def easy_rest() -> dict[str, float]:
    ((other, _),) = [(s, x) for s, x in plan().rungs[0].allocation["easy"].items() if s != SMALL]
    return {other: 0.4}


def hard() -> dict[str, float]:
    return plan().rungs[0].allocation["hard"]


def test_naming_a_key_asks_for_a_signature(policy: Path, ada: PublicKey) -> None:
    assert codes(policy, ada) == ["unsigned"]
    signed(policy)
    found = verify(policy, [ada])
    assert (found.findings, found.signed_by) == ((), ada)


def test_a_signature_that_is_asked_for_without_a_key_never_holds(
    policy: Path, ada: PublicKey
) -> None:
    signed(policy)
    (finding,) = verify(policy, signature_required=True).findings
    assert finding.code == "signature-untrusted"


def test_a_signature_without_a_key_to_trust_is_only_held_against_the_bytes(
    policy: Path, ada: PublicKey
) -> None:
    signed(policy)
    (finding,) = verify(policy).findings
    assert (finding.code, finding.severity) == ("signature-unchecked", Severity.WARNING)
    write_policy(compile_plan(plan(workload="another"), estimator=None), policy)
    assert codes(policy) == ["signature-stale"]
    signature_path(policy).write_text("{}")
    assert codes(policy) == ["signature-invalid"]


def test_every_code_of_a_signature_is_an_error_of_verify(policy: Path, ada: PublicKey) -> None:
    signed(policy)
    bob = write_key_pair(policy.parent / "bob", None)
    assert codes(policy, bob) == ["signature-untrusted"]
    assert codes(policy, bob, ada) == []
    policy.write_text(policy.read_text() + "#\n")
    assert codes(policy, ada) == ["signature-stale", "format"]
    assert read_public_key(policy.parent / "ada.pub") == ada


def origin(policy: Path, solved: Plan) -> list[str]:
    return [finding.code for finding in provenance_findings(read_whole(policy), solved)]


def test_the_plan_that_a_policy_names_is_the_one_that_it_came_from(policy: Path) -> None:
    assert origin(policy, plan()) == []
    assert origin(policy, plan(warnings=("careful",))) == ["stale-plan"]
    assert origin(policy, plan(spec_digest="sha256:0")) == ["stale-plan", "stale-spec"]
    other = plan(solver="HiGHS 2", profile_digest="sha256:1")
    assert origin(policy, other) == ["stale-plan", "stale-profile"]
    (finding,) = provenance_findings(read_whole(policy), plan(warnings=("careful",)))
    assert ": provenance.plan" in finding.where
