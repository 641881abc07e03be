"""Makes the surface of a replica: grids of batches, priced as `costs.step` prices any step."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sizewell.costs import surface as table
from sizewell.costs.axis import Table, count_axis, put_together, smooth_axis
from sizewell.costs.batch import Batch, Floats
from sizewell.costs.machines import Reached
from sizewell.costs.operators import RankModel
from sizewell.costs.step import apart, dispatch_s, host_link_s, working
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
NOT_BY_TOKENS = (DECODE, PREFILL, SELECTION, STATE, EXPANSION, *SAMPLED)
MOST_CHUNKS = 512.0
MOST_CACHED = 8.0
"""Sequences of full length whose cached rows are expanded in one step as its table knows."""
MOST_TOKENS = 2.0**18
"""Tokens of a step that are priced one by one; steps of more wait for arithmetic, and lines go on straight."""

FINE, MIDDLE, COARSE = 1.02, 1.1, 1.2
"""Growth of an axis: fine where seconds bend (one resource after the other binds), coarse where they only curve."""

EXACT_TOKENS, NEAR = 256.0, 1.005
"""Up to so many tokens each whole number is priced, from there on numbers so near that lines between them do."""


def make_surface(
    model: ModelSpec, formats: Formats, cut: Parallelism, policy: StepPolicy, reached: Reached
) -> StepSurface:
    """Return the step times of one replica on the first machine of `reached`, to the engine's token budget and the
    longest context of model and engine; beyond them lines go on straight.
    """
    one = Batch.prefill(np.ones(1), 0.0)
    ranked = RankModel.of(model, formats, cut)
    mixers = frozenset(operator.name for operator in ranked.mixers(one))
    return _Tables(ranked, policy, reached.take(np.array([0])), mixers).surface()


@dataclass(frozen=True, slots=True)
class _Tables:
    """Grids hold one rank's own share; the batches priced are those of all `dp` ranks."""

    ranked: RankModel
    policy: StepPolicy
    reached: Reached
    mixers: frozenset[str]

    def surface(self) -> StepSurface:
        policy, ranks = self.policy, self.ranked.cut.dp
        budget = float(max(policy.chunk_tokens, 2))
        tokens = count_axis(EXACT_TOKENS, budget, NEAR)
        everywhere = count_axis(EXACT_TOKENS, min(budget * ranks, MOST_TOKENS), NEAR)
        cached = count_axis(EXACT_TOKENS, min(budget + self._most_cached, MOST_TOKENS), NEAR)
        main, drafts = self._main(tokens * ranks), self._drafts(tokens * ranks)
        apart = () if ranks == 1 else (EXPERTS,)
        made = {
            table.TOKENS: self._line(tokens, main, but=(*NOT_BY_TOKENS, *apart)),
            table.EXPERTS: self._line(everywhere, self._main(everywhere) if apart else (), only=apart),
            table.SAMPLED: self._line(tokens, main, only=SAMPLED),
            table.EXPANSION: self._line(cached, self._expansion(cached * ranks), only=(EXPANSION,)),
            table.DRAFTS: self._line(tokens, drafts, but=(DECODE, SELECTION, *apart)),
            table.DRAFT_EXPERTS: self._line(everywhere, self._drafts(everywhere) if apart else (), only=apart),
            table.STATE: self._state(budget),
            table.SELECTION: self._selection(budget),
            table.PREFILL: self._prefill(budget),
            **self._decode(budget),
        }
        tables = put_together([made[number] for number in range(len(made))])
        return StepSurface(tables, self._issue(), 1.0 + policy.drafts)

    @property
    def longest(self) -> float:
        """The longest context of one sequence, tokens."""
        return float(max(min(self.ranked.model.max_context_tokens, self.policy.longest_tokens), 4096))

    @property
    def _most_held(self) -> float:
        """The longest context the model has, whatever the engine admits: many sequences together may hold as much."""
        return float(max(self.ranked.model.max_context_tokens, 4096))

    @property
    def _most_cached(self) -> float:
        """Tokens that prompts of one step found in the cache: beyond as many, expanding them takes a straight line."""
        return min(MOST_CACHED * self.longest, self._most_held)

    def _main(self, sequences: Floats) -> tuple[Operator, ...]:
        batch = Batch.decode(sequences, 1.0)
        return self.policy.placed(self.ranked, self.ranked.step(batch), batch)

    def _expansion(self, tokens: Floats) -> tuple[Operator, ...]:
        batch = Batch.decode(tokens, 1.0)
        return self.policy.placed(self.ranked, self.ranked.expansions(batch), batch)

    def _drafts(self, sequences: Floats, context_tokens: ArrayLike = 1.0) -> list[Operator]:
        if not self.policy.drafts:
            return []
        batch = Batch.decode(sequences, context_tokens)
        return self.ranked.drafts(batch, self.policy.drafts)

    def _line(
        self, points: Floats, operators: Sequence[Operator], only: Collection[str] | None = None,
        but: Collection[str] = (),
    ) -> Table:  # fmt: skip
        chosen = [o for o in operators if (o.name not in but if only is None else o.name in only)]
        if not chosen:
            return Table()
        work, latency = working(chosen, self.reached)
        whole = np.arange(1.0, points[-1] + 1.0)
        seconds = np.zeros((len(whole), 2))
        for column, each in enumerate((work, latency)):
            if each.any():
                seconds[:, column] = np.interp(whole, points, np.broadcast_to(each, work.shape)[0])
        return Table((), np.concatenate([2 * seconds[:1] - seconds[1:2], seconds]))

    def _grid(self, axes: tuple[Floats, ...], operators: Sequence[Operator], *only: str) -> Table:
        chosen = [o for o in operators if o.name in only]
        if not chosen:
            return Table()
        seconds = working(chosen, self.reached)[0][0]
        return Table(axes, seconds)

    def _decode(self, budget: float) -> dict[int, Table]:
        axes = (count_axis(32.0, budget, MIDDLE), smooth_axis(1.0, self.longest, MIDDLE, self._spans()))
        sequences, context = _mesh(axes)
        batch = Batch.decode(sequences * self.ranked.cut.dp, context, 1 + self.policy.drafts)
        main = self.ranked.mixers(batch)
        proposed = self._grid(axes, self._drafts(sequences * self.ranked.cut.dp, context), DECODE, SELECTION)
        return {
            table.DECODE: _sum(axes, self._grid(axes, main, DECODE), proposed),
            table.DECODE_ALONE: _sum(axes, self._grid(axes, main, DECODE, SELECTION), proposed),
        }

    def _prefill(self, budget: float) -> Table:
        axes = (
            np.array([1.0, MOST_CHUNKS]),
            smooth_axis(1.0, min(budget, self.longest), FINE),
            smooth_axis(0.5, self.longest, COARSE, self._spans()),
        )
        prompts, chunk, visible = _mesh(axes)
        return self._grid(axes, self._chunks(prompts, chunk, visible, visible - chunk / 2), PREFILL)

    def _chunk_s(self) -> float:
        """Seconds by which the same prefill takes longer as two chunks than as one."""
        tokens, prompts = np.full(2, 1024.0), np.array([1.0, 2.0])
        if PREFILL not in self.mixers:
            return 0.0
        operators = self._chunks(prompts, tokens / prompts, np.full(2, 1024.0), 1024.0 / prompts)
        seconds = working([o for o in operators if o.name == PREFILL], self.reached)[0][0]
        return float(seconds[1] - seconds[0])

    def _selection(self, budget: float) -> Table:
        if SELECTION not in self.mixers:
            return Table()
        axes = (smooth_axis(1.0, budget, FINE), smooth_axis(1.0, self._most_held * MOST_CHUNKS, COARSE))
        queries, held = _mesh(axes)
        return self._grid(axes, self._chunks(np.ones_like(queries), queries, held, held - queries), SELECTION)

    def _state(self, budget: float) -> Table:
        if STATE not in self.mixers:
            return Table()
        axes = (smooth_axis(1.0, budget, FINE), count_axis(32.0, budget, COARSE))
        each, sequences = _mesh(axes)
        return self._grid(axes, self._chunks(sequences, each, each, 0.0 * each), STATE)

    def _chunks(self, prompts: Floats, chunk: Floats, visible: Floats, cached: Floats) -> list[Operator]:
        ranks = self.ranked.cut.dp
        tokens = prompts * chunk * ranks
        batch = Batch.prefill(tokens, np.maximum(cached, 0.0), prompts * ranks, pairs=tokens * visible)
        return list(self.policy.placed(self.ranked, self.ranked.mixers(batch), batch))

    def _spans(self) -> set[float]:
        """Contexts from which on a query sees no more."""
        found: set[float] = set()
        for layer in (*self.ranked.model.layer_counts, *self.ranked.model.mtp_layers):
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
        both = Batch.mixed(self.ranked.cut.dp, 1.0, self.ranked.cut.dp, 0.0, self.ranked.cut.dp)
        main = self.policy.placed(self.ranked, self.ranked.step(both), both)
        decode = _launches(main, (DECODE,))
        prefill = _launches(main, (PREFILL,))
        drafts = self._drafts(np.array([1.0 * self.ranked.cut.dp]))
        launch = self.policy.launch(self.ranked.model, self.ranked.cut, both)
        factors = {name: float(values[0]) for name, values in self.reached.factors.items()}
        return Issue(
            launches=_launches(main) - decode - prefill,
            decode_launches=decode + _launches(drafts),
            prefill_launches=prefill,
            gap_s=factors["kernel_gap_s"],
            eager_launch_s=factors["eager_launch_s"] if launch.eager else 0.0,
            prefill_launch_s=factors["prefill_launch_s"],
            host_step_s=factors["host_step_s"],
            host_sequence_s=factors["host_sequence_s"],
            front_token_s=factors["front_token_s"] if launch.front_end and not launch.front_inside else 0.0,
            inside_token_s=factors["front_token_s"] if launch.front_inside else 0.0,
            fixed_s=float(dispatch_s(main, self.reached)[0] + host_link_s(launch, self.reached)[0]),
            chunk_s=self._chunk_s(),
            slowest_stage=launch.slowest_stage,
            stages=float(launch.stages),
            overlapped=float(launch.overlapped),
            pieced_tokens=float(self.policy.pieced_tokens),
            recorded_tokens=float(self.policy.recorded_tokens),
            decode_pieces=decode + _launches(drafts, (DECODE,)),
            eager_apart=float(apart((*main, *drafts))[0]) if launch.eager else 0.0,
        )


def _launches(operators: Sequence[Operator], only: Collection[str] = ()) -> float:
    found = np.zeros(1)
    for operator in operators:
        if not only or operator.name in only:
            found = found + operator.repeats * operator.launches
    return float(found[0])


def _sum(axes: tuple[Floats, ...], *tables: Table) -> Table:
    """Return tables of the same axes as one; a run of decoding needs one even where nothing takes time."""
    shape = [len(points) for points in axes]
    return Table(
        axes, sum((each.seconds for each in tables if each.seconds is not None), start=np.zeros(shape).ravel())
    )


def _mesh(axes: tuple[Floats, ...]) -> tuple[Floats, ...]:
    """Return the points of a grid, flat."""
    return tuple(each.ravel() for each in np.meshgrid(*axes, indexing="ij"))
