"""A script that becomes the engine: its command line and variables, for one machine or each of several."""

from __future__ import annotations

from collections.abc import Mapping

from sizewell.deployer import shell, words
from sizewell.deployer.launch import DEVICES, Launch
from sizewell.deployer.terms import Artefact
from sizewell.specs.errors import BadInputError

SCRIPT = "serve.sh"


def render(launch: Launch) -> Mapping[str, str]:
    """Return the script: `serve.sh [REPLICA]`, and on several nodes HEAD_ADDRESS and NODE_RANK set for each.

    Raises BadInputError where vLLM would need Ray.
    """
    if launch.nodes > 1 and launch.site.slurm.launcher == "ray":
        raise BadInputError("a script does not start Ray: leave --launcher ray out, or render for slurm")
    lines = [
        "#!/usr/bin/env bash",
        *shell.head(launch, [launch.flags.note]),
        "set -euo pipefail",
        f"readonly replicas={launch.pool.replicas} nodes={launch.nodes}",
        *_place(launch),
        *shell.exports(words.environment(launch)),
        *_key(launch),
        *shell.engine_array(words.program(launch), words.flags(launch)),
        *_follower(launch),
        'exec "${engine[@]}"',
    ]
    return {SCRIPT: "\n".join([*lines, ""])}


def _place(launch: Launch) -> list[str]:
    lines = [
        "replica=${1:-0} rank=${NODE_RANK:-0}  # which of the replicas this is, on which of its nodes",
        "((replica < replicas && rank < nodes)) || {",
        '  echo "there are $replicas replicas on $nodes nodes each, both numbered from 0" >&2',
        "  exit 2",
        "}",
        f"port=$(({launch.site.port} + replica))  # one for each replica of a machine",
    ]
    device = DEVICES.get(launch.deployment.cluster.gpu.vendor)
    if launch.nodes > 1:
        lines += [
            ': "${NODE_RANK:?set it to the number of this node, from 0}"',
            "head=${HEAD_ADDRESS:?set it to the address of node 0}",
            "rendezvous=$((port + 1000))  # where the nodes meet",
        ]
    elif device and launch.pool.replicas > 1:
        mine, each = launch.gpus_per_node, launch.replicas_per_node
        lines += [
            f"first=$((replica % {each} * {mine}))  # replicas of {mine}, {each} on each machine",
            f'{device}=$(seq -s , "$first" "$((first + {mine - 1}))")',
            f"export {device}  # the accelerators of this replica",
        ]
    return lines


def _key(launch: Launch) -> list[str]:
    if not launch.exposed:
        return []
    name = words.key_variable(launch)
    lines = [f': "${{{name}:?others reach this server: set the key they must show}}"']
    return [*lines, f"export {name}"]


def _follower(launch: Launch) -> list[str]:
    flag = words.follower(launch)
    lines = []
    if flag is not None and launch.nodes > 1:
        lines.append(f"((rank == 0)) || engine+=({flag.name})  # {flag.why}")
    if launch.exposed and launch.flags.engine == "sglang":
        lines.append('engine+=(--api-key "$SGLANG_API_KEY")  # it reads no variable')
    return lines


def read(files: Mapping[str, str]) -> Artefact:
    """Return what the script says."""
    text = files[SCRIPT]
    priced = shell.read_priced(text)
    constants = shell.read_constants(text)
    if "replicas" not in constants:
        return shell.read_pools(text, constants)
    terms = words.read(priced, shell.read_engine(text), shell.read_exports(text))
    return Artefact(
        priced=priced,
        terms=terms,
        replicas=constants["replicas"],
        nodes=constants["nodes"],
        gpus_per_node=terms.parallelism.gpus // constants["nodes"],
    )
