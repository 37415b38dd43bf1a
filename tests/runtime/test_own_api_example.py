"""examples/own-api: an application without a framework, with a budget in front."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from asgi_server import CHAT, http_scope, lifespan, requested

FOLDER = Path(__file__).parents[2] / "examples/own-api"


def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("own_api_example", FOLDER / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.asyncio
async def test_the_example_answers_better_than_its_small_model_until_its_money_is_gone() -> None:
    module = example()
    (body,) = re.findall(r"-d '(.*?)'\n", (FOLDER / "README.md").read_text())
    app, ledger = module.app, module.app.gateway.service.ledger
    async with lifespan(app):
        answers = []
        for _ in range(200):
            found = await requested(app, http_scope(CHAT), body.encode())
            answers.append(found.json["choices"][0]["message"]["content"])
            assert float(found.headers["x-inferbudget-cost-usd"]) > 0
        for elsewhere in (http_scope("/v1/models", "GET"), http_scope(CHAT, "PUT")):
            assert (await requested(app, elsewhere, body.encode())).status == 404
        right = sum(answer == str(12345 + 67890) for answer in answers) / len(answers)
        assert right > 0.8 > 1 - module.WRONG["demo-small"]
        left = ledger.state("global").remaining
        others = ledger.hold("another request", left)
        others.call(left).settle(left)
        others.close()
        assert (await requested(app, http_scope(CHAT), body.encode())).status == 402
