"""Our own trace files: requests as CSV, written and read back without loss.

`arrival_s, input_tokens, answer_tokens` are needed; `think_tokens, priority, session, after, think_id, output_id` and
`segments` (`id:tokens`, blanks between) are read where they are there; an empty cell says as much as none. A closed
loop's concurrency is no row's matter.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sizewell.catalog.trace_rows import MOST_SECONDS, Columns, csv_columns, first_line
from sizewell.catalog.whole_files import whole_file
from sizewell.specs.errors import BadInputError, nearest_names
from sizewell.traffic.requests import MOST_TOKENS, NONE, PER_ROW, Ints, Requests

NEEDED = ("arrival_s", "input_tokens", "answer_tokens")
OPTIONAL = {
    "think_tokens": 0, "priority": -(2**53), "session": 0, "after": NONE, "think_id": NONE, "output_id": NONE,
}  # fmt: skip
"""Columns that may be left out, with the least value each may have."""

SEGMENTS = "segments"
_SEGMENT = re.compile(r"(\d{1,15}):(\d{1,8})")


def read_own(path: Path) -> tuple[Requests, int]:
    """Return the requests of our own file, and how many rows came before the one above them.

    Rows are sorted by arrival, unless some wait for others: then they must be in order. Raises BadInputError.
    """
    header = [name.strip().strip('"').lower() for name in first_line(path).split(",")]
    _check_header(path, header)
    optional = [name for name in OPTIONAL if name in header]
    texts = (SEGMENTS,) if SEGMENTS in header else ()
    columns = _said(csv_columns(path, (*NEEDED, *optional), texts, empty=optional))
    times = columns.seconds("arrival_s")
    columns.refuse(~((times >= 0) & (times <= MOST_SECONDS)), times, "arrival_s is {}: give seconds from the start")
    after = columns.values.get("after")
    late = int((np.diff(times) < 0).sum()) if after is None or (after == NONE).all() else 0
    order = np.argsort(times, kind="stable") if late else np.arange(len(times))
    return _requests(columns, set(optional), order), late


def _said(columns: Columns) -> Columns:
    """Return the columns with empty cells as those of a column that is left out; such a session is a new one."""
    for name in OPTIONAL:
        values = columns.values.get(name)
        if values is None:
            continue
        empty = np.isnan(values)
        known = values[~empty]
        usual = 0.0 if name in ("priority", "think_tokens") else float(NONE)
        new = np.arange(empty.sum()) + (known.max(initial=-1.0) + 1) if name == "session" else usual
        values[empty] = new
    return columns


def write_own(path: Path, requests: Requests) -> None:
    """Write requests as our own CSV; a reader sees the old file or the whole new one. Raises BadInputError."""
    with whole_file(path) as new:
        csv.writer(new).writerows(_lines(requests))


def _check_header(path: Path, header: list[str]) -> None:
    known = (*NEEDED, *OPTIONAL, SEGMENTS)
    for name in header:
        if name not in known:
            near = nearest_names(name, known, 1)
            guess = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise BadInputError(f"{path}, line 1: unknown column {name!r}; {guess}")
        if header.count(name) > 1:
            raise BadInputError(f"{path}, line 1: column {name!r} is given twice: keep one")


def _requests(columns: Columns, given: set[str], order: Ints) -> Requests:
    count = len(order)
    rest: dict[str, Any] = {
        name: columns.whole(name, least=least)[order] if name in given else _absent(name, count)
        for name, least in OPTIONAL.items()
        if name != "think_tokens"
    }
    think = (
        columns.tokens("think_tokens", least=0)[order] if "think_tokens" in given else np.zeros(count, dtype=np.int64)
    )
    start, ids, tokens = _segments(columns, order)
    into = columns.tokens("input_tokens")[order]
    try:
        return Requests(
            arrival_s=columns.values["arrival_s"][order], input_tokens=into, think_tokens=think,
            answer_tokens=columns.tokens("answer_tokens", least=0 if think.any() else 1)[order],
            segment_start=start, segment_id=ids, segment_tokens=tokens, **rest,
        )  # fmt: skip
    except BadInputError as error:
        raise BadInputError(error.args[0] if str(columns.path) in str(error) else f"{columns.path}: {error}") from None


def _absent(name: str, count: int) -> Ints:
    if name == "session":
        return np.arange(count)
    return np.full(count, 0 if name == "priority" else NONE)


def _segments(columns: Columns, order: Ints) -> tuple[Ints, Ints, Ints]:
    texts = columns.texts.get(SEGMENTS)
    if texts is None:
        empty = np.empty(0, dtype=np.int64)
        return np.zeros(len(order) + 1, dtype=np.int64), empty, empty
    counts, pairs = [], []
    for row in order:
        parts = texts[row].split()
        found = [(int(match[1]), int(match[2])) for match in map(_SEGMENT.fullmatch, parts) if match]
        if len(found) < len(parts) or any(not 1 <= tokens <= MOST_TOKENS for _, tokens in found):
            here = f"{columns.path}, line {columns.line[row]}"
            raise BadInputError(
                f"{here}: segments {texts[row][:40]!r} must be id:tokens with blanks between, as 7:512 9:80"
            )
        counts.append(len(parts))
        pairs += found
    table = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return np.concatenate(([0], np.cumsum(counts))), table[:, 0], table[:, 1]


def _lines(requests: Requests) -> Iterator[list[object]]:
    """Yield the header and the rows, without the columns that say nothing."""
    count = len(requests)
    said = [name for name in PER_ROW if name in NEEDED or not _says_nothing(requests, name, count)]
    yield [*said, *([SEGMENTS] if len(requests.segment_id) else [])]
    columns = [getattr(requests, name).tolist() for name in said]
    if len(requests.segment_id):
        pairs = [f"{one}:{tokens}" for one, tokens in zip(requests.segment_id, requests.segment_tokens, strict=True)]
        edges = requests.segment_start.tolist()
        columns.append([" ".join(pairs[edges[row] : edges[row + 1]]) for row in range(count)])
    yield from (list(row) for row in zip(*columns, strict=True))


def _says_nothing(requests: Requests, name: str, count: int) -> bool:
    absent = np.zeros(count) if name == "think_tokens" else _absent(name, count)
    return bool((getattr(requests, name) == absent).all())
