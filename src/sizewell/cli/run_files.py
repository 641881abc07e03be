"""A run as files for other programs: a row for each request, a timeline of the engine, a Chrome trace."""

from __future__ import annotations

import csv
import heapq
import json
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from math import isnan
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sizewell.cli.whole_files import check_writable, whole_file
from sizewell.specs.errors import BadInputError
from sizewell.traffic.run import RUN_COLUMNS, STATUS_NAMES

if TYPE_CHECKING:
    from sizewell.traffic.run import Run, Timeline

TIMELINE_COLUMNS = ("time_s", "running", "waiting", "kv_used_fraction", "preemptions", "tokens")
PLOT_SUFFIXES = (".html", ".svg")
ROWS_AT_ONCE = 50_000
MICROSECONDS = 1e6
FIRST_PHASE = "to first token"
NO_PARQUET = "Parquet files need pyarrow: pip install 'sizewell[parquet]', or name a file that ends in .csv"


def write_rows(path: Path, run: Run) -> None:
    """Write one row for each request, as CSV or, where the name ends so, Parquet.

    Columns are those of `Run`: times in seconds (empty where they never came), counts, and the status in words.
    Raises BadInputError where pyarrow is not installed.
    """
    if path.suffix.lower() == ".parquet":
        _write_parquet(path, run)
        return
    _write_csv(path, RUN_COLUMNS, [_column(run, name) for name in RUN_COLUMNS])


def write_timeline(path: Path, timeline: Timeline) -> None:
    """Write the sampled state of the engine as CSV."""
    _write_csv(path, TIMELINE_COLUMNS, [getattr(timeline, name) for name in TIMELINE_COLUMNS])


def write_chrome_trace(path: Path, run: Run) -> None:
    """Write what happened as trace events: chrome://tracing and ui.perfetto.dev show them.

    A process for each replica; in it a request takes a lane for as long as it is in flight. What is known
    of the replicas together is a process of its own. Events come in the order of their times.
    """
    with whole_file(path) as file:
        file.write('{"displayTimeUnit": "ms", "traceEvents": [\n')
        for number, event in enumerate(_events(run)):
            file.write((",\n" if number else "") + json.dumps(event))
        file.write("\n]}\n")


def _column(run: Run, name: str) -> Any:
    values = getattr(run, name)
    return np.array(STATUS_NAMES)[values] if name == "status" else values


def _write_csv(path: Path, names: tuple[str, ...], columns: list[Any]) -> None:
    with whole_file(path) as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for start in range(0, len(columns[0]), ROWS_AT_ONCE):
            part = [_texts(column[start : start + ROWS_AT_ONCE]) for column in columns]
            writer.writerows(zip(*part, strict=True))


def _texts(values: Any) -> list[Any]:
    """Return values as they are written: times to the nanosecond, what never came as nothing."""
    if values.dtype.kind != "f":
        plain: list[Any] = values.tolist()
        return plain
    return ["" if isnan(value) else round(value, 9) for value in values.tolist()]


def _write_parquet(path: Path, run: Run) -> None:
    arrow, parquet = _pyarrow()
    table = arrow.table({name: _column(run, name) for name in RUN_COLUMNS})
    with whole_file(path, binary=True) as file:
        parquet.write_table(table, file)


def check_files(given: Mapping[str, Any], flags: Iterable[str]) -> None:
    """Refuse places named by `flags` that cannot be written before any work is done for them; raises BadInputError."""
    for flag in flags:
        if given[flag] is not None:
            check_writable(Path(given[flag]))
    if given["rows"] is not None and Path(given["rows"]).suffix.lower() == ".parquet":
        _pyarrow()
    if given["plots"] is not None and Path(given["plots"]).suffix.lower() not in PLOT_SUFFIXES:
        raise BadInputError(f"--plots {given['plots']}: plots are {' or '.join(PLOT_SUFFIXES)}: name one so")


def _pyarrow() -> tuple[Any, Any]:
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        raise BadInputError(NO_PARQUET) from None


