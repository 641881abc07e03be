"""Rows of a trace file as columns of numbers, with the line each came from; every mistake is one line of text."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from sizewell.catalog.endless import LONGEST_LINE_BYTES, refuse_endless
from sizewell.specs.errors import BadInputError
from sizewell.traffic.requests import MOST_TOKENS, Floats, Ints

MOST_SECONDS = 1e9
_ROWS_AT_ONCE = 100_000
_SHOWN = 40
_GZIP = b"\x1f\x8b"


@contextmanager
def opened(path: Path) -> Iterator[TextIO]:
    """Open a text file, gzipped or not; raises BadInputError where it cannot be read, also while it is being read."""
    refuse_endless(path)
    unpack: Callable[..., Any] = gzip.open if _gzipped(path) else open
    try:
        with unpack(path, "rt", encoding="utf-8-sig", newline="") as lines:
            yield lines
    except UnicodeDecodeError as error:
        raise BadInputError(
            f"{path}: holds a byte that is not UTF-8 ({error.reason}): save the trace as UTF-8 text"
        ) from None
    except (EOFError, zlib.error) as error:
        raise BadInputError(f"{path}: is no whole gzip file ({error}): copy it again") from None
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read: {error.strerror or error}") from error


def _gzipped(path: Path) -> bool:
    """Return whether a file begins as gzip files do, whatever it is called."""
    try:
        with path.open("rb") as stream:
            return stream.read(len(_GZIP)) == _GZIP
    except OSError:
        return False


def first_line(path: Path) -> str:
    """Return the first line that says something; raises BadInputError for an empty file."""
    with opened(path) as lines:
        while line := lines.readline(LONGEST_LINE_BYTES):
            if len(line) == LONGEST_LINE_BYTES:
                raise BadInputError(f"{path}: no line ends in its first MiB: it is no table")
            if line.strip():
                return line.strip()
    raise BadInputError(f"{path}: is empty: a trace has a header, or one JSON object a line")


def ends_whole(path: Path) -> bool:
    """Return whether the last line ends as a line does; a file cut short does not. Gzip has checked its own length."""
    if _gzipped(path):
        return True
    with path.open("rb") as stream:
        stream.seek(0, 2)
        stream.seek(max(0, stream.tell() - 1))
        return stream.read(1) in (b"\n", b"\r")


@dataclass(slots=True, kw_only=True)
class Columns:
    """Numbers of a trace by column name [n], and the line of the file each row ends on [n]."""

    path: Path
    line: Ints
    values: dict[str, Floats]
    texts: dict[str, list[str]] = field(default_factory=dict)

    def tokens(self, name: str, *, least: int = 1) -> Ints:
        """Return a column of token counts; raises BadInputError at the first that is none, or below `least`."""
        found = self.values[name]
        bad = ~((found >= least) & (found <= MOST_TOKENS) & (found == np.floor(found)))
        self.refuse(bad, found, f"{name} is {{}}: a request has {least} to {MOST_TOKENS} whole tokens; {_MEND}")
        return found.astype(np.int64)

    def whole(self, name: str, *, least: int) -> Ints:
        """Return a column of other whole numbers; raises BadInputError at the first that is none, or below `least`."""
        found = self.values[name]
        bad = ~((found >= least) & (found <= 2**53) & (found == np.floor(found)))
        self.refuse(bad, found, f"{name} is {{}}: give a whole number of {least} or more")
        return found.astype(np.int64)

    def seconds(self, name: str) -> Floats:
        """Return a column of times; raises BadInputError at the first that is none."""
        found = self.values[name]
        self.refuse(~(np.abs(found) <= MOST_SECONDS * 10), found, f"{name} is {{}}: that is no time; {_MEND}")
        return found

    def refuse(self, bad: NDArray[np.bool_], values: Sequence[Any] | Floats, complaint: str) -> None:
        """Raise BadInputError about the first bad row, with its value in the complaint."""
        if bad.any():
            row = int(bad.argmax())
            value = values[row]
            value = value.item() if isinstance(value, np.generic) else value
            shown = f"{value:.15g}" if isinstance(value, float) else repr(value)
            raise BadInputError(f"{self.path}, line {self.line[row]}: " + complaint.format(shown))

    def without(self, bad: NDArray[np.bool_]) -> Columns:
        """Return the columns without some rows."""
        texts = {
            name: [text for text, out in zip(all_, bad, strict=True) if not out] for name, all_ in self.texts.items()
        }
        values = {name: column[~bad] for name, column in self.values.items()}
        return Columns(path=self.path, line=self.line[~bad], values=values, texts=texts)


_MEND = "correct the row or remove it"


def csv_columns(
    path: Path, numbers: Sequence[str], texts: Sequence[str] = (), *, empty: Collection[str] = ()
) -> Columns:
    """Return columns of a CSV file by the header's names, lower case; raises BadInputError at the first bad row.

    Cells of the columns `empty` may be so, which is NaN.
    """
    lines: list[int] = []
    values: dict[str, list[Floats]] = {name: [] for name in numbers}
    words: dict[str, list[str]] = {name: [] for name in texts}
    with opened(path) as stream, _csv_mistakes(path):
        reader = csv.reader(stream)
        header = [name.strip().lower() for name in next(reader)]
        rows = ((reader.line_num, row) for row in reader if row)
        while chunk := list(islice(rows, _ROWS_AT_ONCE)):
            _check_widths(path, chunk, len(header))
            lines += [line for line, _ in chunk]
            for name in numbers:
                place = header.index(name)
                blank = "nan" if name in empty else ""
                values[name].append(_numbers(path, name, [(line, row[place].strip() or blank) for line, row in chunk]))
            for name in texts:
                place = header.index(name)
                words[name] += [row[place] for _, row in chunk]
    if not lines:
        raise BadInputError(f"{path}: has a header but no requests")
    joined = {name: np.concatenate(parts) for name, parts in values.items()}
    return Columns(path=path, line=np.array(lines), values=joined, texts=words)


def json_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield line number and object of a file with one JSON object a line; raises BadInputError at the first bad one."""
    with opened(path) as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                found = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise BadInputError(
                    f"{path}, line {number}: is not one whole JSON object ({error}): {_cut_short(line)}"
                ) from None
            if not isinstance(found, dict):
                raise BadInputError(f"{path}, line {number}: {line.strip()[:_SHOWN]} is not a JSON object; {_MEND}")
            yield number, found


