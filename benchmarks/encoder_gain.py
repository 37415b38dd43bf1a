"""What a sentence encoder adds to the model of texts on RouteLLM's MMLU rows, and its time.

Every query is routed by a model that saw neither it nor a near-copy: the difference of the two
models' predicted scores orders the queries, largest first, and the first ones go to the strong
model. From prompt text only; subjects are seen in training alone.

    python -m benchmarks.encoder_gain ENCODER_FOLDER[:MAX_TOKENS] ...

An encoder's folder holds model.onnx and tokenizer.json; none is part of the repository. The
measurements are looked for as in `shared_sources`.
"""

from __future__ import annotations

import csv
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack
from tokenizers import Tokenizer

from benchmarks.shared_sources import BESIDE
from profiles.difficulty.folds import folds
from profiles.difficulty.lessons import Lessons
from profiles.difficulty.predicting.features import Features
from profiles.difficulty.predicting.level_one import label_shares
from profiles.difficulty.predicting.predictor import ENCODED, train
from profiles.difficulty.predicting.ridge import many
from profiles.difficulty.reading.encoder import Encoder, Vectors
from profiles.difficulty.reading.recipes import RECIPES, Reading

RESULT = Path("benchmarks/results/encoder_gain.json")
FOLDS, SEED = 5, 0
STEPS = 10  # RouteLLM's thresholds: tenths of the queries
RESAMPLES = 1000
LENGTHS = (50, 500, 5000)
BATCHES = (1, 32)
REPEATS = 7
SECONDS = 5.0  # no timing goes on for much longer
ALONE = 100
TEXT_MODEL = "words+surface"
STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0)
SHRINKAGE = 5.0  # queries at the overall mean that every subject starts with

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
DEFINITIONS = {
    "apgr": "Average performance gap recovered (Ong et al. 2024): area between the curve of mean "
    "score over the share of strong calls and the weak model's score, over the same area of the "
    "strong model; trapezoids over shares 0, 10, .. 100 %, as in the authors' code.",
    "cpt": "Call-performance threshold: the share of strong calls, in percent, at which half, or "
    "80 %, of the gap is recovered; linear between the same points.",
    "gain": "In APGR over text.",
    "standard_error": "From 1000 resamples of groups of near-duplicate queries, predictions as "
    "they are; of a gain, from the same resamples for both.",
    "text": "The model 'words+surface' of profiles.difficulty.predicting.predictor, which also "
    "learns what the text says of the subject.",
    "encoder": "Ridge on the vectors, at the strength of least out-of-fold error.",
    "encoder by subject": "Ridge from vectors to subjects, as shares the way the predictor does; "
    "with them the subjects' mean differences of scores, both from the training folds.",
    "averaged": "Mean of predicted differences. Concatenated: one ridge on both, without subjects.",
    "fitted": "Both: the reading 'words+surface+encoder', as 'difficulty fit --encoder' learns it; "
    "its gain is over text on the same rows. r2: of the weak and the strong model's scores.",
    "subject known": "Not from text: the subject's own mean difference in the training folds.",
    "processor_seconds": "Per prompt, least of up to 7 repeats, one thread, tokenizing included. "
    "Wall time is the same on a core that is free; here other work ran beside. Lengths in the "
    "encoder's own tokens; beyond its limit it reads no further.",
    "largest_difference": "Of any number of a vector, one text alone against all in batches.",
}


@dataclass(frozen=True, slots=True)
class Rows:
    """MMLU rows of RouteLLM.

    Attributes:
        prompts: n texts.
        scores: float64 (n, 2), weak and strong model, 0 or 1.
        subjects: intp (n,), from 0.
        fold_of: intp (n,).
        group_of: intp (n,), equal for near-duplicates.
    """

    prompts: list[str]
    scores: Floats
    subjects: Ints
    fold_of: Ints
    group_of: Ints


def read_rows(data: Path) -> Rows:
    """The even MMLU rows, those without a mark of contamination."""
    with (data / "routellm" / "outcomes.csv").open(newline="") as file:
        every = list(csv.DictReader(file))
    rows = [r for r in every if r["benchmark"] == "mmlu" and r["flagged_contaminated"] == "0"]
    prompts = [row["prompt"] for row in rows]
    columns = ("mixtral_8x7b_correct", "gpt4_1106_correct")
    dealt = folds(prompts, FOLDS, SEED)
    scores = np.array([[float(row[column]) for column in columns] for row in rows])
    subjects = np.unique([row["subject"] for row in rows], return_inverse=True)[1]
    return Rows(prompts, scores, subjects.astype(np.intp), dealt.fold_of, dealt.group_of)


def curve(gain: Floats, scores: Floats) -> Floats:
    """Mean score with the first 0, 1/10, .. of the queries answered by the strong model."""
    order = np.argsort(-gain, kind="stable")
    added = np.concatenate([[0], np.cumsum((scores[:, 1] - scores[:, 0])[order])])
    at = np.round(np.linspace(0, len(gain), STEPS + 1)).astype(int)
    return np.asarray(scores[:, 0].mean() + added[at] / len(gain))


