"""Train the two demo models from scratch on one core and write them as ONNX.

    python -m demo.train demo-small
    python -m demo.train demo-large

The only module that needs torch. Prompts are padded on the right to one width and closed by a
separator, so that every part of a prompt and of an answer has its own fixed position; the
padding is masked. The loss covers the answer alone.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn
from torch.nn import functional

from demo.models.graph import Floats, Shape, write
from demo.tasks import SIZES, draw

#: Token 0 pads, 1 ends a prompt and an answer, 2 stands for any other character.
VOCABULARY: Final = "\0\n? +=0123456789adefkmnoru"
PAD, END, OTHER = 0, 1, 2
#: Slots of a prompt with its separator, and of a prompt with its answer.
WIDTH: Final = 40
CONTEXT: Final = 96
#: Difference of logits that an export may have.
TOLERANCE: Final = 1e-4


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one model is trained; `batch` counts sequences per step and task."""

    width: int
    layers: int
    heads: int
    steps: int
    rate: float
    seed: int
    batch: Mapping[str, int]
    levels: Mapping[str, tuple[float, float, float]]


_LEVELS: Final = {
    "subset_sum": (0.3, 0.3, 0.4),
    "addition": (0.1, 0.5, 0.4),
    "chain": (0.3, 0.3, 0.4),
}
RECIPES: Final[Mapping[str, Recipe]] = {
    "demo-small": Recipe(
        48, 3, 4, 4500, 3e-3, 1, {"subset_sum": 32, "addition": 32, "chain": 16}, _LEVELS
    ),
    "demo-large": Recipe(
        80, 4, 4, 4500, 2e-3, 2, {"subset_sum": 32, "addition": 40, "chain": 8}, _LEVELS
    ),
}


class Block(nn.Module):
    """A pre-norm transformer layer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm_2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map (batch, length, width) to the same shape; `mask` is added to the scores."""
        batch, length, width = x.shape
        split = self.qkv(self.norm_1(x)).view(batch, length, 3, self.heads, -1)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, mask)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(functional.relu(self.up(self.norm_2(x))))


class Model(nn.Module):
    """A character-level GPT with learned positions."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.token = nn.Embedding(len(VOCABULARY), recipe.width)
        self.position = nn.Embedding(CONTEXT, recipe.width)
        self.blocks = nn.ModuleList(Block(recipe.width, recipe.heads) for _ in range(recipe.layers))
        self.norm = nn.LayerNorm(recipe.width)
        self.head = nn.Linear(recipe.width, len(VOCABULARY))
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                deep = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * recipe.layers) if deep else 0.02)

    def forward(self, tokens: Tensor, slots: Tensor) -> Tensor:
        """Logits (batch, length, vocabulary); a column of `tokens` sits at its slot."""
        length = tokens.shape[1]
        mask = torch.full((length, length), -1e9).triu(1)
        mask = mask + torch.where(tokens == PAD, -1e9, 0.0)[:, None, None, :]
        x = self.token(tokens) + self.position.weight[slots]
        for block in self.blocks:
            x = block(x, mask)
        logits: Tensor = self.head(self.norm(x))
        return logits


def encode(text: str) -> list[int]:
    """Character tokens of a lower-cased text."""
    return [index if (index := VOCABULARY.find(char)) > END else OTHER for char in text.lower()]


def batch_of(task: str, recipe: Recipe, rng: random.Random) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, targets (-100 outside the answer) and the columns' slots, unused ones left out."""
    levels = rng.choices((1, 2, 3), recipe.levels[task], k=recipe.batch[task])
    pairs = [draw(task, level, rng, for_training=True) for level in levels]
    longest = max(len(prompt) for prompt, _ in pairs)
    tail = max(len(answer) for _, answer in pairs) + 1
    inputs = torch.full((len(pairs), longest + tail), PAD)
    targets = torch.full((len(pairs), longest + tail), -100)
    for row, (prompt, answer) in enumerate(pairs):
        output = torch.tensor([END, *encode(answer), END])
        inputs[row, : len(prompt)] = torch.tensor(encode(prompt))
        inputs[row, longest : longest + len(output) - 1] = output[:-1]
        targets[row, longest : longest + len(output) - 1] = output[1:]
    slots = torch.cat([torch.arange(longest), torch.arange(WIDTH - 1, WIDTH - 1 + tail)])
    return inputs, targets, slots