def json_columns(path: Path, names: Sequence[str], visit: Callable[[int, dict[str, Any]], None]) -> Columns:
    """Return numbers of a file with one JSON object a line; `visit` sees each object for what else it holds."""
    lines: list[int] = []
    values: dict[str, list[float]] = {name: [] for name in names}
    for line, found in json_objects(path):
        for name in names:
            value = found.get(name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                said = "is missing" if name not in found else f"is {value!r}, no number"
                raise BadInputError(f"{path}, line {line}: {name} {said}; {_MEND}")
            values[name].append(_as_float(value))
        visit(line, found)
        lines.append(line)
    return Columns(path=path, line=np.array(lines), values={name: np.array(column) for name, column in values.items()})


def _as_float(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf")


@contextmanager
def _csv_mistakes(path: Path) -> Iterator[None]:
    try:
        yield
    except csv.Error as error:
        raise BadInputError(f"{path}: is not a CSV file: {error}") from None


def _check_widths(path: Path, chunk: list[tuple[int, list[str]]], width: int) -> None:
    for line, row in chunk:
        if len(row) != width:
            raise BadInputError(
                f"{path}, line {line}: has {len(row)} of {width} fields ({','.join(row)[:_SHOWN]}): "
                + (_cut_short("") if len(row) < width else _MEND)
            )


def _cut_short(line: str) -> str:
    whole = line.rstrip().endswith("}")
    return _MEND if whole else "it may be cut short; copy the file again, or remove the line"


def _numbers(path: Path, name: str, cells: list[tuple[int, str]]) -> Floats:
    try:
        return np.array([cell for _, cell in cells], dtype=np.float64)
    except ValueError:
        for line, cell in cells:
            try:
                float(cell)
            except ValueError:
                said = f"{cell[:_SHOWN]!r}, no number" if cell.strip() else "empty"
                raise BadInputError(f"{path}, line {line}: {name} is {said}; {_MEND}") from None
        raise
