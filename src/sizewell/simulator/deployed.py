"""From a deployment to the replica that is simulated: its cache as the ledger counts it, its steps as costs price them."""

from __future__ import annotations

from sizewell.costs.ledger import ledger
from sizewell.costs.machines import Machines, Reached
from sizewell.costs.step_policy import StepPolicy
from sizewell.costs.tabulate import make_surface
from sizewell.simulator.facts import ReplicaFacts, replica_facts
from sizewell.specs.calibration import Efficiencies
from sizewell.specs.deployment import Deployment, Formats
from sizewell.specs.errors import BadInputError


def facts_of(deployment: Deployment, efficiencies: Efficiencies, pool: int = 0) -> ReplicaFacts:
    """Return one replica of a pool as it is simulated.

    Raises BadInputError where the ledger leaves no cache.
    """
    chosen = deployment.pools[pool]
    held = ledger(deployment, pool)
    if held.kv_blocks < 2:
        raise BadInputError(
            f"{deployment.model.name} on {deployment.cluster.gpu.key} {chosen.parallelism}: no memory is left for the "
            "KV cache; use more accelerators or a smaller format"
        )
    engine = deployment.engine
    reached = Reached.of(Machines.of([deployment.cluster]), efficiencies, engine.name)
    surface = make_surface(
        deployment.model,
        Formats(weight=deployment.weight_format, kv=deployment.kv_format),
        chosen.parallelism,
        StepPolicy.of(chosen.settings, engine),
        reached,
    )
    return replica_facts(surface, (held.layout, int(held.kv_blocks)), engine, chosen.settings, chosen.parallelism)
