"""Plays scenarios through a real vLLM and writes down what its scheduler did, step by step.

Run by the interpreter of the environment that holds vLLM (see install_vllm_cpu.sh), not by sizewell's own:

    .venv-vllm/bin/python tests/real/vllm_recorder.py SCENARIOS.json RECORDS.json

The engine runs in this process, by a clock of its own: a step takes one unit of time (through two pipeline stages two,
but the next may start after one), and a request that has come by the time a step is formed is seen by it.  So a record
does not depend on how fast the machine is.  One engine is started per file of scenarios.  A file of one scenario
starts it with that scenario's settings, as a user would; a file of several starts one that is large enough for all,
and each scenario gets a fresh Scheduler of vLLM's own with its settings.

What a CPU does not run (asynchronous scheduling, pipeline stages, drafts) is run with `stand_in`: vLLM's engine core
and scheduler as they are, with the model replaced by one that answers at once.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import sys
import tempfile
from collections import deque
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.update(
    VLLM_ENABLE_V1_MULTIPROCESSING="0",
    VLLM_CPU_OMP_THREADS_BIND="nobind",
    VLLM_LOGGING_LEVEL="ERROR",
    VLLM_NO_USAGE_STATS="1",
    HF_HUB_OFFLINE="1",
    OMP_NUM_THREADS="1",
)

from scenario_prompts import FIRST_ANSWER_TOKEN, prompt
from vllm import EngineArgs, SamplingParams
from vllm.utils.hashing import get_hash_fn_by_name
from vllm.v1.core.kv_cache_utils import get_request_block_hasher
from vllm.v1.engine.llm_engine import LLMEngine
from vllm.v1.outputs import EMPTY_MODEL_RUNNER_OUTPUT, DraftTokenIds, ModelRunnerOutput

Json = dict[str, Any]

MOST_IDLE_CALLS = 20
SCHEDULER_SETTINGS = (
    "max_num_batched_tokens", "max_num_seqs", "long_prefill_token_threshold", "policy", "scheduler_reserve_full_isl",
    "watermark", "async_scheduling", "enable_chunked_prefill",
)  # fmt: skip


def row_of(name: str) -> int:
    """Return the row of a request from the engine's own name for it, which adds something random."""
    return int(name.split("-", maxsplit=1)[0])


class StandIn:
    """Answers in place of the model: a token for every sequence whose prompt is through, drafts all kept or none."""

    def __init__(self, core: Any, executor: Any, accepted: bool) -> None:
        self._core, self._executor, self._accepted = core, executor, accepted
        self._outputs: deque[ModelRunnerOutput] = deque()
        self._drafts: DraftTokenIds | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)

    def execute_model(self, step: Any, non_block: bool = False) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(None if step.num_scheduled_tokens else EMPTY_MODEL_RUNNER_OUTPUT)
        if step.num_scheduled_tokens:
            self._outputs.append(self._answer(step))
        return done

    def sample_tokens(self, _grammar: Any, non_block: bool = False) -> Any:
        output = self._outputs.popleft()
        if not non_block:
            return output
        done: Future[Any] = Future()
        done.set_result(output)
        return done

    def take_draft_token_ids(self) -> DraftTokenIds | None:
        return self._drafts

    def _answer(self, step: Any) -> ModelRunnerOutput:
        ids = list(step.num_scheduled_tokens)
        admitted = {new.req_id for new in step.scheduled_new_reqs} | step.scheduled_cached_reqs.resumed_req_ids
        sampled = []
        for name in ids:
            request = self._core.scheduler.requests[name]
            # What fills a sequence just admitted up to the width of drafts is no draft, and never kept.
            drafts = 0 if name in admitted else len(step.scheduled_spec_decode_tokens.get(name, ()))
            drafts = drafts if self._accepted else 0
            count = 0 if request.is_prefill_chunk else 1 + drafts
            sampled.append([FIRST_ANSWER_TOKEN + row_of(name)] * count)
        width = self._core.scheduler.num_spec_tokens
        self._drafts = (
            DraftTokenIds(ids, [[FIRST_ANSWER_TOKEN + row_of(name)] * width for name in ids]) if width else None
        )
        return ModelRunnerOutput(
            req_ids=ids, req_id_to_index={name: i for i, name in enumerate(ids)}, sampled_token_ids=sampled
        )


class Clock:
    """Time as the steps make it: each takes a unit of every stage, and waits for the one before."""

    def __init__(self, stages: int) -> None:
        self.now, self._stages, self._free, self._last = 0, stages, 0, 0
        self._ends: dict[int, int] = {}

    def launch(self, step: Any) -> None:
        """Start a step as soon as the first stage is free."""
        start = max(self.now, self._free)
        self._free, self._last = start + 1, max(start + self._stages, self._last + 1)
        self._ends[id(step)] = self._last

    def land(self, step: Any) -> None:
        """Wait for a step's end."""
        self.now = max(self.now, self._ends.pop(id(step), self.now))


