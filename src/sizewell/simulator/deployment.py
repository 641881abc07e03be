"""A deployment as the simulator plays it: its cache counted and its steps priced by `costs`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sizewell.costs.collectives import exchange, transfer_s
from sizewell.costs.kv_cache import CacheLayout
from sizewell.costs.ledger import MemoryLedger
from sizewell.costs.machines import Machines, Reached
from sizewell.costs.step_policy import StepPolicy
from sizewell.costs.tabulate import make_surface
from sizewell.costs.work import Collective
from sizewell.simulator.facts import Disaggregated, Fleet, Network, ReplicaFacts, Router, replica_facts
from sizewell.specs.calibration import Efficiencies
from sizewell.specs.deployment import Deployment, Formats
from sizewell.specs.errors import BadInputError
from sizewell.specs.hardware import ClusterSpec, LinkSpec


def deployed(
    deployment: Deployment,
    memories: Sequence[MemoryLedger],
    efficiencies: Efficiencies,
    router: Router = "round-robin",
    seed: int = 0,
) -> Fleet | Disaggregated:
    """Return all replicas of a deployment; `memories` are the ledgers of its pools.

    Raises BadInputError for pools that are neither one of role `both` nor a prefill and a decode pool.
    """
    fleets = {
        pool.role: Fleet(
            replica=deployed_facts(deployment, memory, efficiencies, pool=place, seed=seed),
            replicas=pool.replicas,
            router=router,
        )
        for place, (pool, memory) in enumerate(zip(deployment.pools, memories, strict=True))
    }
    if set(fleets) == {"both"}:
        return fleets["both"]
    if set(fleets) != {"prefill", "decode"}:
        raise BadInputError(f"pools {', '.join(fleets)}: give one pool 'both', or 'prefill' and 'decode'")
    counted = memories[[pool.role for pool in deployment.pools].index("decode")].layout.block_tokens
    return split(fleets["prefill"], fleets["decode"], kv_network(deployment, memories, efficiencies), counted)


def split(front: Fleet, back: Fleet, network: Network, block_tokens: int) -> Disaggregated:
    """Return two pools joined by a network that counts blocks of `block_tokens`."""
    # A block may be played as several of those the engine counts.
    blocks = back.replica.block_tokens / block_tokens
    return Disaggregated(
        prefill=front,
        decode=back,
        network=replace(
            network, send_block_s=blocks * network.send_block_s, receive_block_s=blocks * network.receive_block_s
        ),
    )


def deployed_facts(
    deployment: Deployment, memory: MemoryLedger, efficiencies: Efficiencies, *, pool: int = 0, seed: int = 0
) -> ReplicaFacts:
    """Return what the simulator must know of one replica of a pool, whose memory ledger is `memory`."""
    chosen = deployment.pools[pool]
    reached = Reached.of(Machines.of([deployment.cluster_of(pool)]), efficiencies, also=deployment.tags)
    policy = StepPolicy.of(chosen.settings, deployment.engine)
    formats = Formats(weight=deployment.weight_format, kv=deployment.kv_format)
    surface = make_surface(deployment.model, formats, chosen.parallelism, policy, reached)
    cache = (memory.layout, memory.kv_blocks)
    facts = replica_facts(surface, cache, deployment.engine, chosen.settings, chosen.parallelism)
    acceptance, request_s = (float(reached.factors[name][0]) for name in ("acceptance", "request_s"))
    if chosen.settings.draft_acceptance is not None:
        acceptance = chosen.settings.draft_acceptance
    facts = replace(facts, acceptance=acceptance, request_s=request_s, seed=seed)
    if not chosen.settings.kv_host_bytes:
        return facts
    rate = float(reached.machines.host_link_bytes_per_s[0] * reached.factors["link_host"][0])
    return with_host_memory(facts, memory, chosen.settings.kv_host_bytes / _accelerators(deployment, pool), rate)


def with_host_memory(
    facts: ReplicaFacts, memory: MemoryLedger, bytes_per_gpu: float, link_bytes_per_s: float
) -> ReplicaFacts:
    """Return a replica that also keeps cache in host memory, each accelerator its own share over its own link.

    Raises BadInputError where a block does not fit, and for caches of several kinds.
    """
    token_bytes = memory.layout.bytes_per_block / memory.layout.block_tokens
    blocks = int(bytes_per_gpu // (token_bytes * facts.block_tokens))
    if blocks < 1:
        raise BadInputError(f"{bytes_per_gpu:,.0f} bytes of host memory for each accelerator hold no block of cache")
    return replace(facts, host_blocks=blocks, host_token_s=token_bytes / link_bytes_per_s)


def kv_network(deployment: Deployment, memories: Sequence[MemoryLedger], efficiencies: Efficiencies) -> Network:
    """Return what carries caches between a deployment's pools, a line for each of their accelerators; a block is one of
    the decode pool's layout.

    That is the network the deployment names, else the fabric inside which both pools stand, else the one that joins
    its nodes; of pools on two kinds of nodes the slower of theirs. Ranks of a pool send, or receive, what each of them
    holds, all at once. Raises BadInputError where nothing joins the nodes.
    """
    cluster, named = deployment.cluster, deployment.kv_network
    near = named is None and deployment.decode_cluster is None and cluster.scale_up_gpus >= cluster.gpus
    places: tuple[ClusterSpec, ...] = (cluster,)
    if not near:
        link = named or _joining(deployment)
        places = tuple(replace(each, node=replace(each.node, scale_out=link)) for each in _places(deployment))
    by_role = {pool.role: memory.layout for pool, memory in zip(deployment.pools, memories, strict=True)}
    reached = Reached.of(Machines.of(places), efficiencies, also=deployment.tags)
    return carried(by_role["prefill"], by_role["decode"], reached, near=near)


def carried(front: CacheLayout, back: CacheLayout, reached: Reached, *, near: bool) -> Network:
    """Return what carries caches of one layout from the first of some machines to a pool of another on the last: the
    fabric `near` accelerators share, or the network of their nodes.
    """
    cluster = reached.machines.clusters[0]
    sent = front.bytes_per_block * back.block_tokens / front.block_tokens
    sizes = np.array([0.0, sent, back.bytes_per_block])
    if near:
        message = exchange(Collective(kind="send", ranks=2, bytes=sizes, stride=max(1, cluster.gpus // 2)), reached)
        seconds = message.latency_s + message.wire_s
    else:
        seconds = transfer_s(sizes, reached, lanes=1)
    return Network(
        name=cluster.node.scale_up.name if near else cluster.node.scale_out.name,
        latency_s=float(np.max(seconds[:, 0])),
        send_block_s=float(seconds[0, 1] - seconds[0, 0]),
        receive_block_s=float(seconds[-1, 2] - seconds[-1, 0]),
    )


def _places(deployment: Deployment) -> tuple[ClusterSpec, ClusterSpec]:
    """Return where the prefill pool and the decode pool stand."""
    return deployment.cluster, deployment.decode_cluster or deployment.cluster


def _joining(deployment: Deployment) -> LinkSpec:
    """Return what joins the nodes of both pools: the slower of what each kind has."""
    several = deployment.cluster.nodes > 1 or deployment.decode_cluster is not None
    for cluster in _places(deployment):
        if cluster.node.scale_out.bytes_per_s <= 0 and several:
            raise BadInputError(f"nothing joins the nodes {cluster.node.key}: name a --kv-network")
    return min((cluster.node.scale_out for cluster in _places(deployment)), key=lambda link: link.bytes_per_s)


def _accelerators(deployment: Deployment, pool: int) -> int:
    """Return the accelerators of one data-parallel rank, which share its engine's host memory."""
    cut = deployment.pools[pool].parallelism
    return cut.tp * cut.pp
