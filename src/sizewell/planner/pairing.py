"""How many prefill and decode replicas hold a load, for every pair of cuts on every machine, in closed form.

With s seconds of prefill per prompt and replica, n of them and x requests per second, a prefill replica is busy for
u = x·s/n of the time and a prompt waits u/(1 − u)·s/2 (M/D/1); so what a limit leaves for waiting, w, allows
u = 2w/(s + 2w). A decode replica takes as many sequences as keep the time per token and fit its cache. Each engine has
one line for caches, which waits in the same way. Derivation: docs/cost-model.md#split-pools.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sizewell.costs.batch import Floats
from sizewell.planner.candidates import REPLICA_GRID, Machine, nodes_of_two
from sizewell.planner.columns import Variant, Yard
from sizewell.planner.demand import INF, Demand, position_of, value_at
from sizewell.planner.disaggregation import full_prompt_s
from sizewell.planner.evaluate import USABLE_RATE
from sizewell.planner.halves import Half, Halves
from sizewell.planner.objective import Merits
from sizewell.planner.support import hands_over
from sizewell.specs.hardware import ClusterSpec

MOST_BUSY = 0.95
"""Share of time for prompts that a prefill replica of a closed loop is sized for; users who wait send nothing."""
ROUNDS = 3
"""Times the load of a closed loop is worked out again from the times it leads to."""
BEST_OF_BACK = 3
"""Prefill cuts kept for each decode cut on a machine."""
HARDLY = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A prefill and a decode cut on the machine `row` of a yard, and how many replicas of each hold the load.

    A prefill replica takes `prompt_s` for one prompt of many, `alone_s` for one alone; a decode replica serves
    `requests_per_s` within the limits and holds `most` sequences at all; a cache travels for `handover_s`.
    Of two pairs the one with the lower `score` is better.
    """

    yard: Yard
    row: int
    front: Variant
    back: Variant
    counts: tuple[int, int]
    prompt_s: float
    alone_s: float
    requests_per_s: float
    handover_s: float
    most: float
    score: float

    @property
    def machine(self) -> Machine:
        """Where both stand."""
        return self.yard.machines[self.row]

    @property
    def order(self) -> tuple[float, int, int]:
        """What orders pairs, the best lowest: of two alike, the one on smaller machines."""
        return self.score, self.gpus, self.cluster.gpus

    @property
    def cluster(self) -> ClusterSpec:
        """The nodes both pools occupy."""
        return self.machine.cluster_for_two((self.front.cut, self.back.cut), self.counts)

    @property
    def gpus(self) -> int:
        """Accelerators of both pools."""
        return self.counts[0] * self.front.cut.gpus + self.counts[1] * self.back.cut.gpus