def figures_of(gain: Floats, scores: Floats) -> Floats:
    """APGR, and the CPT of 50 % and 80 % in percent of the calls."""
    weak, strong = scores.mean(axis=0)
    shares = np.linspace(0, 1, STEPS + 1)
    recovered = (curve(gain, scores) - weak) / (strong - weak)
    calls = np.interp((0.5, 0.8), recovered, 100 * shares)
    return np.array([np.trapezoid(recovered, shares), *calls])


def difference(scores: Floats) -> Floats:
    """Score of the strong model less that of the weak one, of predictions to 5 decimals."""
    scores = scores.clip(0, 1).round(5)
    return np.asarray(scores[:, 1] - scores[:, 0])


def text_predictions(
    rows: Rows, vectors: Vectors | None = None, *, subjects: bool = True
) -> Floats:
    """float64 (n, 2): out-of-fold scores of the project's own model of texts, or with vectors."""
    lessons = Lessons(
        workload="mmlu",
        query_ids=[str(index) for index in range(len(rows.prompts))],
        prompts=rows.prompts,
        labels=[str(subject) if subjects else None for subject in rows.subjects],
        strategies=("weak", "strong"),
        scores=rows.scores,
        costs=np.full_like(rows.scores, np.nan),
        without_prompt=0,
        vectors=vectors,
    )
    weight = TEXT_MODEL if vectors is None else ENCODED[0]
    return train(lessons, rows.fold_of, weight).predictions.scores


def fitted(rows: Rows, vectors: Vectors) -> list[dict[str, Any]]:
    """What `difficulty fit --encoder` learns beside what it learns without one."""
    found = []
    for subjects in (True, False):
        text = text_predictions(rows, subjects=subjects)
        both = text_predictions(rows, vectors, subjects=subjects)
        figures = judged(
            rows, {"text": difference(text), "both": difference(both)}, difference(text)
        )
        variance = ((rows.scores - rows.scores.mean(axis=0)) ** 2).sum(axis=0)
        for name, guesses in (("text", text), ("both", both)):
            r2 = 1 - ((guesses - rows.scores) ** 2).sum(axis=0) / variance
            figures[name]["r2"] = [round(float(one), 4) for one in r2]
        found.append({"subjects_in_training": subjects, **figures})
    return found


def ridge(vectors: Floats, targets: Floats, fold_of: Ints) -> Floats:
    """Out-of-fold predictions of targets (n, t), by the strength with the least error."""
    found = np.empty((len(STRENGTHS), *targets.shape))
    for fold in range(FOLDS):
        known = fold_of != fold
        centre, level = vectors[known].mean(axis=0), targets[known].mean(axis=0)
        part = vectors[known] - centre
        square, right = part.T @ part, part.T @ (targets[known] - level)
        for guess, strength in zip(found, STRENGTHS, strict=True):
            weights = np.linalg.solve(square + strength * np.eye(len(square)), right)
            guess[~known] = (vectors[~known] - centre) @ weights + level
    return np.asarray(found[((found - targets) ** 2).sum(axis=(1, 2)).argmin()])


def concatenated(text: csr_array, vectors: Floats, rows: Rows) -> Floats:
    """The same on rows of the text's features and vectors side by side."""
    both = csr_array(hstack([text, csr_array(vectors)], format="csr"))
    count, strengths = rows.scores.shape[1], np.repeat(STRENGTHS, rows.scores.shape[1])
    found = np.empty((len(rows.scores), len(strengths)))
    for fold in range(FOLDS):
        known = rows.fold_of != fold
        level = rows.scores[known].mean(axis=0)
        targets = np.tile(rows.scores - level, len(STRENGTHS))
        seen = np.repeat(known[:, None], len(strengths), axis=1)
        weights = many(Features.of(both), targets, seen, strengths)
        found[~known] = both[~known] @ weights + np.tile(level, len(STRENGTHS))
    by_strength = found.reshape(-1, len(STRENGTHS), count)
    errors = ((by_strength - rows.scores[:, None]) ** 2).sum(axis=(0, 2))
    return np.asarray(by_strength[:, errors.argmin()])


def by_subject(rows: Rows, shares: Floats) -> Floats:
    """Expected difference of scores, given shares of subjects that sum to 1, out of fold."""
    gain = rows.scores[:, 1] - rows.scores[:, 0]
    found = np.empty(len(gain))
    for fold in range(FOLDS):
        known = rows.fold_of != fold
        subjects, size = rows.subjects[known], shares.shape[1]
        total = np.bincount(subjects, gain[known], size) + SHRINKAGE * gain[known].mean()
        mean = total / (np.bincount(subjects, minlength=size) + SHRINKAGE)
        found[~known] = shares[~known] @ mean
    return found


