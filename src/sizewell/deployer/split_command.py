"""A script that becomes one program of a split deployment: `serve.sh prefill 0`, `serve.sh decode 1`, `… router`."""

from __future__ import annotations

from collections.abc import Mapping

from sizewell.deployer import router, shell, words
from sizewell.deployer.launch import DEVICES, OWN_ADDRESS, Launch
from sizewell.deployer.placement import HANDOVER, MEETING, PORTS_EACH, Seat, seats
from sizewell.specs.errors import BadInputError

SCRIPT = "serve.sh"


def render(launch: Launch) -> Mapping[str, str]:
    """Return the script; raises BadInputError for Ray, and for a router that asks nobody for a key."""
    if launch.site.slurm.launcher == "ray":
        raise BadInputError("pools are joined by the engine itself: leave --launcher ray out")
    router.refuse_open(launch)
    placed = seats(launch)
    lines = [
        "#!/usr/bin/env bash",
        *shell.head(launch, [launch.flags.note, router.note(launch)]),
        "set -euo pipefail",
        "readonly " + " ".join(shell.pool_numbers(launch)),
        *_place(launch, placed),
        *_key(launch),
        "case $role in",
        *(line for part in launch.parts for line in _engine(part)),
        *_router(launch, placed),
        "esac",
        'exec "${engine[@]}"',
    ]
    return {SCRIPT: "\n".join([*lines, ""])}


def _place(launch: Launch, placed: tuple[Seat, ...]) -> list[str]:
    lines = [
        "# prefill, decode or router; which of its replicas this is, on which of that replica's nodes",
        "role=${1:-} replica=${2:-0} rank=${NODE_RANK:-0}",
        "case $role in",
        "prefill) number=$replica replicas=$prefill_replicas nodes=$prefill_nodes ;;",
        "decode) number=$((prefill_replicas + replica)) replicas=$decode_replicas nodes=$decode_nodes ;;",
        "router) number=-1 replicas=1 nodes=1 ;;",
        "*)",
        '  echo "say prefill, decode or router, and the number of the replica from 0" >&2',
        "  exit 2",
        "  ;;",
        "esac",
        "((replica < replicas && rank < nodes)) || {",
        '  echo "$role has $replicas replicas on $nodes nodes each, both numbered from 0" >&2',
        "  exit 2",
        "}",
        f"port=$(({launch.site.port} + {PORTS_EACH} * (number + 1)))  # a hundred for each engine, the router first",
        f"handover=$((port + {HANDOVER})) metrics=$((port + 1))",
    ]
    if launch.deployment.cluster.nodes > 1:
        lines.append("address=${ADDRESS:?set it to the address of this machine}")
        lines.append(f"export {OWN_ADDRESS[launch.flags.engine]}=$address  # else an engine may guess another")
    else:
        lines.append("address=127.0.0.1  # all on this machine")
    if any(part.nodes > 1 for part in launch.parts):
        lines.append(
            f"head=${{HEAD_ADDRESS:-$address}} rendezvous=$((port + {MEETING}))  # where a replica's nodes meet"
        )
    lines += _accelerators(launch, placed)
    return [*lines, ': "$address $handover $metrics"  # not every program is told each of them']


def _accelerators(launch: Launch, placed: tuple[Seat, ...]) -> list[str]:
    device = DEVICES.get(launch.deployment.cluster.gpu.vendor)
    if not device:
        return []
    firsts = " ".join(str(seat.first) for seat in placed)
    counts = " ".join(str(launch.parts[seat.part].gpus_per_node) for seat in placed)
    return [
        f"firsts=({firsts}) counts=({counts})  # accelerators of each replica on its machine",
        "if ((number >= 0)); then",
        f'  {device}=$(seq -s , "${{firsts[number]}}" "$((firsts[number] + counts[number] - 1))")',
        f"  export {device}",
        "fi",
    ]


def _key(launch: Launch) -> list[str]:
    if not router.keyed(launch):
        return []
    name = words.key_variable(launch)
    return [f': "${{{name}:?others reach these engines: set the key they must show}}"', f"export {name}"]


def engine_of_role(launch: Launch) -> list[str]:
    """Return the lines that make a role's engine an array, in a place that knows its rank."""
    flag, lines = words.follower(launch), []
    if flag is not None and launch.nodes > 1:
        lines.append(f"  ((rank == 0)) || engine+=({flag.name})  # {flag.why}")
    if router.keyed(launch) and launch.flags.engine == "sglang":
        lines.append('  engine+=(--api-key "$SGLANG_API_KEY")  # it reads no variable')
    return [
        *shell.exports(words.environment(launch), "  "),
        *shell.engine_array(words.program(launch), words.flags(launch), "  "),
        *lines,
    ]


def _engine(launch: Launch) -> list[str]:
    return [f"{launch.pool.role})", *engine_of_role(launch), "  ;;"]


def _router(launch: Launch, placed: tuple[Seat, ...]) -> list[str]:
    beside = f' "$((port + {HANDOVER}))"' if router.has_port(launch) else ""
    lines = ["router)", *shell.engine_array(router.program(launch), router.flags(launch), "  ")]
    for part, name in enumerate(("prefill", "decode")):
        mine = [seat for seat in placed if seat.part == part]
        variable = f"{name.upper()}_ADDRESSES"
        here = " ".join("127.0.0.1" for _ in mine)
        asked = ":?the machines of its replicas in order, of their first nodes"
        usual = f":-{here}" if launch.deployment.cluster.nodes == 1 else asked
        lines += [
            f'  read -r -a addresses <<<"${{{variable}{usual}}}"',
            f"  for ((each = 0; each < {name}_replicas; each++)); do",
            f"    port=$(({launch.site.port} + {PORTS_EACH} * ({mine[0].number} + each + 1)))",
            f'    engine+=(--{name} "http://${{addresses[each]}}:$port"{beside if part == 0 else ""})',
            "  done",
        ]
    if router.keyed(launch):
        lines += [f"  {line}" for line in router.key_words(launch)]
    return [*lines, "  ;;"]
