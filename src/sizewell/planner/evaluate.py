"""One cut of a model in one weight format, tried on many machines at once: memory, speed, then size and price."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import ceil

import numpy as np

from sizewell.costs.batch import Floats
from sizewell.costs.engine_rules import caches_prefixes, sets_room_aside
from sizewell.costs.rank_memory import RankMemories, RankMemory
from sizewell.costs.step_policy import StepPolicy
from sizewell.planner.bounds import Bounds
from sizewell.planner.candidates import REPLICA_GRID, nodes_of
from sizewell.planner.columns import Column, Mask, Rows, Shape, Variant, Yard
from sizewell.planner.demand import Demand, position_of, value_at
from sizewell.planner.nearest import Nearest
from sizewell.planner.offloading import offloaded
from sizewell.planner.question import Question
from sizewell.planner.ranking import Ranking
from sizewell.planner.reasons import bound_reason, context_reason, load_reason, memory_reason, speed_reason
from sizewell.planner.stated import usual_model_length
from sizewell.planner.steady_state import Limits as Holding
from sizewell.planner.steady_state import Overheads, Rates, rates
from sizewell.planner.step_table import StepTable, StepWorks, step_tables
from sizewell.planner.tight import tightened
from sizewell.specs.deployment import EngineSettings, Formats, Parallelism
from sizewell.specs.engine import EngineSpec

GRID = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512, 1024, 4096)
"""Decoding sequences of a replica at which steps are priced; between them times are interpolated."""
SEQUENCE_LIMITS = (1024, 256, 64)
"""Limits on sequences tried: lower ones free sampler memory for the cache."""
SMALL_MEMORY_BYTES = 36e9
TOKENS_PER_STEP = {True: 2048, False: 8192}
"""Token budget of a step on accelerators with little memory and on others: prompts wait less, steps last longer."""
TOKEN_BUDGETS = (2048, 4096, 8192, 16384)
"""Token budgets tried for the plans that are shown; the search itself uses one for each class of memory."""
USABLE_RATE = 0.85
"""Share of a replica's request rate that a plan for independent arrivals counts on: above it queues run away."""

