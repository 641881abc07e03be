"""Folders of started deployments: one for each name, made whole or not at all, changed by replacing one file."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp, mkstemp
from typing import Any

from sizewell.deployer.folder import write
from sizewell.deployer.started import Part, Started
from sizewell.specs.errors import BadInputError, UnknownNameError

RECORD = "deployment.json"
SCHEMA = "sizewell/deployment/1"
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


class Deployments:
    """All started deployments under one folder.

    Errors of the system (a read-only or full disk) are BadInputErrors that name the file.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def folder(self, name: str) -> Path:
        """Return the folder of one."""
        return self._folder / name

    def names(self) -> tuple[str, ...]:
        """Return the names there are, in order."""
        return tuple(sorted(path.parent.name for path in self._folder.glob(f"[!.]*/{RECORD}")))

    def read(self, name: str) -> Started:
        """Return one; raises UnknownNameError where there is none, BadInputError for a record of something else."""
        path = self._folder / name / RECORD
        if not NAME.fullmatch(name) or not path.exists():
            raise UnknownNameError("deployment", name, self.names(), hint="(`sizewell status` lists them)")
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if document.pop("schema") != SCHEMA:
                raise ValueError("written by another version")
            return _started(document)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise BadInputError(f"{path}: is no record of a deployment: {error}") from error

    def claim(self, started: Started, files: Mapping[str, str]) -> Path:
        """Make the folder of a new deployment with its artefact; one that was taken down makes room for it.

        Raises BadInputError for a name that is in use.
        """
        if not NAME.fullmatch(started.name):
            raise BadInputError(f"--name {started.name!r}: use up to 40 lower case letters, digits and dashes")
        self._make_room(started.name)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            staged = Path(mkdtemp(dir=self._folder, prefix=".new-"))
            try:
                write({**files, RECORD: _text(started)}, staged)
                os.rename(staged, self.folder(started.name))
            except OSError as error:
                if self.folder(started.name).exists():
                    raise self._in_use(started.name) from error
                raise
            finally:
                rmtree(staged, ignore_errors=True)
        except OSError as error:
            raise BadInputError(f"{self._folder}: cannot be written: {error.strerror or error}") from error
        return self.folder(started.name)

    def keep(self, started: Started) -> None:
        """Write what is known of one now: a reader sees the old record or the new one."""
        path = self.folder(started.name) / RECORD
        try:
            handle, staged = mkstemp(dir=path.parent, prefix=f".{RECORD}.")
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(_text(started))
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(staged, path)
        except OSError as error:
            raise BadInputError(f"{path}: cannot be written: {error.strerror or error}") from error

    def forget(self, name: str) -> None:
        """Remove the folder of one with its logs, in one step for every reader."""
        away = Path(mkdtemp(dir=self._folder, prefix=".old-"))
        try:
            os.rename(self.folder(name), away / name)
        except FileNotFoundError:
            pass  # somebody else was faster
        finally:
            rmtree(away, ignore_errors=True)

    def _make_room(self, name: str) -> None:
        if not (self.folder(name) / RECORD).exists():
            return
        if self.read(name).ended_at is None:
            raise self._in_use(name)
        self.forget(name)

    def _in_use(self, name: str) -> BadInputError:
        return BadInputError(f"{name} is up already: `sizewell down {name}` first, or give this one another --name")


def _text(started: Started) -> str:
    return json.dumps({"schema": SCHEMA, **asdict(started)}, indent=1)


def _started(document: dict[str, Any]) -> Started:
    parts = tuple(Part(**part) for part in document.pop("parts"))
    commands = tuple(tuple(words) for words in document.pop("commands"))
    assumed = tuple(document.pop("assumed"))
    ports = tuple(document.pop("ports", ()))
    return Started(**document, parts=parts, commands=commands, assumed=assumed, ports=ports)
