"""A run as trace events, which chrome://tracing and ui.perfetto.dev show.

A process for each replica; in it a request takes a lane for as long as it is in flight there, the lowest free one. Of
two pools it has a lane where its prompt is computed, one where it is decoded, and one on the network between them. What
is known of all replicas of a pool together is a process of its own.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sizewell.catalog.whole_files import whole_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sizewell.traffic.requests import Floats, Ints
    from sizewell.traffic.run import Handovers, Run, Timeline

MICROSECONDS = 1e6
Event = dict[str, Any]
Phases = Sequence[tuple[str, "Floats", "Floats"]]


def write_chrome_trace(path: Path, run: Run) -> None:
    """Write what happened as trace events, in the order of their times."""
    with whole_file(path) as file:
        file.write('{"displayTimeUnit": "ms", "traceEvents": [\n')
        for number, event in enumerate(_events(run)):
            file.write((",\n" if number else "") + json.dumps(event))
        file.write("\n]}\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stage:
    """Where requests [n] are for a while: `process` −1 where one never was. Phases are names, starts and ends [n]."""

    processes: dict[int, str]
    process: Ints
    phases: Phases


@dataclass(frozen=True, slots=True, kw_only=True)
class _Load:
    """The state of a pool over time, and the process that shows it."""

    process: int
    name: str
    timeline: Timeline


def _events(run: Run) -> Iterator[Event]:
    stages = [_served(run)] if run.handovers is None else _handed_over(run, run.handovers)
    loads = _loads(run, max((process for stage in stages for process in stage.processes), default=-1) + 1)
    named = {process: name for stage in stages for process, name in stage.processes.items()}
    for process, name in {**named, **{load.process: load.name for load in loads}}.items():
        yield {"ph": "M", "name": "process_name", "pid": process, "args": {"name": name}}
    streams = [_in_order(_of_stage(run, stage)) for stage in stages]
    yield from heapq.merge(*streams, *map(_counters, loads), key=itemgetter("ts"))


def _served(run: Run) -> _Stage:
    began = np.where(np.isfinite(run.first_token_s), run.replica, -1)
    return _Stage(
        processes=_replicas(began, "replica"), process=began,
        phases=(("to first token", run.sent_s, run.first_token_s), *_answers(run)),
    )  # fmt: skip


def _answers(run: Run) -> Phases:
    """Return thinking and answering; who does not think answers from the first token on."""
    thinks = run.think_tokens > 0
    begins = np.where(thinks, run.first_answer_s, run.first_token_s)
    thought = np.where(thinks, run.first_token_s, np.nan)
    return (("think", thought, run.first_answer_s), ("answer", begins, run.last_token_s))


def _handed_over(run: Run, moved: Handovers) -> list[_Stage]:
    """Return the stages of two pools: prompts are computed and held, caches travel, answers are decoded."""
    fronts = np.where(np.isfinite(moved.computed_s), moved.prefill_replica, -1)
    first = _Stage(
        processes=_replicas(fronts, "prefill replica"), process=fronts,
        phases=(("prompt", run.sent_s, moved.computed_s), ("hold", moved.computed_s, moved.came_s)),
    )  # fmt: skip
    after = max(first.processes, default=-1) + 1
    backs = np.where(np.isfinite(moved.came_s) & (run.replica >= 0), run.replica + after, -1)
    decode = _Stage(
        processes=_replicas(backs, "decode replica", after), process=backs,
        phases=(("cache comes", moved.asked_s, moved.came_s), ("to first token", moved.came_s, run.first_token_s),
                *_answers(run)),
    )  # fmt: skip
    between = max(decode.processes, default=after) + 1
    network = _Stage(
        processes={between: "KV network"} if decode.processes else {},
        process=np.where(np.isfinite(moved.came_s), between, -1),
        phases=(("in line", moved.asked_s, moved.left_s), ("travels", moved.left_s, moved.came_s)),
    )
    return [first, network, decode]


def _replicas(process: Ints, word: str, first: int = 0) -> dict[int, str]:
    return {number: f"{word} {number - first}" for number in np.unique(process[process >= 0]).tolist()}


def _loads(run: Run, process: int) -> list[_Load]:
    if run.handovers is None:
        return [] if run.timeline is None else [_Load(process=process, name="load and cache", timeline=run.timeline)]
    lines = {"prefill": run.handovers.timeline, "decode": run.timeline}
    return [
        _Load(process=process + place, name=f"load and cache, {pool} pool", timeline=line)
        for place, (pool, line) in enumerate(lines.items())
        if line is not None
    ]


def _of_stage(run: Run, stage: _Stage) -> Iterator[tuple[float, list[Event]]]:
    """Yield when each request comes to a stage, in order, and its events there: none before it comes."""
    starts = _stack(stage, 1)[0]
    ends = np.fmax.reduce(_stack(stage, 2))
    lanes = _Lanes(free={}, busy={})
    known = np.flatnonzero((stage.process >= 0) & np.isfinite(starts))
    for row in known[np.argsort(starts[known], kind="stable")].tolist():
        process, start = int(stage.process[row]), float(starts[row])
        place = {"pid": process, "tid": lanes.take(process, start, float(np.fmax(ends[row], start)))}
        yield round(start * MICROSECONDS, 3), list(_spans(run, row, stage.phases, place))


def _stack(stage: _Stage, place: int) -> NDArray[np.float64]:
    return np.stack([phase[place] for phase in stage.phases]).astype(np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lanes:
    """Lanes of each process, given to who comes in the order they come: `free` ones, and `busy` ones until when."""

    free: dict[int, list[int]]
    busy: dict[int, list[tuple[float, int]]]

    def take(self, process: int, start: float, end: float) -> int:
        spare, held = self.free.setdefault(process, []), self.busy.setdefault(process, [])
        while held and held[0][0] <= start:
            heapq.heappush(spare, heapq.heappop(held)[1])
        lane = heapq.heappop(spare) if spare else len(held)
        heapq.heappush(held, (end, lane))
        return lane


def _spans(run: Run, row: int, phases: Phases, place: Event) -> Iterator[Event]:
    counts = {
        "request": row,
        "input_tokens": int(run.input_tokens[row]),
        "cached_tokens": int(run.cached_tokens[row]),
        "output_tokens": int(run.output_tokens[row]),
        "preemptions": int(run.preemptions[row]),
    }
    for name, starts, ends in phases:
        start, end = float(starts[row]), float(ends[row])
        if start <= end:
            # The difference of rounded ends, so that neighbours in a lane touch and never overlap.
            begin_us, end_us = round(start * MICROSECONDS, 3), round(end * MICROSECONDS, 3)
            span = {"ts": begin_us, "dur": round(end_us - begin_us, 3)}
            yield {"ph": "X", "name": name, **place, **span, "args": counts}


def _in_order(groups: Iterable[tuple[float, list[Event]]]) -> Iterator[Event]:
    """Yield events by time, of groups in the order of their beginnings, before which none of theirs comes."""
    ahead: list[tuple[float, int, Event]] = []
    number = 0
    for start, events in groups:
        while ahead and ahead[0][0] <= start:
            yield heapq.heappop(ahead)[-1]
        for event in events:
            heapq.heappush(ahead, (event["ts"], number, event))
            number += 1
    yield from (heapq.heappop(ahead)[-1] for _ in range(len(ahead)))


def _counters(load: _Load) -> Iterator[Event]:
    timeline = load.timeline
    used = (100 * timeline.kv_used_fraction).tolist()
    for time, running, waiting, share in zip(
        timeline.time_s.tolist(), timeline.running.tolist(), timeline.waiting.tolist(), used, strict=True
    ):
        stamp = {"ph": "C", "pid": load.process, "ts": round(time * MICROSECONDS, 3)}
        yield {**stamp, "name": "sequences", "args": {"running": running, "waiting": waiting}}
        yield {**stamp, "name": "KV cache, %", "args": {"used": round(share, 3)}}