Memories = Sequence[tuple[RankMemory, Sequence[int]]]
"""Memories of ranks, each with the builds of the engine under which it is such."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Tries cuts on the machines of a family; `nearest` keeps what was missing where nothing holds.

    With `only_offloaded` it tries none whose weights fit: an engine that is preferred has those.
    `tight` are candidates whose replicas a limit on size, price or power counts, which are fewer than their means ask
    for: a play may still hold.
    """

    question: Question
    demand: Demand
    yard: Yard
    engine: EngineSpec
    memories: RankMemories
    works: StepWorks
    rows: Rows
    nearest: Nearest
    only_offloaded: bool = False
    tight: list[Column] = field(default_factory=list)

    @property
    def bounds(self) -> Bounds:
        """What is bounded in size, price and power."""
        return Bounds(limits=self.question.limits, output_tokens=self.demand.lengths.output_tokens)

    def columns(self, cut: Parallelism) -> Iterator[Column]:
        """Yield the candidates of one cut that hold."""
        housed = self.rows[self.yard.houses(cut, self.question.limits.max_nodes)[self.rows]]
        for base, rows in self.bases(cut, housed):
            if not self.only_offloaded:
                yield from self.group(base, rows)
            for there, few in offloaded(self, base, rows) if self.question.offload else ():
                yield from self.group(there, few)

    def bases(self, cut: Parallelism, rows: Rows) -> Iterator[tuple[Variant, Rows]]:
        """Yield machines that are set up alike: by the token budget of a step and the cache format."""
        small = self.yard.memory_bytes[rows] < SMALL_MEMORY_BYTES
        for is_small, tokens in TOKENS_PER_STEP.items():
            alike = rows[small == is_small]
            for kv_format in self.question.kv_formats if alike.size else ():
                formats = Formats(weight=self.memories.weights.weight_format, kv=kv_format)
                settings = self._settings(SEQUENCE_LIMITS[0], tokens)
                yield Variant(engine=self.engine, formats=formats, cut=cut, settings=settings), alike

    def refined(self, column: Column, row: int, missed: Collection[tuple[Shape, int]] = ()) -> Column:
        """Return the best not `missed` of a candidate and the same one under other token budgets of a step."""
        alone = column.alone(row)
        tried, settings = [alone], replace(column.variant.settings, max_num_seqs=SEQUENCE_LIMITS[0])
        others = [
            replace(column.variant, settings=replace(settings, max_num_batched_tokens=tokens))
            for tokens in TOKEN_BUDGETS
            if tokens != column.budget
        ]
        for base, table in zip(others, self.tables(others, alone.rows), strict=True):
            tried += self.group(base, alone.rows, table)
        for index in map(int, (ranking := Ranking(tried, self.question)).order()):
            found, at = ranking.at(index)
            if (found.shape(at), found.budget) not in missed:
                break
        else:
            found, at = alone, 0
        return found.alone(at)

    def group(self, base: Variant, rows: Rows, table: StepTable | None = None) -> Iterator[Column]:
        """Yield what holds under each limit on sequences, a lower one only where it makes room for more of them.

        `table` has the steps on all `rows` where they are priced already.
        """
        whole = self.rank_memories(base, rows)
        most = np.zeros(len(rows))
        gains: list[tuple[Variant, Floats]] = []
        for limit in SEQUENCE_LIMITS:
            worth = most < limit * base.cut.dp
            if not worth.any():
                break
            settings = replace(base.settings, max_num_seqs=limit)
            variant = replace(base, settings=settings) if limit != base.settings.max_num_seqs else base
            held = np.zeros(len(rows))
            held[worth] = np.minimum(self.room(variant, rows[worth], whole), limit * base.cut.dp)
            gains.append((variant, np.where(held > most, held, 0.0)))
            most = np.maximum(most, held)
            if not self._weights_fit(whole, rows):
                return
        somewhere = most >= 1
        if not somewhere.any():
            return
        if table is None or not somewhere.all():
            (table,) = self.tables([base], rows[somewhere])
        unlimited = rates(table, Holding(max_sequences=np.inf), Overheads.settled(table))
        for variant, sequences in gains:
            if (sequences >= 1).any():
                limits = Holding(max_sequences=sequences[somewhere])
                yield from self._serving(variant, rows[somewhere], unlimited.within(limits), sequences[somewhere] >= 1)

    def rank_memories(self, base: Variant, rows: Rows) -> Memories:
        """Return the memory of a rank under each build of the engine on some of the machines, and which builds those
        are.
        """
        alike: dict[EngineSpec, list[int]] = {}
        for at in map(int, np.unique(self.yard.build[rows])):
            alike.setdefault(self.memories.telling(self.yard.builds[at]), []).append(at)
        memory = self.memories.memory
        return [(memory(base.formats.kv, base.cut, base.settings, engine), builds) for engine, builds in alike.items()]

    def _weights_fit(self, whole: Memories, rows: Rows) -> bool:
        """Return whether any limit on sequences could make room on any machine."""
        roomiest = float(self.yard.memory_bytes[rows].max())
        return any(memory.weight_bytes < memory.budget_bytes(roomiest) for memory, _ in whole)

    def room(self, variant: Variant, rows: Rows, whole: Memories) -> Floats:
        """Return how many requests one replica's cache holds on each machine, by the engine's build there.

        `whole` are memories under any limit on sequences.
        """
        built, limit = self.yard.build[rows], variant.settings.max_num_seqs
        room = np.zeros(len(rows))
        for memory, builds in whole:
            here = np.logical_or.reduce([built == at for at in builds])
            if here.any():
                sized = self.memories.with_max_num_seqs(memory, variant.formats.kv, limit)
                room[here] = self._sequences(variant, sized, rows[here])
        return room

    def _settings(self, sequences: int, tokens: int) -> EngineSettings:
        return EngineSettings(
            max_num_seqs=sequences,
            max_num_batched_tokens=tokens,
            max_model_len_tokens=usual_model_length(self.question.model, self.question.workload),
            memory_fraction=self.engine.memory_fraction,
            enforce_eager=self.engine.launch == "eager",
            prefix_caching=caches_prefixes(self.question.model, self.engine),
        )

    def _sequences(self, variant: Variant, memory: RankMemory, rows: Rows) -> Floats:
        """Return how many requests one replica's cache holds on each machine: independent ones half way through their
        output, whole ones of users, as they are played, and where each has room; none where no whole one fits.
        """
        budget, blocks = memory.rooms(self.yard.memory_bytes[rows])
        needed = max(memory.layout.request_blocks(ceil(self.demand.context_tokens)), 1)
        whole = self.demand.users is not None or sets_room_aside(self.engine)
        mean = self.demand.context_tokens if whole else self.demand.lengths.decode_context_tokens
        usual = max(memory.layout.decoding_blocks(ceil(mean)), 1)
        none, few = blocks <= 0, (blocks > 0) & (blocks < needed)
        if none.any():
            lacking = memory_reason(variant, memory, budget[none])
            self.nearest.fail("memory", rows[none], (memory.resident_bytes / budget)[none], lacking)
        if few.any():
            tokens = blocks[few] * memory.layout.block_tokens
            short = context_reason(variant, tokens, self.demand.context_tokens)
            self.nearest.fail("context", rows[few], needed / blocks[few], short)
        prefix = 0.0 if sets_room_aside(self.engine) else self.demand.lengths.cached_tokens
        return np.where(blocks >= needed, memory.layout.sequences(blocks, usual, prefix) * variant.cut.dp, 0.0)

    def tables(self, variants: Sequence[Variant], rows: Rows) -> list[StepTable]:
        """Return the steps of variants that differ in their token budget alone."""
        policies = tuple(StepPolicy.of(variant.settings, variant.engine) for variant in variants)
        works = self.works.works(variants[0].formats, variants[0].cut, policies, GRID)
        return step_tables(works, self.yard.reached.take(rows))

    def _serving(self, variant: Variant, rows: Rows, steady: Rates, held: Mask) -> Iterator[Column]:
        position = self.demand.last_within(steady)
        self._note_slow(variant, rows, steady, held & (position < 0))
        alive = held & (position >= 0)
        if not alive.any():
            return
        position = np.maximum(position, 0.0)
        # Whoever waits for others to leave finds no end of it: users are those who are served at once.
        users = np.minimum(value_at(position, steady.users), steady.most)
        fewest = self._fewest_replicas(users, value_at(position, steady.requests_per_s) * USABLE_RATE)
        replicas = np.ceil(fewest[:, None] * np.array(REPLICA_GRID) - 1e-9)
        fresh = np.diff(replicas, axis=1, prepend=0.0) > 0
        column = self.shared(variant, rows, steady, (replicas, users))
        met = self._met(column, alive[:, None] & fresh)
        yield from (found := list(self.within_limits(column, met)))
        lost = met.any(axis=1) & ~np.isin(rows, found[0].rows if found else [])
        self.tight.extend(tightened(self, column, steady, lost))

    def _fewest_replicas(self, users: Floats, rate: Floats) -> Floats:
        if self.demand.users is not None:
            return np.maximum(np.ceil(self.demand.users / users - 1e-9), 1.0)
        return np.maximum(np.ceil((self.demand.rate_per_s or 0.0) / rate - 1e-9), 1.0)

    def shared(self, variant: Variant, rows: Rows, steady: Rates, load: tuple[Floats, Floats]) -> Column:
        """Return the load shared by numbers of replicas [M, K], each of which takes at `most` so many users [M]."""
        replicas, most = load
        ttft, tpot, rate = self._point(steady, replicas)
        gpus, at = replicas * variant.cut.gpus, rows[:, None]
        nodes = nodes_of(replicas, variant.cut, self.yard.gpus_per_node[at])
        return Column(
            variant=variant, yard=self.yard, rows=at, replicas=replicas, gpus=gpus, nodes=nodes,
            ttft_s=ttft, tpot_s=tpot, requests_per_s=rate * replicas,
            users_per_replica=rate * (ttft + self.demand.lengths.gaps * tpot), most_users_per_replica=most[:, None],
            usd_per_hour=gpus * self.yard.usd_per_gpu[at] + nodes * self.yard.usd_per_node[at],
            watts=self.watts(at, gpus, nodes),
        )  # fmt: skip

    def watts(self, at: Rows, gpus: Floats, nodes: Floats) -> Floats:
        """Return the power that is paid: who buys pays for whole nodes, who rents for the accelerators in use and their
        share of the rest.
        """
        whole = self.question.price_basis == "purchase"
        counted: Floats = nodes * self.yard.gpus_per_node[at] if whole else gpus
        return counted * self.yard.watts_per_gpu[at]

    def _point(self, steady: Rates, replicas: Floats) -> tuple[Floats, Floats, Floats]:
        """Return TTFT, TPOT and requests per second of one of `replicas` [M, K] that share the load."""
        if self.demand.users is None:
            points = [steady.at_rate((self.demand.rate_per_s or 0.0) / count) for count in replicas.T]
            ttft, tpot, rate = (
                np.stack([getattr(p, n) for p in points], 1) for n in ("ttft_s", "tpot_s", "requests_per_s")
            )
            return ttft, tpot, rate
        users = self.demand.users / replicas
        position = position_of(users, steady.users)
        ttft, tpot = value_at(position, steady.ttft_s), value_at(position, steady.tpot_s)
        return ttft, tpot, users / (ttft + steady.gaps * tpot)

    def _met(self, column: Column, alive: Mask) -> Mask:
        met: Mask = alive & self.demand.met(column.ttft_s, column.tpot_s)
        missed = (alive & ~met)[:, 0]
        if missed.any():
            reason = load_reason(column.variant, column.replicas[missed, 0])
            self.nearest.fail("speed", column.rows[missed, 0], np.ones(int(missed.sum())), reason)
        return met

    def within_limits(self, column: Column, alive: Mask) -> Iterator[Column]:
        """Yield the candidates that also keep the limits on size, price and power."""
        for gate, values, bound, unit in self.bounds.of(column):
            over = alive & (values > bound)
            if over.any():
                rows = np.broadcast_to(column.rows, over.shape)[over]
                why = bound_reason(column.variant, values[over], bound, unit)
                self.nearest.fail(gate, rows, values[over] / bound, why)
                alive = alive & ~over
        if alive.any():
            yield column.where(alive)

    def _note_slow(self, variant: Variant, rows: Rows, steady: Rates, slow: Mask) -> None:
        if slow.any():
            ttft, tpot = steady.ttft_s[slow, 0], steady.tpot_s[slow, 0]
            reason = speed_reason(variant, self.demand, ttft, tpot, steady.table.floor_s[slow, 0])
            self.nearest.fail("speed", rows[slow], self.demand.worst_ratio(ttft, tpot), reason)
