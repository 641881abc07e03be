"""Plays scenarios through a real SGLang and writes down what its scheduler did, step by step.

Run by the interpreter of the environment that holds SGLang (see install_sglang_cpu.sh), not by sizewell's own:

    .venv-sglang/bin/python tests/real/sglang_recorder.py SCENARIOS.json RECORDS.json

Every scenario is a `Scheduler` of SGLang's own, started with the scenario's settings: its event loop, queue, admission,
radix cache, allocator and retraction run as they are. Only the model's forward pass is a stand-in that answers at once,
and the clock is one that steps move: a step takes one unit of time, and a request that has come by the time a step is
formed is seen by it.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import sys
import tempfile
from array import array
from collections import deque
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1")

import torch
from scenario_prompts import FIRST_ANSWER_TOKEN, prompt
from sglang.srt.distributed import bootstrap
from sglang.srt.layers.logits_processor import LogitsProcessorOutput
from sglang.srt.managers.io_struct import TokenizedGenerateReqInput
from sglang.srt.managers.scheduler import Scheduler
from sglang.srt.managers.utils import GenerationBatchResult
from sglang.srt.runtime_context import SpawnRanks, publish
from sglang.srt.sampling.sampling_params import SamplingParams
from sglang.srt.server_args import PortArgs, ServerArgs

Json = dict[str, Any]

MOST_IDLE_CALLS = 50


class Played:
    """A scheduler started for one scenario, fed by a clock, and what it decided."""

    def __init__(self, folder: str, scenario: Json) -> None:
        self._scenario, self._now, self._idle = scenario, 0, 0
        self._pending = deque(sorted(enumerate(scenario["requests"]), key=lambda pair: pair[1]["arrival"]))
        self._seen: set[int] = set()
        self._preempted: list[int] = []
        self.steps: list[Json] = []
        self.finished: list[list[int]] = []
        self.scheduler = scheduler = started(folder, scenario)
        self._form, self._queue = scheduler.get_next_batch_to_run, scheduler._add_request_to_queue
        self._land = scheduler.process_batch_result
        scheduler.ingest_requests = self.feed
        scheduler.get_next_batch_to_run = self.form
        scheduler._add_request_to_queue = self.queue
        scheduler.process_batch_result = self.land
        scheduler.model_worker.forward_batch_generation = self.answer
        scheduler.output_streamer.send_to_detokenizer.socket = None

    def feed(self, *_: Any) -> None:
        """Hand over the requests that have come; when there is nothing to do, wait for the next."""
        scheduler = self.scheduler
        idle = scheduler.is_fully_idle() and scheduler.last_batch is None and not scheduler.result_queue
        if idle and not self._pending:
            scheduler.gracefully_exit = True
            return
        # The loop looks at itself while it is idle, before a request comes.
        if idle and self._pending[0][1]["arrival"] > self._now and self._idle:
            self._now = self._pending[0][1]["arrival"]
        self._idle += 1
        if self._idle > MOST_IDLE_CALLS:
            raise RuntimeError(f"{self._scenario['name']}: nothing is scheduled any more")
        while self._pending and self._pending[0][1]["arrival"] <= self._now:
            self._send(*self._pending.popleft())

    def _send(self, row: int, request: Json) -> None:
        sampling = SamplingParams(
            max_new_tokens=request["output_tokens"], ignore_eos=self._scenario["ignore_eos"], temperature=0.0
        )
        sampling.normalize(None)
        self.scheduler.handle_generate_request(
            TokenizedGenerateReqInput(
                rid=str(row), input_text="", input_ids=array("q", prompt(row, request)), mm_inputs=None,
                sampling_params=sampling, return_logprob=False, logprob_start_len=-1, top_logprobs_num=0,
                token_ids_logprob=None, stream=False, input_embeds=None, token_type_ids=None,
            )
        )  # fmt: skip

    def queue(self, request: Any, is_retracted: bool = False) -> None:
        """Note who lost everything."""
        if is_retracted:
            self._preempted.append(int(request.rid))
            self._seen.discard(int(request.rid))
        self._queue(request, is_retracted)

    def form(self, **batches: Any) -> Any:
        """Note what the next batch holds."""
        plan = self._form(**batches)
        if plan.batch_to_run is not None:
            self._idle = 0
            self.steps.append(self._describe(plan.batch_to_run))
            self._preempted = []
        return plan

    def _describe(self, batch: Any) -> Json:
        decodes = batch.forward_mode.is_decode()
        decoding = {request.rid for request in batch.decoding_reqs or ()} if not decodes else set()
        scheduled, admitted = [], []
        for request in batch.reqs:
            row = int(request.rid)
            chunk = 1 if decodes or request.rid in decoding else request.extend_end - request.prefix_len
            scheduled.append([row, chunk])
            if row not in self._seen:
                self._seen.add(row)
                admitted.append([row, request.prefix_len])
        cache, allocator = self.scheduler.tree_cache, self.scheduler.token_to_kv_pool_allocator
        free = allocator.available_size() + cache.evictable_size()
        return {
            "time": self._now, "scheduled": scheduled, "admitted": admitted, "preempted": self._preempted,
            "free_blocks": free // self.scheduler.page_size,
        }  # fmt: skip

    def answer(self, batch: Any, **_: Any) -> Any:
        """Return a token for every sequence of a batch, each a token of its own."""
        if not self.scheduler.enable_overlap:
            self._now += 1
        tokens = torch.tensor([FIRST_ANSWER_TOKEN + int(request.rid) for request in batch.reqs], dtype=torch.int64)
        return GenerationBatchResult(logits_output=LogitsProcessorOutput(next_token_logits=None), next_token_ids=tokens)

    def land(self, batch: Any, result: Any) -> None:
        """Note who has ended."""
        if self.scheduler.enable_overlap:
            self._now += 1
        unfinished = [request for request in batch.reqs if not request.finished()]
        self._land(batch, result)
        self.finished += [[self._now, int(request.rid)] for request in unfinished if request.finished()]

    def play(self) -> Json:
        """Return the record."""
        loop = self.scheduler.event_loop_overlap if self.scheduler.enable_overlap else self.scheduler.event_loop_normal
        self.scheduler._war_barrier_enabled = False  # of accelerator streams, which a processor has not
        loop()
        return {"name": self._scenario["name"], "steps": self.steps, "finished": sorted(self.finished)}


def started(folder: str, scenario: Json) -> Any:
    """Return a scheduler with a scenario's settings."""
    settings = {"disable_overlap_schedule": True} | scenario["settings"]
    arguments = ServerArgs(
        model_path=folder, device="cpu", attention_backend="torch_native", sampling_backend="pytorch",
        skip_tokenizer_init=True, load_format="dummy", context_length=2 * scenario["max_model_len"],
        log_level="error", **settings,
    )  # fmt: skip
    ports = PortArgs.init_new(arguments)
    publish(arguments, role="scheduler", ranks=SpawnRanks(world_rank=0, dp_rank=None, gpu_id=0))
    scheduler = Scheduler(arguments, ports)
    bootstrap.init_parallel_runtime = lambda **_: None  # the process has its groups
    return scheduler


def main(source: str, target: str) -> None:
    """Play every scenario of a file and write their records."""
    given = json.loads(Path(source).read_text())
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(given["config"]))
        records = []
        for scenario in given["scenarios"]:
            records.append(Played(folder, scenario).play())
            logging.disable(logging.ERROR)
            gc.freeze()
    Path(target).write_text(json.dumps({"records": records}))


if __name__ == "__main__":
    main(*sys.argv[1:])
