"""Makes the surface of a replica: grids of batches, priced as `costs.step` prices any step."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sizewell.costs.axis import Axis, Line, Sheet, Stack, count_axis, smooth_axis
from sizewell.costs.batch import Batch, Floats
from sizewell.costs.machines import Reached
from sizewell.costs.operators import draft_operators, step_operators
from sizewell.costs.step import dispatch_s, host_link_s, working
from sizewell.costs.step_policy import StepPolicy
from sizewell.costs.surface import Issue, StepSurface
from sizewell.costs.work import Operator
from sizewell.specs.deployment import Formats, Parallelism
from sizewell.specs.layers import Attention, CompressedAttention, LatentAttention
from sizewell.specs.model import ModelSpec

EXPERTS, DECODE, PREFILL, SELECTION, STATE, EXPANSION = (
    "routed experts", "decode attention", "prefill attention", "index selection", "recurrent state",
    "latent expansion",
)  # fmt: skip
SAMPLED = ("output head", "sampler")
NOT_BY_TOKENS = (EXPERTS, DECODE, PREFILL, SELECTION, STATE, EXPANSION, *SAMPLED)
MOST_CHUNKS = 512

FINE, MIDDLE, COARSE, SPARSE = 1.01, 1.05, 1.2, 3.0
"""Growth of an axis: fine where seconds bend (one resource after the other binds), coarse where they only curve."""


def make_surface(
    model: ModelSpec, formats: Formats, cut: Parallelism, policy: StepPolicy, reached: Reached
) -> StepSurface:
    """Return the step times of one replica on the first machine of `reached`, to the engine's token budget and the
    model's longest context; beyond them lines go on straight.
    """
    return _Tables(model, formats, cut, policy, reached.take(np.array([0]))).surface()


@dataclass(frozen=True, slots=True)
class _Tables:
    """Grids hold one rank's own share; the batches priced are those of all `dp` ranks."""

    model: ModelSpec
    formats: Formats
    cut: Parallelism
    policy: StepPolicy
    reached: Reached

    def surface(self) -> StepSurface:
        policy, ranks = self.policy, self.cut.dp
        budget = float(max(policy.chunk_tokens, 2))
        tokens = count_axis(64.0, budget, FINE)
        everywhere = count_axis(64.0, budget * ranks, FINE)
        cached = count_axis(64.0, budget + self.longest, FINE)
        drafting = tokens if policy.drafts else tokens._replace(points=tokens.points[:0])
        decode, decode_alone = self._decode(budget)
        return StepSurface(
            query_tokens=1.0 + policy.drafts,
            tokens=self._line(tokens, self._main(tokens.points * ranks), but=NOT_BY_TOKENS),
            experts=self._line(everywhere, self._main(everywhere.points), only=(EXPERTS,)),
            sampled=self._line(tokens, self._main(tokens.points * ranks), only=SAMPLED),
            expansion=self._line(cached, self._main(cached.points * ranks), only=(EXPANSION,)),
            drafts=self._line(drafting, self._drafts(tokens.points * ranks), but=(EXPERTS, DECODE, SELECTION)),
            draft_experts=self._line(everywhere, self._drafts(everywhere.points), only=(EXPERTS,)),
            state=self._state(budget),
            selection=self._selection(budget),
            decode=decode,
            decode_alone=decode_alone,
            prefill=self._prefill(budget),
            issue=self._issue(),
        )

    @property
    def longest(self) -> float:
        """The longest context, tokens."""
        return float(max(self.model.max_context_tokens, 4096))

    def _main(self, sequences: Floats) -> tuple[Operator, ...]:
        return step_operators(self.model, self.formats, self.cut, Batch.decode(sequences, 1.0))

    def _drafts(self, sequences: Floats, context_tokens: ArrayLike = 1.0) -> list[Operator]:
        if not self.policy.drafts:
            return []
        batch = Batch.decode(sequences, context_tokens)
        return draft_operators(self.model, self.formats, self.cut, batch, self.policy.drafts)

    def _line(
        self, axis: Axis, operators: Sequence[Operator], only: Collection[str] = (), but: Collection[str] = ()
    ) -> Line:
        chosen = [o for o in operators if (o.name in only if only else o.name not in but)]
        if not chosen:
            return Line(axis, np.empty(0), np.empty(0))
        work, latency = working(chosen, self.reached)
        return Line(axis, work[0], np.ascontiguousarray(np.broadcast_to(latency, work.shape)[0]))

    def _grid(self, operators: Sequence[Operator], only: Collection[str], *axes: Axis) -> Floats:
        chosen = [o for o in operators if o.name in only]
        if not chosen:
            return np.empty((0,) * len(axes))
        seconds: Floats = working(chosen, self.reached)[0][0].reshape([len(axis.points) for axis in axes])
        return seconds

    def _decode(self, budget: float) -> tuple[Sheet, Sheet]:
        rows = count_axis(32.0, budget, MIDDLE)
        columns = smooth_axis(1.0, self.longest, MIDDLE, self._spans())
        sequences, context = _mesh(rows, columns)
        batch = Batch.decode(sequences * self.cut.dp, context, 1 + self.policy.drafts)
        main = step_operators(self.model, self.formats, self.cut, batch)
        proposed = self._grid(
            self._drafts(sequences * self.cut.dp, context), (DECODE, SELECTION), rows, columns
        )  # fmt: skip
        attention = self._grid(main, (DECODE,), rows, columns)
        with_selection = self._grid(main, (DECODE, SELECTION), rows, columns)
        if not with_selection.size:
            attention = with_selection = np.zeros((len(rows.points), len(columns.points)))
        if proposed.size:
            attention, with_selection = attention + proposed, with_selection + proposed
        return Sheet(rows, columns, attention), Sheet(rows, columns, with_selection)

    def _prefill(self, budget: float) -> Stack:
        layers = smooth_axis(1.0, MOST_CHUNKS, SPARSE)
        rows = smooth_axis(1.0, budget, FINE * FINE)
        columns = smooth_axis(0.5, self.longest, COARSE, self._spans())
        prompts, chunk, visible = _mesh(layers, rows, columns)
        operators = self._chunks(prompts, chunk, visible, visible - chunk / 2)
        return Stack(layers, rows, columns, self._grid(operators, (PREFILL,), layers, rows, columns))

    def _selection(self, budget: float) -> Sheet:
        rows = smooth_axis(1.0, budget, FINE * FINE)
        columns = smooth_axis(1.0, self.longest * MOST_CHUNKS, COARSE)
        queries, held = _mesh(rows, columns)
        operators = self._chunks(np.ones_like(queries), queries, held, held - queries)
        return Sheet(rows, columns, self._grid(operators, (SELECTION,), rows, columns))

    def _state(self, budget: float) -> Sheet:
        rows = smooth_axis(1.0, budget, FINE * FINE)
        columns = count_axis(32.0, budget, COARSE)
        each, sequences = _mesh(rows, columns)
        operators = self._chunks(sequences, each, each, 0.0 * each)
        return Sheet(rows, columns, self._grid(operators, (STATE,), rows, columns))

    def _chunks(self, prompts: Floats, chunk: Floats, visible: Floats, cached: Floats) -> tuple[Operator, ...]:
        ranks = self.cut.dp
        tokens = prompts * chunk * ranks
        batch = Batch.prefill(tokens, np.maximum(cached, 0.0), prompts * ranks, pairs=tokens * visible)
        return step_operators(self.model, self.formats, self.cut, batch)

    def _spans(self) -> set[float]:
        """Contexts from which on a query sees no more."""
        found: set[float] = set()
        for layer in (*self.model.layer_counts, *self.model.mtp_layers):
            mixer = layer.mixer
            if isinstance(mixer, Attention):
                found.add(float(mixer.span_tokens or mixer.sparse_top_k_tokens or 0))
            elif isinstance(mixer, LatentAttention) and mixer.indexer:
                found.add(float(mixer.indexer.top_k_tokens))
            elif isinstance(mixer, CompressedAttention):
                found.add(float(mixer.window_tokens))
                if mixer.indexer:
                    found.add(float(mixer.indexer.top_k_tokens * mixer.compress_ratio))
        return found - {0.0}

    def _issue(self) -> Issue:
        both = Batch.mixed(self.cut.dp, 1.0, self.cut.dp, 0.0, self.cut.dp)
        main = step_operators(self.model, self.formats, self.cut, both)
        decode = _launches(main, (DECODE,))
        prefill = _launches(main, (PREFILL,))
        launch = self.policy.launch(self.model, self.cut, both)
        factors = {name: float(values[0]) for name, values in self.reached.factors.items()}
        return Issue(
            launches=_launches(main) - decode - prefill,
            decode_launches=decode + _launches(self._drafts(np.array([1.0 * self.cut.dp]))),
            prefill_launches=prefill,
            gap_s=factors["kernel_gap_s"],
            eager_launch_s=factors["eager_launch_s"] if launch.eager else 0.0,
            prefill_launch_s=factors["prefill_launch_s"],
            host_step_s=factors["host_step_s"],
            host_sequence_s=factors["host_sequence_s"],
            front_token_s=factors["front_token_s"] if launch.front_end else 0.0,
            fixed_s=float(dispatch_s(main, self.reached)[0] + host_link_s(launch, self.reached)[0]),
            slowest_stage=launch.slowest_stage,
            stages=float(launch.stages),
        )


def _launches(operators: Sequence[Operator], only: Collection[str] = ()) -> float:
    return sum((o.repeats * o.launches for o in operators if not only or o.name in only), start=0.0)


def _mesh(*axes: Axis) -> tuple[Floats, ...]:
    """Return the points of a grid, flat."""
    return tuple(each.ravel() for each in np.meshgrid(*(axis.points for axis in axes), indexing="ij"))