class Recorder:
    """Wraps a scheduler and keeps, for each step that computed anything, what was decided."""

    def __init__(self, scheduler: Any, stages: int) -> None:
        self._scheduler = scheduler
        self._schedule, self._update, self._preempt = (
            scheduler.schedule, scheduler.update_from_output, scheduler._preempt_request,
        )  # fmt: skip
        self._preempted: list[int] = []
        self.clock = Clock(stages)
        self.steps: list[Json] = []
        self.finished: list[list[int]] = []
        scheduler.schedule, scheduler.update_from_output = self.schedule, self.update
        scheduler._preempt_request = self.preempt

    def preempt(self, request: Any, *arguments: Any, **options: Any) -> None:
        self._preempted.append(row_of(request.request_id))
        self._preempt(request, *arguments, **options)

    def schedule(self, *arguments: Any) -> Any:
        output = self._schedule(*arguments)
        # A call that only preempts is told with the step after it.
        if output.num_scheduled_tokens:
            self.steps.append(self._describe(output))
            self._preempted = []
            self.clock.launch(output)
        return output

    def update(self, output: Any, answers: Any) -> Any:
        self.clock.land(output)
        before = set(self._scheduler.requests)
        result = self._update(output, answers)
        gone = before - set(self._scheduler.requests)
        self.finished += [[self.clock.now, row] for row in sorted(map(row_of, gone))]
        return result

    def _describe(self, output: Any) -> Json:
        cached, new = output.scheduled_cached_reqs, {new.req_id: new for new in output.scheduled_new_reqs}
        computed = dict(zip(cached.req_ids, cached.num_computed_tokens, strict=True))
        admitted = {name for name in output.num_scheduled_tokens if name in new or name in cached.resumed_req_ids}
        pool = self._scheduler.kv_cache_manager.block_pool
        return {
            "time": self.clock.now,
            "scheduled": [[row_of(name), tokens] for name, tokens in output.num_scheduled_tokens.items()],
            "admitted": [
                [row_of(name), new[name].num_computed_tokens if name in new else computed[name]]
                for name in output.num_scheduled_tokens
                if name in admitted
            ],
            "preempted": self._preempted,
            "free_blocks": pool.get_num_free_blocks(),
        }


