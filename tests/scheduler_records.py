"""What a scheduler decided, step by step: recorded from a real vLLM, or played by the simulator, in one form."""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from scheduler_scenarios import ANSWER_SEGMENTS, BLOCK_TOKENS, MODELS
from sizewell.catalog.models import read_model
from sizewell.costs.cache_kinds import CacheRules, layer_kinds
from sizewell.costs.kv_cache import CacheLayout, cache_layout
from sizewell.simulator.facts import ReplicaFacts, SchedulerRules, block_groups
from sizewell.simulator.simulate import LogLine, Options, play
from sizewell.traffic.requests import NONE, Requests
from surfaces import flat_surface

Json = dict[str, Any]

VERSION = "0.32.0"
KEPT = Path(__file__).parent / "simulator" / "recorded" / f"vllm-{VERSION}.txt"
HEADING = "## "


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step: when it was formed, tokens by request in order, who was admitted with how much cached, who lost all."""

    time: int
    scheduled: tuple[tuple[int, int], ...]
    admitted: tuple[tuple[int, int], ...] = ()
    preempted: tuple[int, ...] = ()
    free_blocks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """All steps of a scenario, and when which request ended."""

    name: str
    steps: tuple[Step, ...]
    finished: tuple[tuple[int, int], ...]

    def lines(self) -> list[str]:
        """Return the record as text; a run of steps that only decode the same sequences is one line."""
        lines: list[str] = []
        run, before = 0, None
        for step in self.steps:
            if before is not None and _goes_on(before, step):
                run += 1
            else:
                lines += [f"{run} more, {before.free_blocks} free"] * (run > 0) if before else []
                lines.append(_written(step))
                run = 0
            before = step
        lines += [f"{run} more, {before.free_blocks} free"] * (run > 0) if before else []
        return [*lines, "ends " + " ".join(f"{row}@{time}" for time, row in self.finished)]


def first_difference(real: Record, simulated: Record) -> str:
    """Return where two records part, and what led there; nothing where they are equal."""
    if real == simulated:
        return ""
    for place, (there, here) in enumerate(zip(real.steps, simulated.steps, strict=False)):
        if there != here:
            before = _written(real.steps[place - 1]) if place else "nothing"
            return f"step {place} after  {before}\n  real      {_written(there)}\n  simulated {_written(here)}"
    return (
        f"real: {len(real.steps)} steps, ends {real.finished}\n"
        f"simulated: {len(simulated.steps)} steps, ends {simulated.finished}"
    )


def write_kept(records: Iterable[Record], kept: Path = KEPT) -> None:
    """Write records as text."""
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("".join("\n".join([HEADING + record.name, *record.lines(), ""]) for record in records))


def read_kept(kept: Path = KEPT) -> dict[str, list[str]]:
    """Return the lines of each kept record by its name."""
    found: dict[str, list[str]] = {}
    for line in kept.read_text().splitlines():
        if line.startswith(HEADING):
            lines = found.setdefault(line.removeprefix(HEADING), [])
        else:
            lines.append(line)
    return found


def _goes_on(before: Step, step: Step) -> bool:
    decodes = all(tokens == 1 for _, tokens in step.scheduled)
    return decodes and step.scheduled == before.scheduled and not step.admitted and not step.preempted


def _written(step: Step) -> str:
    words = [f"{step.time}:"]
    if all(tokens == 1 for _, tokens in step.scheduled):
        words.append("decode " + " ".join(str(row) for row, _ in step.scheduled))
    else:
        words.append(" ".join(f"{row}+{tokens}" for row, tokens in step.scheduled))
    words += [f"| in {row} cached {tokens}" for row, tokens in step.admitted]
    words += [f"| out {row}" for row in step.preempted]
    return " ".join([*words, f"| {step.free_blocks} free"])


def recorded(raw: Json) -> Record:
    """Return the record that vllm_recorder.py wrote."""
    return Record(
        name=raw["name"],
        steps=tuple(
            Step(
                time=step["time"],
                scheduled=_pairs(step["scheduled"]),
                admitted=_pairs(step["admitted"]),
                preempted=tuple(step["preempted"]),
                free_blocks=step["free_blocks"],
            )
            for step in raw["steps"]
        ),
        finished=_pairs(sorted(raw["finished"])),
    )


def _pairs(rows: Iterable[Any]) -> tuple[tuple[int, int], ...]:
    return tuple((int(first), int(second)) for first, second in rows)


def simulated(scenario: Json, *, compiled: bool = False) -> Record:
    """Return what the simulator does with a scenario."""
    return simulated_on(replica_facts(scenario), scenario, compiled=compiled)


def simulated_on(facts: ReplicaFacts, scenario: Json, *, compiled: bool = False) -> Record:
    """Return what a replica does with the requests of a scenario."""
    played = play(facts, requests_of(scenario), Options(compiled=compiled, log=True))
    steps = tuple(_steps(played.log))
    ended = sorted((round(line.time_s), line.request) for line in played.log if line.what == "finished")
    return Record(name=scenario["name"], steps=steps, finished=tuple(ended))


@dataclass(slots=True)
class _Open:
    """The step being read off the log."""

    scheduled: dict[int, int] = field(default_factory=dict)
    admitted: list[tuple[int, int]] = field(default_factory=list)
    preempted: list[int] = field(default_factory=list)


def _steps(log: Iterable[LogLine]) -> Iterator[Step]:
    found = _Open()
    for line in log:
        if line.what == "scheduled":
            found.scheduled[line.request] = line.tokens
        elif line.what == "admitted":
            found.admitted.append((line.request, line.tokens))
        elif line.what == "preempted":
            found.preempted.append(line.request)
            found.scheduled.pop(line.request, None)
        elif line.what == "step":
            yield Step(
                time=round(line.time_s), scheduled=tuple(found.scheduled.items()), admitted=tuple(found.admitted),
                preempted=tuple(found.preempted), free_blocks=line.free_blocks,
            )  # fmt: skip
            found = _Open()


def replica_facts(scenario: Json) -> ReplicaFacts:
    """Return the facts of the replica that vLLM's settings describe."""
    settings = scenario["settings"]
    rules = replace(
        SchedulerRules.of(VERSION),
        async_scheduling=settings.get("async_scheduling", False),
        reserve_prompt=settings.get("scheduler_reserve_full_isl", True),
    )
    stages = settings.get("pipeline_parallel_size", 1)
    in_flight = settings["max_num_batched_tokens"] * (2 if rules.async_scheduling else stages)
    return ReplicaFacts(
        surface=flat_surface(float(stages)),
        blocks=settings["num_gpu_blocks"],
        block_tokens=scenario["block_tokens"],
        groups=block_groups(layout_of(scenario["model"], in_flight)),
        max_num_seqs=settings["max_num_seqs"],
        max_num_batched_tokens=settings["max_num_batched_tokens"],
        max_model_len_tokens=scenario["max_model_len"],
        prefix_caching=settings.get("enable_prefix_caching", True),
        chunked_prefill=settings.get("enable_chunked_prefill", True),
        long_prefill_tokens=settings.get("long_prefill_token_threshold", 0),
        policy=settings.get("policy", "fcfs"),
        rules=rules,
        stages=stages,
        drafts=settings.get("num_speculative_tokens", 0),
        draft_layers=bool(settings.get("draft_layers")),
        watermark_fraction=settings.get("watermark", 0.0),
        acceptance=float(settings.get("accept_drafts", False)),
        jumps=False,
    )


