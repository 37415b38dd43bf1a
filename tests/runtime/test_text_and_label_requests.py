"""Requests that are sorted by their prompt and a label that the caller sends."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from fake_upstream import InMemory, reply
from small_policies import BY_TEXT_AND_LABEL, CHEAP, budget, policy, service, written

from policies.decide import choose_many
from policies.policy import Policy, PolicyClasses
from profiles.errors import InputError
from runtime.decision import DecisionSession, missing_label
from runtime.gateway import Gateway
from runtime.replay import replay
from runtime.service import Ask
from runtime.upstream import ChatCall, Completion, Message

SHORT, LONG = "what is 2 + 3", "one two three four five six seven eight nine ten"


def small() -> Policy:
    return policy(budgets=(budget(1.0),), sorting=BY_TEXT_AND_LABEL)


def session(folder: Path) -> DecisionSession:
    return DecisionSession(small(), written(small(), folder).with_suffix(".onnx"))


def right(_: int, call: ChatCall) -> Completion:
    return reply(*["right"] * call.n)


def test_prompt_and_label_become_a_decision(tmp_path: Path) -> None:
    decider = session(tmp_path)
    assert decider.decide(SHORT, 0, 0.5, "law").class_name == "law/easy"
    assert decider.decide(LONG, 0, 0.5, "law").class_name == "law/hard"
    assert decider.decide(LONG, 0, 0.5, "art").class_name == "art/all"
    many = decider.decide_many([SHORT, LONG], [0, 0], [0.5, 0.5], ["law", "art"])
    assert [one.class_index for one in many] == [1, 0]
    expected = choose_many(small(), [1, 0], [0, 0], [0.5, 0.5])
    assert [one.strategy_index for one in many] == expected.tolist()


@pytest.mark.parametrize("label", ["Law", "", "law/easy", "\ud800", "x" * 200])
def test_an_unknown_label_is_refused_and_no_other_is_named(tmp_path: Path, label: str) -> None:
    with pytest.raises(InputError, match="does not know the label; expected") as raised:
        session(tmp_path).decide(SHORT, 0, 0.5, label)
    assert "one of its labels (2), which the operator knows" in str(raised.value)
    assert "art" not in str(raised.value)


def test_a_missing_label_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="sorts requests by a label that the caller sends"):
        session(tmp_path).decide(SHORT, 0, 0.5)
    with pytest.raises(InputError, match="differ in number"):
        session(tmp_path).decide_many([SHORT], [0], [0.5], [])


@pytest.mark.asyncio
async def test_a_service_sorts_by_both(tmp_path: Path) -> None:
    found = service(small(), tmp_path, InMemory(right))
    asked = Ask((Message("user", LONG),), LONG, "law")
    assert (await (await found.start(asked)).task).class_name == "law/hard"
    for label, message in ((None, "none came"), ("tax", "one of its labels")):
        with pytest.raises(InputError, match=message):
            await found.start(Ask((Message("user", LONG),), LONG, label))


async def post(gateway: Gateway, body: dict[str, Any], *labels: str) -> tuple[int, str, str]:
    """Status, the class it was sorted into, and the error's message; a header per label."""
    sent: list[dict[str, Any]] = []
    arrived = asyncio.Queue[dict[str, Any]]()
    arrived.put_nowait({"type": "http.request", "body": json.dumps(body).encode()})

    async def send(event: dict[str, Any]) -> None:
        sent.append(event)

    headers = [(b"x-inferbudget-class", label.encode()) for label in labels]
    scope = {
        "type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": headers,
    }  # fmt: skip
    await gateway(scope, arrived.get, send)
    shown = dict(sent[0]["headers"])
    error = json.loads(sent[1]["body"]).get("error") or {"message": ""}
    return sent[0]["status"], shown.get(b"x-inferbudget-class", b"").decode(), error["message"]


@pytest.mark.asyncio
async def test_the_gateway_takes_the_label_from_header_or_body(tmp_path: Path) -> None:
    gateway = Gateway(service(small(), tmp_path, InMemory(right)))
    body = {"messages": [{"role": "user", "content": LONG}]}
    assert (await post(gateway, body, "law"))[:2] == (200, "law/hard")
    assert (await post(gateway, body, "art"))[:2] == (200, "art/all")
    inside = {**body, "metadata": {"class": "law"}}
    assert (await post(gateway, inside))[:2] == (200, "law/hard")
    status, _, message = await post(gateway, body)
    assert status == 400
    assert "by a label that the caller sends" in message
    assert "art" not in message
    status, _, message = await post(gateway, body, "tax")
    assert status == 400
    assert "does not know the label" in message
    assert "'tax'" in message
    assert "art" not in message


@pytest.mark.asyncio
async def test_an_empty_header_is_an_unknown_label_whatever_the_body_says(tmp_path: Path) -> None:
    gateway = Gateway(service(small(), tmp_path, InMemory(right)))
    inside = {"messages": [{"role": "user", "content": LONG}], "metadata": {"class": "art"}}
    status, _, message = await post(gateway, inside, "")
    assert status == 400
    assert "does not know the label" in message
    assert (await post(gateway, inside, "law"))[:2] == (200, "law/hard")


@pytest.mark.asyncio
async def test_headers_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    gateway = Gateway(service(small(), tmp_path, InMemory(right)))
    body = {"messages": [{"role": "user", "content": LONG}]}
    for labels in (("law", "art"), ("law", ""), ("", "law"), ("law", "law", "art")):
        status, _, message = await post(gateway, body, *labels)
        assert status == 400
        assert "contradict each other" in message
        assert "art" not in message
    assert (await post(gateway, body, "law", "law"))[:2] == (200, "law/hard")
    plain = Gateway(service(policy(), tmp_path, InMemory(right)))
    assert (await post(plain, body, "easy", "hard"))[0] == 400


def test_a_replay_sorts_by_both(tmp_path: Path) -> None:
    path = written(small(), tmp_path)
    outcomes = {f"q{number}": {CHEAP: (1.0, 0.0001, 0.5)} for number in range(3)}
    prompts = {"q0": SHORT, "q1": LONG, "q2": LONG}
    labels = {"q0": "law", "q1": "law", "q2": "art"}
    report = replay(path, outcomes, prompts, labels=labels)
    assert {name: part.requests for name, part in report.by_class.items()} == {
        "art/all": 1,
        "law/easy": 1,
        "law/hard": 1,
    }
    with pytest.raises(InputError, match="query q2: this request has no class label"):
        replay(path, outcomes, prompts, labels={"q0": "law", "q1": "law"})
    with pytest.raises(InputError, match="query q0: this request has no class label"):
        replay(path, outcomes, prompts)
    with pytest.raises(InputError, match="query q0: this request has no prompt"):
        replay(path, outcomes, {}, labels=labels)
    with pytest.raises(InputError, match="does not know the label"):
        replay(path, outcomes, prompts, labels={**labels, "q1": "tax"})


def test_labels_and_classes_are_counted_and_none_is_named() -> None:
    many = tuple(f"tenant-{number:03}" for number in range(500))
    sorting = BY_TEXT_AND_LABEL.model_copy(update={"labels": many})
    refusal = str(missing_label(small().model_copy(update={"classes": sorting})))
    assert "one of its labels (500), which the operator knows" in refusal
    assert "tenant" not in refusal
    classes = PolicyClasses(source="label", names=many, weights=(1 / len(many),) * len(many))
    refusal = str(missing_label(small().model_copy(update={"classes": classes})))
    assert "one of its classes (500), which the operator knows" in refusal
    assert "tenant" not in refusal
