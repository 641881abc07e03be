"""Where the replicas of several pools stand: which nodes, which of their accelerators, which ports of one machine."""

from __future__ import annotations

from dataclasses import dataclass

from sizewell.deployer.launch import Launch, Live
from sizewell.specs.errors import BadInputError

PORTS_EACH = 100
"""Ports of one engine on a machine that hosts several: its own, those its ranks meet at, those it hands caches over."""
MEETING, HANDOVER = 20, 50
"""Where in them ranks meet, and where caches are handed over, a port for each rank."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """One replica: of pool `part`, its number there and among all, its first node and its first accelerator on it."""

    part: int
    replica: int
    number: int
    node: int
    first: int


def seats(launch: Launch) -> tuple[Seat, ...]:
    """Return where every replica stands, the largest placed first, in the order of the pools.

    Raises BadInputError where the deployment's nodes do not hold them.
    """
    cluster, parts = launch.deployment.cluster, launch.parts
    taken = [0] * cluster.nodes
    order = [(part.part, replica) for part in parts for replica in range(part.pool.replicas)]
    placed = []
    for part, replica in sorted(order, key=lambda one: -parts[one[0]].pool.parallelism.gpus):
        nodes, mine = parts[part].nodes, parts[part].gpus_per_node
        # A replica over several nodes has them to itself.
        limit = 0 if nodes > 1 else cluster.gpus_per_node - mine
        free = (at for at in range(cluster.nodes - nodes + 1) if max(taken[at : at + nodes]) <= limit)
        node = next(free, None)
        if node is None:
            raise BadInputError(
                f"{parts[part].pool.parallelism} finds no room beside the other replicas on {cluster.nodes} nodes of "
                f"{cluster.gpus_per_node} accelerators: choose cuts that fill nodes, or add one"
            )
        number = order.index((part, replica))
        placed.append(Seat(part=part, replica=replica, number=number, node=node, first=taken[node]))
        for at in range(node, node + nodes):
            taken[at] = cluster.gpus_per_node if nodes > 1 else taken[at] + mine
    return tuple(sorted(placed, key=lambda seat: seat.number))


def accelerators(launch: Launch, seat: Seat) -> list[str]:
    """Return the numbers of the accelerators of a seat on each of its nodes."""
    return [str(seat.first + place) for place in range(launch.parts[seat.part].gpus_per_node)]


def engine_port(launch: Launch, number: int) -> int:
    """Return the port of an engine on a machine of several; the router has the first."""
    return launch.site.port + PORTS_EACH * (number + 1)


def engine_ports(launch: Launch) -> tuple[int, ...]:
    """Return the ports of all engines on a machine that hosts both pools, then that of the router."""
    engines = sum(pool.replicas for pool in launch.deployment.pools)
    return (*(engine_port(launch, number) for number in range(engines)), launch.site.port)


def on_this_machine(launch: Launch, number: int | None, live: Live) -> str:
    """Return what the engine of a number, or the router (None), is told where all share one machine."""
    if live == "address":
        return "127.0.0.1"
    port = launch.site.port if number is None else engine_port(launch, number)
    return str(port + {"port": 0, "handover": HANDOVER, "metrics": 1}[live])