def _events(run: Run) -> Iterator[dict[str, Any]]:
    replicas = np.unique(run.replica[run.replica >= 0]).tolist()
    engine = max(replicas, default=-1) + 1
    names = {replica: f"replica {replica}" for replica in replicas}
    if run.timeline is not None:
        names[engine] = "load and cache"
    for process, name in names.items():
        yield {"ph": "M", "name": "process_name", "pid": process, "args": {"name": name}}
    counters = _counters(run.timeline, engine) if run.timeline is not None else ()
    yield from heapq.merge(_in_order(_requests(run)), counters, key=itemgetter("ts"))


def _in_order(events: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield events by time, where each request's first one comes no earlier than that of the request before."""
    ahead: list[tuple[float, int, dict[str, Any]]] = []
    for number, event in enumerate(events):
        if event["name"] == FIRST_PHASE:
            while ahead and ahead[0][0] <= event["ts"]:
                yield heapq.heappop(ahead)[-1]
        heapq.heappush(ahead, (event["ts"], number, event))
    yield from (heapq.heappop(ahead)[-1] for _ in range(len(ahead)))


def _requests(run: Run) -> Iterator[dict[str, Any]]:
    """Lanes are given to requests as they come, the lowest free one first."""
    free: dict[int, list[int]] = {}
    busy: dict[int, list[tuple[float, int]]] = {}
    known = np.flatnonzero(np.isfinite(run.first_token_s) & (run.replica >= 0))
    for row in known[np.argsort(run.sent_s[known], kind="stable")].tolist():
        replica = int(run.replica[row])
        spare, held = free.setdefault(replica, []), busy.setdefault(replica, [])
        start, end = float(run.sent_s[row]), float(np.nanmax([run.first_token_s[row], run.last_token_s[row]]))
        while held and held[0][0] <= start:
            heapq.heappush(spare, heapq.heappop(held)[1])
        lane = heapq.heappop(spare) if spare else len(held)
        heapq.heappush(held, (end, lane))
        yield from _phases(run, row, {"pid": replica, "tid": lane})


def _phases(run: Run, row: int, place: dict[str, Any]) -> Iterator[dict[str, Any]]:
    counts = {
        "request": row,
        "input_tokens": int(run.input_tokens[row]),
        "cached_tokens": int(run.cached_tokens[row]),
        "output_tokens": int(run.output_tokens[row]),
        "preemptions": int(run.preemptions[row]),
    }
    times = [float(each[row]) for each in (run.sent_s, run.first_token_s, run.first_answer_s, run.last_token_s)]
    names = [FIRST_PHASE, "think", "answer"]
    if not run.think_tokens[row]:
        times, names = [times[0], times[1], times[3]], [FIRST_PHASE, "answer"]
    for name, start, end in zip(names, times[:-1], times[1:], strict=True):
        if start <= end:
            # The difference of rounded ends, so that neighbours in a lane touch and never overlap.
            begin_us, end_us = round(start * MICROSECONDS, 3), round(end * MICROSECONDS, 3)
            span = {"ts": begin_us, "dur": round(end_us - begin_us, 3)}
            yield {"ph": "X", "name": name, **place, **span, "args": counts}


def _counters(timeline: Timeline, process: int) -> Iterator[dict[str, Any]]:
    used = (100 * timeline.kv_used_fraction).tolist()
    for time, running, waiting, share in zip(
        timeline.time_s.tolist(), timeline.running.tolist(), timeline.waiting.tolist(), used, strict=True
    ):
        stamp = {"ph": "C", "pid": process, "ts": round(time * MICROSECONDS, 3)}
        yield {**stamp, "name": "sequences", "args": {"running": running, "waiting": waiting}}
        yield {**stamp, "name": "KV cache, %", "args": {"used": round(share, 3)}}


def write_text(path: Path, text: str) -> None:
    """Write one text as a whole file."""
    with whole_file(path) as file:
        file.write(text)
