"""One ONNX Runtime session that turns a request into a class and a strategy."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from policies.file import require_graph
from policies.policy import EMBEDDING, Policy
from profiles.errors import InputError
from profiles.external_data import AS_ONNX

Vector = NDArray[np.float32]
UNIFORM_BITS = 24
"""Of a number that draws: float32 has no more, and would round one just below 1 up to it."""
_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"
_QUIET, _DEFAULT = 4, 2  # fatal only, warnings
_OUTPUTS = ["class_index", "strategy_index"]


class Decision(msgspec.Struct, frozen=True):
    """How one request will be answered.

    Attributes:
        class_name: Its difficulty class.
        class_index: The same as a position, easiest first.
        strategy: Canonical text of the strategy.
        strategy_index: The same as a position in the policy's strategies.
        rung: Step of the ladder that decided, clamped to the ladder.
        expected_cost_usd: Mean measured dollars of such a request, None where unknown.
    """

    class_name: str
    class_index: int
    strategy: str
    strategy_index: int
    rung: int
    expected_cost_usd: float | None


class DecisionSession:
    """The policy's decision graph, loaded once.

    Args:
        policy: The policy that pins the graph.
        graph: The graph's file or its bytes, which are held against the pin before they are loaded.
        require_gpu: Refuse to start where any part of the graph would run on the CPU. Text and
            label lookups have no GPU kernels, so today's graphs are refused.

    Raises:
        InputError: Not the pinned graph, a graph that ONNX Runtime cannot load, a mixed install,
            or no GPU where one is required.
    """

    def __init__(self, policy: Policy, graph: Path | bytes, *, require_gpu: bool = False) -> None:
        refuse_mixed_install()
        self._policy = policy
        self._inputs = policy.classes.inputs
        self._texts = policy.strategy_texts()
        self._last_rung = len(policy.rungs) - 1
        where = graph if isinstance(graph, Path) else Path(policy.graph.file)
        content = _content(graph) if isinstance(graph, Path) else graph
        require_graph(policy, content, where)
        self._session = _session(content, where, require_gpu=require_gpu)
        self._known = cache(self._decision)

    @property
    def provider(self) -> str:
        """The execution provider that really runs the graph."""
        return str(self._session.get_providers()[0])

    def decide(
        self,
        text_or_label: str,
        rung: int,
        uniform: float,
        label: str | None = None,
        vector: Vector | None = None,
    ) -> Decision:
        """Decide one request.

        Args:
            text_or_label: The prompt, or the class that the caller sent, as the policy asks.
            rung: Step of the ladder; beyond either end counts as that end.
            uniform: A random number in [0, 1), taken as float32; anything else counts as 0.
            label: The label beside the prompt, where the policy asks for both.
            vector: float32[D], the encoder's of the prompt, where the policy names one; None where
                it was not read, as is one with a number that is not finite: the last class.

        Raises:
            InputError: The policy does not know the label, needs one beside the prompt, or reads no
                vector of this width.
        """
        labels = None if label is None else [label]
        vectors = None if vector is None else vector[None]
        return self.decide_many([text_or_label], [rung], [uniform], labels, vectors)[0]

    def decide_many(
        self,
        texts_or_labels: Sequence[str],
        rungs: Sequence[int],
        uniforms: Sequence[float],
        labels: Sequence[str] | None = None,
        vectors: NDArray[np.float32] | None = None,
    ) -> list[Decision]:
        """Decide several requests in one call, in order; arguments of equal length.

        Vectors are float32[N, D]; a row that was not read holds a number that is not finite.

        Raises:
            InputError: The policy does not know a label, needs labels beside the prompts or reads
                no such vectors, or the lengths differ.
        """
        count = len(texts_or_labels)
        if any(
            len(others) != count
            for others in (rungs, uniforms, rungs if labels is None else labels)
        ):
            raise InputError(
                "requests, rungs and uniform numbers differ in number",
                where="decide_many",
                got=f"{count}, {len(rungs)} and {len(uniforms)}",
                next_step="pass one rung and one uniform number per request",
            )
        if not count:
            return []
        sorted_by = self._sorted_by(texts_or_labels, labels)
        feeds = {
            **sorted_by,
            **self._embedding(count, vectors),
            "rung": np.array(rungs, dtype=np.int64),
            "uniform": np.array([u if 0 <= u < 1 else 0.0 for u in uniforms], dtype=np.float32),
        }
        classes, strategies = (found.tolist() for found in self._session.run(_OUTPUTS, feeds))
        if min(classes) < 0:
            raise self._unknown_label(sorted_by[self._inputs[-1]][classes.index(min(classes))])
        clamped = (min(max(rung, 0), self._last_rung) for rung in rungs)
        return list(map(self._known, classes, strategies, clamped))

    def _sorted_by(
        self, texts_or_labels: Sequence[str], labels: Sequence[str] | None
    ) -> dict[str, NDArray[np.object_]]:
        if len(self._inputs) == 1:
            return {self._inputs[0]: _strings(texts_or_labels)}
        if labels is None:
            raise missing_label(self._policy)
        return {"text": _strings(texts_or_labels), "label": _strings(labels)}

    def _embedding(
        self, count: int, vectors: NDArray[np.float32] | None
    ) -> dict[str, NDArray[np.float32]]:
        encoder = self._policy.classes.encoder
        expected = (count, encoder.width) if encoder else None
        if vectors is not None and vectors.shape != expected:
            raise InputError(
                "this policy reads no such vectors",
                where="decide_many",
                expected=f"shape {expected}" if expected else "none: it names no encoder",
                got=f"shape {vectors.shape}",
                next_step="pass what the policy's encoder makes of the prompts",
            )
        if expected is None:
            return {}
        unread = np.full(expected, np.nan, dtype=np.float32)
        return {EMBEDDING: unread if vectors is None else vectors.astype(np.float32, copy=False)}

    def _decision(self, class_index: int, strategy_index: int, rung: int) -> Decision:
        class_name = self._policy.classes.names[class_index]
        return Decision(
            class_name=class_name,
            class_index=class_index,
            strategy=self._texts[strategy_index],
            strategy_index=strategy_index,
            rung=rung,
            expected_cost_usd=self._policy.strategies[strategy_index].cost_usd(class_name),
        )

    def _unknown_label(self, label: str) -> InputError:
        named = self._inputs == ("label",)
        return InputError(
            "this label is not a class of the policy"
            if named
            else "this policy does not know the label",
            where="class label",
            expected=_expected_label(self._policy),
            got=repr(label[:80]),
            next_step=f"send the {'class' if named else 'label'} that the operator gave you",
        )


def refuse_mixed_install() -> None:
    """Refuse onnxruntime and onnxruntime-gpu side by side: they overwrite each other's files.

    Raises:
        InputError: Both are installed; says how to mend it.
    """
    installed = [name for name in ("onnxruntime", "onnxruntime-gpu") if _version(name)]
    if len(installed) > 1:
        found = ", ".join(f"{name} {_version(name)}" for name in installed)
        raise InputError(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other",
            where="Python environment",
            expected="exactly one of them",
            got=found,
            next_step="pip uninstall -y onnxruntime onnxruntime-gpu, then install the one that "
            "this machine needs: onnxruntime-gpu with an NVIDIA GPU, else onnxruntime",
        )


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def text_and_label(policy: Policy, prompt: str, label: str | None) -> tuple[str, str | None]:
    """What a request is sorted by: its prompt or class, and the label beside a prompt.

    Raises:
        InputError: The class label is missing.
    """
    inputs = policy.classes.inputs
    if "label" in inputs and label is None:
        raise missing_label(policy)
    text = prompt if "text" in inputs else label
    return text or "", label if len(inputs) > 1 else None


def missing_label(policy: Policy) -> InputError:
    """A request came without the class or label that a policy sorts by."""
    what = "label" if "text" in policy.classes.inputs else "class"
    return InputError(
        f"this policy sorts requests by a {what} that the caller sends, and none came",
        expected=_expected_label(policy),
        next_step="send the header x-inferbudget-class or metadata.class",
    )


def _expected_label(policy: Policy) -> str:
    """What may be sent, in words that any client may read.

    Labels and classes are only counted: they can be tenants, and no tenant is told of the others.
    """
    what = "labels" if "text" in policy.classes.inputs else "classes"
    return f"one of its {what} ({len(policy.classes.accepted)}), which the operator knows"


def _strings(texts: Sequence[str]) -> NDArray[np.object_]:
    return np.array([_encodable(text) for text in texts], dtype=object)


def _encodable(text: str) -> str:
    """JSON can carry half of a surrogate pair, which no UTF-8 text can."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def _content(graph_path: Path) -> bytes:
    try:
        return graph_path.read_bytes()
    except OSError as error:
        raise InputError(
            "cannot read the decision graph",
            where=str(graph_path),
            got=str(error),
            next_step="put the graph beside the policy, or run 'inferbudget compile' again",
        ) from error


