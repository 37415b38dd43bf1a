"""Labels that the caller sends, combined with the classes of the text: tenant/easy, tenant/hard.

A combined class is a label and a run of neighbouring text classes. Which label and which text class
give which combined class is a constant table in the graph, so a rare combination can belong to its
label's neighbour, and labels can have different numbers of classes. Labels are compared as they
are, byte by byte. An unknown one has no class, -1, which a policy refuses like any unknown label.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from profiles.difficulty.nodes import Graph, ints
from profiles.errors import InputError

LABEL_INPUT = "label"
UNKNOWN = -1
MOST_LABELS = 40
"""Plans of more classes than these bring take minutes, and promise little in each."""
_ONE_CLASS = "all"
_SEPARATOR = "/"


@dataclass(frozen=True, slots=True, eq=False)
class Combined:
    """How labels and text classes make classes.

    Attributes:
        labels: L different labels, sorted.
        names: K combined names, easiest first; a combined class index points here.
        table: intp, shape (L, C): combined class of a label's position and a text class.
    """

    labels: tuple[str, ...]
    names: tuple[str, ...]
    table: NDArray[np.intp]

    def classes(
        self, labels: Sequence[str | None], text_class: NDArray[np.intp]
    ) -> NDArray[np.intp]:
        """Combined class of every query, shape (n,); -1 where its label is unknown or missing.

        Args:
            labels: n labels.
            text_class: intp, shape (n,), each 0..C-1.
        """
        place = {label: index for index, label in enumerate(self.labels)}
        position = np.array([place.get(label or "", UNKNOWN) for label in labels], dtype=np.intp)
        found = self.table[np.maximum(position, 0), text_class]
        return np.where(position < 0, UNKNOWN, found)

    def append(self, graph: Graph, text_class: str) -> str:
        """Append the nodes that do the same. The graph then needs the input `label` too.

        Args:
            graph: Receives the nodes.
            text_class: Name of an int64[N], each 0..C-1.

        Returns:
            Name of the int64[N] of combined classes.
        """
        position = graph.add(
            "LabelEncoder",
            LABEL_INPUT,
            domain="ai.onnx.ml",
            keys_strings=list(self.labels),
            values_int64s=list(range(len(self.labels))),
            default_int64=UNKNOWN,
        )
        row = graph.add("Mul", graph.add("Max", position, ints(0)), ints(self.table.shape[1]))
        cell = graph.add("Add", row, text_class)
        found = graph.add("Gather", self.table.ravel().astype(np.int64), cell)
        is_unknown = graph.add("Less", position, ints(0))
        return graph.add("Where", is_unknown, ints(UNKNOWN), found)


def combine(
    labels: Sequence[str | None],
    text_class: NDArray[np.intp],
    names: Sequence[str],
    *,
    smallest_share: float,
    level: NDArray[np.float64] | None = None,
) -> Combined:
    """The combined classes of queries with labels.

    Within a label the smallest class joins its smaller neighbour (the easier one on ties) until
    each holds `smallest_share` of all queries or one is left. A class is named after the text class
    with most of its queries; a label's only class is named `all`, unless there is one text class.

    Args:
        labels: n labels, every one known.
        text_class: intp, shape (n,), each 0..C-1, easiest first.
        names: C names of the text classes.
        smallest_share: Share of all n queries, 0..1.
        level: float64, shape (n,): what classes are ordered by, the highest mean first (predicted
            mean scores, never measured ones); by label and text class where absent.

    Raises:
        InputError: A query has no label or one that no UTF-8 can carry, or the name of a text class
            contains a slash.
    """
    refuse_unusable(labels)
    _refuse_slashes(names)
    known = sorted({label for label in labels if label})
    place = {label: index for index, label in enumerate(known)}
    position = np.array([place[label] for label in labels if label], dtype=np.intp)
    sizes = np.zeros((len(known), len(names)), dtype=np.intp)
    np.add.at(sizes, (position, text_class), 1)
    table = np.zeros_like(sizes)
    combined: list[str] = []
    for row, label in enumerate(known):
        for group in _neighbours(sizes[row], smallest_share * len(labels)):
            largest = group[int(sizes[row, group].argmax())]
            whole = len(group) == len(names) > 1
            table[row, group] = len(combined)
            combined.append(quoted(label) + _SEPARATOR + (_ONE_CLASS if whole else names[largest]))
    order = _easiest_first(table[position, text_class], level, len(combined))
    return Combined(
        tuple(known),
        tuple(combined[index] for index in order),
        np.argsort(order)[table],
    )


def reads_labels(graph: bytes) -> bool:
    """Whether an estimator takes a label beside the text."""
    inputs = onnx.load_from_string(graph).graph.input
    return any(value.name == LABEL_INPUT for value in inputs)


def quoted(label: str) -> str:
    """A label as it stands before the slash of a class name; different labels stay different.

    Labels with a slash, a quotation mark, an outer blank or what cannot be printed are written as
    JSON strings.
    """
    plain = label.isprintable() and label == label.strip() and not set(label) & {_SEPARATOR, '"'}
    return label if plain and label else json.dumps(label, ensure_ascii=not label.isprintable())


def _neighbours(sizes: NDArray[np.intp], least: float) -> list[list[int]]:
    """Runs of neighbouring classes that each hold at least `least` queries, or one run."""
    groups = [[index] for index in range(len(sizes))]
    while len(groups) > 1:
        held = [int(sizes[group].sum()) for group in groups]
        small = int(np.argmin(held))
        if held[small] >= max(least, 1):
            break
        beside = [at for at in (small - 1, small + 1) if 0 <= at < len(groups)]
        left = min(small, min(beside, key=lambda at: held[at]))
        groups[left : left + 2] = [groups[left] + groups[left + 1]]
    return groups


def _easiest_first(
    combined: NDArray[np.intp], level: NDArray[np.float64] | None, count: int
) -> NDArray[np.intp]:
    if level is None:
        return np.arange(count)
    mean = np.bincount(combined, level, minlength=count) / np.bincount(combined, minlength=count)
    return np.argsort(-mean.round(9), kind="stable")


def refuse_unusable(labels: Sequence[str | None]) -> None:
    """Refuse labels that cannot be combined, before anything is fitted.

    Raises:
        InputError: Too many labels, or a query has none or one that no UTF-8 can carry.
    """
    different = len({label for label in labels if label})
    if different > MOST_LABELS:
        raise InputError(
            "too many labels to combine with classes of the text",
            where="class labels",
            expected=f"at most {MOST_LABELS} different ones",
            got=str(different),
            next_step="group rare labels under one, or fit on text alone",
        )
    missing = sum(not label for label in labels)
    if missing:
        raise InputError(
            f"{missing} of {len(labels)} queries have no label, by which classes are combined",
            where="class labels",
            next_step="import labels for all of them, or fit on text alone",
        )
    for label in labels:
        if label and not _is_text(label):
            raise InputError(
                "this label is not text that UTF-8 can carry",
                where="class labels",
                got=ascii(label),
            )


def _refuse_slashes(names: Sequence[str]) -> None:
    for name in names:
        if _SEPARATOR in name:
            raise InputError(
                "the name of a text class contains a slash, which separates it from the label",
                where="class names",
                got=repr(name),
            )


def _is_text(label: str) -> bool:
    try:
        label.encode()
    except UnicodeEncodeError:
        return False
    return True
