"""Step times over a grid of decoding sequences: all that a steady state needs to know of a deployment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from sizewell.costs.batch import Batch, Floats
from sizewell.costs.machines import Reached
from sizewell.costs.operators import step_operators
from sizewell.costs.step import Launch, StepTime, price
from sizewell.specs.deployment import Formats, Parallelism
from sizewell.specs.model import ModelSpec

GRID = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096)
"""Decoding sequences of one replica at which steps are priced; in between times are interpolated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Mean tokens of a request: computed prompt, prompt found in the prefix cache, generated."""

    prompt_tokens: float
    cached_tokens: float
    output_tokens: float

    @property
    def decode_context_tokens(self) -> float:
        """Mean context of a sequence while it decodes."""
        return self.cached_tokens + self.prompt_tokens + self.output_tokens / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPolicy:
    """How the engine forms steps: `chunk_tokens` is the token budget, `accepted_tokens` a verified step yields."""

    chunk_tokens: int
    eager: bool = False
    drafts: int = 0
    accepted_tokens: float = 1.0
    offload_bytes: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTable:
    """Seconds over M machines and a grid of B decoding sequences per replica.

    `decode_s` [M, B] is a step that only decodes; `prompt_s` [M, B] what one prompt adds to the steps it rides on;
    `alone_s` [M] a prompt's own pass on an idle replica. `floor_s` is below each `decode_s`. Under pipeline
    parallelism steps are micro-batches: `decode_s` is the trip of one, `stages` of them are under way.
    """

    sequences: Floats
    lengths: Lengths
    policy: StepPolicy
    decode_s: Floats
    prompt_s: Floats
    alone_s: Floats
    floor_s: Floats
    stages: int
    decode: StepTime


def step_table(
    model: ModelSpec, formats: Formats, cut: Parallelism, reached: Reached, lengths: Lengths, policy: StepPolicy,
    grid: Sequence[float] = GRID,
) -> StepTable:  # fmt: skip
    """Return the step times of one replica on every machine; raise nothing: any cut is priced as it is."""
    sequences = np.asarray(grid, dtype=np.float64)
    pricer = _Pricer(model, formats, cut, reached, policy)
    micro = np.maximum(sequences / cut.pp, np.minimum(sequences, 1.0))
    decode = pricer.decode(micro, lengths)
    chunk = _chunk_tokens(sequences, lengths, policy)
    mixed = pricer.mixed(micro, lengths, chunk)
    steps = np.maximum(lengths.prompt_tokens, 1.0) / chunk
    alone = pricer.alone(lengths)
    return StepTable(
        sequences=sequences,
        lengths=lengths,
        policy=policy,
        decode_s=decode.total_s,
        prompt_s=np.maximum(mixed.total_s - decode.total_s, 0.0) / cut.pp * steps,
        alone_s=alone,
        floor_s=decode.floor_s,
        stages=cut.pp,
        decode=decode,
    )


def _chunk_tokens(sequences: Floats, lengths: Lengths, policy: StepPolicy) -> Floats:
    """Return prompt tokens of a step that has any: as many prompts as arrive meanwhile, within the token budget."""
    arriving = sequences * lengths.prompt_tokens / max(lengths.output_tokens - 1, 1) * policy.accepted_tokens
    room = np.maximum(policy.chunk_tokens - sequences * (1 + policy.drafts), policy.chunk_tokens / 8)
    return np.minimum(np.maximum(arriving, max(lengths.prompt_tokens, 1.0)), room)


@dataclass(frozen=True, slots=True)
class _Pricer:
    model: ModelSpec
    formats: Formats
    cut: Parallelism
    reached: Reached
    policy: StepPolicy

    def decode(self, sequences: Floats, lengths: Lengths) -> StepTime:
        batch = Batch.decode(sequences, lengths.decode_context_tokens, 1 + self.policy.drafts)
        return self._price(batch)

    def mixed(self, sequences: Floats, lengths: Lengths, chunk: Floats) -> StepTime:
        prompts = np.maximum(chunk / max(lengths.prompt_tokens, 1.0), 1.0)
        own = chunk / prompts
        earlier = lengths.cached_tokens + np.maximum(lengths.prompt_tokens - own, 0.0) / 2
        batch = Batch.mixed(
            sequences, lengths.decode_context_tokens, chunk, earlier, prompts, query_tokens=1 + self.policy.drafts
        )
        return self._price(batch)

    def alone(self, lengths: Lengths) -> Floats:
        tokens = max(lengths.prompt_tokens, 1.0)
        chunks = ceil(tokens / self.policy.chunk_tokens)
        done = lengths.cached_tokens + np.arange(chunks) * self.policy.chunk_tokens
        sizes = np.minimum(self.policy.chunk_tokens, lengths.cached_tokens + tokens - done)
        time = self._price(Batch.prefill(sizes, done))
        first: Floats = time.total_s[:, 0]
        rest: Floats = time.total_s[:, 1:].sum(axis=1) / self.cut.pp
        return first + rest

    def _price(self, batch: Batch) -> StepTime:
        drafts = self.policy.drafts if batch.has_decode else 0
        operators = step_operators(self.model, self.formats, self.cut, batch, drafts)
        layers = max(1, len(self.model.layers))
        launch = Launch(
            sequences=batch.decode_sequences + batch.prefill_sequences,
            eager=self.policy.eager,
            stages=self.cut.pp,
            slowest_stage=ceil(layers / self.cut.pp) * self.cut.pp / layers,
            offload_bytes=self.policy.offload_bytes,
        )
        return price(operators, self.reached, launch)
