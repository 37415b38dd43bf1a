"""Events of an answer that comes all at once are in the order of their numbers, as of any other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_gateway_hostile import Answers, Asked, gateway_of

pytestmark = pytest.mark.asyncio
BODY = b'{"input":"two and two","stream":true,"metadata":{"class":"hard"}}'


async def test_a_response_that_comes_at_once_begins_with_its_first_event(tmp_path: Path) -> None:
    asked = Asked("/v1/responses", BODY)
    assert await asked.of(gateway_of(tmp_path, Answers())) == 200
    lines = asked.text.splitlines()
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data")]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    for event in events[:2]:
        assert event["response"]["status"] == "in_progress"
        assert event["response"]["output"] == []
    assert events[-1]["type"] == "response.completed"