def pairs(halves: Halves, demand: Demand, *, named: bool) -> Iterator[Pair]:
    """Yield pairs that keep every limit in closed form, some for each decode cut and machine.

    Caches stay inside a fabric that holds both pools, unless a network is `named`.
    """
    fronts = _Fronts.of(halves)
    fastest = halves.trial.question.objective == "fastest"
    for back in halves.backs:
        for times in REPLICA_GRID if fastest else REPLICA_GRID[:1]:
            yield from _Sizing(halves, fronts.on(back), back, demand, times).best(named=named)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fronts:
    """P prefill cuts: accelerators and lines for caches [P, 1]; seconds of a prompt at full load and alone, and of its
    cache inside a fabric and over the network [P, M].
    """

    halves: tuple[Half, ...]
    gpus: Floats
    lines: Floats
    prompt_s: Floats
    alone_s: Floats
    near_s: Floats
    far_s: Floats

    @classmethod
    def of(cls, halves: Halves) -> _Fronts:
        fronts = halves.fronts
        return cls(
            halves=fronts,
            gpus=np.array([[half.variant.cut.gpus] for half in fronts], dtype=np.float64),
            lines=np.array([[half.variant.cut.dp] for half in fronts], dtype=np.float64),
            prompt_s=np.stack([half.spread(full_prompt_s(half.table)) for half in fronts]),
            alone_s=np.stack([half.spread(half.table.alone_s) for half in fronts]),
            near_s=np.stack([half.near_s for half in fronts]),
            far_s=np.stack([half.far_s for half in fronts]),
        )

    def on(self, back: Half) -> _Fronts:
        """Return the same on the machines of a decode cut."""
        rows = back.rows
        return _Fronts(
            halves=self.halves, gpus=self.gpus, lines=self.lines,
            prompt_s=self.prompt_s[:, rows], alone_s=self.alone_s[:, rows],
            near_s=self.near_s[:, rows], far_s=self.far_s[:, rows],
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sized:
    """Replicas of both pools [P, M] and the means they lead to; infinite replicas where a limit cannot be kept."""

    front: Floats
    back: Floats
    ttft_s: Floats
    tpot_s: Floats
    requests_per_s: Floats
    each_per_s: Floats
    handover_s: Floats

    def where(self, mask: NDArray[np.bool_], other: _Sized) -> _Sized:
        """Return these where a mask says so, else those of another."""
        names = self.__slots__
        return _Sized(**{name: np.where(mask, getattr(self, name), getattr(other, name)) for name in names})


@dataclass(frozen=True, slots=True)
class _Sizing:
    """One decode cut against all prefill cuts; `times` as many replicas as are needed."""

    halves: Halves
    fronts: _Fronts
    back: Half
    demand: Demand
    times: float

    def best(self, *, named: bool) -> Iterator[Pair]:
        """Yield the best pairs of every machine."""
        with np.errstate(all="ignore"):
            sized = self._sized(self.fronts.far_s, self.back.far_s[self.back.rows])
            if not named:
                near = self._sized(self.fronts.near_s, self.back.near_s[self.back.rows])
                domain = self.halves.trial.yard.reached.machines.near_gpus[self.back.rows]
                sized = near.where(self._gpus(near) <= domain, sized)
            nodes = self._nodes(sized)
            merits = self._merits(sized, nodes)
            objective = self.halves.trial.question.objective
            score = np.where(self._allowed(sized, merits, nodes), merits.score(objective), INF)
        order = np.argsort(score + HARDLY * nodes, axis=0)[:BEST_OF_BACK]
        for place, column in np.argwhere(np.isfinite(np.take_along_axis(score, order, axis=0))):
            yield self._pair(sized, (order[place, column], column), float(score[order[place, column], column]))

    def _pair(self, sized: _Sized, at: tuple[int, int], score: float) -> Pair:
        row = int(self.back.rows[at[1]])
        return Pair(
            yard=self.halves.trial.yard, row=row,
            front=self.fronts.halves[at[0]].variant, back=self.back.variant,
            counts=(int(sized.front[at]), int(sized.back[at])), prompt_s=float(self.fronts.prompt_s[at]),
            alone_s=float(self.fronts.alone_s[at]), requests_per_s=float(sized.each_per_s[at]),
            handover_s=float(sized.handover_s[at]), most=float(self.back.usual[row]), score=score,
        )  # fmt: skip

    def _sized(self, sends_s: Floats, receives_s: Floats) -> _Sized:
        """Return the fewest replicas, `times` as many, that keep the limits on means; a cache takes the slower of both
        ends.
        """
        demand, table, fronts = self.demand, self.back.table, self.fronts
        gaps, grid = demand.lengths.gaps, np.broadcast_to(table.sequences, table.decode_s.shape)
        step_s = table.decode_s / table.accepted_tokens[:, None]
        handover_s = np.maximum(sends_s, receives_s)
        own_s = table.request_s + fronts.alone_s + handover_s
        bound = np.minimum(demand.tpot_s, (demand.e2e_s - own_s) / gaps)
        if demand.think_tokens:
            bound = np.minimum(bound, (demand.ttfa_s - own_s) / demand.think_tokens)
        held = np.minimum(_at(bound, step_s, grid), self.back.usual[self.back.rows])
        tpot, ttft, prompt_s = _at(held, grid, step_s), own_s, fronts.prompt_s
        rate, each_per_s = self._rate(ttft, tpot), held / (gaps * tpot)
        lines = self.back.variant.cut.dp
        back = np.ceil(self._backs(rate / each_per_s) * self.times - HARDLY)
        for _ in range(ROUNDS):
            tpot = _at(np.maximum(rate * gaps * tpot / back, 1.0), grid, step_s)
            rate = self._rate(ttft, tpot)
            back = np.maximum(back, np.ceil(rate * receives_s / USABLE_RATE / lines - HARDLY))
            come_s = own_s + _wait(rate * receives_s / (back * lines), receives_s)
            sending = rate * sends_s / USABLE_RATE / fronts.lines
            needed = np.maximum(rate * prompt_s / self._busiest(come_s, tpot), sending)
            front = np.ceil(needed * self.times - HARDLY)
            ttft = come_s + _wait(rate * prompt_s / front, prompt_s)
        engine = self.back.variant.engine
        able = [[hands_over(engine, half.variant.cut, self.back.variant.cut)] for half in fronts.halves]
        kept = np.array(able) & (step_s[:, 0] <= bound) & (front >= 1) & np.isfinite(front + back + ttft)
        return _Sized(
            front=np.where(kept, front, INF), back=np.where(kept, back, INF), ttft_s=ttft, tpot_s=tpot,
            requests_per_s=rate, each_per_s=each_per_s, handover_s=handover_s,
        )  # fmt: skip

    def _rate(self, ttft_s: Floats, tpot_s: Floats) -> Floats:
        """Return requests per second of the whole deployment."""
        if self.demand.users is None:
            return np.full_like(tpot_s, self.demand.rate_per_s or 0.0)
        rate: Floats = self.demand.users / (ttft_s + self.demand.lengths.gaps * tpot_s)
        return rate

    def _backs(self, needed: Floats) -> Floats:
        """Return decode replicas that hold what decodes, and of a closed loop everybody at full length."""
        if self.demand.users is None:
            return needed / USABLE_RATE
        return np.maximum(needed, self.demand.users / self.back.seats[self.back.rows])

    def _busiest(self, own_s: Floats, tpot_s: Floats) -> Floats:
        """Return how busy a prefill replica may be, by the time that limits leave for waiting."""
        demand = self.demand
        first = np.minimum(demand.ttft_s, demand.ttfa_s - demand.think_tokens * tpot_s)
        left = np.minimum(first, demand.e2e_s - demand.lengths.gaps * tpot_s) - own_s
        allowed = np.where(np.isinf(left), 1.0, 2 * left / (self.fronts.prompt_s + 2 * left))
        most = USABLE_RATE if demand.users is None else MOST_BUSY
        return np.where(left >= 0, np.minimum(allowed, most), np.nan)

    def _gpus(self, sized: _Sized) -> Floats:
        gpus: Floats = sized.front * self.fronts.gpus + sized.back * self.back.variant.cut.gpus
        return gpus

    def _nodes(self, sized: _Sized) -> Floats:
        each = self.halves.trial.yard.gpus_per_node[self.back.rows]
        mine = self.back.variant.cut.gpus
        return np.stack([
            nodes_of_two((front, back), (half.variant.cut.gpus, mine), each)
            for half, front, back in zip(self.fronts.halves, sized.front, sized.back, strict=True)
        ])  # fmt: skip

    def _merits(self, sized: _Sized, nodes: Floats) -> Merits[Floats]:
        yard, rows, gpus, lengths = self.halves.trial.yard, self.back.rows, self._gpus(sized), self.demand.lengths
        return Merits(
            gpus=gpus,
            usd_per_hour=gpus * yard.usd_per_gpu[rows] + nodes * yard.usd_per_node[rows],
            purchase_usd=nodes * yard.purchase_usd_per_node[rows],
            power_w=self.halves.trial.watts(rows, gpus, nodes),
            e2e_s=sized.ttft_s + lengths.gaps * sized.tpot_s,
            output_tokens_per_s=sized.requests_per_s * lengths.output_tokens,
        )

    def _allowed(self, sized: _Sized, merits: Merits[Floats], nodes: Floats) -> NDArray[np.bool_]:
        limits = self.halves.trial.question.limits
        most = np.minimum(self.halves.trial.yard.max_nodes[self.back.rows], limits.max_nodes)
        allowed: NDArray[np.bool_] = np.isfinite(merits.gpus) & self.demand.met(sized.ttft_s, sized.tpot_s)
        for value, bound in ((nodes, most), (merits.gpus, limits.max_gpus), *merits.bounded(limits)):
            allowed &= True if bound is None else value <= bound
        return allowed


def _wait(busy: Floats, each_s: Floats) -> Floats:
    """Return the wait before what is busy for a share of the time (M/D/1); endless where that is all of it."""
    wait: Floats = np.where(busy < 1, busy / (1 - busy) * each_s / 2, INF)
    return wait


def _at(wanted: Floats, known: Floats, values: Floats) -> Floats:
    """Return `values` [M, B] where rising `known` [M, B] is `wanted` [P, M], flat beyond the ends; shape [P, M]."""
    found: Floats = value_at(position_of(np.nan_to_num(wanted.T), known), values).T
    return found
