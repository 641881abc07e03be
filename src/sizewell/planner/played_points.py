"""A measured point played through the simulator: its own load, sent to one replica or the two pools it ran on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from sizewell.costs.machines import Reached
from sizewell.costs.surface import StepSurface
from sizewell.costs.tabulate import make_surface
from sizewell.planner.harnesses import keeps_prefixes, receive_steps
from sizewell.planner.point_cases import RESERVING, PointCase, PoolCase
from sizewell.planner.point_requests import is_played, offered
from sizewell.planner.served import likely_choice, sent_per_s
from sizewell.simulator.deployment import carried, split
from sizewell.simulator.facts import (
    BALANCE_STEPS,
    Disaggregated,
    Fleet,
    ReplicaFacts,
    SchedulerRules,
    replica_facts,
)
from sizewell.simulator.simulate import simulate
from sizewell.traffic.run import Run

STATISTICS = {"mean": None, "median": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Player:
    """Plays points; replicas that are alike share their surface."""

    surfaces: dict[tuple[object, ...], StepSurface] = field(default_factory=dict)

    def play(self, case: PointCase, reached: Reached) -> Mapping[str, float] | None:
        """Return the metrics of a row by their column name; None for a load or layout that is not played."""
        pools = case.choices[likely_choice(case, reached)] if len(case.choices) > 1 else case.choices[0]
        if not is_played(case) or any(pool.blocks < 2 for pool in pools):
            return None
        request_s, alike = float(reached.factors["request_s"][0]), pools[0].layout.replicas if len(pools) == 1 else 1
        rate_per_s = sent_per_s(case, pools[0], reached) if case.rate_per_s is not None else 0.0
        requests = offered(case, alike, rate_per_s, request_s)
        longest = int((requests.input_tokens + requests.output_tokens).max())
        run = simulate(self._deployed(case, pools, reached, longest), requests)
        if pools[0].work.policy.gathers and requests.concurrency is None and not requests.arrival_s.any():
            request_s += len(requests) * float(reached.factors["accept_s"][0])
        return _metrics(run, request_s, alike) if run.served.all() else None

    def _deployed(
        self, case: PointCase, pools: tuple[PoolCase, ...], reached: Reached, longest: int
    ) -> ReplicaFacts | Disaggregated:
        """Return one replica, whose share of the load is played, or all of two pools."""
        facts = {pool.layout.role: self._facts(case, pool, reached, longest) for pool in pools}
        if len(pools) == 1:
            return facts["both"]
        by_role = {pool.layout.role: pool for pool in pools}
        fleets = {
            role: Fleet(replica=facts[role], replicas=by_role[role].layout.replicas, router="least-requests")
            for role in facts
        }
        front, back, machines = by_role["prefill"].cache, by_role["decode"].cache, reached.machines.clusters[0]
        network = carried(front, back, reached, near=machines.scale_up_gpus >= machines.gpus)
        return split(fleets["prefill"], fleets["decode"], network, back.block_tokens)

    def _surface(self, case: PointCase, pool: PoolCase, reached: Reached) -> StepSurface:
        numbers = tuple(float(value[0]) for value in reached.factors.values())
        cut, policy = pool.layout.cut, pool.work.policy
        key = (
            case.row.gpu,
            case.row.num_nodes,
            case.row.num_gpus > cut.gpus,
            case.row.model,
            pool.held,
            cut,
            policy,
            numbers,
        )
        if key not in self.surfaces:
            self.surfaces[key] = make_surface(case.model, pool.held, cut, policy, reached)
        return self.surfaces[key]

    def _facts(self, case: PointCase, pool: PoolCase, reached: Reached, longest: int) -> ReplicaFacts:
        settings, cut = pool.settings, pool.layout.cut
        seats = int(case.max_sequences)
        if case.engine in RESERVING:
            seats = min(seats, max(1, int(pool.kv_tokens / cut.dp / case.lengths.decode_context_tokens)))
        surface, cache = self._surface(case, pool, reached), (pool.cache, pool.blocks)
        facts = replica_facts(surface, cache, case.engine_spec, replace(settings, max_num_seqs=seats), cut)
        known = case.engine in {"vllm", "sglang"}
        rules = facts.rules if known else SchedulerRules(async_scheduling=False, reserve_prompt=True)
        return replace(
            facts,
            rules=rules,
            scheduler="vllm" if pool.work.policy.mixes else "sglang",
            receive_steps=receive_steps(case.row, case.engine, case.machines.clusters[0].gpu.architecture),
            balance_steps=BALANCE_STEPS if pool.work.policy.balanced else 0,
            prefix_caching=keeps_prefixes(case.row, case.engine),
            max_model_len_tokens=max(longest + 1, facts.max_model_len_tokens),
            acceptance=float(reached.factors["acceptance"][0]),
        )


def _metrics(run: Run, request_s: float, replicas: int) -> dict[str, float]:
    first = run.first_token_s - run.scheduled_s + request_s
    gaps = np.maximum(run.output_tokens - 1, 1)
    per_token = (run.last_token_s - run.first_token_s) / gaps
    whole = run.last_token_s - run.scheduled_s + request_s
    span = float(run.last_token_s.max() - run.sent_s.min()) + request_s
    found = {
        "requests_per_s": replicas * len(run) / span,
        "output_tokens_per_s": replicas * float(run.output_tokens.sum()) / span,
        "total_tokens_per_s": replicas * float((run.output_tokens + run.input_tokens).sum()) / span,
    }
    more = run.output_tokens > 1
    for name, values in (("ttft", first), ("tpot", per_token[more]), ("itl", per_token[more]), ("e2e", whole)):
        for statistic, percent in STATISTICS.items():
            if len(values):
                likely = values.mean() if percent is None else np.percentile(values, percent)
                found[f"{name}_{statistic}_s"] = float(likely)
    return found
