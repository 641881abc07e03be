"""One deployment under one workload: what users get, with intervals, what binds it and the floor it stays above."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from sizewell.costs.engine_rules import sets_room_aside
from sizewell.costs.ledger import ledger
from sizewell.costs.machines import Machines, Reached, machine_tags
from sizewell.costs.rank_memory import rank_memory
from sizewell.costs.step_policy import StepPolicy, mean_accepted_tokens
from sizewell.planner.certainty import Certainty, load_tag
from sizewell.planner.disaggregation import PrefillPool, disaggregated_rates, prefill_lengths
from sizewell.planner.means import Means
from sizewell.planner.steady_state import Limits, Overheads, Point, Rates, rates
from sizewell.planner.step_table import Lengths, StepTable, grid_up_to, step_table, step_work
from sizewell.simulator.deployment import kv_network
from sizewell.specs.calibration import Efficiencies
from sizewell.specs.deployment import Deployment, Formats, Pool
from sizewell.specs.errors import BadInputError
from sizewell.traffic.workload import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction(Means):
    """Means over requests in steady state, of the whole deployment.

    `parts` are the seconds of a decode step at this load by name, `bound_by` what most of it waits for and
    `floor_s` what the same batch takes at 100 % of every stated rate. `saturated`: more requests come than are
    served (their wait grows without end) or more users than decode at once (the rest wait).
    """

    users_per_replica: float
    sequences_per_replica: float
    most_sequences_per_replica: float
    saturated: bool
    bound_by: str
    floor_s: float
    parts: Mapping[str, float]

    def recounted(self, replicas: int) -> Prediction:
        """Return the same with as many decoding sequences as its means say: rate × (E2E − TTFT), of `replicas`."""
        decoding = self.requests_per_s.value / replicas * (self.e2e_s.value - self.ttft_s.value)
        return replace(self, sequences_per_replica=min(max(decoding, 1.0), max(self.most_sequences_per_replica, 1.0)))


def steady_state(deployment: Deployment, workload: Workload, efficiencies: Efficiencies) -> Prediction:
    """Return what a workload gets from a deployment; users spread evenly over replicas.

    Raises BadInputError for pools that are neither one of role `both` nor a prefill and a decode pool.
    """
    serving = _Serving(deployment, workload, efficiencies)
    settled, replicas = serving.settled()
    if workload.users is not None:
        point = settled.at_users(workload.users * workload.growth / replicas)
    else:
        point = settled.at_rate((workload.rate_per_s or 0.0) * workload.growth / replicas)
    return _prediction(point, settled, serving, replicas)


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """The way of one prompt's cache from pool to pool: over which network, and how long while its line is free."""

    network: str
    seconds: float


def handover(deployment: Deployment, workload: Workload, efficiencies: Efficiencies) -> Handover:
    """Return how the cache of a prompt of a workload travels between the pools of a deployment."""
    memories = [ledger(deployment, pool) for pool in range(len(deployment.pools))]
    network = kv_network(deployment, memories, efficiencies)
    layout = memories[[pool.role for pool in deployment.pools].index("decode")].layout
    blocks = layout.request_blocks(int(np.ceil(workload.input_tokens)))
    slower_s = max(network.send_block_s, network.receive_block_s)
    return Handover(network=network.name, seconds=network.latency_s + blocks * slower_s)


