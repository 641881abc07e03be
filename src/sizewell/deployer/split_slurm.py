"""A SLURM batch job of a split deployment: the replicas of both pools and the router on the nodes of one job.

Each node starts the replicas that stand on it and tells the others where; the first node starts the router once all
have. The job waits, drains and fails as that of one pool does (`slurm`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sizewell.deployer import router, shell, slurm, slurm_script, split_slurm_script, words
from sizewell.deployer.launch import DEVICES, Launch
from sizewell.deployer.placement import Seat, seats
from sizewell.deployer.split_command import engine_of_role
from sizewell.specs.errors import BadInputError

ROUTER_CORES = 2


def render(launch: Launch) -> Mapping[str, str]:
    """Return the script; raises BadInputError for Ray, for words a scheduler cannot read, and for an open router."""
    if launch.site.slurm.launcher == "ray":
        raise BadInputError("pools are joined by the engine itself: leave --launcher ray out")
    router.refuse_open(launch)
    placed = seats(launch)
    room = _room(launch, placed)
    lines = [
        "#!/usr/bin/env bash",
        *(f"#SBATCH {said}" for said in slurm.directives(launch, room)),
        *shell.head(launch, [launch.flags.note, router.note(launch)]),
        *slurm.told(launch, room.gpus),
        *_seats(launch, placed),
        split_slurm_script.RUN,
        *(line for part in launch.parts for line in _engine(part)),
        *_router(launch),
        *_start_node(launch, room),
        slurm_script.WATCH,
    ]
    return {f"{launch.name}.sbatch": "\n".join(lines)}


def _room(launch: Launch, placed: Sequence[Seat]) -> slurm.Room:
    """Return what the fullest node needs."""
    parts = launch.parts
    nodes = max(seat.node + parts[seat.part].nodes for seat in placed)
    ends = (seat.first + parts[seat.part].gpus_per_node for seat in placed)
    return slurm.Room(
        nodes=nodes,
        gpus=max(ends),
        cores=launch.materials.cpu_cores + 2 * (len(placed) // nodes) + ROUTER_CORES,
        ram_bytes=launch.materials.host_ram_minimum_bytes,
        exclusive=launch.site.slurm.exclusive,
    )


def _seats(launch: Launch, placed: Sequence[Seat]) -> list[str]:
    rows, device = [], DEVICES.get(launch.deployment.cluster.gpu.vendor, "SIZEWELL_ACCELERATORS")
    for seat in placed:
        part = launch.parts[seat.part]
        row = (part.pool.role, seat.replica, seat.node, part.nodes, seat.first, part.gpus_per_node)
        rows.append(" ".join(map(str, row)))
    return [
        "# Pool, replica, its first node, its nodes, and on each its first accelerator and how many.",
        "seats='" + "\n".join(rows) + "'",
        f"device={device}  # what tells an engine its accelerators",
        "export seats ports device",
    ]


def _engine(launch: Launch) -> list[str]:
    return [
        "",
        f"{launch.pool.role}() {{",
        "  local engine",
        *engine_of_role(launch),
        f'  run {launch.pool.role} "$1"',
        "}",
    ]


def _router(launch: Launch) -> list[str]:
    lines = [
        "",
        "router() {",
        "  local engine role replica node nodes first count address port handover metrics",
        split_slurm_script.WAIT,
        '  port=$own_port metrics=$(free_port "$((own_port + 1))")',
        *shell.engine_array(router.program(launch), router.flags(launch), "  "),
        "  # shellcheck disable=SC2034  # of a seat only its name matters here, and not every router is told each port",
        "  while read -r role replica node nodes first count; do",
        '    read -r address port handover _ <"$state/$role-$replica"',
        *_workers(launch),
        '  done <<<"$seats"',
    ]
    if router.keyed(launch):
        lines += [f"  {line}" for line in router.key_words(launch)]
    return [*lines, "  run router 0", "}"]


def _workers(launch: Launch) -> list[str]:
    if not router.has_port(launch):
        return ['    engine+=("--$role" "http://$address:$port")']
    return [
        '    engine+=("--$role" "http://$address:$port")',
        '    [[ $role != prefill ]] || engine+=("$handover")  # where its caches are handed over',
    ]


def _start_node(launch: Launch, room: slurm.Room) -> list[str]:
    several = room.nodes > 1
    name = words.key_variable(launch)
    key = [f'  : "${{{name}:?others reach these engines: set the key they must show}}"'] if router.keyed(launch) else []
    here = ["  local all address=127.0.0.1", '  read -r -a all <<<"$addresses"']
    return [
        split_slurm_script.START,
        *(slurm.network(launch) if several else here),
        *slurm.style(launch),
        *key,
        split_slurm_script.PARTS,
        "}",
        "export -f start_node run free_port prefill decode router",
    ]
