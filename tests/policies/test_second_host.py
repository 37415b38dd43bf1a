"""examples/node-host decides as ours does: another language, another ONNX Runtime."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
import pytest
from policy_examples import FIXTURES, compiled
from programs import program
from test_policies_with_encoders import made as made_with_encoder
from test_text_and_label_policies import made as made_with_labels

from benchmarks.decision_graph import (
    NODE_HOST,
    RESULT,
    Case,
    columns,
    equal,
    expected,
    node_answers,
)
from benchmarks.random_requests import Sender
from policies.file import CompiledPolicy
from profiles.money import PriceCard
from runtime.checkers import as_verifiers
from runtime.prompt_bound import prompt_tokens_bound
from runtime.strategies import Tools, build
from runtime.upstream import Message

DOCS = Path(__file__).parents[2] / "docs"
COUNT = 2_000
Decide = Callable[[str], list[dict[str, Any]]]


@pytest.fixture(scope="session")
def node() -> str:
    """Node with the host's packages."""
    found = program("node")
    if (NODE_HOST / "node_modules/onnxruntime-node").is_dir():
        return found
    if os.environ.get("CI") == "true":
        pytest.fail("the Node host is not installed; tests/tools.sh installs it")
    pytest.skip("the Node host is not installed; 'make test' installs it where it can")


@pytest.fixture
def decide(node: str, tmp_path: Path) -> Decide:
    """Lines of requests to decisions by the policy on labels."""
    (tmp_path / "policy.onnx").write_bytes(compiled().graph)

    def answers(lines: str) -> list[dict[str, Any]]:
        done = subprocess.run(
            [node, NODE_HOST / "decide.mjs", tmp_path / "policy.onnx"],
            input=lines, capture_output=True, encoding="utf-8", check=True,
        )  # fmt: skip
        return [json.loads(line) for line in done.stdout.splitlines()]

    return answers


def estimator(name: str) -> bytes:
    model = onnx.parser.parse_model((FIXTURES / f"{name}.onnxtxt").read_text())
    return bytes(model.SerializeToString(deterministic=True))


POLICIES: dict[str, tuple[Callable[[], CompiledPolicy], str | None]] = {
    "label": (lambda: compiled("label"), None),
    "text": (lambda: compiled("text"), "words"),
    "text and label": (made_with_labels, "words_and_labels"),
    "text and vectors": (made_with_encoder, "words_and_vectors"),
    "text, label and vectors": (
        lambda: made_with_encoder("text+label"),
        "words_labels_and_vectors",
    ),
}


@pytest.mark.parametrize("name", POLICIES)
def test_thousands_of_random_requests_are_decided_as_the_reference_does(
    name: str, node: str, tmp_path: Path
) -> None:
    make, difficulty = POLICIES[name]
    found = make()
    (tmp_path / "policy.onnx").write_bytes(found.graph)
    samples = ("what is 2 + 3", "one two three four five six seven eight nine ten")
    asked = Sender(found.policy, 3, samples).requests(COUNT, 400)
    answers = columns(node_answers(tmp_path / "policy.onnx", asked))
    of = Case(name, found.policy, found.graph, difficulty and estimator(difficulty), samples)
    wanted = expected(of, asked)
    assert set(wanted["class_index"]) >= set(range(len(found.policy.classes.names)))
    assert equal(answers, wanted).all()


def test_an_unknown_label_has_no_class_no_strategy_and_no_dollars(decide: Decide) -> None:
    assert decide('{"label": "Hard"}\n') == [
        {
            "class_index": -1,
            "strategy_index": -1,
            "class_name": "",
            "strategy": "",
            "expected_cost_usd": None,
            "cost_bound_usd": None,
        }
    ]


def test_lines_that_cannot_be_decided_are_answered_with_their_error(decide: Decide) -> None:
    lines = ['{"label": "easy\\u0000"}', "{}", "{", '{"label": "easy", "rung": 0.5}',
             '{"label": "easy", "uniform": "0"}', '{"label": "easy"}']  # fmt: skip
    *errors, decided = decide("\n".join(lines))  # the last line has no end
    assert [set(answer) for answer in errors] == [{"error"}] * 5
    assert errors[0]["error"] == "label has a U+0000: this host cannot pass it on"
    assert decided["class_name"] == "easy"


def test_a_line_separator_does_not_end_a_line(decide: Decide) -> None:
    (answer,) = decide(json.dumps({"label": "a\u2028b"}, ensure_ascii=False) + "\n")
    assert answer["class_index"] == -1


def test_without_a_uniform_number_the_host_draws_its_own(decide: Decide) -> None:
    answers = decide('{"label": "easy"}\n' * 1000)
    shares = np.unique([answer["strategy_index"] for answer in answers], return_counts=True)[1]
    assert shares[0] / 1000 == pytest.approx(0.7, abs=0.1)  # seven standard errors


def blocks(page: str) -> list[tuple[str, str]]:
    """What follows the marks, and the text, of every fenced block of a page of the docs."""
    parts = textwrap.dedent((DOCS / page).read_text()).split("```")[1::2]
    return [(head.strip(), text) for head, _, text in (part.partition("\n") for part in parts)]


def test_the_pages_example_prints_what_it_says(node: str, tmp_path: Path) -> None:
    """The page goes on where the tutorial has compiled its policy."""
    tutorial = blocks("tutorial/first-plan.md")
    scripts = [textwrap.dedent(text) for head, text in tutorial if not head]
    (spec,) = [textwrap.dedent(text) for head, text in tutorial if head == "yaml"]
    (tmp_path / "spec.yaml").write_text(spec)
    (tmp_path / "node-host").symlink_to(NODE_HOST)
    page = dict(blocks("how-to/decide-in-another-language.md")[1:4])
    (tmp_path / "requests.jsonl").write_text(page["json requests.jsonl"])
    done = subprocess.run(
        ["bash", "-ec", "\n".join([*scripts[:4], "echo DECISIONS", page[""]])],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.partition("DECISIONS\n")[2] == page["text"]


def test_the_pages_worked_bound_is_the_runtimes() -> None:
    prices = PriceCard.model_validate(
        {"models": {"large": {"input": 1.25, "output": 10.0, "cached": 0.125}}}
    )
    tools = Tools(as_verifiers({"checker": lambda prompt, answer: 1.0}))
    executor = build("large/best_of_n(n=8,verifier=checker)", tools)
    tokens = prompt_tokens_bound([Message("user", "x" * 600)])
    assert executor.bound_nano_usd(tokens, 900, prices) == 72_950_000
    page = (DOCS / "how-to/decide-in-another-language.md").read_text()
    assert f"{tokens} x 1.25 + 8 x 900 x 10 = 72,950 micro-dollars" in page


def test_the_pages_counts_are_the_benchmarks() -> None:
    found = json.loads((DOCS.parent / RESULT).read_text())
    page = (DOCS / "how-to/decide-in-another-language.md").read_text()
    rows = re.findall(r"\| ([\d,]+) of ([\d,]+) \|", page)
    hosts = ("onnxruntime", "plain_onnx", "node_host")
    assert rows == [(f"{found[h]['equal']:,}", f"{found[h]['requests']:,}") for h in hosts]
