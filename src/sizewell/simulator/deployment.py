"""A deployment as the simulator plays it: its cache counted and its steps priced by `costs`."""

from __future__ import annotations

from dataclasses import replace

from sizewell.costs.ledger import MemoryLedger
from sizewell.costs.machines import Machines, Reached
from sizewell.costs.step_policy import StepPolicy
from sizewell.costs.tabulate import make_surface
from sizewell.simulator.facts import ReplicaFacts, Scheduler, replica_facts
from sizewell.specs.calibration import Efficiencies
from sizewell.specs.deployment import Deployment, Formats


def deployed_facts(
    deployment: Deployment, memory: MemoryLedger, efficiencies: Efficiencies, *, pool: int = 0, seed: int = 0
) -> ReplicaFacts:
    """Return what the simulator must know of one replica of a pool, whose memory ledger is `memory`."""
    chosen = deployment.pools[pool]
    reached = Reached.of(Machines.of([deployment.cluster]), efficiencies, deployment.engine.name)
    surface = make_surface(
        deployment.model,
        Formats(weight=deployment.weight_format, kv=deployment.kv_format),
        chosen.parallelism,
        StepPolicy.of(chosen.settings, deployment.engine),
        reached,
    )
    cache = (memory.layout, memory.kv_blocks)
    facts = replica_facts(surface, cache, deployment.engine, chosen.settings, chosen.parallelism)
    acceptance, request_s = (float(reached.factors[name][0]) for name in ("acceptance", "request_s"))
    scheduler: Scheduler = "sglang" if deployment.engine.name == "sglang" else "vllm"
    return replace(facts, scheduler=scheduler, acceptance=acceptance, request_s=request_s, seed=seed)
