"""From a row of numbers to a plan: the deployment, what it gives with intervals, what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from sizewell.costs.checkpoint import checkpoint_bytes
from sizewell.costs.engine_rules import sets_room_aside
from sizewell.costs.host_work import ON_HOST
from sizewell.costs.kv_cache import CacheLayout
from sizewell.costs.ledger import MemoryLedger, ledger
from sizewell.costs.machines import machine_tags
from sizewell.costs.rank_memory import RankMemories
from sizewell.costs.step_policy import StepPolicy
from sizewell.planner.bill_of_materials import bill_of_materials
from sizewell.planner.candidates import Machine
from sizewell.planner.certainty import Certainty, load_tag
from sizewell.planner.columns import Column, Rows, Variant, Yard
from sizewell.planner.demand import Demand
from sizewell.planner.evaluate import GRID, SEQUENCE_LIMITS, Trial
from sizewell.planner.facts import Facts
from sizewell.planner.means import Means
from sizewell.planner.money import break_even, cost, service_units_per_hour
from sizewell.planner.nearest import Nearest
from sizewell.planner.offload import placement
from sizewell.planner.plan import Cost, Details, MemoryUse, Plan, Service
from sizewell.planner.question import Question
from sizewell.planner.rehearsal import Playing, Rehearsal, rehearse
from sizewell.planner.simulated_means import moved, with_simulated_means
from sizewell.planner.step_table import StepTable, StepWorks, step_table
from sizewell.specs.deployment import Deployment, EngineSettings, Pool
from sizewell.specs.engine import HOST_TAG, EngineSpec
from sizewell.specs.weight_format import kept_format


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A candidate as a deployment with what it is predicted to give; what bounds it is not looked for yet."""

    column: Column
    row: int
    deployment: Deployment
    held: MemoryLedger
    certainty: Certainty
    service: Service


