"""How an engine forms and issues steps, as far as their time depends on it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import ceil, inf

import numpy as np
from numpy.typing import ArrayLike

from sizewell.costs.batch import Batch, Floats
from sizewell.costs.host_work import HostSplit
from sizewell.costs.mlp_work import SHARED_EXPERTS
from sizewell.costs.operators import RankModel
from sizewell.costs.plain_kernels import PlainKernels, overlap
from sizewell.costs.step import Launch
from sizewell.costs.work import Operator
from sizewell.specs.deployment import EngineSettings, Parallelism
from sizewell.specs.engine import SHARED_ASIDE_ROWS, EngineSpec, PlainPrompts
from sizewell.specs.engine_loops import OVERLAPPED, PROMPTS_FIRST, serves_inside
from sizewell.specs.model import ModelSpec

BALANCED = frozenset({"trtllm"})
"""Engines whose data-parallel ranks take their prompts in the same step (attention_dp_config.enable_balance)."""

ONE_BATCH = frozenset({"vllm"})
"""Engines in whose pipelines sequences that come in one by one end up in one batch (docs/simulator-findings.md, 7)."""


GATHERING = frozenset({"vllm"})
"""Engines whose front end takes turns between all requests it has: those of a burst go on when the last was read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPolicy:
    """How the engine forms steps: `chunk_tokens` is the token budget of a step and rank, `drafts` the tokens
    proposed for each sequence and verified in a step, `offload_bytes` what each accelerator reads from the host, and
    `host_bytes` of each lie there to be computed with, in steps of fewer than `copied_from_tokens`. A
    `front_end` sends the tokens of served requests; benchmarks inside the engine have none. It is `front_inside` the
    process that schedules, or beside it. One that `gathers` hands a
    burst on together, after the time each of its requests takes outside the engine. `balanced` engines hold
    prompts back until every data-parallel rank has one, so that ranks do not wait for one another's prompts. Where an
    engine `mixes`, prompts ride on the steps of those that decode; else they have steps of their own. No sequence is
    longer than `longest_tokens`. Sequences are spread over batches that `fill_stages` of a pipeline, or share one.
    Steps with prompts that have no more than `pieced_tokens` on a rank run in recorded pieces, attention between them;
    those that only decode are recorded up to `recorded_tokens` on a rank, and up to `aside_rows` rows they compute
    shared experts beside the routed ones. Where steps are `overlapped` the host looks after sequences while the
    accelerator works.
    `plain` says how prompts are computed where kernels are not fused.
    """

    chunk_tokens: int
    eager: bool = False
    drafts: int = 0
    offload_bytes: float = 0.0
    front_end: bool = True
    front_inside: bool = False
    gathers: bool = False
    balanced: bool = False
    host_bytes: float = 0.0
    copied_from_tokens: int = 0
    longest_tokens: float = inf
    mixes: bool = True
    fill_stages: bool = True
    pieced_tokens: int = 0
    recorded_tokens: float = inf
    overlapped: bool = False
    aside_rows: int = 0
    plain: PlainPrompts | None = None

    @classmethod
    def of(cls, settings: EngineSettings, engine: EngineSpec) -> StepPolicy:
        """Return how an engine forms steps under some settings."""
        return cls(
            chunk_tokens=settings.max_num_batched_tokens,
            eager=settings.enforce_eager or engine.launch == "eager",
            drafts=settings.speculative_tokens,
            offload_bytes=settings.offload_bytes if engine.offload == "streams" else 0.0,
            balanced=engine.name in BALANCED,
            host_bytes=settings.offload_bytes if engine.computes_on_host(settings.offload_bytes) else 0.0,
            copied_from_tokens=engine.copied_from_tokens,
            longest_tokens=settings.max_model_len_tokens,
            fill_stages=engine.name not in ONE_BATCH,
            pieced_tokens=engine.pieced_tokens(settings.max_num_seqs, settings.max_num_batched_tokens),
            recorded_tokens=engine.recorded_tokens(settings.max_num_seqs, settings.max_num_batched_tokens),
            plain=engine.plain_prompts,
        ).looping(engine.tags, front_inside=serves_inside(engine.name, engine.version))

    def looping(self, tags: Sequence[str], *, front_inside: bool) -> StepPolicy:
        """Return the same with the loop around a step that an engine of some tags runs."""
        return replace(
            self,
            front_inside=front_inside,
            mixes=PROMPTS_FIRST.isdisjoint(tags),
            overlapped=not OVERLAPPED.isdisjoint(tags),
            aside_rows=aside_rows(tags),
        )

    def under_way(self, cut: Parallelism) -> int:
        """Return the batches that decode in a pipeline at once."""
        return cut.pp if self.fill_stages else 1

    def batch_of(self, sequences: ArrayLike, cut: Parallelism) -> Floats:
        """Return how many of a replica's decoding sequences are in one batch."""
        spread: Floats = np.maximum(np.divide(sequences, self.under_way(cut)), np.minimum(sequences, 1.0))
        return spread

    def prompt_tokens(self, arriving: ArrayLike, least: ArrayLike, sequences: ArrayLike, ranks: int) -> Floats:
        """Return prompt tokens of a step that has any: those `arriving` meanwhile, `least` at least, within the budget.

        Each of `ranks` data-parallel ranks has its own budget; decoding sequences come first, but leave an eighth.
        """
        budget = float(self.chunk_tokens * ranks)
        room = np.maximum(budget - np.multiply(sequences, 1 + self.drafts), budget / 8)
        chunk: Floats = np.minimum(np.maximum(arriving, least), room)
        return chunk

    def stages_at_once(self, ranked: RankModel) -> float:
        """Return how many stages of a pipeline work at once on the chunks of a prompt."""
        return float(ranked.cut.pp) if self.plain is None else overlap(self.plain, ranked)

    def operators(self, ranked: RankModel, batch: Batch) -> tuple[Operator, ...]:
        """Return the operators of a step, with what the host computes as operators of their own."""
        return self.placed(ranked, ranked.step(batch, self.drafts), batch)

    def placed(self, ranked: RankModel, operators: Sequence[Operator], batch: Batch) -> tuple[Operator, ...]:
        """Return some operators of a step as this engine runs them, with what the host computes apart."""
        if self.plain is not None:
            operators = PlainKernels(self.plain).changed(operators)
        if self.aside_rows and not self.eager:
            operators = [aside(each, self.aside_rows) for each in operators]
        if not self.host_bytes:
            return tuple(operators)
        split = HostSplit.of(
            ranked.model, ranked.held.weight_format, ranked.cut, self.host_bytes, self.copied_from_tokens
        )
        return split.split(operators, batch.tokens)

    def launch(self, model: ModelSpec, cut: Parallelism, batch: Batch) -> Launch:
        """Return how the steps of `batch` are issued to one replica."""
        layers = max(1, len(model.layers))
        unrecorded = batch.tokens / cut.dp > self.recorded_tokens
        if batch.has_prefill:
            unrecorded = unrecorded | (batch.prefill_tokens > batch.prefill_sequences)
        pieced = batch.has_prefill and self.pieced_tokens
        return Launch(
            sequences=batch.decode_sequences + batch.prefill_sequences,
            unrecorded=unrecorded.astype(np.float64) if unrecorded.any() else None,
            pieces=(batch.tokens / cut.dp <= self.pieced_tokens).astype(np.float64) if pieced else None,
            eager=self.eager,
            stages=cut.pp,
            slowest_stage=ceil(layers / cut.pp) * cut.pp / layers,
            offload_bytes=self.offload_bytes,
            front_end=self.front_end,
            front_inside=self.front_end and self.front_inside,
            overlapped=self.overlapped,
            schedulers=cut.dp,
        )


def aside_rows(tags: Iterable[str]) -> int:
    """Return up to how many rows an engine of some tags computes shared experts beside the routed ones; 0: never."""
    return max((SHARED_ASIDE_ROWS.get(tag, 0) for tag in tags), default=0)


def aside(operator: Operator, rows: int) -> Operator:
    """Return an operator as it is where shared experts of up to `rows` rows, and ever less of up to twice as many, run
    beside the routed ones: their bytes and operations add to those, not the start and end of their kernels.
    """
    if operator.name != SHARED_EXPERTS:
        return operator
    after = np.clip(operator.rows / rows - 1.0, 0.0, 1.0)
    return replace(operator, products=operator.products * after, depth=operator.depth * after)


def mean_accepted_tokens(acceptance: Floats, drafts: int) -> Floats:
    """Return the tokens a step brings a sequence on average: its own, and every draft if it and those before hold."""
    total: Floats = np.sum([acceptance**n for n in range(drafts + 1)], axis=0)
    return total
