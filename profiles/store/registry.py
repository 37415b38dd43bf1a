"""The folders registered with a store, and the one relation over them and its table."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from profiles.errors import InputError
from profiles.observation import Evidence
from profiles.store.folders import (
    Folder,
    FolderReport,
    Reading,
    check_folder,
    fingerprint,
    parquet_files,
    reading_of,
)
from profiles.store.schema import ALL_OBSERVATIONS, COLUMN_TYPES
from profiles.store.session import Session

_TABLE = f"SELECT {', '.join(COLUMN_TYPES)} FROM observations"  # noqa: S608 - fixed names


class Registry:
    """Registered folders. Every method runs inside a transaction of the session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._readings: dict[Path, Reading] = {}

    def folders(self) -> list[Folder]:
        """Every registered folder, by path."""
        rows = self._session.rows(
            "SELECT folder, workload, evidence, fingerprint FROM parquet_folders ORDER BY folder"
        )
        return [
            Folder(Path(path), workload, Evidence(evidence) if evidence else None, mark)
            for path, workload, evidence, mark in rows
        ]

    def create_view(self, write: bool) -> None:  # noqa: FBT001 - one caller
        """View `all_observations`: the table and all folders, each checked since it last changed.

        Raises:
            InputError: A folder is gone, or what came into it breaks a rule.
        """
        folders = self.folders()
        # all at hand before any is checked: each is compared with all others
        readings = {folder.path: self._reading(folder) for folder in folders}
        for folder in folders:
            reading = readings[folder.path]
            if reading.fingerprint not in {folder.fingerprint, self._seen(folder.path)}:
                others = [other.sql for path, other in readings.items() if path != folder.path]
                check_folder(self._session.execute, folder.path, reading, _union(others))
            if write and reading.fingerprint != folder.fingerprint:
                self._session.execute(
                    "UPDATE parquet_folders SET fingerprint = ? WHERE folder = ?",
                    [reading.fingerprint, str(folder.path)],
                )
            self._readings[folder.path] = reading
        everything = _union([reading.sql for reading in readings.values()])
        self._session.execute(
            f"CREATE OR REPLACE TEMP VIEW {ALL_OBSERVATIONS} AS SELECT * FROM {everything}"  # noqa: S608 - our own query
        )

    def check(
        self, path: Path, workload: str | None, evidence: Evidence | None
    ) -> tuple[FolderReport, bool]:
        """What a folder holds, and whether it is registered already.

        Raises:
            InputError: It cannot be part of this store; says why.
        """
        known = {folder.path: folder for folder in self.folders()}
        for other in set(known) - {path}:
            if path.is_relative_to(other) or other.is_relative_to(path):
                raise InputError(
                    "this folder and a registered one are inside each other",
                    where=str(path),
                    got=str(other),
                    next_step="remove the registered one first",
                )
        reading = reading_of(self._session.execute, path, workload, evidence)
        others = [self._reading(known[other]).sql for other in known if other != path]
        report = check_folder(self._session.execute, path, reading, _union(others))
        return report, path in known

    def register(self, path: Path, workload: str | None, evidence: Evidence | None) -> FolderReport:
        """Make a folder part of the store; doing it again renews what is known of it."""
        report, known = self.check(path, workload, evidence)
        if known:
            self.unregister(path)
        self._session.execute(
            "INSERT INTO parquet_folders (folder, registered_at, workload, evidence, fingerprint) "
            "VALUES (?, ?, ?, ?, ?)",
            [
                str(path),
                datetime.now(UTC).replace(tzinfo=None),
                workload,
                evidence.value if evidence else None,
                report.fingerprint,
            ],
        )
        return report

    def unregister(self, path: Path) -> None:
        """Take a folder out of the store; its files stay."""
        if not any(folder.path == path for folder in self.folders()):
            raise InputError("this folder is not registered", where=str(path))
        self._session.execute("DELETE FROM parquet_folders WHERE folder = ?", [str(path)])
        self._readings.pop(path, None)

    def _reading(self, folder: Folder) -> Reading:
        mark = fingerprint(parquet_files(folder.path))
        known = self._readings.get(folder.path)
        if known is not None and known.fingerprint == mark:
            return known
        return reading_of(self._session.execute, folder.path, folder.workload, folder.evidence)

    def _seen(self, path: Path) -> str:
        known = self._readings.get(path)
        return known.fingerprint if known else ""


def _union(queries: list[str]) -> str:
    return f"({' UNION ALL '.join([_TABLE, *queries])})"
