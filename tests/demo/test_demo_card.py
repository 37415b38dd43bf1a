"""The models do what their card says, on problems that the card has not seen."""

from __future__ import annotations

import math

import pytest
from demo_client import running_client

from demo.models.measure import measure
from demo.server.app import DEMO
from demo.server.model import LanguageModel
from demo.tasks import SIZES

COUNT = 24
CARD_COUNT = 300
CARD = (DEMO / "models" / "README.md").read_text()


def _rows() -> dict[tuple[str, str, int], list[float]]:
    rows = {}
    for line in CARD.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] in {"demo-small", "demo-large"} and cells[1] in SIZES:
            rows[cells[0], cells[1], int(cells[2])] = [float(cell) for cell in cells[3:]]
    return rows


def test_the_card_has_every_model_task_and_level() -> None:
    levels = {(task, size) for task, sizes in SIZES.items() for size in sizes}
    models = ("demo-small", "demo-large")
    assert set(_rows()) == {(model, task, size) for model in models for task, size in levels}


@pytest.mark.parametrize("model", ["demo-small", "demo-large"])
@pytest.mark.asyncio
async def test_accuracies_are_those_of_the_card(model: str) -> None:
    async with running_client() as client:
        for task, sizes in SIZES.items():
            for level, size in enumerate(sizes, 1):
                found = await measure(client.session, model, task, level, COUNT, seed=77)
                seen = (found.greedy, found.single, found.majority, found.best)
                for here, card in zip(seen, _rows()[model, task, size], strict=True):
                    assert abs(here - card) < _tolerance(card), (task, size, seen)


def _tolerance(card: float) -> float:
    # Four standard errors of the difference of two means of zeros and ones; a share measured as
    # 0 or 1 may be as far off as one in the card's count, hence the shrinking.
    share = (card * CARD_COUNT + 2) / (CARD_COUNT + 4)
    return 4 * math.sqrt(share * (1 - share) * (1 / COUNT + 1 / CARD_COUNT)) + 1 / COUNT


@pytest.mark.parametrize("model", ["demo-small", "demo-large"])
def test_the_card_says_how_large_the_files_and_their_rooms_are(model: str) -> None:
    path = DEMO / "models" / f"{model}.onnx"
    loaded = LanguageModel(path)
    assert path.stat().st_size <= 1_500_000
    assert f"{path.stat().st_size:,} bytes" in CARD
    assert f"{loaded.max_prompt_tokens} characters" in CARD
    assert f"{loaded.max_new_tokens} tokens" in CARD
