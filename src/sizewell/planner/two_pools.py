"""A pair of cuts as a plan: its deployment, its play, what it costs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sizewell.costs.checkpoint import checkpoint_bytes
from sizewell.costs.ledger import MemoryLedger, ledger
from sizewell.planner.bill_of_materials import bill_of_materials
from sizewell.planner.columns import Variant
from sizewell.planner.money import break_even
from sizewell.planner.pairing import Pair
from sizewell.planner.plan import Details, Plan, PoolUse, Service
from sizewell.planner.prediction import Prediction, handover, steady_state
from sizewell.planner.rehearsal import Playing, Rehearsal, rehearse
from sizewell.planner.settle import Settler, no_larger_than_needed
from sizewell.planner.simulated_means import moved, with_simulated_means
from sizewell.specs.deployment import Deployment, EngineSettings, Pool


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """A pair with so many replicas of each pool, and what happened to it under its load."""

    pair: Pair
    counts: tuple[int, int]
    deployment: Deployment
    memories: tuple[MemoryLedger, MemoryLedger]
    given: Prediction
    rehearsal: Rehearsal

    @property
    def busy(self) -> tuple[float, float]:
        """Shares of what prefill and decode pool can do that the load takes."""
        rate, (front, back) = self.given.requests_per_s.value, self.counts
        return rate * self.pair.prompt_s / front, rate / (back * self.pair.requests_per_s)


def play(settled: Settler, pair: Pair, counts: tuple[int, int]) -> Played | None:
    """Return what happens to a pair with so many replicas; None where its ranks do not fit after all."""
    question = settled.question
    deployment = _deployment(settled, pair, counts)
    memories = ledger(deployment, 0), ledger(deployment, 1)
    if not all(held.fits for held in memories):
        return None
    given = _given(settled, deployment)
    slo = replace(question.limits.slo, tpot_s=question.limits.tpot_s)
    playing = Playing(memories=memories, efficiencies=settled.facts.efficiencies, code=settled.facts.code)
    return Played(
        pair=pair, counts=counts, deployment=deployment, memories=memories, given=given,
        rehearsal=rehearse(deployment, question.workload, given, slo, playing),
    )  # fmt: skip


def believed(settled: Settler, pair: Pair, counts: tuple[int, int]) -> Prediction:
    """Return what a pair with so many replicas gives in closed form."""
    return _given(settled, _deployment(settled, pair, counts))


def _given(settled: Settler, deployment: Deployment) -> Prediction:
    return steady_state(deployment, settled.question.workload, settled.facts.efficiencies)


def _deployment(settled: Settler, pair: Pair, counts: tuple[int, int]) -> Deployment:
    """Return the deployment; both pools are told the same, so that either can be said in the words of one."""
    question, machine = settled.question, pair.machine
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
        cluster=machine.cluster_for_two((front.cut, back.cut), counts),
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
    """Return the plan of a pair that was played."""
    deployment, rehearsal = played.deployment, played.rehearsal
    service = with_simulated_means(_service(played), rehearsal)
    known = settled.recovery(deployment.weight_format)
    front, back = (settled.memory_use(*each) for each in zip(deployment.pools, played.memories, strict=True))
    way = handover(deployment, settled.question.workload, settled.facts.efficiencies)
    return Plan(
        deployment=deployment,
        service=service,
        cost=settled.cost(deployment, (played.pair.yard, played.pair.row), service, _watts(settled, played)),
        memory=back,
        recovery_fraction=known[0],
        recovery_source=known[1],
        details=_details(settled, played, way.seconds),
        rehearsal=rehearsal,
        pool_use=PoolUse(
            network=way.network,
            handover_s=way.seconds,
            prefill_busy_fraction=played.busy[0],
            decode_busy_fraction=played.busy[1],
            memory=front,
        ),
    )


def _service(played: Played) -> Service:
    """Return what users get, counted by decode replica; it saturates where the busier pool does."""
    given = played.given
    return Service(
        ttft_s=given.ttft_s,
        ttfa_s=given.ttfa_s,
        tpot_s=given.tpot_s,
        e2e_s=given.e2e_s,
        requests_per_s=given.requests_per_s,
        output_tokens_per_s=given.output_tokens_per_s,
        concurrency_per_replica=given.users_per_replica,
        saturation_concurrency_per_replica=given.users_per_replica / min(max(played.busy), 1.0),
        bound_by=given.bound_by,
    )


def _watts(settled: Settler, played: Played) -> float:
    """Return the power that is paid: of whole nodes where they are bought."""
    deployment, pair = played.deployment, played.pair
    whole = settled.question.price_basis == "purchase"
    counted = deployment.cluster.gpus if whole else deployment.gpus
    return counted * float(pair.yard.watts_per_gpu[pair.row])


def _details(settled: Settler, played: Played, handover_s: float) -> Details:
    deployment, given, pair = played.deployment, played.given, played.pair
    materials = bill_of_materials(
        deployment,
        checkpoint_bytes=checkpoint_bytes(deployment.model, deployment.weight_format),
        rank_weight_bytes=max(held.weight_bytes for held in played.memories),
        storages=settled.facts.storages,
    )
    at_once = given.users_per_replica * played.counts[1]
    ahead = max(at_once / played.counts[0] - 1, 0.0) / 2
    return Details(
        materials=materials,
        burst_ttft_s=moved(given.ttft_s, pair.alone_s + handover_s + ahead * pair.prompt_s),
        break_even=break_even(deployment, materials.power_w, settled.facts.prices),
        placement=None,
    )