def _session(graph: bytes, graph_path: Path, *, require_gpu: bool) -> Any:
    available = onnxruntime.get_available_providers()
    if require_gpu and _CUDA not in available:
        raise _no_gpu(graph_path, f"ONNX Runtime was built for {', '.join(available)}")
    options = _options(require_gpu=require_gpu)
    if _CUDA in available:
        try:
            return _quiet_session(graph, options, [_CUDA] if require_gpu else [_CUDA, _CPU])
        except Exception as error:  # ONNX Runtime's exceptions share no public root
            if require_gpu:
                raise _no_gpu(graph_path, str(error)) from error
    try:
        return _quiet_session(graph, options, [_CPU])
    except Exception as error:
        raise InputError(
            "ONNX Runtime cannot load the decision graph",
            where=str(graph_path),
            got=str(error),
            next_step="run 'inferbudget compile' again, or install onnxruntime 1.22 or newer",
        ) from error


def _quiet_session(graph: bytes, options: Any, providers: list[str]) -> Any:
    """Without ONNX Runtime's own lines on stderr about a GPU that is not there."""
    onnxruntime.set_default_logger_severity(_QUIET)
    try:
        return onnxruntime.InferenceSession(graph, options, providers=providers, enable_fallback=0)
    finally:
        onnxruntime.set_default_logger_severity(_DEFAULT)


def _options(*, require_gpu: bool) -> Any:
    """One thread, not spinning: the graph is tiny and shares its core with the event loop."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = _QUIET
    options.add_session_config_entry(*AS_ONNX)
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    if require_gpu:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return options


def _no_gpu(graph_path: Path, reason: str) -> InputError:
    return InputError(
        "a GPU is required, but the decision graph cannot run on one alone",
        where=str(graph_path),
        expected=f"a session on {_CUDA} without the CPU",
        got=reason,
        next_step="start without require_gpu: the decision takes microseconds on a CPU",
    )
