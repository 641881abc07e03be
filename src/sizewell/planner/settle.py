"""From a row of numbers to a plan: the deployment, what it gives with intervals, what it costs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from sizewell.costs.ledger import ledger
from sizewell.costs.rank_memory import rank_memory
from sizewell.planner.candidates import Machine
from sizewell.planner.columns import Column, Variant
from sizewell.planner.demand import Demand
from sizewell.planner.evaluate import GRID, policy_of
from sizewell.planner.facts import Facts
from sizewell.planner.money import cost
from sizewell.planner.plan import MemoryUse, Plan, Service
from sizewell.planner.question import Question
from sizewell.planner.step_table import step_table, step_work
from sizewell.specs.deployment import Deployment, Pool
from sizewell.specs.figure import Figure

TPOT_SPREAD = 0.35
TTFT_SPREAD = 0.8
"""Nominal 80 % intervals of an uncalibrated prediction; `sizewell validate` measures their coverage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settler:
    """Turns candidates of one question into plans."""

    question: Question
    demand: Demand
    facts: Facts

    def plan(self, column: Column, row: int) -> Plan:
        """Return the plan of a candidate."""
        machine = column.yard.machines[column.rows[row]]
        deployment = self._deployment(column.variant, machine, int(column.replicas[row]))
        tokens_per_s = float(column.requests_per_s[row]) * self.demand.lengths.output_tokens
        price = column.yard.prices[column.rows[row]]
        known = self._recovery(deployment.weight_format)
        return Plan(
            deployment=deployment,
            service=self._service(column, row),
            cost=cost(deployment, price, self.question.price_basis, tokens_per_s, float(column.watts[row])),
            memory=self._memory(deployment),
            recovery_fraction=known[0],
            recovery_source=known[1],
        )

    def _deployment(self, variant: Variant, machine: Machine, replicas: int) -> Deployment:
        memory = rank_memory(self.question.model, variant.formats, variant.cut, variant.settings, variant.engine)
        share = memory.safe_fraction(machine.gpu.total_bytes)
        settings = replace(variant.settings, memory_fraction=share)
        pool = Pool(role="both", replicas=replicas, parallelism=variant.cut, settings=settings)
        return Deployment(
            model=self.question.model,
            weight_format=variant.formats.weight,
            kv_format=variant.formats.kv,
            engine=variant.engine,
            cluster=machine.cluster_for(variant.cut, replicas),
            pools=(pool,),
        )

    def _service(self, column: Column, row: int) -> Service:
        ttft, tpot = float(column.ttft_s[row]), float(column.tpot_s[row])
        rate = float(column.requests_per_s[row])
        ttft_figure, tpot_figure = _ttft(ttft), _tpot(tpot)
        gaps, think = self.demand.lengths.gaps, self.demand.think_tokens
        return Service(
            ttft_s=ttft_figure,
            ttfa_s=_sum(ttft_figure, tpot_figure, think),
            tpot_s=tpot_figure,
            e2e_s=_sum(ttft_figure, tpot_figure, gaps),
            output_tokens_per_s=_tpot(rate * self.demand.lengths.output_tokens),
            requests_per_s=_tpot(rate),
            concurrency_per_replica=float(column.users_per_replica[row]),
            saturation_concurrency_per_replica=float(column.most_users_per_replica[row]),
            bound_by=self._bound_by(column, row),
        )

    def _bound_by(self, column: Column, row: int) -> str:
        """Return what most of a decode step waits for at the plan's load."""
        variant = column.variant
        sequences = float(np.clip(column.users_per_replica[row], 1, GRID[-1]))
        work = step_work(
            self.question.model,
            variant.formats,
            variant.cut,
            self.demand.lengths,
            policy_of(variant.settings),
            (sequences,),
        )
        reached = column.yard.reached.take(column.rows[row : row + 1])
        return str(step_table(work, reached).decode.bound_by[0, 0])

    def _memory(self, deployment: Deployment) -> MemoryUse:
        held = ledger(deployment)
        ranks = deployment.pools[0].parallelism.dp
        return MemoryUse(
            total_bytes=held.gpu_bytes,
            weight_bytes=held.weight_bytes,
            other_bytes=held.total_bytes - held.weight_bytes - held.kv_blocks * held.layout.bytes_per_block,
            kv_bytes=held.kv_bytes,
            kv_tokens=held.kv_tokens * ranks,
            max_concurrency=held.concurrency(ceil(self.demand.context_tokens)) * ranks,
        )

    def _recovery(self, weight_format: str) -> tuple[float | None, str]:
        if weight_format == "native":
            return 1.0, "the checkpoint itself is the reference"
        known = self.facts.quality.recovery(weight_format, self.question.model.name, self.question.model.parameters)
        if known is None:
            return None, self.facts.quality.why_none(weight_format)
        return (
            known.fraction,
            f"median of {known.results} published results ({known.scope}); {'; '.join(known.sources)}",
        )


def _tpot(value: float) -> Figure:
    return Figure.spread(value, TPOT_SPREAD, "derived")


def _ttft(value: float) -> Figure:
    return Figure.spread(value, TTFT_SPREAD, "derived")


def _sum(first: Figure, each: Figure, times: float) -> Figure:
    """Return first + times × each; intervals add, as both err for the same reasons."""
    return Figure(
        value=first.value + times * each.value,
        low=first.low + times * each.low,
        high=first.high + times * each.high,
        provenance=each.provenance,
    )