class Engine:
    """A vLLM engine in this process, and the scenarios played through it."""

    def __init__(self, config: Json, scenarios: list[Json]) -> None:
        folder = tempfile.mkdtemp()
        Path(folder, "config.json").write_text(json.dumps(config))
        self._engine = LLMEngine.from_engine_args(EngineArgs(model=folder, **arguments(scenarios)))
        self._core = self._engine.engine_core.engine_core
        self._as_started = len(scenarios) == 1
        self._config, self._executor = self._core.vllm_config, self._core.model_executor
        self._kv = self._core.scheduler.kv_cache_config
        self._block_hasher = self._core.request_block_hasher

    def facts(self) -> Json:
        """Return what the running engine says of its cache."""
        cache = self._config.cache_config
        groups = self._kv.kv_cache_groups
        return {
            "blocks": self._kv.num_blocks,
            "block_tokens": cache.block_size,
            "group_layers": [len(group.layer_names) for group in groups],
            "page_bytes": [group.kv_cache_spec.page_size_bytes for group in groups],
            "kinds": [type(group.kv_cache_spec).__name__ for group in groups],
            "most_sequences": cache.kv_cache_max_concurrency,
            "tokens": cache.kv_cache_size_tokens,
        }

    def play(self, scenario: Json) -> Json:
        """Return the record of one scenario."""
        if not self._as_started:
            self._reschedule(scenario)
        recorder = Recorder(self._core.scheduler, scenario["settings"].get("pipeline_parallel_size", 1))
        clock = recorder.clock
        pending = deque(sorted(enumerate(scenario["requests"]), key=lambda pair: pair[1]["arrival"]))
        idle = 0
        while pending or self._engine.has_unfinished_requests():
            if not self._engine.has_unfinished_requests():
                clock.now = max(clock.now, pending[0][1]["arrival"])
            while pending and pending[0][1]["arrival"] <= clock.now:
                self._send(*pending.popleft())
            computed = len(recorder.steps), clock.now
            self._engine.step()
            idle = 0 if (len(recorder.steps), clock.now) > computed else idle + 1
            if idle > MOST_IDLE_CALLS:
                raise RuntimeError(f"{scenario['name']}: nothing is scheduled any more")
        while self._core.scheduler.has_requests() or self._core.batch_queue:
            self._core.step_fn()
        self._core.scheduler.reset_prefix_cache()
        return {"name": scenario["name"], "steps": recorder.steps, "finished": recorder.finished}

    def _send(self, row: int, request: Json) -> None:
        sampling = SamplingParams(
            max_tokens=request["output_tokens"], ignore_eos=True, detokenize=False,
            allowed_token_ids=[FIRST_ANSWER_TOKEN + row],
        )  # fmt: skip
        self._engine.add_request(
            str(row), {"prompt_token_ids": prompt(row, request)}, sampling,
            arrival_time=float(row), priority=request.get("priority", 0),
        )  # fmt: skip

    def _reschedule(self, scenario: Json) -> None:
        """Give the engine a fresh scheduler with the scenario's settings, and the model or its stand-in."""
        core, settings = self._core, scenario["settings"]
        config = copy.copy(self._config)
        config.scheduler_config = copy.copy(config.scheduler_config)
        config.cache_config = copy.copy(config.cache_config)
        config.parallel_config = copy.copy(config.parallel_config)
        for name in SCHEDULER_SETTINGS:
            if name in settings:
                setattr(config.scheduler_config, name, settings[name])
        config.parallel_config.pipeline_parallel_size = settings.get("pipeline_parallel_size", 1)
        config.cache_config.enable_prefix_caching = settings.get("enable_prefix_caching", True)
        config.speculative_config = drafts(settings.get("num_speculative_tokens", 0), settings.get("draft_layers"))
        kv = self._cache(settings)
        config.cache_config.num_gpu_blocks = kv.num_blocks
        block_size = min(group.kv_cache_spec.block_size for group in kv.kv_cache_groups)
        core.request_block_hasher = self._block_hasher
        if "block_size" in settings:
            core.request_block_hasher = get_request_block_hasher(block_size, get_hash_fn_by_name("sha256"))
        core.scheduler = config.scheduler_config.get_scheduler_cls()(
            vllm_config=config, kv_cache_config=kv, block_size=block_size, hash_block_size=block_size,
            structured_output_manager=core.structured_output_manager, log_stats=core.log_stats,
        )  # fmt: skip
        stand_in = StandIn(core, self._executor, settings.get("accept_drafts", True))
        core.model_executor = stand_in if scenario["stand_in"] else self._executor
        self._drive(config)

    def _drive(self, config: Any) -> None:
        """Set the engine core's loop as its constructor would for this configuration."""
        core = self._core
        core.async_scheduling = bool(config.scheduler_config.async_scheduling)
        core.use_spec_decode = core.check_for_draft_tokens = config.speculative_config is not None
        core.batch_queue_size = config.max_concurrent_batches
        core.batch_queue = deque(maxlen=core.batch_queue_size) if core.batch_queue_size > 1 else None
        core.step_fn = core.step if core.batch_queue is None else core.step_with_batch_queue

    def _cache(self, settings: Json) -> Any:
        """Return the engine's cache groups with the scenario's blocks."""
        groups = copy.deepcopy(self._kv.kv_cache_groups)
        if "block_size" in settings:
            for group in groups:
                group.kv_cache_spec = dataclasses.replace(group.kv_cache_spec, block_size=settings["block_size"])
        return dataclasses.replace(self._kv, num_blocks=settings["num_gpu_blocks"], kv_cache_groups=groups)


def drafts(count: int, layers: bool | None) -> Any:
    """Return what the scheduler asks of a speculative configuration: n-grams, or layers of the model's own."""
    if not count:
        return None
    own = bool(layers)
    return SimpleNamespace(
        num_speculative_tokens=count, num_speculative_tokens_per_batch_size=None, max_num_new_slots_for_drafting=0,
        use_eagle=lambda: own, use_eagle_block_drop=lambda: own, uses_draft_model=lambda: False,
        use_dspark=lambda: False, use_dflash=lambda: False, use_multi_module_mtp=lambda: False,
    )  # fmt: skip


def arguments(scenarios: list[Json]) -> Json:
    """Return the engine's arguments: a lone scenario's own settings, or the most that any of several needs."""
    first = scenarios[0]
    settings = first["settings"] if len(scenarios) == 1 else {}
    for name in ("num_gpu_blocks", "max_num_batched_tokens", "max_num_seqs"):
        settings = settings | {name: max(scenario["settings"][name] for scenario in scenarios)}
    passed = {name: value for name, value in settings.items() if name != "num_gpu_blocks"}
    return passed | {
        "num_gpu_blocks_override": settings["num_gpu_blocks"], "max_model_len": first["max_model_len"],
        "skip_tokenizer_init": True, "load_format": "dummy", "enforce_eager": True, "kv_cache_memory_bytes": 64 << 20,
        "block_size": first["block_tokens"], "enable_prefix_caching": True,
    } | ({"attention_backend": "CPU_MLA"} if first["model"] == "latent" else {})  # fmt: skip


def main(source: str, target: str) -> None:
    """Play every scenario of a file and write their records."""
    given = json.loads(Path(source).read_text())
    engine = Engine(given["config"], given["scenarios"])
    records = {"facts": engine.facts(), "records": [engine.play(scenario) for scenario in given["scenarios"]]}
    Path(target).write_text(json.dumps(records))


if __name__ == "__main__":
    main(*sys.argv[1:])
