"""From a row of a table to an observation and its query."""

from __future__ import annotations

from typing import Any

from profiles.importing.fields import plain_text
from profiles.importing.numbers import BadNumberError, is_absent, read_number
from profiles.importing.tables import Row
from profiles.importing.values import LARGEST_COUNT, SetAsideError, Values, encodable
from profiles.notes import Kind, Notes
from profiles.observation import LONGEST_ANSWER, Evidence, Observation
from profiles.query import Query

_AMOUNTS = ("cost_usd", "latency_s", "gpu_s", "energy_j", "score_sd")
_COUNTS = (
    "tokens_in",
    "tokens_out",
    "tokens_reasoning",
    "tokens_cached",
    "calls",
    "concurrency",
)


class OutcomeReader:
    """Turns rows into observations; samples are numbered where the file does not."""

    def __init__(
        self, values: Values, *, workload: str, evidence: Evidence, source: str, notes: Notes
    ) -> None:
        self._values = values
        self._workload = workload
        self._evidence = evidence
        self._source = source
        self._notes = notes
        self._seen: dict[tuple[str, str], int] = {}
        has = values.fields.has
        self._amounts = tuple(name for name in _AMOUNTS if has(name))
        self._counts = tuple(name for name in _COUNTS if has(name))

    def read(self, line: int, row: Row) -> Observation:
        """One observation.

        Raises:
            SetAsideError: The row has no usable query, strategy, score or sample.
        """
        values = self._values
        query_id = values.fields.text(row, "query")
        if not query_id or query_id != encodable(query_id):
            raise SetAsideError("no usable query id", query_id)
        strategy = values.strategy(row)
        score = values.share(line, row, "score")
        measures: dict[str, Any] = {name: values.amount(line, row, name) for name in self._amounts}
        measures |= {name: values.count(line, row, name) for name in self._counts}
        return Observation(
            workload=self._workload,
            query_id=query_id,
            strategy=strategy,
            sample=self._sample(line, row, query_id, strategy),
            score=score,
            answer=self._answer(line, row),
            verdict=values.optional_share(line, row, "verdict"),
            evidence=self._evidence,
            source=self._source,
            observed_at=values.time(line, row),
            **measures,
        )

    def query(self, row: Row) -> Query | None:
        """The query of a row, None without an id."""
        fields = self._values.fields
        query_id = encodable(fields.text(row, "query"))
        if not query_id:
            return None
        prompt = fields.value(row, "prompt")
        label = encodable(fields.text(row, "class"))
        return Query(query_id, None if prompt is None else encodable(str(prompt)), label or None)

    def _sample(self, line: int, row: Row, query_id: str, strategy: str) -> int:
        fields = self._values.fields
        if not fields.has("sample"):
            sample = self._seen.get((query_id, strategy), 0)
            self._seen[query_id, strategy] = sample + 1
            if sample:
                self._notes.add(
                    "a query repeats under one strategy: numbered as further samples",
                    f"line {line}: {query_id}, {strategy} is sample {sample}",
                )
            return sample
        value = fields.value(row, "sample")
        try:
            number, _ = read_number(value)
        except BadNumberError as error:
            raise SetAsideError(f"sample {error}", value) from error
        if number < 0 or not number.is_integer() or number > LARGEST_COUNT:
            raise SetAsideError("sample is not a count", value)
        return int(number)

    def _answer(self, line: int, row: Row) -> str | None:
        value = self._values.fields.value(row, "answer")
        if is_absent(value):
            return None
        text = encodable(plain_text(value))
        if len(text) <= LONGEST_ANSWER:
            return text
        self._notes.add(
            f"answer longer than {LONGEST_ANSWER} characters: made unknown",
            f"line {line}: {text[:40]}",
            kind=Kind.UNKNOWN,
        )
        return None
