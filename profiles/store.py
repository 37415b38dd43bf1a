"""The profile store: every observation of every workload in one DuckDB file."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import duckdb
import pyarrow as pa

from profiles.aggregate import Aggregate
from profiles.arrival import Arrival
from profiles.cells import build_profile
from profiles.errors import InputError
from profiles.observation import Evidence, Observation
from profiles.profile import Profile
from profiles.query import Query
from profiles.schema import KEY, MIGRATIONS, VALUES, columns_of
from profiles.serving import ServingPoint

_EXAMPLES = 3
Record = TypeVar("Record", Observation, Aggregate, ServingPoint, Arrival)


@dataclass(frozen=True, slots=True)
class AddReport:
    """What became of rows that were offered to the store.

    Attributes:
        added: Rows that are new.
        duplicates: Rows that the store already held with the same values.
        conflicts: Rows refused because the store holds other values under the same key.
        examples: The first conflicts, in words.
    """

    added: int
    duplicates: int
    conflicts: int
    examples: tuple[str, ...] = ()


class Store:
    """Observations, prompts and predicted classes in one DuckDB file. Open it with `Store.open`.

    One process may write at a time; several may read while none writes. Nothing that is stored
    is ever overwritten: a row that contradicts a stored one is refused and reported. A `with`
    block that made the file and fails before anything is stored takes the file away again.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, path: Path, *, created: bool = False
    ) -> None:
        self._connection = connection
        self._path = path
        self._created = created
        self._depth = 0

    @classmethod
    def open(cls, path: Path | str, read_only: bool = False) -> Self:  # noqa: FBT001, FBT002 - reads as a mode
        """Open a store; a path without a file becomes an empty store unless `read_only`.

        Raises:
            InputError: No such file, not a store, in use by another process, or written by a
                newer version.
        """
        path = Path(path)
        created = not path.exists()
        if read_only and created:
            raise InputError(
                "there is no profile store here",
                where=str(path),
                next_step="import observations with 'inferbudget profile import'",
            )
        try:
            connection = duckdb.connect(str(path), read_only=read_only)
        except (duckdb.Error, OSError, UnicodeError) as error:
            raise InputError(
                "cannot open the profile store",
                where=str(path),
                expected="a DuckDB file that no other process is writing",
                got=str(error).splitlines()[0],
            ) from error
        store = cls(connection, path, created=created)
        try:
            store._migrate(read_only)
        except BaseException:
            connection.close()
            raise
        return store

    def close(self) -> None:
        """Release the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        left_empty = error is not None and self._created and self._is_empty()
        self.close()
        if left_empty:
            self._path.unlink(missing_ok=True)

    def _is_empty(self) -> bool:
        with suppress(InputError):  # a broken connection must not hide the block's own error
            return not any(map(self._count, ("observations", "queries", "classes", "imports")))
        return False

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing: what is written inside is kept only if the block ends without error."""
        if self._depth:
            yield
            return
        self._execute("BEGIN")
        self._depth = 1
        try:
            yield
            self._execute("COMMIT")
        except BaseException:
            self._connection.rollback()
            raise
        finally:
            self._depth = 0

    def add(self, observations: Iterable[Observation]) -> AddReport:
        """Store observations. The first row of a key wins; an equal later row is a duplicate.

        Values are compared, provenance (evidence, source, time) is not.
        """
        return self._merge("observations", _table(observations, Observation), KEY, VALUES)

    def add_aggregates(self, cells: Iterable[Aggregate]) -> AddReport:
        """Store published cells; one per workload, class and strategy."""
        return self._keep("aggregates", cells, Aggregate, ("workload", "class_name", "strategy"))

    def add_serving(self, points: Iterable[ServingPoint]) -> AddReport:
        """Store serving measurements; one per source and label."""
        return self._keep("serving", points, ServingPoint, ("source", "label"))

    def add_arrivals(self, requests: Iterable[Arrival]) -> AddReport:
        """Store recorded traffic; one request per workload and id."""
        return self._keep("arrivals", requests, Arrival, ("workload", "request_id"))

    def aggregates(self, workload: str) -> list[Aggregate]:
        """Published cells of a workload, by class and strategy."""
        return self._read(Aggregate, "aggregates", "workload = ?", [workload])

    def serving(self) -> list[ServingPoint]:
        """All serving measurements, by source and label."""
        return self._read(ServingPoint, "serving", "true", [])

    def arrivals(self, workload: str) -> list[Arrival]:
        """Recorded traffic in the order of its arrival."""
        found = self._read(Arrival, "arrivals", "workload = ?", [workload])
        return sorted(found, key=lambda request: (request.arrived_at, request.request_id))

    def observations(self, workload: str) -> list[Observation]:
        """Every observation of a workload, by query, strategy, concurrency and sample."""
        return self._read(Observation, "observations", "workload = ?", [workload])

    def add_queries(self, workload: str, queries: Iterable[Query]) -> AddReport:
        """Store prompts and class labels; what is still unknown of a stored query is filled in."""
        rows = list(queries)
        names = [field.name for field in fields(Query)]
        table = pa.table(
            {
                "workload": pa.array([workload] * len(rows), pa.string()),
                **{n: pa.array([getattr(row, n) for row in rows], pa.string()) for n in names},
            }
        )
        with self.transaction():
            report = self._merge(
                "queries", table, ("workload", "query_id"), ("prompt", "class_label"), partial=True
            )
            with self._registered(table):
                for column in ("prompt", "class_label"):
                    self._execute(
                        f"UPDATE queries SET {column} = given.{column} FROM (SELECT query_id, "  # noqa: S608 - fixed names
                        f"min({column}) AS {column} FROM incoming GROUP BY query_id) given "
                        f"WHERE queries.workload = ? AND queries.query_id = given.query_id "
                        f"AND queries.{column} IS NULL AND given.{column} IS NOT NULL",
                        [workload],
                    )
        return report

    def save_classes(
        self, estimator_digest: str, workload: str, classes: Mapping[str, str]
    ) -> None:
        """Store the out-of-fold predicted class name of every query under an estimator's digest."""
        table = pa.table(
            {
                "query_id": pa.array(list(classes), pa.string()),
                "class_name": pa.array(list(classes.values()), pa.string()),
            }
        )
        with self.transaction(), self._registered(table):
            self._execute(
                "INSERT OR REPLACE INTO classes SELECT ?, ?, query_id, class_name FROM incoming",
                [estimator_digest, workload],
            )

    def workloads(self) -> list[str]:
        """Names of all workloads with observations, sorted."""
        rows = self._rows("SELECT DISTINCT workload FROM observations ORDER BY workload")
        return [row[0] for row in rows]

    def prompts(self, workload: str) -> dict[str, str]:
        """The prompt of every query that has one, by query, sorted."""
        sql = "SELECT query_id, prompt FROM queries WHERE workload = ? AND prompt IS NOT NULL"
        return dict(self._rows(f"{sql} ORDER BY query_id", [workload]))

    def measured(self, workload: str) -> set[tuple[str, str, int]]:
        """Every (query, strategy, sample) that the store holds."""
        sql = "SELECT query_id, strategy, sample FROM observations WHERE workload = ?"
        return set(self._rows(sql, [workload]))

    def mean_scores(self, workload: str) -> list[tuple[str, str, float]]:
        """(query, strategy, mean score over samples), sorted; what an estimator learns from."""
        rows = self._rows(
            "SELECT query_id, strategy, list(score) FROM observations "
            "WHERE workload = ? AND score IS NOT NULL "
            "GROUP BY query_id, strategy ORDER BY query_id, strategy",
            [workload],
        )
        # fsum rounds once, so the mean does not depend on the order in which rows were stored
        return [(query, strategy, math.fsum(s) / len(s)) for query, strategy, s in rows]

    def profile(
        self,
        workload: str,
        *,
        estimator_digest: str | None = None,
        class_names: Sequence[str] | None = None,
        latency_limits: Sequence[float] = (),
    ) -> Profile:
        """All cells of a workload.

        Args:
            workload: Which traffic.
            estimator_digest: Sort queries by this estimator's out-of-fold predictions; None sorts
                by the label that came with the data (one class "all" where no query has one).
            class_names: Classes, easiest first; None orders them by mean score.
            latency_limits: Seconds that the latency grid must contain exactly.

        Raises:
            InputError: Nothing is stored for the workload, or queries without a class.
        """
        return build_profile(
            self._execute,
            workload,
            estimator_digest=estimator_digest,
            class_names=class_names,
            latency_limits=latency_limits,
        )

    def has_import(self, digest: str) -> bool:
        """Whether this content was imported before, with the same mapping."""
        return bool(self._rows("SELECT 1 FROM imports WHERE digest = ?", [digest]))

    def record_import(self, digest: str, file: str, rows: int) -> None:
        """Remember an import, so that the same content is noticed when it comes again."""
        now = datetime.now(UTC).replace(tzinfo=None)
        self._execute("INSERT INTO imports VALUES (?, ?, ?, ?)", [digest, file, rows, now])

    def _merge(
        self,
        target: str,
        table: pa.Table,
        key: Sequence[str],
        values: Sequence[str],
        *,
        partial: bool = False,
    ) -> AddReport:
        """Insert rows of new keys; classify the others. `partial`: unknown agrees with anything."""
        keys = ", ".join(key)
        unknown = " OR stored.{0} IS NULL OR incoming.{0} IS NULL" if partial else ""
        same = " AND ".join(
            f"(stored.{name} IS NOT DISTINCT FROM incoming.{name}{unknown.format(name)})"
            for name in values
        )
        numbered = table.append_column("ordinal", pa.array(range(table.num_rows), pa.int64()))
        same_key = " AND ".join(f"stored.{n} IS NOT DISTINCT FROM incoming.{n}" for n in key)
        with self.transaction(), self._registered(numbered):
            columns = ", ".join(table.column_names)
            before = self._count(target)
            self._execute(
                f"INSERT INTO {target} ({columns}) SELECT {columns} FROM incoming "  # noqa: S608 - fixed names
                f"WHERE NOT EXISTS (SELECT 1 FROM {target} stored WHERE {same_key}) "
                f"QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY ordinal) = 1"
            )
            added = self._count(target) - before
            differing = self._rows(
                f"SELECT incoming.* EXCLUDE (ordinal) FROM incoming JOIN {target} stored "  # noqa: S608 - fixed names
                f"ON {same_key} WHERE NOT ({same}) ORDER BY ordinal"
            )
        examples = tuple(
            _conflict(dict(zip(table.column_names, row, strict=True)), key, values)
            for row in differing[:_EXAMPLES]
        )
        duplicates = table.num_rows - added - len(differing)
        return AddReport(added, duplicates, len(differing), examples)

    def _keep(
        self, target: str, records: Iterable[Any], record: type, key: Sequence[str]
    ) -> AddReport:
        provenance = {"evidence", "source", "observed_at"}
        values = [f.name for f in fields(record) if f.name not in provenance | set(key)]
        return self._merge(target, _table(records, record), key, values)

    def _read(
        self, record: type[Record], table: str, where: str, values: list[Any]
    ) -> list[Record]:
        names = [field.name for field in fields(record)]
        rows = self._rows(
            f"SELECT {', '.join(names)} FROM {table} WHERE {where} ORDER BY ALL",  # noqa: S608 - fixed names
            values,
        )
        return [_record(record, dict(zip(names, row, strict=True))) for row in rows]

    def _count(self, table: str) -> int:
        return int(self._rows(f"SELECT count(*) FROM {table}")[0][0])  # noqa: S608 - fixed names

    @contextmanager
    def _registered(self, table: pa.Table) -> Iterator[None]:
        self._connection.register("incoming", table)
        try:
            yield
        finally:
            with suppress(duckdb.Error):  # an aborted transaction refuses even this
                self._connection.unregister("incoming")

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        return self._execute(sql, values).fetchall()

    def _execute(self, sql: str, values: Sequence[Any] = ()) -> duckdb.DuckDBPyConnection:
        try:
            return self._connection.execute(sql, list(values))
        except duckdb.Error as error:
            raise InputError(
                "the profile store refused an operation",
                where=str(self._path),
                got=str(error).splitlines()[0],
            ) from error

    def _migrate(self, read_only: bool) -> None:  # noqa: FBT001 - private
        tables = {row[0] for row in self._rows("SELECT table_name FROM duckdb_tables()")}
        if tables and "meta" not in tables:
            raise InputError(
                "this DuckDB file is not a profile store",
                where=str(self._path),
                got=f"tables {', '.join(sorted(tables)[:5])}",
                next_step="choose another file for --profiles",
            )
        version = int(self._rows("SELECT version FROM meta")[0][0]) if tables else 0
        if version > len(MIGRATIONS):
            raise InputError(
                "this profile store was written by a newer version",
                where=str(self._path),
                expected=f"schema {len(MIGRATIONS)} or older",
                got=f"schema {version}",
                next_step="upgrade inferbudget",
            )
        if read_only or version == len(MIGRATIONS):
            return
        with self.transaction():
            for statement in MIGRATIONS[version:]:
                self._execute(statement)
            self._execute("UPDATE meta SET version = ?", [len(MIGRATIONS)])


def _table(records: Iterable[Any], record: type) -> pa.Table:
    rows = list(records)
    return pa.table(
        {
            column.name: pa.array([_plain(getattr(row, column.name)) for row in rows], column.type)
            for column in columns_of(record)
        }
    )


def _record(record: type[Record], row: dict[str, Any]) -> Record:
    """A record from a stored row: words of evidence as such, times as UTC."""
    if "evidence" in row:
        row["evidence"] = Evidence(row["evidence"])
    times = {name: v.replace(tzinfo=UTC) for name, v in row.items() if isinstance(v, datetime)}
    return record(**row | times)


def _plain(value: Any) -> Any:
    """Times are stored as UTC without a zone."""
    if isinstance(value, datetime) and value.tzinfo:
        return value.astimezone(UTC).replace(tzinfo=None)
    return value


def _conflict(row: Mapping[str, Any], key: Sequence[str], values: Sequence[str]) -> str:
    where = ", ".join(str(row[name]) for name in key[1:] if row[name] is not None)
    got = ", ".join(f"{name}={row[name]}" for name in values if row[name] is not None)
    return f"{where}: the store holds other values than {got[:200]}"