def judged(rows: Rows, gains: Mapping[str, Floats], base: Floats) -> dict[str, dict[str, Any]]:
    """Figures of every router, their standard errors, and its gain in APGR over a base router."""
    rng = np.random.default_rng(SEED)
    members = [np.flatnonzero(rows.group_of == group) for group in range(rows.group_of.max() + 1)]
    samples = [
        np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
        for _ in range(RESAMPLES)
    ]

    def resampled(gain: Floats) -> Floats:
        return np.array([figures_of(gain[rows_], rows.scores[rows_]) for rows_ in samples])

    from_base, base_figures = resampled(base), figures_of(base, rows.scores)
    found = {}
    for name, gain in gains.items():
        figures, again = figures_of(gain, rows.scores), resampled(gain)
        errors = again.std(axis=0, ddof=1)
        more = figures[0] - base_figures[0]
        found[name] = {
            "apgr": round(float(figures[0]), 4),
            "apgr_standard_error": round(float(errors[0]), 4),
            "cpt_50_percent": round(float(figures[1]), 1),
            "cpt_50_standard_error": round(float(errors[1]), 1),
            "cpt_80_percent": round(float(figures[2]), 1),
            "cpt_80_standard_error": round(float(errors[2]), 1),
            "gain": round(float(more), 4),
            "gain_standard_error": round(float((again - from_base)[:, 0].std(ddof=1)), 4),
        }
    return found


def seconds(work: Callable[[], object]) -> float:
    """Processor seconds, the least of a few repeats: what a free core would take."""
    work()
    least, spent = float("inf"), 0.0
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        taken = time.process_time() - start
        least, spent = min(least, taken), spent + taken
        if spent > SECONDS:
            break
    return least


def timed(encoder: Encoder, folder: Path, prompts: list[str]) -> list[dict[str, Any]]:
    """Seconds per prompt at every length and batch size."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    text = "\n\n".join(prompts[:400])
    offsets = tokenizer.encode(text, add_special_tokens=False).offsets
    found = []
    for length in LENGTHS:
        starts = range(0, len(offsets) - length, max(1, (len(offsets) - length) // max(BATCHES)))
        texts = [text[offsets[i][0] : offsets[i + length - 1][1]] for i in starts][: max(BATCHES)]
        for batch in BATCHES:
            each = seconds(lambda some=texts[:batch]: encoder.encode(some)) / batch  # type: ignore[misc]
            found.append(
                {"tokens": length, "batch": batch, "processor_seconds": float(f"{each:.3g}")}
            )
    return found


def measure(
    folder: Path, max_tokens: int | None, rows: Rows, text: csr_array, by_text: Floats
) -> dict[str, Any]:
    """Everything about one encoder, beside features of texts and what they alone predict."""
    encoder = Encoder.open(folder, max_tokens=max_tokens)
    vectors = encoder.encode(rows.prompts)
    alone = np.concatenate([encoder.encode([prompt]) for prompt in rows.prompts[:ALONE]])
    wide = vectors.astype(np.float64)
    truth = np.eye(rows.subjects.max() + 1)[rows.subjects]
    shares = label_shares(ridge(wide, truth, rows.fold_of))
    by_vector, subject = (
        difference(ridge(wide, rows.scores, rows.fold_of)),
        by_subject(rows, shares),
    )
    gains = {
        "text": by_text,
        "encoder": by_vector,
        "encoder by subject": subject,
        "averaged, text and encoder": (by_text + by_vector) / 2,
        "averaged, text and encoder by subject": (by_text + subject) / 2,
        "concatenated, text and encoder": difference(concatenated(text, wide, rows)),
        "subject known": by_subject(rows, truth),
    }
    return {
        "encoder": folder.name,
        "digest": encoder.digest,
        "width": encoder.width,
        "max_tokens": encoder.max_tokens,
        "pooling": encoder.pooling,
        "provider": encoder.provider,
        "one_by_one": encoder.one_by_one,
        "megabytes": round(sum(p.stat().st_size for p in folder.glob("model.onnx*")) / 1e6, 1),
        "largest_difference": float(f"{np.abs(alone - vectors[:ALONE]).max():.2g}"),
        "largest_difference_texts": len(alone),
        "subjects_guessed": round(float((shares.argmax(axis=1) == rows.subjects).mean()), 4),
        "routers": judged(rows, gains, by_text),
        "fitted": fitted(rows, vectors),
        "per_prompt": timed(encoder, folder, rows.prompts),
    }


def main() -> None:
    """Measure every encoder that is named, print and write what was found."""
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    data = Path(os.environ.get("INFERBUDGET_SHARED_DATA", BESIDE))
    rows = read_rows(data)
    _, text = Reading.learn(RECIPES[TEXT_MODEL], rows.prompts)
    by_text = difference(text_predictions(rows))
    result: dict[str, Any] = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "versions": {
            name: version(name) for name in ("numpy", "scipy", "onnxruntime", "tokenizers")
        },
        "definitions": DEFINITIONS,
        "queries": len(rows.prompts),
        "folds": FOLDS,
        "seed": SEED,
        "mean_scores": [round(float(mean), 4) for mean in rows.scores.mean(axis=0)],
        "encoders": [],
    }
    for argument in sys.argv[1:]:
        name, _, limit = argument.partition(":")
        found = measure(Path(name), int(limit) if limit else None, rows, text, by_text)
        result["encoders"].append(found)
        RESULT.write_text(json.dumps(result, indent=2) + "\n")
        sys.stdout.write(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