@dataclass(frozen=True, slots=True)
class _Serving:
    deployment: Deployment
    workload: Workload
    efficiencies: Efficiencies

    def settled(self) -> tuple[Rates, int]:
        """Return the rates of one decoding replica and how many there are."""
        machines = Machines.of([self.deployment.cluster])
        reached = Reached.of(machines, self.efficiencies, also=self.deployment.tags)
        by_role = {pool.role: pool for pool in self.deployment.pools}
        if set(by_role) == {"both"}:
            pool = by_role["both"]
            table = self._table(pool, reached)
            return rates(table, self._limits(pool, table), Overheads.settled(table)), pool.replicas
        if set(by_role) != {"prefill", "decode"}:
            raise BadInputError(f"pools {', '.join(by_role)}: give one pool 'both', or 'prefill' and 'decode'")
        front, back = by_role["prefill"], by_role["decode"]
        table = self._table(back, reached)
        prefill = PrefillPool(
            table=self._table(front, reached),
            per_decode_replica=front.replicas / back.replicas,
            handover_s=np.array([handover(self.deployment, self.workload, self.efficiencies).seconds]),
        )
        settled = disaggregated_rates(prefill, table, self._limits(back, table))
        return settled, back.replicas

    @property
    def certainty(self) -> Certainty:
        """How sure predictions are."""
        load = load_tag("open_loop" if self.workload.users is None else "closed_loop")
        tags = (*machine_tags(self.deployment.cluster), *self.deployment.tags, load)
        return Certainty(efficiencies=self.efficiencies, tags=tags)

    @property
    def _formats(self) -> Formats:
        return Formats(weight=self.deployment.weight_format, kv=self.deployment.kv_format)

    def _table(self, pool: Pool, reached: Reached) -> StepTable:
        lengths = Lengths.of(self.workload, prefix_caching=pool.settings.prefix_caching)
        lengths = prefill_lengths(lengths) if pool.role == "prefill" else lengths
        policy = StepPolicy.of(pool.settings, self.deployment.engine)
        grid = grid_up_to(pool.settings.max_num_seqs * pool.parallelism.dp)
        work = step_work(self.deployment.model, self._formats, pool.parallelism, lengths, policy, grid)
        table = step_table(work, reached)
        accepted = pool.settings.draft_acceptance
        if accepted is None:
            return table
        return replace(table, accepted_tokens=mean_accepted_tokens(np.array([accepted]), policy.drafts))

    def _limits(self, pool: Pool, table: StepTable) -> Limits:
        """Sequences by setting and by cache; cache blocks are counted at the mean context."""
        gpu = self.deployment.cluster.gpu
        engine = self.deployment.engine.on(gpu.vendor, gpu.compute_capability)
        memory = rank_memory(self.deployment.model, self._formats, pool.parallelism, pool.settings, engine)
        blocks = memory.blocks(gpu.total_bytes)
        context = max(table.lengths.decode_context_tokens, 1.0)
        held = memory.layout.concurrency(blocks, int(np.ceil(context)))
        if held < 1:
            raise BadInputError(
                f"{self.deployment.model.name} {pool.parallelism}: the cache holds {held:.2f} sequences of "
                f"{context:.0f} tokens; use more accelerators, a smaller format or a shorter context"
            )
        usual = max(memory.layout.decoding_blocks(int(np.ceil(context))), 1)
        prefix = 0.0 if sets_room_aside(engine) else table.lengths.cached_tokens
        decoding = float(memory.layout.sequences(np.array(blocks), usual, prefix))
        most = min(pool.settings.max_num_seqs, max(held, decoding))
        return Limits(max_sequences=most * pool.parallelism.dp)


def _prediction(point: Point, settled: Rates, serving: _Serving, replicas: int) -> Prediction:
    table = settled.table
    ttft, tpot, rate = float(point.ttft_s[0]), float(point.tpot_s[0]), float(point.requests_per_s[0]) * replicas
    certainty = serving.certainty
    ttft_figure, tpot_figure = certainty.figure("ttft", ttft), certainty.figure("tpot", tpot)
    sequences = float(np.clip(rate / replicas * point.gaps * tpot, 1.0, table.sequences[-1]))
    at = int(np.argmin(np.abs(table.sequences - sequences)))
    tokens = table.lengths.output_tokens
    return Prediction(
        ttft_s=ttft_figure,
        ttfa_s=ttft_figure.plus(tpot_figure, serving.workload.think_tokens),
        tpot_s=tpot_figure,
        e2e_s=ttft_figure.plus(tpot_figure, point.gaps),
        requests_per_s=certainty.figure("requests_per_s", rate),
        output_tokens_per_s=certainty.figure("output_tokens_per_s", rate * tokens),
        users_per_replica=float(point.users[0]),
        sequences_per_replica=sequences,
        most_sequences_per_replica=float(settled.most[0]),
        saturated=bool(point.saturated[0]),
        bound_by=str(table.decode.bound_by[0, at]),
        floor_s=float(np.interp(sequences, table.sequences, table.floor_s[0])),
        parts={name: float(values[0, at]) for name, values in table.decode.parts.items()},
    )
