"""Files of answers that only grow: one line for each, whole or not there, whatever ends the program."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from stat import S_ISREG
from types import TracebackType
from typing import Any

from sizewell.specs.address import Secret
from sizewell.specs.errors import BadInputError

SYNC_EVERY_LINES = 64
HEAL_BLOCK_BYTES = 2**16
LINE_BEGINS = b'{"key":"'
ALSO_LINE_ENDS = {ord(mark): f"\\u{ord(mark):04x}" for mark in "\x85\u2028\u2029"}
"""What some readers take for the end of a line and JSON does not escape by itself."""


class AnswerFile:
    """A file of JSON lines open for appending, by one program at a time.

    A line is handed to the system in one write, so that a killed program leaves at most one torn line, the last;
    opening heals it. Every few lines, and at the end, the disk is waited for. Keys never reach it. `locked` is False
    where the file system has no locks (Lustre without `flock`), so that nobody can tell of another program; `rescued`
    is where the lines were written again, at the end, because somebody had deleted the file.
    Raises BadInputError where another program writes the same file or the system refuses.
    """

    def __init__(self, path: Path, secret: Secret, *, empty: bool = False) -> None:
        self.path = path
        self._secret = secret
        self._unsynced = 0
        self.rescued: Path | None = None
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise BadInputError(f"{path}: cannot be written: {error.strerror}") from None
        if not S_ISREG(os.fstat(self._file).st_mode):
            os.close(self._file)
            raise BadInputError(f"{path}: is no plain file: what is kept there is read again; name another")
        self.locked = _locked(self._file, path)
        _require_ours(self._file, path, 0)
        if empty:
            os.ftruncate(self._file, 0)
        else:
            _heal(self._file, path)

    def __enter__(self) -> AnswerFile:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        os.fsync(self._file)
        if not os.fstat(self._file).st_nlink:
            self.rescued = self._rescue()
        os.close(self._file)

    def _rescue(self) -> Path:
        """Write again what was deleted meanwhile, as an editor does that saves a file; beside one that came instead."""
        place = self.path.with_name(f"{self.path.name}.rescued") if self.path.exists() else self.path
        at = 0
        with place.open("wb") as file:
            while block := os.pread(self._file, HEAL_BLOCK_BYTES, at):
                at += file.write(block)
        return place

    def append(self, line: Mapping[str, Any]) -> None:
        """Write one line whole."""
        text = json.dumps(self._secret.hide_in(line), ensure_ascii=False, separators=(",", ":"))
        data = (text.translate(ALSO_LINE_ENDS) + "\n").encode("utf-8", "replace")
        try:
            self._write(data)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from None

    def _write(self, data: bytes) -> None:
        written = os.write(self._file, data)
        while written < len(data):  # a full disk or a signal cut it
            written += os.write(self._file, data[written:])
        self._unsynced += 1
        if self._unsynced >= SYNC_EVERY_LINES:
            os.fsync(self._file)
            self._unsynced = 0


def _locked(file: int, path: Path) -> bool:
    """Return whether a file is this program's alone; some cluster file systems cannot say."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        raise BadInputError(f"{path}: another sizewell writes it: wait, or name another with --output") from None
    except OSError:
        return False
    return True


def _require_ours(file: int, path: Path, at: int) -> None:
    """Refuse to change a file some other program wrote, named by mistake."""
    begins = os.pread(file, len(LINE_BEGINS), at)
    if not LINE_BEGINS.startswith(begins):
        os.close(file)
        raise BadInputError(f"{path}: is no file of answers: name another with --output")


def _heal(file: int, path: Path) -> None:
    """Drop what follows the last line end: a line that was not written whole."""
    size = end = os.fstat(file).st_size
    while end > 0:
        start = max(0, end - HEAL_BLOCK_BYTES)
        last = os.pread(file, end - start, start).rfind(b"\n")
        if last >= 0:
            end = start + last + 1
            break
        end = start
    if end < size:
        _require_ours(file, path, end)
        os.ftruncate(file, end)


def read_answers(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a file of answers; what is no whole line of ours is left out."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for raw in file:
            line = _line(raw)
            if line is not None:
                yield line


def _line(raw: bytes) -> dict[str, Any] | None:
    if not raw.endswith(b"\n"):
        return None
    try:
        found = json.loads(raw)
    except ValueError:
        return None
    return found if isinstance(found, dict) and isinstance(found.get("key"), str) else None


def ordered_lines(path: Path, keys: Sequence[str]) -> Iterator[bytes]:
    """Yield the lines of a file of answers in the order of some keys; what has no answer is left out.

    Only the places of the lines are held in memory.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        places: dict[str, int] = {}
        at = 0
        for raw in file:
            line = _line(raw)
            if line is not None:
                places.setdefault(line["key"], at)
            at += len(raw)
        for key in keys:
            if key in places:
                file.seek(places[key])
                yield file.readline()
