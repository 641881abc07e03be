"""The work of feed-forward blocks: dense, shared and routed experts, router.

A batch reads the union of the experts its tokens choose: with E experts, k chosen by each of n tokens evenly,
E·(1 − (1 − k/E)^n) of them. Tokens of a batch choose alike: they read what fewer would that choose by themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log, sqrt

import numpy as np

from sizewell.costs.batch import Floats
from sizewell.costs.held_matrices import HeldMatrices
from sizewell.costs.matrix_work import ACTIVATION_BYTES, RankMatrix, Site, product
from sizewell.costs.work import Collective, Operator
from sizewell.specs.deployment import Parallelism
from sizewell.specs.layers import LatentAttention, Layer, MoeMlp

SHARED_EXPERTS = "shared experts"

GROUPED_LAUNCHES = 12
"""Scores, top-k and its weights, alignment in two, two quantisations, two grouped products with an activation between,
weighted sum, sum with the shared experts."""

UNCOMPILED_GROUPS = 9
"""Launches more where experts are chosen by groups and nothing is compiled: models with latents choose so."""

INDEPENDENT = 0.7
"""Share of further tokens whose choices are as good as independent. From the growth of step times with the batch in
shared/data/points-dev.csv: 0.6 to 0.8 for R1, 0.45 to 0.6 for gpt-oss, under three engines on H100, H200 and B200."""


POPULARITY = 0.3
"""Spread of how often the ranks' experts are chosen over their mean, which more tokens do not even out."""


def touched_experts(mlp: MoeMlp, tokens: Floats) -> Floats:
    """Return how many distinct experts `tokens` choose together, when every expert is as likely as any other."""
    return mlp.experts * (1.0 - (1.0 - mlp.top_k / mlp.experts) ** tokens)


def read_experts(mlp: MoeMlp, tokens: Floats) -> Floats:
    """Return how many distinct experts a batch of `tokens` reads when its tokens choose alike."""
    return touched_experts(mlp, np.where(tokens > 1, 1 + INDEPENDENT * (tokens - 1), tokens))


def rank_skew(ranks: int, assignments: Floats) -> Floats:
    """Return the expected fullest over mean load when assignments fall on `ranks` ranks at random.

    λ + √(2·λ·ln ranks) is the usual bound on the maximum of `ranks` Poisson loads of mean λ; never above `ranks`.
    """
    mean = np.maximum(assignments / ranks, 1e-9)
    return np.minimum(1.0 + sqrt(2 * log(ranks)) / np.sqrt(mean), float(ranks)) if ranks > 1 else np.ones_like(mean)


def crowding(ranks: int) -> float:
    """Return how many more rows than the mean the fullest of `ranks` ranks of experts has, however many there are."""
    return 1.0 + POPULARITY * sqrt(2 * log(ranks)) if ranks > 1 else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MlpWork:
    """Prices the feed-forward half of layers for one model, format and cut.

    `local` is the tokens of one data-parallel rank, `everywhere` those of the whole replica: routed experts serve all.
    `summed` is the message that adds up the tensor-parallel parts of a block's output.
    """

    held: HeldMatrices
    cut: Parallelism
    local: Floats
    everywhere: Floats
    summed: tuple[Collective, ...]

    def operators(self, layer: Layer, repeats: Floats | float) -> tuple[Operator, ...]:
        """Return the operators of a layer's feed-forward block, `repeats` times each."""
        held, routed = self.held.layer(layer, self.cut.tp), self.held.experts(layer, self.cut)
        found = [
            *product(Site("mlp", "mlp", repeats), held.mlp, self.local, () if routed else self.summed),
            *product(Site(SHARED_EXPERTS, "experts", repeats), held.shared, self.local),
            *product(Site("router", "router", repeats), held.router, self.local),
        ]
        if routed and isinstance(layer.mlp, MoeMlp):
            chosen = self._routed(layer.mlp, routed, repeats, self._exchanged(layer.mlp) or self.summed)
            by_group = isinstance(layer.mixer, LatentAttention)
            found.append(replace(chosen, uncompiled=UNCOMPILED_GROUPS if by_group else 0))
        return tuple(found)

    @property
    def _row_bytes(self) -> float:
        return float(self.held.model.hidden * ACTIVATION_BYTES)

    def _exchanged(self, mlp: MoeMlp) -> tuple[Collective, ...]:
        """Messages that bring tokens of other data-parallel ranks to the experts and back."""
        if self.cut.dp == 1:
            return ()
        ranks = self.cut.tp * self.cut.dp
        if self.cut.ep > 1:
            copies = min(mlp.top_k, ranks)
            there = Collective(kind="all-to-all", ranks=ranks, bytes=self.local * copies * self._row_bytes / 2)
            back = Collective(kind="all-to-all", ranks=ranks, bytes=self.local * copies * self._row_bytes)
            return (there, back)
        gathered = Collective(kind="all-gather", ranks=ranks, bytes=self.everywhere * self._row_bytes)
        return (gathered, gathered)

    def _routed(
        self, mlp: MoeMlp, held: Sequence[RankMatrix], repeats: Floats | float, collectives: tuple[Collective, ...]
    ) -> Operator:
        first = held[0]
        touched = read_experts(mlp, self.everywhere) / mlp.experts
        ranks = self.cut.ep if self.cut.ep > 1 else 1
        assigned = self.everywhere * mlp.top_k
        weights = sum(m.bytes for m in held)
        one_expert = sum(2 * m.outputs * m.inputs for m in held)
        per_rank, skew = assigned / ranks * crowding(ranks), rank_skew(ranks, assigned)
        passed = per_rank * float(sum(m.outputs + m.inputs for m in held) * ACTIVATION_BYTES)
        return Operator(
            name="routed experts",
            part="experts",
            kind="dequantised-experts" if first.dequantised else "experts",
            compute=first.compute,
            repeats=repeats,
            flops=per_rank * float(one_expert),
            hbm_bytes=touched * weights + passed,
            rows=assigned * crowding(ranks) / np.maximum(touched * mlp.experts, 1e-9),
            row_bytes=passed,
            units=touched * float(mlp.experts / ranks),
            launches=GROUPED_LAUNCHES,
            skew=skew if ranks > 1 else None,
            stream_skew=np.minimum(skew, 1 / np.maximum(touched, 1e-9)),
            block_scaled=first.block_scaled,
            microscaled=first.microscaled,
            collectives=collectives,
        )
