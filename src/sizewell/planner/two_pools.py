"""A pair of cuts as a plan: its deployment, its play, how much of each pool is used."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sizewell.costs.checkpoint import checkpoint_bytes
from sizewell.costs.ledger import ledger
from sizewell.planner.bill_of_materials import bill_of_materials
from sizewell.planner.columns import Variant
from sizewell.planner.money import break_even
from sizewell.planner.pairing import Pair
from sizewell.planner.performance import Performance, perform, plan_of
from sizewell.planner.plan import Details, Plan, PoolUse
from sizewell.planner.prediction import handover
from sizewell.planner.rehearsal import Rehearsal
from sizewell.planner.settle import Settler, no_larger_than_needed
from sizewell.planner.simulated_means import moved
from sizewell.specs.deployment import Deployment, EngineSettings, Pool


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """A pair with so many replicas of each pool, and what happened to it under its load."""

    pair: Pair
    counts: tuple[int, int]
    found: Performance

    @property
    def rehearsal(self) -> Rehearsal:
        """What was played."""
        return self.found.rehearsal

    @property
    def busy(self) -> tuple[float, float]:
        """Shares of what prefill and decode pool can do that the load takes."""
        rate, (front, back) = self.found.given.requests_per_s.value, self.counts
        return rate * self.pair.prompt_s / front, rate / (back * self.pair.requests_per_s)


def play(settled: Settler, pair: Pair, deployment: Deployment) -> Played | None:
    """Return what happens to a deployment of a pair; None where its ranks do not fit after all."""
    memories = ledger(deployment, 0), ledger(deployment, 1)
    if not all(held.fits for held in memories):
        return None
    found = perform(settled, deployment, (pair.yard, pair.row), memories)
    front, back = deployment.pools
    return Played(pair=pair, counts=(front.replicas, back.replicas), found=found)


def deployment_of(settled: Settler, pair: Pair, counts: tuple[int, int]) -> Deployment:
    """Return a pair with so many replicas; both pools are told the same, so that one set of flags states them."""
    question = settled.question
    back = no_larger_than_needed(pair.back, pair.most)
    front = replace(pair.front, settings=back.settings)
    settings = _settings(settled, (front, back), pair)
    pools = (
        Pool(role="prefill", replicas=counts[0], parallelism=front.cut, settings=settings),
        Pool(role="decode", replicas=counts[1], parallelism=back.cut, settings=settings),
    )
    return Deployment(
        model=question.model,
        weight_format=back.formats.weight,
        kv_format=back.formats.kv,
        engine=back.engine,
        cluster=pair.machine.cluster_for_two((front.cut, back.cut), counts),
        pools=pools,
        kv_network=question.kv_network,
    )


def _settings(settled: Settler, variants: tuple[Variant, Variant], pair: Pair) -> EngineSettings:
    """Return the largest share of memory and the longest sequence that both pools can have."""
    gpu, memories = pair.machine.gpu, settled.memories[pair.back.formats.weight]
    total, settings = gpu.total_bytes, variants[0].settings
    held = []
    for variant in variants:
        engine = memories.telling(variant.engine.on(gpu.vendor, gpu.compute_capability))
        held.append(memories.memory(variant.formats.kv, variant.cut, settings, engine))
    share = min(memory.safe_fraction(total) for memory in held)
    longest = settings.max_model_len_tokens
    for memory in held:
        longest = memory.layout.longest_sequence(memory.blocks(total, share), longest)
    return replace(settings, memory_fraction=share, max_model_len_tokens=longest)


def split_plan(settled: Settler, played: Played) -> Plan:
    """Return the plan of a pair that was played; a decode replica is full where the busier pool is."""
    found, busy = played.found, played.busy
    way = handover(found.deployment, settled.question.workload, settled.facts.efficiencies)
    use = PoolUse(
        network=way.network,
        handover_s=way.seconds,
        prefill_busy_fraction=busy[0],
        decode_busy_fraction=busy[1],
        memory=settled.memory_use(found.deployment.pools[0], found.memories[0]),
    )
    most = found.given.users_per_replica / min(max(busy), 1.0)
    return plan_of(settled, found, most, _details(settled, found), use)


def _details(settled: Settler, found: Performance) -> Details:
    materials = bill_of_materials(
        found.deployment,
        checkpoint_bytes=checkpoint_bytes(found.deployment.model, found.deployment.weight_format),
        rank_weight_bytes=max(held.weight_bytes for held in found.memories),
        storages=settled.facts.storages,
    )
    return Details(
        materials=materials,
        burst_ttft_s=moved(found.given.ttft_s, found.rehearsal.burst_ttft_s),
        break_even=break_even(found.deployment, materials.power_w, settled.facts.prices),
        placement=None,
    )
