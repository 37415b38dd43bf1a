"""Reading prompts beside the event loop: in time or not at all, and nobody stalls another."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from small_encoders import WORDS, encoder_folder
from small_policies import by_vectors, policy

from app.cli.serve import serve_command
from profiles.difficulty.reading.encoder import Encoder
from profiles.errors import InputError
from runtime import embedding
from runtime.embedding import TIMEOUT_S, Embedder, embed_all, open_encoder

Opened = Callable[..., Encoder]
LONG_S = 60.0
Found = TypeVar("Found")


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    known: dict[str, Encoder] = {}

    def once(**options: object) -> Encoder:
        key = str(options)
        if key not in known:
            folder = tmp_path_factory.mktemp("encoder")
            known[key] = Encoder.open(encoder_folder(folder, **options))  # type: ignore[arg-type]
        return known[key]

    return once


def embedder(encoder: Encoder, *, batch: int = 1, **options: float) -> Embedder:
    """Batches of more than one text are for GPUs."""
    found = Embedder(encoder, timeout_s=LONG_S, **options)  # type: ignore[arg-type]
    found._batch = batch
    return found


def texts(count: int) -> list[str]:
    """With and without words that are known, and with none at all."""
    generator = random.Random(3)
    words = [word for word in WORDS if word not in {"slow", "broken"}]
    return [" ".join(generator.choices(words, k=generator.randrange(40))) for _ in range(count)]


async def begun(reading: Coroutine[Any, Any, Found], found: Embedder) -> asyncio.Task[Found]:
    """The task, once the thread has taken all that waits."""
    task = asyncio.ensure_future(reading)
    await asyncio.sleep(0)
    while found._waiting:
        await asyncio.sleep(0.001)
    return task


@pytest.mark.asyncio
@pytest.mark.parametrize("batch", [1, 32])
async def test_many_at_once_are_read_as_each_alone(opened: Opened, batch: int) -> None:
    encoder, asked = opened(), ["", "\ud800", "😀", "near " * 100_000, *texts(200)]
    alone = np.concatenate([encoder.encode([text]) for text in asked])
    found = embedder(encoder, batch=batch)
    for _ in range(3):
        vectors = await asyncio.gather(*map(found.embed, asked))
        assert np.allclose(np.stack(vectors), alone, atol=1e-6)  # type: ignore[arg-type]
    assert not found.unread.total()
    assert not found._waiting


@pytest.mark.asyncio
@pytest.mark.parametrize("batch", [1, 32])
async def test_a_prompt_that_the_model_fails_on_fails_alone(opened: Opened, batch: int) -> None:
    asked = ["near", "far broken", "far", "broken", "odd"]
    found = embedder(opened(), batch=batch)
    vectors = await asyncio.gather(*map(found.embed, asked))
    assert [vector is None for vector in vectors] == [False, True, False, True, False]
    assert dict(found.unread) == {"late": 0, "full": 0, "failed": 2}


@pytest.mark.asyncio
async def test_a_batch_holds_few_long_prompts_so_that_a_short_one_waits_for_few(
    opened: Opened,
) -> None:
    found, loop = embedder(opened(), batch=32), asyncio.get_running_loop()
    found._waiting = {loop.create_future(): text for text in ["near " * 10_000] * 8 + ["far"] * 40}
    assert [len(found._take()) for _ in range(7)] == [32, 10, 2, 2, 2, 0, 0]


@pytest.mark.asyncio
async def test_a_prompt_that_the_tokenizer_fails_on_fails_alone(
    opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    found = embedder(opened(unknown=None), batch=32)
    vectors = await asyncio.gather(*map(found.embed, ["near", "secret", "far"]))
    assert [vector is None for vector in vectors] == [False, True, False]
    assert "the encoder failed on a prompt: InputError" in caplog.text
    assert "secret" not in caplog.text


def test_all_but_the_failing_are_read_in_order(opened: Opened) -> None:
    encoder = opened()
    vectors = embed_all(encoder, ["near", "broken", "far"])
    assert vectors[1] is None
    assert np.array_equal(np.stack([vectors[0], vectors[2]]), encoder.encode(["near", "far"]))  # type: ignore[list-item]
    assert embed_all(encoder, []) == []


@pytest.mark.asyncio
async def test_a_prompt_that_takes_too_long_is_given_up_and_the_next_one_is_read(
    opened: Opened,
) -> None:
    encoder = opened(slow=True)
    found = Embedder(encoder, timeout_s=0.02)
    assert await found.embed("slow") is None
    assert found.unread["late"] == 1
    found._timeout_s = LONG_S
    assert np.array_equal(await found.embed("near"), encoder.encode(["near"])[0])  # type: ignore[arg-type]
    assert not found._waiting


@pytest.mark.asyncio
async def test_what_nobody_waits_for_any_more_is_not_read(opened: Opened) -> None:
    """Cancelled and late prompts leave the queue at once; the slow one would hold it for long."""
    found = embedder(opened(slow=True), most_waiting=4)
    busy = await begun(found.embed("slow"), found)
    waiting = [asyncio.ensure_future(found.embed("slow")) for _ in range(4)]
    await asyncio.sleep(0)
    assert len(found._waiting) == 4
    for one in waiting:
        one.cancel()
    await asyncio.wait(waiting)
    assert not found._waiting
    assert await found.embed("near") is not None
    assert await busy is not None
    assert not found.unread.total()


@pytest.mark.asyncio
async def test_a_prompt_for_which_there_is_no_room_is_given_up_at_once(opened: Opened) -> None:
    found = embedder(opened(slow=True), most_waiting=2)
    busy = await begun(found.embed("slow"), found)
    waiting = [asyncio.ensure_future(found.embed("near")) for _ in range(2)]
    await asyncio.sleep(0)
    assert await found.embed("far") is None
    assert not busy.done()
    assert dict(found.unread) == {"late": 0, "full": 1, "failed": 0}
    assert all(vector is not None for vector in await asyncio.gather(busy, *waiting))


@pytest.mark.asyncio
async def test_the_newest_is_read_first(opened: Opened) -> None:
    found, order = embedder(opened(slow=True)), []

    async def ask(text: str) -> None:
        await found.embed(text)
        order.append(text)

    busy = await begun(ask("slow"), found)
    await asyncio.gather(busy, *map(ask, ["near", "far", "odd"]))
    assert order == ["slow", "odd", "far", "near"]


def test_several_are_read_at_once_on_a_gpu_and_where_a_processor_is_quick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = Encoder.open(encoder_folder(tmp_path / "encoder"))
    assert (encoder.provider, encoder.one_by_one) == ("CPUExecutionProvider", False)
    monkeypatch.setattr(embedding, "_QUICK_S", 0.0)
    assert Embedder(encoder)._batch == 1
    encoder.provider = "CUDAExecutionProvider"
    assert Embedder(encoder)._batch == 32
    encoder.provider = "CPUExecutionProvider"
    monkeypatch.setattr(embedding, "_QUICK_S", LONG_S)
    assert Embedder(encoder)._batch == 32
    encoder.one_by_one = True
    assert Embedder(encoder)._batch == 1


def test_a_policy_gets_the_encoder_that_it_names(opened: Opened, tmp_path: Path) -> None:
    encoder, folder = opened(), encoder_folder(tmp_path / "encoder")
    found = policy(sorting=by_vectors(encoder))
    again = open_encoder(found, folder)
    assert again is not None
    assert again.facts == encoder.facts
    assert open_encoder(policy(), None) is None


def test_an_encoder_that_cannot_be_used_is_refused(opened: Opened, tmp_path: Path) -> None:
    found = policy(sorting=by_vectors(opened()))
    folder = encoder_folder(tmp_path / "encoder")
    with pytest.raises(InputError, match="with an encoder, and none was given") as raised:
        open_encoder(found, None)
    assert f"digest {opened().digest}" in str(raised.value)
    assert "--encoder" in str(raised.value)
    with pytest.raises(InputError, match="without an encoder, and one was given"):
        open_encoder(policy(), folder)
    with pytest.raises(InputError, match="a GPU is required, but the encoder runs on a CPU"):
        open_encoder(found, folder, require_gpu=True)
    with pytest.raises(InputError, match="another encoder") as raised:
        open_encoder(found, encoder_folder(tmp_path / "other", slow=True))
    assert opened().digest in str(raised.value)
    with pytest.raises(InputError, match="not a sentence encoder"):
        open_encoder(found, tmp_path)


def test_an_encoder_without_the_tokenizers_package_is_refused(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = policy(sorting=by_vectors(opened()))
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(InputError, match=r"pip install 'inferbudget\[encoder\]'"):
        open_encoder(found, encoder_folder(tmp_path / "encoder"))


def test_the_commands_time_limit_is_the_embedders() -> None:
    (option,) = [part for part in serve_command.params if part.name == "encoder_timeout_s"]
    assert option.default == TIMEOUT_S