@functools.cache
def layout_of(model: str, in_flight_tokens: int) -> CacheLayout:
    """Return how `costs` lays out the cache of a model whose configuration vLLM was given."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(MODELS[model]))
        spec = read_model(folder)
    rules = CacheRules(block_tokens=BLOCK_TOKENS[model], in_flight_tokens=in_flight_tokens)
    return cache_layout(layer_kinds(spec, spec.layer_counts.items(), "auto", 1, rules), rules)


def requests_of(scenario: Json) -> Requests:
    """Return a scenario's requests; the answer of row r is the content ANSWER_SEGMENTS + r."""
    rows = scenario["requests"]
    segments = [segment for row in rows for segment in row["segments"]]
    none = np.full(len(rows), NONE)

    def column(name: str) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.array([row[name] for row in rows], dtype=np.int64)

    return Requests(
        arrival_s=column("arrival").astype(np.float64), after=none, input_tokens=column("input_tokens"),
        think_tokens=np.zeros(len(rows), dtype=np.int64), answer_tokens=column("output_tokens"),
        priority=column("priority"), session=np.arange(len(rows)),
        segment_start=np.cumsum([0, *(len(row["segments"]) for row in rows)]),
        segment_id=np.array([name for name, _ in segments], dtype=np.int64),
        segment_tokens=np.array([tokens for _, tokens in segments], dtype=np.int64),
        think_id=none, output_id=ANSWER_SEGMENTS + np.arange(len(rows)),
    )  # fmt: skip
