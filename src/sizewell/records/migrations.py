"""The shape of the file, one step after the other: a step that was released is never changed, only followed."""

from __future__ import annotations

import sqlite3

from sizewell.specs.errors import BadInputError

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE plans (
        id INTEGER PRIMARY KEY AUTOINCREMENT, made_at TEXT NOT NULL, name TEXT NOT NULL, document TEXT NOT NULL
    );
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY AUTOINCREMENT, made_at TEXT NOT NULL, name TEXT NOT NULL,
        origin TEXT NOT NULL CHECK (origin IN ('simulated', 'measured')), plan INTEGER REFERENCES plans (id),
        deployment TEXT NOT NULL, workload TEXT NOT NULL, requests INTEGER NOT NULL, columns BLOB NOT NULL
    );
    CREATE TABLE calibrations (
        id INTEGER PRIMARY KEY AUTOINCREMENT, made_at TEXT NOT NULL, name TEXT NOT NULL, document TEXT NOT NULL
    );
    """,
    """
    ALTER TABLE runs ADD COLUMN predicted INTEGER REFERENCES runs (id);
    """,
)


def migrate(database: sqlite3.Connection) -> None:
    """Bring a file to the newest shape, whoever else does so at the same time.

    Raises BadInputError for a file of a newer sizewell.
    """
    version = _version(database)
    if version > len(MIGRATIONS):
        raise BadInputError(f"the records are of a newer sizewell (step {version}, known {len(MIGRATIONS)}): update")
    if version == len(MIGRATIONS):
        return
    database.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have been faster.
        version = _version(database)
        for number, step in enumerate(MIGRATIONS[version:], start=version + 1):
            for statement in filter(str.strip, step.split(";")):
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {number}")
        database.execute("COMMIT")
    except BaseException:
        database.execute("ROLLBACK")
        raise


def _version(database: sqlite3.Connection) -> int:
    found: int = database.execute("PRAGMA user_version").fetchone()[0]
    return found