def schedule(done: float) -> float:
    """Share of the learning rate when this share of the steps is done: up, level, down."""
    return min(1.0, 0.01 + done / 0.03, 0.05 + (1 - done) / 0.35)


def train(recipe: Recipe) -> Model:
    """Train with AdamW; one step sees a batch of every task."""
    torch.manual_seed(recipe.seed)
    rng = random.Random(f"train:{recipe.seed}")
    model = Model(recipe)
    optimiser = torch.optim.AdamW(model.parameters(), recipe.rate, (0.9, 0.98), weight_decay=0.01)
    began = time.perf_counter()
    losses = dict.fromkeys(SIZES, 0.0)
    for step in range(recipe.steps):
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate * schedule(step / recipe.steps)
        optimiser.zero_grad()
        for task in SIZES:
            inputs, targets, slots = batch_of(task, recipe, rng)
            logits = model(inputs, slots).flatten(0, 1)
            loss = functional.cross_entropy(logits, targets.flatten())
            loss.backward()
            losses[task] += loss.item()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if step % 250 == 249:
            means = {task: round(total / 250, 3) for task, total in losses.items()}
            print(step + 1, means, f"{time.perf_counter() - began:.0f} s", flush=True)
            losses = dict.fromkeys(SIZES, 0.0)
    return model


def save(model: Model, recipe: Recipe, path: Path) -> None:
    """Write the model as ONNX, with what a server must know in its metadata."""
    shape = Shape(recipe.layers, recipe.heads, recipe.width, WIDTH)
    meta = {
        "vocabulary": VOCABULARY,
        "pad": str(PAD),
        "eos": str(END),
        "other": str(OTHER),
        "prompt_width": str(WIDTH),
        "context": str(CONTEXT),
        "recipe": json.dumps(asdict(recipe)),
    }
    weights = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    write(path, shape, weights, meta)


def difference(model: Model, recipe: Recipe, path: Path) -> float:
    """Largest difference of logits, torch's of a whole text against ONNX's through its cache."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    rng = random.Random("difference")
    pairs = [draw(task, 1 + n % 3, rng, for_training=False) for task in SIZES for n in range(9)]
    worst = 0.0
    for prompt, answer in pairs:
        head = [*encode(prompt), *[PAD] * (WIDTH - 1 - len(prompt)), END]
        tokens = head + encode(answer)
        with torch.no_grad():
            expected = model(torch.tensor([tokens]), torch.arange(len(tokens)))[0]
        got = logits_by_step(session, recipe, [head, *([token] for token in encode(answer))])
        worst = max(worst, float((expected[WIDTH - 1 :] - torch.tensor(got)).abs().max()))
    return worst


def logits_by_step(
    session: onnxruntime.InferenceSession, recipe: Recipe, chunks: list[list[int]]
) -> Floats:
    """Logits (chunks, vocabulary) after each chunk of one text, the past growing between them."""
    head = recipe.width // recipe.heads
    shapes = [(1, recipe.heads, head, 0), (1, recipe.heads, 0, head)] * recipe.layers
    past = [np.zeros(shape, np.float32) for shape in shapes]
    names = [value.name for value in session.get_inputs()]
    used = np.array([chunks[0].index(PAD)])
    length, rows = 0, []
    for chunk in chunks:
        fed = [np.array([chunk]), used, np.array([length]), *past]
        logits, *new = session.run(None, dict(zip(names, fed, strict=True)))
        joined = zip(past, new, strict=True)
        past = [np.concatenate(pair, axis=3 - n % 2) for n, pair in enumerate(joined)]
        length += len(chunk)
        rows.append(logits[0])
    return np.stack(rows)


def main() -> None:
    """Train one model and write it beside its siblings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=RECIPES)
    name = parser.parse_args().model
    torch.set_num_threads(1)
    recipe = RECIPES[name]
    model = train(recipe)
    path = Path(__file__).parent / "models" / f"{name}.onnx"
    save(model, recipe, path)
    worst = difference(model, recipe, path)
    print(f"{path}: logits differ from torch's by at most {worst:.1e}")
    if worst > TOLERANCE:
        raise SystemExit(f"expected at most {TOLERANCE:.0e}")


if __name__ == "__main__":
    main()
