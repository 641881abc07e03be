"""One step of a model as a list of operators, independent of the machine: the structure of the cost model.

Identical layers are priced once and counted; every array runs over the batch axis.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sizewell.costs.attention_work import CacheWidth, context_operators
from sizewell.costs.batch import Batch, Floats
from sizewell.costs.cache_kinds import CacheRules, row_bytes
from sizewell.costs.held_matrices import HeldMatrices
from sizewell.costs.matrix_work import ACTIVATION_BYTES, Site, product
from sizewell.costs.mlp_work import MlpWork
from sizewell.costs.work import Collective, Operator
from sizewell.specs.deployment import Formats, Parallelism
from sizewell.specs.kv_format import kv_element_bytes
from sizewell.specs.layers import Cached, LatentAttention, Layer, Mixer
from sizewell.specs.model import ModelSpec

NORM_PASSES = 4
"""Times a hidden row crosses memory around one block: residual and normalised row, read and written."""

GATE_PASSES = 1.5
"""Times the outputs of a gated pair of matrices cross memory: both halves read, their product written."""

UNCOMPILED_LATENT = 20
"""Small operations around a latent that take a launch each where nothing is compiled: angles looked up and widened,
queries and keys turned and written back, latents split, joined and cached, a down-projection and what quantises its
rows (vLLM 0.8: deepseek_v2.py, rotary_embedding.py, v1 mla/common.py)."""

SAMPLER_PASSES = 3
SAMPLER_LAUNCHES = 12


def step_operators(
    model: ModelSpec, formats: Formats, cut: Parallelism, batch: Batch, drafts: int = 0
) -> tuple[Operator, ...]:
    """Return the operators one rank runs in a step, all pipeline stages together; see `RankModel.step`."""
    return RankModel.of(model, formats, cut).step(batch, drafts)


@dataclass(frozen=True, slots=True)
class RankModel:
    """A model as one rank of a cut runs it: its matrices are worked out once for all batches."""

    held: HeldMatrices
    kv_format: str
    cut: Parallelism

    @classmethod
    def of(cls, model: ModelSpec, formats: Formats, cut: Parallelism) -> RankModel:
        """Return a model of which nothing was worked out before."""
        return cls(HeldMatrices(model, formats.weight), formats.kv, cut)

    @property
    def model(self) -> ModelSpec:
        """The whole model."""
        return self.held.model

    def step(self, batch: Batch, drafts: int = 0) -> tuple[Operator, ...]:
        """Return the operators of a step, all pipeline stages together.

        The batch is one replica's (one micro-batch under pipeline parallelism). `drafts` tokens are proposed by the
        model's own prediction layers for each decoding sequence; to verify them the batch carries 1 + drafts queries.
        """
        step = _Step(self, batch)
        found: list[Operator] = []
        for layer, repeats in self.model.layer_counts.items():
            found += step.layer(layer, float(repeats))
        found += step.around(batch.sampled)
        if self.cut.pp > 1:
            found.append(step.stage_border())
        if drafts:
            found += self.drafts(batch, drafts)
        return tuple(found)

    def mixers(self, batch: Batch) -> list[Operator]:
        """Return those operators of a step that move information between tokens, alike ones of all layers together."""
        step = _Step(self, batch)
        repeats: dict[Mixer, float] = {}
        for layer, count in self.model.layer_counts.items():
            if layer.mixer is not None:
                repeats[layer.mixer] = repeats.get(layer.mixer, 0.0) + count
        return [operator for mixer, count in repeats.items() for operator in step.mixer(mixer, count)]

    def expansions(self, batch: Batch) -> list[Operator]:
        """Return those operators of a step that expand latent rows; none where no layer caches a latent."""
        step = _Step(self, batch)
        counts = self.model.layer_counts.items()
        return [operator for layer, count in counts for operator in step.expansion(layer, float(count))]

    def drafts(self, batch: Batch, drafts: int) -> list[Operator]:
        """Return what proposing takes: each draft is one pass of a token of each sequence through the prediction layer
        and the head.
        """
        one = Batch.decode(batch.decode_sequences, batch.context_tokens)
        step = _Step(self, one)
        found: list[Operator] = []
        for layer in self.model.mtp_layers[:1]:
            found += step.layer(layer, drafts * one.decodes)
            found += step.head(one.sampled, drafts * one.decodes)
        return found


class _Step:
    """Holds what all layers of one step share."""

    def __init__(self, ranked: RankModel, batch: Batch) -> None:
        self.model, self.kv_format, self.cut = ranked.model, ranked.kv_format, ranked.cut
        self.held = ranked.held
        self.batch = batch.share(self.cut.dp)
        self.tokens = self.batch.tokens
        self.row_bytes = float(self.model.hidden * ACTIVATION_BYTES)
        self.summed = self._sum_over_ranks()
        self.mlp = MlpWork(held=self.held, cut=self.cut, local=self.tokens, everywhere=batch.tokens, summed=self.summed)

    def layer(self, layer: Layer, repeats: Floats | float) -> list[Operator]:
        """Return the operators of one kind of layer."""
        found = [self._norms(layer, repeats)]
        if layer.mixer is not None:
            found += self._projections(layer, repeats)
            found += self.mixer(layer.mixer, repeats)
        found += self.mlp.operators(layer, repeats)
        return found

    def mixer(self, mixer: Mixer, repeats: Floats | float) -> tuple[Operator, ...]:
        """Return what reads context in layers of one mixer."""
        return context_operators(mixer, repeats, self.batch, self._width(mixer))

    def _width(self, mixer: Mixer) -> CacheWidth:
        """Rows take what the memory ledger says they take."""
        row = (
            row_bytes(mixer, self.kv_format, self.model, self.cut.tp, CacheRules())
            if isinstance(mixer, Cached)
            else 0.0
        )
        return CacheWidth(
            tp=self.cut.tp,
            row_bytes=row,
            state_element_bytes=float(self.model.recurrent_state_dtype_bytes),
            narrow=kv_element_bytes(self.kv_format, self.model) < ACTIVATION_BYTES,
        )

    def _norms(self, layer: Layer, repeats: Floats | float) -> Operator:
        """Norms with residuals, rotation of queries and keys, activation between matrices: what touches rows only."""
        blocks = (layer.mixer is not None) + (layer.mlp is not None)
        held = self.held.layer(layer, self.cut.tp)
        kernels = 2 * blocks + held.inner_norms
        return Operator(
            name="norms and residuals",
            part="norms",
            kind="elementwise",
            compute="fp32",
            repeats=repeats,
            flops=self.tokens * float(8 * blocks * self.model.hidden),
            hbm_bytes=self.tokens * (blocks * NORM_PASSES * self.row_bytes + GATE_PASSES * held.gated_bytes),
            rows=self.tokens,
            products=kernels,
            launches=kernels,
        )

    def _projections(self, layer: Layer, repeats: Floats | float) -> tuple[Operator, ...]:
        site = Site("attention projections", "projections", repeats)
        held = self.held.layer(layer, self.cut.tp).projections
        first, *others = product(site, held, self.tokens, self.summed)
        if isinstance(layer.mixer, LatentAttention):
            first = replace(first, uncompiled=UNCOMPILED_LATENT)
        return (first, *others, *self.expansion(layer, repeats))

    def expansion(self, layer: Layer, repeats: Floats | float) -> tuple[Operator, ...]:
        """kv_b: absorbed into queries and outputs in decode; in prefill it expands earlier cached rows again."""
        held, batch = self.held.layer(layer, self.cut.tp).expansion, self.batch
        if not held:
            return ()
        again = batch.prefill_sequences * batch.prefill_context_tokens
        return product(Site("latent expansion", "projections", repeats), held, self.tokens + again)

    def _sum_over_ranks(self) -> tuple[Collective, ...]:
        if self.cut.tp == 1:
            return ()
        return (Collective(kind="all-reduce", ranks=self.cut.tp, bytes=self.tokens * self.row_bytes),)

    def around(self, sampled: Floats) -> list[Operator]:
        """Return embedding look-up, output head and sampler."""
        lookup = Operator(
            name="embedding",
            part="head",
            kind="elementwise",
            compute="fp32",
            repeats=1.0,
            flops=np.zeros_like(self.tokens),
            hbm_bytes=self.tokens * (2 * self.row_bytes),
            rows=self.tokens,
            collectives=self.summed,
        )
        return [lookup, *self.head(sampled, 1.0)]

    def head(self, sampled: Floats, repeats: Floats | float) -> list[Operator]:
        """Return the output projection of `sampled` rows and the choice of their tokens."""
        rows = np.maximum(sampled / self.cut.dp, np.minimum(sampled, 1.0))
        logits = rows * float(self.model.vocabulary)
        gathered = (
            (Collective(kind="all-gather", ranks=self.cut.tp, bytes=logits * ACTIVATION_BYTES),)
            if self.cut.tp > 1
            else ()
        )
        held = self.held.head(self.cut.tp)
        sampler = Operator(
            name="sampler",
            part="sampler",
            kind="sampler",
            compute="fp32",
            repeats=repeats,
            flops=logits * 4.0,
            hbm_bytes=logits * float(4 * SAMPLER_PASSES),
            rows=rows,
            products=SAMPLER_LAUNCHES,
            launches=SAMPLER_LAUNCHES,
        )
        return [*product(Site("output head", "head", repeats), held, rows, gathered), sampler]

    def stage_border(self) -> Operator:
        """Return the hand-over of activations between pipeline stages."""
        nothing = np.zeros_like(self.tokens)
        passed = Collective(
            kind="send",
            ranks=self.cut.pp,
            bytes=self.tokens * self.row_bytes / self.cut.tp,
            stride=self.cut.tp * self.cut.dp,
        )
        return Operator(
            name="pipeline border",
            part="send",
            kind="elementwise",
            compute="fp32",
            repeats=1.0,
            flops=nothing,
            hbm_bytes=nothing,
            rows=self.tokens,
            products=0,
            launches=0,
            collectives=(passed,),
        )