@dataclass(frozen=True, slots=True, kw_only=True)
class Settler:
    """Turns candidates of one question into plans."""

    question: Question
    demand: Demand
    facts: Facts
    memories: Mapping[str, RankMemories]
    works: StepWorks

    def trial(self, yard: Yard, engine: EngineSpec, weight_format: str, rows: Rows) -> Trial:
        """Return what tries cuts of a weight format under an engine on some machines."""
        kept = kept_format(self.question.model, engine.name, weight_format)
        return Trial(
            question=self.question, demand=self.demand, yard=yard, engine=engine, works=self.works, rows=rows,
            memories=self.memories[kept], nearest=Nearest.of(len(yard.machines)),
        )  # fmt: skip

    def draft(self, column: Column, row: int) -> Draft:
        """Return a candidate as a deployment."""
        machine = column.yard.machines[column.rows[row]]
        variant = no_larger_than_needed(column.variant, float(column.most_users_per_replica[row]))
        in_flight = float(column.users_per_replica[row]) / variant.cut.dp
        deployment = self._deployment(variant, machine, int(column.replicas[row]), in_flight)
        certainty = self._certainty(column, row)
        return Draft(
            column=column,
            row=row,
            deployment=deployment,
            held=ledger(deployment, memories=self.memories[deployment.weight_format]),
            certainty=certainty,
            service=self._service(column, row, certainty),
        )

    def plan(self, draft: Draft, played: Rehearsal | None = None) -> Plan:
        """Return the plan of a candidate; with its details where it was played."""
        deployment, column = draft.deployment, draft.column
        known = self.recovery(deployment.weight_format)
        table = self._table(column, draft.row)
        service = replace(draft.service, bound_by=str(table.decode.bound_by[0, 0]))
        if played:
            service = with_simulated_means(service, played)
        memory = self.memory_use(deployment.pools[0], draft.held)
        place = column.yard, int(column.rows[draft.row])
        return Plan(
            deployment=deployment,
            service=service,
            cost=self.cost(deployment, place, service, float(column.watts[draft.row])),
            memory=memory,
            recovery_fraction=known[0],
            recovery_source=known[1],
            details=self._details(deployment, table, memory, (draft.certainty, played)) if played else None,
            rehearsal=played,
        )

    def cost(self, deployment: Deployment, place: tuple[Yard, int], service: Service, watts: float) -> Cost:
        """Return what a deployment on a machine of a yard costs."""
        price = place[0].prices[place[1]]
        return replace(
            cost(deployment, price, self.question.price_basis, service.output_tokens_per_s.value, watts),
            service_units_per_hour=service_units_per_hour(deployment, self.facts.prices),
        )

    def rehearsed(self, draft: Draft) -> Rehearsal:
        """Return a candidate as it is played through its load."""
        return self.played(draft.deployment, draft.service, (draft.held,))

    def played(self, deployment: Deployment, given: Means, memories: tuple[MemoryLedger, ...]) -> Rehearsal:
        """Return a deployment as it is played through the load, whose closed form gives so much."""
        limits = self.question.limits
        slo = replace(limits.slo, tpot_s=limits.tpot_s)
        playing = Playing(memories=memories, efficiencies=self.facts.efficiencies, code=self.facts.code)
        return rehearse(deployment, self.question.workload, given, slo, playing)

    def _certainty(self, column: Column, row: int) -> Certainty:
        """Return the intervals that held 80 % of published points under such a load; `sizewell validate` measures."""
        load = load_tag("open_loop" if self.demand.users is None else "closed_loop")
        machine = column.yard.reached.machines.tags[column.rows[row]]
        variant = column.variant
        on_host = (HOST_TAG,) if variant.engine.computes_on_host(variant.settings.offload_bytes) else ()
        return Certainty(efficiencies=self.facts.efficiencies, tags=(*machine, *variant.engine.tags, *on_host, load))

    def _details(
        self, deployment: Deployment, table: StepTable, memory: MemoryUse, known: tuple[Certainty, Rehearsal]
    ) -> Details:
        certainty, played = known
        materials = bill_of_materials(
            deployment,
            checkpoint_bytes=checkpoint_bytes(deployment.model, deployment.weight_format),
            rank_weight_bytes=memory.weight_bytes,
            storages=self.facts.storages,
        )
        hosted = deployment.pools[0].settings.offload_bytes
        elsewhere = (part for name, part in table.decode.parts.items() if name == "host link" or name.endswith(ON_HOST))
        resident_s = float(table.decode_s[0, 0] - sum(part[0, 0] for part in elsewhere))
        reached = self.facts.efficiencies.values((*machine_tags(deployment.cluster), *deployment.tags))
        return Details(
            materials=materials,
            burst_ttft_s=moved(certainty.figure("ttft", float(table.alone_s[0])), played.burst_ttft_s),
            break_even=break_even(deployment, materials.power_w, self.facts.prices),
            placement=placement(deployment, hosted, resident_s, reached) if hosted else None,
        )

    def _deployment(self, variant: Variant, machine: Machine, replicas: int, in_flight: float) -> Deployment:
        engine = variant.engine.on(machine.gpu.vendor, machine.gpu.compute_capability)
        memories = self.memories[variant.formats.weight]
        memory = memories.memory(variant.formats.kv, variant.cut, variant.settings, memories.telling(engine))
        share = memory.safe_fraction(machine.gpu.total_bytes)
        blocks = memory.blocks(machine.gpu.total_bytes, share)
        longest = memory.layout.longest_sequence(blocks, variant.settings.max_model_len_tokens)
        settings = replace(variant.settings, memory_fraction=share, max_model_len_tokens=longest)
        if sets_room_aside(engine):
            settings = _set_aside(variant.settings, memory.layout, blocks, in_flight)
        pool = Pool(role="both", replicas=replicas, parallelism=variant.cut, settings=settings)
        return Deployment(
            model=self.question.model,
            weight_format=variant.formats.weight,
            kv_format=variant.formats.kv,
            engine=variant.engine,
            cluster=machine.cluster_for(variant.cut, replicas, variant.settings.offload_bytes),
            pools=(pool,),
        )

    def _service(self, column: Column, row: int, certainty: Certainty) -> Service:
        ttft, tpot = float(column.ttft_s[row]), float(column.tpot_s[row])
        rate = float(column.requests_per_s[row])
        ttft_figure, tpot_figure = certainty.figure("ttft", ttft), certainty.figure("tpot", tpot)
        gaps, think = self.demand.lengths.gaps, self.demand.think_tokens
        return Service(
            ttft_s=ttft_figure,
            ttfa_s=ttft_figure.plus(tpot_figure, think),
            tpot_s=tpot_figure,
            e2e_s=ttft_figure.plus(tpot_figure, gaps),
            output_tokens_per_s=certainty.figure("output_tokens_per_s", rate * self.demand.lengths.output_tokens),
            requests_per_s=certainty.figure("requests_per_s", rate),
            concurrency_per_replica=float(column.users_per_replica[row]),
            saturation_concurrency_per_replica=float(column.most_users_per_replica[row]),
            bound_by="",
        )

    def _table(self, column: Column, row: int) -> StepTable:
        """Return the steps at the plan's own load on its own machine."""
        variant = column.variant
        sequences = float(np.clip(column.users_per_replica[row], 1, GRID[-1]))
        policy = StepPolicy.of(variant.settings, variant.engine)
        work = self.works.work(variant.formats, variant.cut, policy, (sequences,))
        return step_table(work, column.yard.reached.take(column.rows[row : row + 1]))

    def memory_use(self, pool: Pool, held: MemoryLedger) -> MemoryUse:
        """Return what a rank of a pool keeps."""
        ranks = pool.parallelism.dp
        return MemoryUse(
            total_bytes=held.gpu_bytes,
            weight_bytes=held.weight_bytes,
            other_bytes=held.total_bytes - held.weight_bytes - held.kv_blocks * held.layout.bytes_per_block,
            kv_bytes=held.kv_bytes,
            kv_tokens=held.kv_tokens * ranks,
            max_concurrency=held.concurrency(ceil(self.demand.context_tokens)) * ranks,
        )

    def recovery(self, weight_format: str) -> tuple[float | None, str]:
        """Return how much accuracy a format keeps, as published, and who says so; None where nobody does."""
        known = self.facts.quality.recovery(weight_format, self.question.model.name, self.question.model.parameters)
        if known is None:
            return None, self.facts.quality.why_none(weight_format)
        if known.scope == "reference":
            return known.fraction, "the checkpoint itself is the reference"
        return (
            known.fraction,
            f"median of {known.results} published results ({known.scope}); {'; '.join(known.sources)}",
        )


def _set_aside(settings: EngineSettings, layout: CacheLayout, blocks: int, in_flight: float) -> EngineSettings:
    """Return settings whose sequences all have room of full length in the cache: as many as there are such, or as
    will be in flight, each shorter then; such an engine is told of no share of the memory.
    """
    long_ones = layout.concurrency(blocks, settings.max_model_len_tokens)
    wanted = ceil(min(in_flight, settings.max_num_seqs))  # more come than leave: endless
    slots = max(1, int(min(settings.max_num_seqs, max(long_ones, wanted))))
    longest = layout.longest_sequence(blocks // slots, settings.max_model_len_tokens)
    return replace(settings, max_num_seqs=slots, max_model_len_tokens=longest)


def no_larger_than_needed(variant: Variant, most_users: float) -> Variant:
    """Return the smallest limit on sequences that costs no capacity: what a larger one reserves serves as cache."""
    enough = [limit for limit in SEQUENCE_LIMITS if limit * variant.cut.dp >= most_users]
    limit = min([*enough, variant.settings.max_num_seqs])
    return replace(variant, settings=replace(variant.settings, max_num_seqs=limit))
