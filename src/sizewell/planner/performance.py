"""A deployment with its replicas counted out, played under the load of a question, and the plan it makes."""

from __future__ import annotations

from dataclasses import dataclass

from sizewell.costs.ledger import MemoryLedger
from sizewell.planner.columns import Yard
from sizewell.planner.plan import Details, Plan, PoolUse, Service
from sizewell.planner.prediction import Prediction, steady_state
from sizewell.planner.question import Limits, Objective
from sizewell.planner.rehearsal import Rehearsal
from sizewell.planner.settle import Settler
from sizewell.planner.simulated_means import with_simulated_means
from sizewell.specs.deployment import Deployment


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """A deployment on the machine `row` of a yard, the memory of each pool's ranks, and what happened to it."""

    deployment: Deployment
    yard: Yard
    row: int
    memories: tuple[MemoryLedger, ...]
    given: Prediction
    rehearsal: Rehearsal


def perform(
    settled: Settler, deployment: Deployment, place: tuple[Yard, int], memories: tuple[MemoryLedger, ...]
) -> Performance:
    """Return what happens to a deployment under the load of the question; it is played when it is first asked."""
    given = believed(settled, deployment)
    return Performance(
        deployment=deployment, yard=place[0], row=place[1], memories=memories, given=given,
        rehearsal=settled.played(deployment, given, memories),
    )  # fmt: skip


def believed(settled: Settler, deployment: Deployment) -> Prediction:
    """Return what a deployment gives in closed form."""
    return steady_state(deployment, settled.question.workload, settled.facts.efficiencies)


def has_room(deployment: Deployment, limits: Limits) -> bool:
    """Return whether a deployment keeps the limits on size, and its nodes can be joined where it needs several."""
    cluster, joined = deployment.cluster, len(deployment.pools) > 1
    most = min(limits.max_nodes, cluster.node.max_nodes if joined else limits.max_nodes)
    return deployment.gpus <= (limits.max_gpus or deployment.gpus) and cluster.nodes <= most


def plan_of(
    settled: Settler, found: Performance, most: float, details: Details | None, pool_use: PoolUse | None = None
) -> Plan:
    """Return the plan of a deployment that was played, a replica of which takes `most` requests at once."""
    deployment, given = found.deployment, found.given
    service = with_simulated_means(
        Service(
            ttft_s=given.ttft_s,
            ttfa_s=given.ttfa_s,
            tpot_s=given.tpot_s,
            e2e_s=given.e2e_s,
            requests_per_s=given.requests_per_s,
            output_tokens_per_s=given.output_tokens_per_s,
            concurrency_per_replica=given.users_per_replica,
            saturation_concurrency_per_replica=max(most, given.users_per_replica),
            bound_by=given.bound_by,
        ),
        found.rehearsal,
    )
    known = settled.recovery(deployment.weight_format)
    return Plan(
        deployment=deployment,
        service=service,
        cost=settled.cost(deployment, (found.yard, found.row), service, _watts(settled, found)),
        memory=settled.memory_use(deployment.pools[-1], found.memories[-1]),
        recovery_fraction=known[0],
        recovery_source=known[1],
        details=details,
        rehearsal=found.rehearsal,
        pool_use=pool_use,
    )


def _watts(settled: Settler, found: Performance) -> float:
    """Return the power that is paid: of whole nodes where they are bought."""
    whole = settled.question.price_basis == "purchase"
    counted = found.deployment.cluster.gpus if whole else found.deployment.gpus
    return counted * float(found.yard.watts_per_gpu[found.row])


def rank_of(plan: Plan, objective: Objective) -> tuple[float, float, float]:
    """Return what orders plans, the best lowest: the objective, then accelerators, then price."""
    merits = plan.merits
    return merits.score(objective), merits.gpus, merits.usd_per_hour


def affordable(plan: Plan, limits: Limits) -> bool:
    """Return whether a plan keeps the limits on price and power; nobody's price keeps none."""
    return all(bound is None or value <= bound for value, bound in plan.merits.bounded(limits))
