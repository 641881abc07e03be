"""Step times over a grid of decoding sequences: all that a steady state needs to know of a deployment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil

import numpy as np

from sizewell.costs.batch import Batch, Floats
from sizewell.costs.held_matrices import HeldMatrices
from sizewell.costs.machines import Reached
from sizewell.costs.operators import RankModel
from sizewell.costs.step import Launch, StepTime, price
from sizewell.costs.step_policy import StepPolicy, mean_accepted_tokens
from sizewell.costs.work import Operator
from sizewell.specs.deployment import Formats, Parallelism
from sizewell.specs.model import ModelSpec
from sizewell.traffic.workload import Workload

GRID = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096)
"""Decoding sequences of one replica at which steps are priced; in between times are interpolated."""


def grid_up_to(sequences: int) -> tuple[int, ...]:
    """Return a grid that reaches as far as all ranks of a wide replica may be filled, and the usual one at least."""
    beyond = [GRID[-1]]
    while beyond[-1] < sequences:
        beyond.append(2 * beyond[-1])
    return (*GRID, *beyond[1:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Mean tokens of a request: computed prompt, prompt found in the prefix cache, generated."""

    prompt_tokens: float
    cached_tokens: float
    output_tokens: float

    @classmethod
    def of(cls, workload: Workload, *, prefix_caching: bool = True) -> Lengths:
        """Return the lengths of a workload's requests; a shared prefix is found in the cache where there is one."""
        cached = min(workload.shared_prefix_tokens, workload.input_tokens - 1) if prefix_caching else 0.0
        return cls(
            prompt_tokens=workload.input_tokens - cached, cached_tokens=cached, output_tokens=workload.output_tokens
        )

    @property
    def decode_context_tokens(self) -> float:
        """Mean context of a sequence while it decodes."""
        return self.cached_tokens + self.prompt_tokens + self.output_tokens / 2

    @property
    def gaps(self) -> float:
        """Tokens after the first one, at least one."""
        return max(self.output_tokens - 1, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedBatch:
    """The operators of some steps and how they are issued."""

    operators: tuple[Operator, ...]
    launch: Launch

    def time(self, reached: Reached) -> StepTime:
        """Return the seconds of these steps on every machine."""
        return price(self.operators, reached, self.launch)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepWork:
    """The work of one replica over a grid of decoding sequences, independent of the machine.

    `steps` have in `span`, along the batch axis: for each number of sequences one that only decodes, then for each the
    same with `chunk` prompt tokens beside, then the chunks of one prompt on an idle replica.
    """

    sequences: Floats
    lengths: Lengths
    policy: StepPolicy
    stages: int
    stages_at_once: float
    under_way: int
    chunk: Floats
    steps: PricedBatch
    span: slice


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTable:
    """Seconds over M machines and a grid of B decoding sequences per replica.

    `decode_s` [M, B] is a step that only decodes; `prompt_s` [M, B] what one prompt adds to the steps it rides on,
    `ride_s` [M, B] how long these last without it; `alone_s` [M] a prompt's own pass on an idle replica. `floor_s` is
    below each `decode_s`, `alone_floor_s` below each `alone_s`. `accepted_tokens` [M] come out of a step per sequence
    (1 without drafts), `request_s` [M] goes by before a prefill, `accept_s` [M] for each request of a burst that a
    front end gathers, `burst` [M] is the share of requests that start together. Under pipeline parallelism steps are
    micro-batches: `decode_s` is the trip of one of those `under_way`.
    """

    work: StepWork
    decode_s: Floats
    prompt_s: Floats
    ride_s: Floats
    alone_s: Floats
    floor_s: Floats
    alone_floor_s: Floats
    accepted_tokens: Floats
    request_s: Floats
    accept_s: Floats
    burst: Floats
    steps: StepTime

    @property
    def decode(self) -> StepTime:
        """The steps that only decode."""
        return self.steps.at(slice(len(self.sequences)))

    @property
    def sequences(self) -> Floats:
        """The grid, shape [B]."""
        return self.work.sequences

    @property
    def lengths(self) -> Lengths:
        """Mean request lengths the table was made for."""
        return self.work.lengths

    def accepted_s(self, requests: Floats) -> Floats:
        """Return seconds for which a front end keeps `requests` [M] that are all sent at once from the engine."""
        return self.accept_s * (requests if self.work.policy.gathers else 0.0)


def step_work(
    model: ModelSpec, formats: Formats, cut: Parallelism, lengths: Lengths, policy: StepPolicy,
    grid: Sequence[float] = GRID,
) -> StepWork:  # fmt: skip
    """Return the work of one replica's steps; any cut is counted as it is, legal or not."""
    return StepWorks(model, lengths).work(formats, cut, policy, grid)


class StepWorks:
    """The work of one model's steps under one load: what cuts, formats and policies have in common is counted once."""

    def __init__(self, model: ModelSpec, lengths: Lengths) -> None:
        self.model, self.lengths = model, lengths
        self._matrices: dict[str, HeldMatrices] = {}
        self._known: dict[tuple[object, ...], tuple[StepWork, ...]] = {}

    def work(self, formats: Formats, cut: Parallelism, policy: StepPolicy, grid: Sequence[float]) -> StepWork:
        """Return the work of one replica's steps over a grid of decoding sequences."""
        return self.works(formats, cut, (policy,), grid)[0]

    def works(
        self, formats: Formats, cut: Parallelism, policies: tuple[StepPolicy, ...], grid: Sequence[float]
    ) -> tuple[StepWork, ...]:
        """Return the same under policies that differ in their token budget alone, to be priced together."""
        key = (formats, cut, policies, tuple(grid))
        if key not in self._known:
            if formats.weight not in self._matrices:
                self._matrices[formats.weight] = HeldMatrices(self.model, formats.weight)
            ranked = RankModel(self._matrices[formats.weight], formats.kv, cut)
            self._known[key] = _step_works(ranked, self.lengths, policies, np.asarray(grid, dtype=np.float64))
        return self._known[key]


def _step_works(
    ranked: RankModel, lengths: Lengths, policies: Sequence[StepPolicy], sequences: Floats
) -> tuple[StepWork, ...]:
    cut, first = ranked.cut, policies[0]
    micro = first.batch_of(sequences, cut)
    decode = Batch.decode(micro, lengths.decode_context_tokens, 1 + first.drafts)
    chunks = [_chunk_tokens(sequences, lengths, policy, cut.dp) for policy in policies]
    parts = [
        (decode, _mixed(micro, lengths, chunk, policy), _alone(lengths, policy))
        for policy, chunk in zip(policies, chunks, strict=True)
    ]
    flat = [part for each in parts for part in each]
    batch = flat[0].beside(*flat[1:])
    steps = PricedBatch(operators=first.operators(ranked, batch), launch=first.launch(ranked.model, cut, batch))
    ends = np.cumsum([0, *(sum(part.size for part in each) for each in parts)]).tolist()
    return tuple(
        StepWork(
            sequences=sequences, lengths=lengths, policy=policy, stages=cut.pp,
            stages_at_once=first.stages_at_once(ranked), under_way=policy.under_way(cut),
            chunk=chunk, steps=steps, span=slice(*span),
        )
        for policy, chunk, span in zip(policies, chunks, pairwise(ends), strict=True)
    )  # fmt: skip


def step_table(work: StepWork, reached: Reached) -> StepTable:
    """Return the step times of `work` on every machine."""
    return step_tables([work], reached)[0]


def step_tables(works: Sequence[StepWork], reached: Reached) -> list[StepTable]:
    """Return the step times of works that are priced together."""
    steps = works[0].steps.time(reached)
    return [_step_table(work, steps if len(works) == 1 else steps.at(work.span), reached) for work in works]


def _step_table(work: StepWork, steps: StepTime, reached: Reached) -> StepTable:
    grid = len(work.sequences)
    decode, mixed, alone = slice(grid), slice(grid, 2 * grid), slice(2 * grid, None)
    decode_s, mixed_s, alone_s = (steps.total_s[:, each] for each in (decode, mixed, alone))
    chunks_of_a_prompt = max(work.lengths.prompt_tokens, 1.0) / work.chunk
    rides = np.maximum(chunks_of_a_prompt, 1.0) if work.policy.mixes else np.zeros_like(decode_s)
    added = np.maximum(mixed_s - decode_s, 0.0) / work.under_way
    return StepTable(
        work=work,
        decode_s=decode_s,
        prompt_s=added * chunks_of_a_prompt,
        ride_s=rides * decode_s,
        alone_s=alone_s[:, 0] + alone_s[:, 1:].sum(axis=1) / work.stages_at_once,
        floor_s=steps.floor_s[:, decode],
        alone_floor_s=steps.floor_s[:, alone].sum(axis=1) / work.stages_at_once,
        accepted_tokens=mean_accepted_tokens(reached.factors["acceptance"], work.policy.drafts),
        request_s=reached.factors["request_s"],
        accept_s=reached.factors["accept_s"],
        burst=reached.factors["burst_share"],
        steps=steps,
    )


def _chunk_tokens(sequences: Floats, lengths: Lengths, policy: StepPolicy, ranks: int) -> Floats:
    """Return prompt tokens of a step that has any: as many prompts as arrive meanwhile, within the token budget."""
    arriving = sequences * lengths.prompt_tokens / lengths.gaps * (1 + policy.drafts / 2)
    least = max(lengths.prompt_tokens, 1.0) * (np.clip(sequences, 1, ranks) if policy.balanced else 1.0)
    return policy.prompt_tokens(arriving, least, sequences, ranks)


def _mixed(sequences: Floats, lengths: Lengths, chunk: Floats, policy: StepPolicy) -> Batch:
    # A rank computes no more than its budget: larger chunks are shared by prompts on several ranks.
    prompts = np.maximum(chunk / min(max(lengths.prompt_tokens, 1.0), policy.chunk_tokens), 1.0)
    earlier = lengths.cached_tokens + np.maximum(lengths.prompt_tokens - chunk / prompts, 0.0) / 2
    return Batch.mixed(
        sequences, lengths.decode_context_tokens, chunk, earlier, prompts, query_tokens=1 + policy.drafts
    )


def _alone(lengths: Lengths, policy: StepPolicy) -> Batch:
    tokens = max(lengths.prompt_tokens, 1.0)
    done = np.arange(ceil(tokens / policy.chunk_tokens)) * float(policy.chunk_tokens)
    return Batch.prefill(np.minimum(policy.chunk_tokens, tokens - done), lengths.cached_tokens + done)
