"""Prompts under an engine that computes them with plain kernels instead of fused ones.

    plain attention    scores cross memory on their way from product to softmax to product
    widened weights    packed weights are written to memory in 16 bits, and read by an ordinary product
    short sums         16-bit products are summed in 16 bits, for which some cards have a rate of its own
    experts in turn    each expert that is touched has products of its own, which start and drain one after the other
    turns of stages    a host that is `queued_launches` kernels ahead of a card waits: other cards run dry meanwhile

Derivation: docs/cost-model.md#plain-kernels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sizewell.costs.batch import Floats
from sizewell.costs.operators import RankModel
from sizewell.costs.work import DEQUANTISED, Operator, OperatorKind
from sizewell.specs.engine import PlainPrompts

WIDE_BYTES = 2
EXPERTS: frozenset[OperatorKind] = frozenset({"experts", "dequantised-experts"})
EXPERT_MATRICES = 3
"""Gate, up and down: stored apart."""
LAYER_LAUNCHES, MATRIX_LAUNCHES = 25, 3
"""Kernels of a layer beside its matrices (norms, rotation, copies to the cache, two products with a softmax between),
and of each matrix: rows to 16 bits, product, sums to 32 bits. Widening takes one more."""


@dataclass(frozen=True, slots=True)
class PlainKernels:
    """Changes the operators of a step into those of an engine with `rules`."""

    rules: PlainPrompts

    def changed(self, operators: Sequence[Operator]) -> tuple[Operator, ...]:
        """Return the operators of a step as this engine runs them."""
        return tuple(part for operator in operators for part in self._parts(operator))

    def _parts(self, operator: Operator) -> Iterator[Operator]:
        if self.rules.experts_wait and operator.kind in EXPERTS:
            operator = _in_turn(operator)
        if operator.kind == "prefill-attention":
            yield self._plain(operator)
        elif operator.kind in DEQUANTISED and self.rules.widened_from_tokens:
            wide = np.asarray(operator.rows >= self.rules.widened_from_tokens, dtype=np.float64)
            if not wide.all():
                yield self._summed(replace(operator, repeats=operator.repeats * (1 - wide)))
            if wide.any():
                yield from self._widened(operator, wide)
        else:
            yield self._summed(operator)

    def _plain(self, operator: Operator) -> Operator:
        """Scores are pairs of all heads: four operations for each element of a head, whose width `rows` holds."""
        scores = operator.flops / (4 * operator.rows)
        return self._summed(replace(operator, hbm_bytes=operator.hbm_bytes + scores * self.rules.score_bytes))

    def _summed(self, operator: Operator) -> Operator:
        short = self.rules.short_sums and operator.compute == "fp16"
        return replace(operator, compute="fp16-short") if short else operator

    def _widened(self, operator: Operator, wide: Floats) -> Iterator[Operator]:
        """Every weight meets all rows, with two operations each."""
        packed = operator.hbm_bytes - operator.row_bytes
        written = operator.flops / np.maximum(operator.rows, 1.0) / 2 * WIDE_BYTES
        repeats = operator.repeats * wide
        yield Operator(
            name=operator.name,
            part=operator.part,
            kind="elementwise",
            compute="fp32",
            repeats=repeats,
            flops=np.zeros_like(operator.flops),
            hbm_bytes=packed + written,
            rows=operator.rows,
            products=operator.products,
            launches=operator.products,
        )
        product = replace(operator, kind=DEQUANTISED[operator.kind], repeats=repeats)
        yield self._summed(replace(product, hbm_bytes=written + operator.row_bytes))


def _in_turn(operator: Operator) -> Operator:
    """Return routed experts as products of their own for every expert that is touched, each with its rows quantized."""
    touched = np.ones_like(operator.flops) if operator.units is None else operator.units
    products = EXPERT_MATRICES * touched
    return replace(operator, products=products, launches=2 * products)


def overlap(rules: PlainPrompts, ranked: RankModel) -> float:
    """Return how many stages of a pipeline work at once on the chunks of a prompt.

    The host waits as soon as a card has `queued_launches` kernels to do: some steps are under way whole, and the next
    one is launched until a queue is full. A step that waits for the host in every layer is alone.
    """
    stages = float(ranked.cut.pp)
    if stages == 1.0 or (rules.experts_wait and ranked.model.is_moe):
        return 1.0
    ahead = rules.queued_launches * stages / _kernels(rules, ranked)
    whole = min(int(ahead) + 1, rules.steps_under_way)
    part = min(ahead - (whole - 1), 1.0)
    return min(whole * stages / (stages - part), stages, float(rules.steps_under_way))


def _kernels(rules: PlainPrompts, ranked: RankModel) -> float:
    """Return the kernels of a step through all layers."""
    found = 0.0
    for layer, count in ranked.model.layer_counts.items():
        packed = any(group.kind in DEQUANTISED for group in ranked.held.layer(layer, ranked.cut.tp).mlp)
        each = MATRIX_LAUNCHES + (packed and rules.widened_from_tokens > 0)
        found += count * (LAYER_LAUNCHES + each * sum(len(t.rows) for t in layer.tensors if t.is_matrix))
    return found
