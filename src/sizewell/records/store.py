"""The file of records: opened where the user keeps data, written in single transactions, read without being made."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from sizewell.records.migrations import migrate
from sizewell.records.run_columns import packed_run, unpacked_run
from sizewell.specs.errors import BadInputError
from sizewell.traffic.run import Origin, Run

FILE = "records.sqlite3"
BUSY_S = 60.0
"""How long a process waits for others that write."""
Kind = Literal["plans", "calibrations"]
MOST_NUMBER = 2**63 - 1
POINTERS = {"runs": ("predicted",), "plans": ("plan",)}
"""Columns of runs that hold numbers of each kind of record."""
Document = Mapping[str, Any]
ENTRY = "made_at, name, origin, plan, deployment, workload, requests, predicted"
"""Columns of a run beside its number and its requests."""


def usual_folder() -> Path:
    """Return where records are: $SIZEWELL_HOME, else `sizewell` in the user's data folder.

    Raises BadInputError for a user without a home.
    """
    if os.environ.get("SIZEWELL_HOME"):
        return Path(os.environ["SIZEWELL_HOME"])
    if os.environ.get("XDG_DATA_HOME"):
        return Path(os.environ["XDG_DATA_HOME"]) / "sizewell"
    try:
        return Path.home() / ".local" / "share" / "sizewell"
    except RuntimeError:
        raise BadInputError("there is no home to keep records in: set SIZEWELL_HOME to a folder") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """What a run belongs to: the `plan` that was carried out, and the run that `predicted` it, by their numbers."""

    plan: int | None = None
    predicted: int | None = None


ALONE = Links()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEntry:
    """What is known of a kept run without its requests; `plan` and `predicted` as in Links."""

    id: int
    made_at: str
    name: str
    origin: Origin
    plan: int | None
    deployment: Document
    workload: Document
    requests: int
    predicted: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentEntry:
    """A kept plan or calibration."""

    id: int
    made_at: str
    name: str
    document: Document


class Records:
    """The records in one folder. Every method is one transaction; any number of processes may call them at once.

    Errors of the system (a read-only or full disk, a damaged file) are BadInputErrors that name the file.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE

    @classmethod
    def usual(cls) -> Records:
        """Return the user's own records."""
        return cls(usual_folder())

    def keep_run(self, run: Run, name: str, deployment: Document, workload: Document, links: Links = ALONE) -> int:
        """Keep a run with what was deployed and offered, and return its number."""
        row = (
            _now(), name, run.origin, links.plan, json.dumps(deployment), json.dumps(workload), len(run),
            links.predicted, packed_run(run),
        )  # fmt: skip
        return self._insert(f"INSERT INTO runs ({ENTRY}, columns) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    def runs(self) -> tuple[RunEntry, ...]:
        """Return all runs, the oldest first; none where there are no records."""
        return tuple(_run_entry(row) for row in self._select(f"SELECT id, {ENTRY} FROM runs ORDER BY id"))

    def run(self, number: int) -> tuple[RunEntry, Run]:
        """Return one run with its requests; raises BadInputError where there is none of that number."""
        rows = self._numbered(f"SELECT id, {ENTRY}, columns FROM runs", number)
        if not rows:
            raise BadInputError(f"there is no run {number}: `sizewell runs list` shows those that are kept")
        return _run_entry(rows[0]), unpacked_run(rows[0][9], rows[0][3])

    def keep(self, kind: Kind, name: str, document: Document) -> int:
        """Keep a plan or a calibration and return its number."""
        row = (_now(), name, json.dumps(document))
        return self._insert(f"INSERT INTO {kind} (made_at, name, document) VALUES (?, ?, ?)", row)

    def kept(self, kind: Kind) -> tuple[DocumentEntry, ...]:
        """Return all plans or calibrations, the oldest first."""
        rows = self._select(f"SELECT id, made_at, name, document FROM {kind} ORDER BY id")
        return tuple(
            DocumentEntry(
                id=row[0], made_at=row[1], name=row[2], document=_document(f"{kind[:-1]} {row[0]}", row[3])
            ) for row in rows
        )  # fmt: skip

    def document(self, kind: Kind, number: int) -> Document:
        """Return one plan or calibration; raises BadInputError where there is none of that number."""
        rows = self._numbered(f"SELECT document FROM {kind}", number)
        if not rows:
            raise BadInputError(f"there is no {kind[:-1]} {number}: `sizewell runs list --of {kind}` shows those kept")
        return _document(f"{kind[:-1]} {number}", rows[0][0])

    def delete(self, kind: Kind | Literal["runs"], numbers: Sequence[int]) -> None:
        """Delete records, all or none of them; what pointed at them points at nothing.

        Raises BadInputError where one is not there.
        """
        with self._opened() as database:
            database.execute("BEGIN IMMEDIATE")
            for number in numbers:
                if number > MOST_NUMBER or not database.execute(f"DELETE FROM {kind} WHERE id = ?", (number,)).rowcount:
                    database.execute("ROLLBACK")
                    raise BadInputError(f"there is no {kind[:-1]} {number}: nothing was deleted")
                for column in POINTERS.get(kind, ()):
                    database.execute(f"UPDATE runs SET {column} = NULL WHERE {column} = ?", (number,))
            database.execute("COMMIT")

    def _numbered(self, statement: str, number: int) -> list[Any]:
        return self._select(f"{statement} WHERE id = ?", (number,)) if number <= MOST_NUMBER else []

    def _insert(self, statement: str, row: tuple[Any, ...]) -> int:
        with self._opened() as database:
            database.execute("BEGIN IMMEDIATE")
            number = database.execute(statement, row).lastrowid
            database.execute("COMMIT")
            return int(number or 0)

    def _select(self, statement: str, given: tuple[Any, ...] = ()) -> list[Any]:
        if not self.path.exists():
            return []
        with self._opened() as database:
            return database.execute(statement, given).fetchall()

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # No write-ahead log: homes of clusters lie on network file systems, which it does not work on.
            with closing(sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None)) as database:
                database.text_factory = _text
                migrate(database)
                yield database
        except (OSError, sqlite3.Error) as error:
            raise BadInputError(f"{self.path}: {_why(error)}: set SIZEWELL_HOME to another folder") from error


def _text(data: bytes) -> str:
    """Return what a column says; bytes that are no text are damage, which a reader shall see and not trip over."""
    return data.decode(errors="replace")


def _document(what: str, text: Any) -> Document:
    try:
        found = json.loads(text)
    except (TypeError, ValueError):
        found = None
    if not isinstance(found, dict):
        number = what.rpartition(" ")[2]
        kind = "" if what.startswith("run ") else f" --of {what.partition(' ')[0]}s"
        raise BadInputError(f"{what} is damaged in the records: sizewell runs delete {number}{kind}")
    return found


def _why(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


def _run_entry(row: tuple[Any, ...]) -> RunEntry:
    return RunEntry(
        id=row[0], made_at=row[1], name=row[2], origin=row[3], plan=row[4],
        deployment=_document(f"run {row[0]}", row[5]), workload=_document(f"run {row[0]}", row[6]), requests=row[7],
        predicted=row[8],
    )  # fmt: skip


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
