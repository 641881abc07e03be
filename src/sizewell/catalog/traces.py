"""Recorded traffic: what others publish and what we write, read into requests.

The kind of a file is told from its header or first line. Rows out of order are sorted, and a note says how many; a row
that cannot be meant stops the reading with one line that names it. docs/traffic.md lists the columns of each kind.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sizewell.catalog.trace_own import NEEDED, read_own
from sizewell.catalog.trace_rows import MOST_SECONDS, Columns, csv_columns, ends_whole, first_line, json_columns
from sizewell.specs.errors import BadInputError
from sizewell.traffic.requests import Floats, Ints, Requests
from sizewell.traffic.run import OK, GapCounts, Run

Kind = Literal["sizewell", "azure", "processed", "burstgpt", "mooncake", "vllm"]

MOONCAKE_BLOCK_TOKENS = 512
_HEADERS: dict[Kind, set[str]] = {
    "sizewell": set(NEEDED),
    "azure": {"timestamp", "contexttokens", "generatedtokens"},
    "processed": {"arrived_at", "num_prefill_tokens", "num_decode_tokens"},
    "burstgpt": {"timestamp", "request tokens", "response tokens"},
}
_KEYS: dict[Kind, set[str]] = {
    "mooncake": {"timestamp", "input_length", "output_length"},
    "vllm": {"arrival_time", "input_toks", "output_toks"},
}
_OTHER_MARKS = {"\t": "tabs", ";": "semicolons", "|": "bars"}
_ARRIVALS = {"arrival_s", "timestamp", "arrived_at", "arrival_time"}
_ISO = re.compile(r"(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d{1,9})?)(Z|[+-]\d\d:?\d\d)?")
_VLLM_TIMES = ("queued_ts", "first_token_ts", "last_token_ts")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trace:
    """A trace file as requests; `notes` say what was changed in reading; `measured` where it says what happened."""

    requests: Requests
    kind: Kind
    notes: tuple[str, ...] = ()
    measured: Run | None = None


def read_trace(path: Path) -> Trace:
    """Return the requests of a trace file of any kind we know; raises BadInputError naming file, line and value."""
    kind = trace_kind(path)
    trace = _READERS[kind](path)
    if ends_whole(path):
        return trace
    note = "the last line does not end: if the file was cut short, its last number may be too"
    return replace(trace, notes=(*trace.notes, note))


def trace_kind(path: Path) -> Kind:
    """Return the kind of a trace file, by its header or first line; raises BadInputError where it is none we know."""
    line = first_line(path)
    is_json = line.startswith("{")
    names = _json_keys(path, line) if is_json else _csv_names(line, ",")
    kinds = _KEYS if is_json else _HEADERS
    for kind, needed in kinds.items():
        if needed <= names:
            return kind
    for kind, needed in kinds.items():
        if needed - _ARRIVALS <= names:
            (missing,) = needed & _ARRIVALS
            raise BadInputError(f"{path}: no column {missing} says when requests arrive: a {kind} trace needs it")
    for mark, spoken in _OTHER_MARKS.items():
        if any(needed <= _csv_names(line, mark) for needed in _HEADERS.values()):
            raise BadInputError(f"{path}: its columns stand between {spoken}: save it with commas")
    known = "; ".join(f"{kind}: {', '.join(sorted(needed))}" for kind, needed in kinds.items())
    raise BadInputError(f"{path}: begins with {line[:60]!r}, which no kind of trace does; there are {known}")


def _csv_names(line: str, mark: str) -> set[str]:
    return {name.strip().strip('"').lower() for name in line.split(mark)}


def _json_keys(path: Path, line: str) -> set[str]:
    try:
        return set(json.loads(line))
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"{path}, line 1: is not one whole JSON object: {error}") from None


def _own(path: Path) -> Trace:
    requests, late = read_own(path)
    return Trace(requests=requests, kind="sizewell", notes=_sorted_note(late))


def _azure(path: Path) -> Trace:
    lengths = ("contexttokens", "generatedtokens")
    columns, gone = _answered(csv_columns(path, lengths, ("timestamp",)), "generatedtokens")
    times = _iso_seconds(columns, columns.texts["timestamp"])
    return _noted(_plain(columns, "azure", times, lengths), gone)


def _processed(path: Path) -> Trace:
    lengths = ("num_prefill_tokens", "num_decode_tokens")
    columns, gone = _answered(csv_columns(path, ("arrived_at", *lengths)), "num_decode_tokens")
    return _noted(_plain(columns, "processed", columns.seconds("arrived_at"), lengths), gone)


def _burstgpt(path: Path) -> Trace:
    lengths = ("request tokens", "response tokens")
    columns, gone = _answered(csv_columns(path, ("timestamp", *lengths)), "response tokens")
    return _noted(_plain(columns, "burstgpt", columns.seconds("timestamp"), lengths), gone)


def _mooncake(path: Path) -> Trace:
    """Each hash names a block of 512 tokens and all before it; the last block may be shorter."""
    hashes: list[list[int]] = []

    def visit(line: int, found: dict[str, Any]) -> None:
        ids = found.get("hash_ids", [])
        if not isinstance(ids, list) or not all(isinstance(one, int) and 0 <= one < 2**62 for one in ids):
            raise BadInputError(f"{path}, line {line}: hash_ids is no list of whole numbers of 0 or more: correct it")
        hashes.append(ids)

    columns = json_columns(path, ("timestamp", "input_length", "output_length"), visit)
    hashes = [ids for ids, length in zip(hashes, columns.values["output_length"], strict=True) if length]
    columns, gone = _answered(columns, "output_length")
    trace = _noted(
        _plain(columns, "mooncake", columns.seconds("timestamp") / 1e3, ("input_length", "output_length")), gone
    )
    order = _order(columns.seconds("timestamp"))
    blocks = np.array([len(ids) for ids in hashes])
    given = columns.tokens("input_length")
    full = MOONCAKE_BLOCK_TOKENS
    columns.refuse(
        (blocks - 1) * full >= given, blocks, "hash_ids has {} blocks of 512 tokens, more than its input_length"
    )
    start = np.concatenate(([0], np.cumsum(blocks[order])))
    tokens = np.full(start[-1], full)
    some = blocks[order] > 0
    left = given[order] - (blocks[order] - 1) * full
    tokens[start[1:][some] - 1] = np.minimum(left[some], full)
    ids = np.array([one for row in order for one in hashes[row]], dtype=np.int64)
    return replace(trace, requests=replace(trace.requests, segment_start=start, segment_id=ids, segment_tokens=tokens))


def _vllm(path: Path) -> Trace:
    """Engine times are on another clock than arrivals: aligned so that the fastest hand-over took no time."""
    first_line_keys = _json_keys(path, first_line(path))
    measured = set(_VLLM_TIMES) <= first_line_keys
    names = ("arrival_time", "input_toks", "output_toks", *(_VLLM_TIMES if measured else ()))
    columns = json_columns(path, names, lambda line, found: None)
    trace = _plain(columns, "vllm", columns.seconds("arrival_time"), ("input_toks", "output_toks"))
    if not measured:
        return trace
    order = _order(columns.seconds("arrival_time"))
    queued, first, last = (columns.seconds(name)[order] for name in _VLLM_TIMES)
    arrived = columns.seconds("arrival_time")[order]
    to_ours = float(np.min(queued - arrived)) + float(arrived[0])
    run = _measured(trace.requests, first - to_ours, last - to_ours)
    note = "engine times aligned to arrivals: the fastest hand-over is taken to be instantaneous"
    return replace(trace, measured=run, notes=(*trace.notes, note))


def _measured(requests: Requests, first_s: Floats, last_s: Floats) -> Run:
    count = len(requests)
    none = np.zeros(count, dtype=np.int64)
    return Run(
        scheduled_s=requests.arrival_s, sent_s=requests.arrival_s, first_token_s=first_s, first_answer_s=first_s,
        last_token_s=last_s, input_tokens=requests.input_tokens, think_tokens=none,
        output_tokens=requests.output_tokens, cached_tokens=none, preemptions=none, replica=none,
        status=np.full(count, OK, dtype=np.int8), gaps=GapCounts.none(), origin="measured",
    )  # fmt: skip


_READERS = {
    "sizewell": _own, "azure": _azure, "processed": _processed, "burstgpt": _burstgpt, "mooncake": _mooncake,
    "vllm": _vllm,
}  # fmt: skip


def _answered(columns: Columns, name: str) -> tuple[Columns, int]:
    """Return the rows that were answered and how many were not: published recordings keep requests that failed, or
    whose client left, as rows without generated tokens.
    """
    gone = columns.values[name] == 0
    if gone.all():
        raise BadInputError(f"{columns.path}: no row has {name}: all {len(gone)} requests failed, nothing to replay")
    return columns.without(gone), int(gone.sum())


def _noted(trace: Trace, gone: int) -> Trace:
    note = f"{gone} requests without generated tokens (failed, as publishers say) left out"
    return replace(trace, notes=(*trace.notes, note)) if gone else trace


def _plain(columns: Columns, kind: Kind, times: Floats, lengths: tuple[str, str]) -> Trace:
    """Return requests with nothing but a time and two lengths; the first arrives at zero."""
    into, out = (columns.tokens(name) for name in lengths)
    order = _order(times)
    since = times[order] - times[order[0]]
    if since[-1] > MOST_SECONDS:
        columns.refuse(times == times[order[-1]], times, "arrives at {}, decades after the first: mind the time's unit")
    late = int((np.diff(times) < 0).sum())
    return Trace(requests=Requests.of(since, into[order], out[order]), kind=kind, notes=_sorted_note(late))


def _order(times: Floats) -> Ints:
    order: Ints = np.argsort(times, kind="stable")
    return order


def _sorted_note(late: int) -> tuple[str, ...]:
    return (f"sorted by arrival: {late} rows came before the one above them",) if late else ()


def _is_date(stamp: str) -> bool:
    try:
        np.datetime64(stamp, "ns")
    except ValueError:
        return False
    return True


def _iso_seconds(columns: Columns, texts: list[str]) -> Floats:
    """Return ISO times as seconds from the first; a zone is allowed where all rows have the same."""
    matches = [_ISO.fullmatch(text.strip()) for text in texts]
    complaint = "timestamp is {}: write it as 2023-11-16 18:15:46.680590; correct the row or remove it"
    columns.refuse(np.array([match is None for match in matches]), texts, complaint)
    zones = [match[2] for match in matches if match]
    other = np.array([zone != zones[0] for zone in zones])
    columns.refuse(other, texts, f"timestamp {{}} has another zone than the first row ({zones[0]}): use one zone")
    stamps = [match[1] for match in matches if match]
    try:
        times = np.array(stamps, dtype="datetime64[ns]")
    except ValueError:
        columns.refuse(np.array([not _is_date(stamp) for stamp in stamps]), texts, complaint)
        raise
    seconds: Floats = (times - times[0]) / np.timedelta64(1, "s")
    return seconds
