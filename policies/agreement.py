"""Does the graph decide as the YAML says? Both answer the same sample of requests."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from policies.decide import Tables, choose_many, with_unknown
from policies.policy import EMBEDDING, Policy
from profiles.errors import InputError
from profiles.external_data import AS_ONNX

Requests = dict[str, NDArray[Any]]
SEED = 20260101
_TEXTS = 128
_DRAWS = 8  # at least, of every text and every label
_OUTPUTS = (
    "class_index",
    "strategy_index",
    "class_name",
    "strategy",
    "expected_cost_usd",
    "cost_bound_usd",
)
_NOT_YET = {"1.0": {"cost_bound_usd"}}


def disagreement(policy: Policy, graph: bytes) -> str | None:
    """The first request that graph and policy decide differently, None where they agree.

    With labels, every class meets every rung at every edge of its shares. With text, sample
    prompts meet rungs and edges that are drawn at random, so classes that no sample falls into go
    untested here. Where the graph reads a label too, every label meets at least eight draws of a
    prompt, not every prompt. Where it reads an encoder's vectors, half of the prompts have random
    ones of length 1 and the others were not read: those must be in the last class, of each label in
    one class whatever the prompt.

    Raises:
        InputError: The graph cannot be loaded or has other inputs and outputs.
    """
    requests, rungs, uniforms = _sample(policy)
    found = _run(policy, graph, requests, rungs, uniforms)
    expected = _expected(policy, requests, found["class_index"], rungs, uniforms)
    for name in found:
        same = found[name] == expected[name]
        if found[name].dtype == np.float32:
            same |= np.isnan(found[name]) & np.isnan(expected[name])
        if not same.all():
            at = int(np.argmin(same))
            return (
                f"{name} of {_asked(requests, at)}, rung {rungs[at]}, "
                f"uniform {float(uniforms[at])!r}: the policy says {expected[name][at]}, "
                f"the graph {found[name][at]}"
            )
    return None


def _asked(requests: Requests, at: int) -> str:
    strings = {kind: values for kind, values in requests.items() if kind != EMBEDDING}
    asked = [f"{kind} {str(values[at])[:40]!r}" for kind, values in strings.items()]
    return ", ".join(asked + ["not read"] * bool(_unread(requests)[at]))


def edge_uniforms(policy: Policy) -> NDArray[np.float32]:
    """Every cumulative share with its float32 neighbours, and numbers that are out of range."""
    edges = np.unique(Tables.of(policy).cumulative)
    odd = np.array([0, 2**-24, 0.5, 1 - 2**-24, 1, 2, -1, np.nan, np.inf], dtype=np.float32)
    around = [np.nextafter(edges, np.float32(side)) for side in (-1, 2)]
    return np.concatenate([odd, edges, *around]).astype(np.float32)


def _sample(policy: Policy) -> tuple[Requests, NDArray[np.int64], NDArray[np.float32]]:
    steps = np.append(np.arange(-1, len(policy.rungs) + 1), (2**31, 2**63 - 1))
    uniforms = edge_uniforms(policy)
    labels = [*policy.classes.accepted, "no such class", ""]
    if policy.classes.inputs == ("label",):
        grid = np.meshgrid(np.arange(len(labels)), steps, np.arange(len(uniforms)), indexing="ij")
        label, rung, uniform = (axis.ravel() for axis in grid)
        return {"label": _objects(labels)[label]}, rung.astype(np.int64), uniforms[uniform]
    # many texts: a random pairing instead of every one
    generator = np.random.default_rng(SEED)
    texts = _objects(_texts())
    count = _DRAWS * max(len(texts), len(labels))
    requests = {"text": texts[np.arange(count) % len(texts)]}
    rungs = generator.choice(steps, count).astype(np.int64)
    drawn = generator.choice(uniforms, count)
    if "label" in policy.classes.inputs:
        requests["label"] = _objects(labels)[generator.permutation(np.arange(count) % len(labels))]
    if policy.classes.encoder:
        requests[EMBEDDING] = _vectors(count, policy.classes.encoder.width, generator)
    return requests, rungs, drawn


def _vectors(count: int, width: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """float32[count, width]: of length 1, and half of them with numbers that are not finite."""
    vectors = generator.standard_normal((count, width))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    unread = generator.random(count) < 0.5
    odd = generator.choice([np.nan, np.inf, -np.inf], count)
    vectors[unread, generator.integers(0, width, count)[unread]] = odd[unread]
    vectors[unread & (generator.random(count) < 0.5)] = np.nan
    return vectors.astype(np.float32)


def _unread(requests: Requests) -> NDArray[np.bool_]:
    """Of every request, whether the encoder's vector is there to be read and is not finite."""
    if EMBEDDING not in requests:
        return np.zeros(len(next(iter(requests.values()))), dtype=bool)
    return np.asarray(~np.isfinite(requests[EMBEDDING]).all(axis=1))


def _objects(texts: list[str]) -> NDArray[Any]:
    return np.array(texts, dtype=object)


def _texts() -> list[str]:
    """Prompts of every length, from nothing to long sums and long prose."""
    generator = np.random.default_rng(SEED)
    words = ["what", "is", "the", "sum", "of", "prove", "that", "12", "4711", "+", "if", "graph"]
    lengths = np.geomspace(1, 300, _TEXTS).astype(int)
    return ["", " ", *(" ".join(generator.choice(words, length)) for length in lengths)]


def _run(
    policy: Policy,
    graph: bytes,
    requests: Requests,
    rungs: NDArray[np.int64],
    uniforms: NDArray[np.float32],
) -> dict[str, NDArray[Any]]:
    """Outputs by name, those that graphs of the graph's format version have."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry(*AS_ONNX)
    feeds = {**requests, "rung": rungs, "uniform": uniforms}
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        version = session.get_modelmeta().custom_metadata_map.get("inferbudget_format_version", "")
        names = [name for name in _OUTPUTS if name not in _NOT_YET.get(version, ())]
        return dict(zip(names, session.run(names, feeds), strict=True))
    except Exception as error:  # ONNX Runtime's exceptions share no public root
        raise InputError(
            "ONNX Runtime cannot run the decision graph",
            where=policy.graph.file,
            got=str(error),
            next_step="run 'inferbudget compile' again, or install onnxruntime 1.22 or newer",
        ) from error


def _expected(
    policy: Policy,
    requests: Requests,
    class_index: NDArray[np.int64],
    rungs: NDArray[np.int64],
    uniforms: NDArray[np.float32],
) -> dict[str, NDArray[Any]]:
    names = policy.classes.names
    classes = np.clip(class_index, 0, len(names) - 1)
    unread = _unread(requests)
    if "label" in requests:
        place = {label: index for index, label in enumerate(policy.classes.accepted)}
        position = np.array([place.get(label, -1) for label in requests["label"]])
        for label in set(position[unread]):
            of_label = unread & (position == label)
            classes[of_label] = classes[of_label][0]
        known = position if "text" not in requests else classes
        classes = np.where(position < 0, -1, known)
    else:
        classes[unread] = len(names) - 1
    strategies = choose_many(policy, classes, rungs, uniforms)
    tables = Tables.of(policy)
    return {
        "class_index": classes,
        "strategy_index": strategies,
        "class_name": np.array([*names, ""], dtype=object)[classes],
        "strategy": np.array([*policy.strategy_texts(), ""], dtype=object)[strategies],
        "expected_cost_usd": with_unknown(tables.cost_usd)[classes, strategies],
        "cost_bound_usd": with_unknown(tables.cost_bound_usd)[classes, strategies],
    }
