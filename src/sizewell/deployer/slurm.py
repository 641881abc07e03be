"""A SLURM batch job: one replica on one node or many, an array of them for several.

The batch script runs on the first node. It picks ports, starts the engine on every node as one step, names the nodes
that do not join in time, waits until the server answers, and drains it on the signal before the end. What runs is in
`slurm_script`; here are the parts that depend on the deployment.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil

from sizewell.deployer import router, shell, slurm_script, words
from sizewell.deployer.launch import OWN_ADDRESS, Launch
from sizewell.deployer.terms import Artefact
from sizewell.specs.errors import BadInputError

JOIN_S = 60
"""Seconds every node has to start its part after the job began."""
NOTICE_S = 120
"""Seconds before the end at which the scheduler says so; the engine drains in less."""
PLAIN = {
    "partition": r"[\w.,+-]+",
    "account": r"[\w.,+-]+",
    "constraint": r"[\w.,+&|()*!:\[\]-]+",
    "time": r"\d+(?::\d+){0,2}|\d+-\d+(?::\d+){0,2}|UNLIMITED|INFINITE",
    "interface": r"[\w.,=^:-]+",
}
"""What the scheduler's own words may hold; it has no way to quote them."""


def render(launch: Launch) -> Mapping[str, str]:
    """Return the script; raises BadInputError for words a scheduler cannot read."""
    lines = [
        "#!/usr/bin/env bash",
        *(f"#SBATCH {said}" for said in directives(launch, _room(launch))),
        *shell.head(launch, [launch.flags.note]),
        *told(launch, launch.gpus_per_node),
        *_start_node(launch),
        slurm_script.WATCH,
    ]
    return {f"{launch.name}.sbatch": "\n".join(lines)}


def told(launch: Launch, gpus: int) -> list[str]:
    """Return what a job begins with: how long it waits, its accelerators of each node, its nodes and its ports."""
    return [
        "set -euo pipefail",
        "# Seconds the nodes have to start their parts, and the engine to answer, from the predicted load time.",
        f"join_s=${{SIZEWELL_JOIN_S:-{JOIN_S}}} ready_s=${{SIZEWELL_READY_S:-{launch.patience_s}}}",
        f"gpus={gpus} asked={shlex.quote(_asked(launch))}  # of each node; where the server is asked",
        f"token={shlex.quote(json.dumps(_one_token(launch)))} {_shown_key(launch)}",
        slurm_script.PLACES,
    ]


def _asked(launch: Launch) -> str:
    everywhere = launch.site.host in ("0.0.0.0", "::")
    return launch.site.host if launch.exposed and not everywhere else "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What a job asks for: nodes, and accelerators, cores and host memory of each; `jobs` of them as an array."""

    nodes: int
    gpus: int
    cores: int
    ram_bytes: float
    exclusive: bool
    jobs: int = 1


def _one_token(launch: Launch) -> Mapping[str, object]:
    return {"model": launch.site.served_name, "prompt": "1", "max_tokens": 1}


def _shown_key(launch: Launch) -> str:
    if not router.keyed(launch):
        return "key=''  # what it is asked"
    reached = "these engines" if launch.split else "this server"
    variable = f"${{{words.key_variable(launch)}:?others reach {reached}: set the key they must show}}"
    return f'key="Authorization: Bearer {variable}"  # what it is asked, with the key'


def _room(launch: Launch) -> Room:
    exclusive = launch.replicas_per_node == 1  # replicas that share a node leave it to each other
    return Room(
        nodes=launch.nodes, gpus=launch.gpus_per_node, cores=launch.cores, ram_bytes=launch.host_ram_bytes,
        exclusive=exclusive and launch.site.slurm.exclusive, jobs=launch.pool.replicas,
    )  # fmt: skip


def directives(launch: Launch, room: Room) -> Iterator[str]:
    """Yield what the scheduler is asked for; raises BadInputError for words it cannot read."""
    site, several = launch.site.slurm, room.jobs > 1
    for word, allowed in PLAIN.items():
        value = getattr(site, word)
        if value is not None and not re.fullmatch(allowed, value, re.ASCII):
            raise BadInputError(f"--{word} {value!r}: SLURM reads no such {word}")
    yield f"--job-name={launch.name}"
    yield f"--nodes={room.nodes}"
    yield "--ntasks-per-node=1"
    if launch.deployment.cluster.gpu.kind != "cpu":
        yield f"--gpus-per-node={room.gpus}"
    yield f"--cpus-per-task={room.cores}"
    yield "--mem=0" if room.exclusive else f"--mem={ceil(room.ram_bytes / 2**20)}M"
    yield f"--time={site.time}"
    yield f"--signal=B:TERM@{NOTICE_S}"
    yield f"--output=%x-{'%A_%a' if several else '%j'}.log"
    if several:
        yield f"--array=0-{room.jobs - 1}"
    if room.exclusive:
        yield "--exclusive"
    for word in ("partition", "account", "constraint"):
        if getattr(site, word):
            yield f"--{word}={getattr(site, word)}"


def _start_node(launch: Launch) -> list[str]:
    several = launch.nodes > 1
    ray = several and launch.site.slurm.launcher == "ray"
    # Before what joins nodes, which asks for an engine that does: its words refuse the others in a line.
    engine = shell.engine_array(words.program(launch), words.flags(launch), "  ")
    return [
        "",
        "# What every node runs; a step of its own starts it.",
        "start_node() {",
        "  set -euo pipefail",
        slurm_script.JOIN,
        *(network(launch) if several else []),
        *style(launch),
        *shell.exports(words.environment(launch), "  "),
        *_key(launch),
        *engine,
        *_besides(launch, ray),
        slurm_script.RAY if ray else slurm_script.RUN,
        "}",
        "export -f start_node",
    ]


def network(launch: Launch) -> list[str]:
    """Return the lines by which a node finds the others over the interface that carries their addresses."""
    named = launch.site.slurm.interface
    interface = shlex.quote(named) if named else """$(ip -o addr show to "$address" | awk '{print $2; exit}')"""
    host = OWN_ADDRESS[launch.flags.engine]
    return [
        "  local all address interface",
        '  read -r -a all <<<"$addresses"',
        "  address=${all[rank]}",
        f"  export {host}=$address  # differs from node to node",
        f"  interface={interface}",
        "  # Left to the libraries, they may choose an interface the other nodes cannot reach.",
        "  [[ -z $interface ]] || export NCCL_SOCKET_IFNAME=$interface GLOO_SOCKET_IFNAME=$interface",
    ]


def style(launch: Launch) -> list[str]:
    """Return the lines that find the engine, and what stands before it in `container`."""
    style, name = launch.site.slurm.style, launch.site.slurm.environment
    if style == "none":
        return ["  container=()"]
    if not name:
        raise BadInputError(f"--style {style} needs --environment: a name, folder, image or modules")
    quoted = shlex.quote(name)
    if style == "conda":
        hook = '  set +u; eval "$(conda shell.bash hook)"'
        return [hook, f"  conda activate {quoted}; set -u  # its scripts use unset variables", "  container=()"]
    if style == "venv":
        return [f"  venv={quoted}", "  export PATH=$venv/bin:$PATH", "  container=()"]
    if style == "module":
        return [f"  module load {shlex.join(name.split())}", "  container=()"]
    return [f"  container=({shlex.join(_container(launch, name))})"]


def _container(launch: Launch, image: str) -> list[str]:
    path = launch.site.model_path
    if path.startswith("/") and re.search("[:,]", path):
        raise BadInputError(f"{path!r}: apptainer cannot bind a path with ':' or ',': link it under another name")
    bound = ["--bind", path] if path.startswith("/") else []
    drivers = {"nvidia": ["--nv"], "amd": ["--rocm"]}.get(launch.deployment.cluster.gpu.vendor, [])
    return ["apptainer", "exec", *drivers, *bound, image]


def _key(launch: Launch) -> list[str]:
    if not launch.exposed:
        return []
    name = words.key_variable(launch)
    return [f'  : "${{{name}:?others reach this server: set the key they must show}}"']


def _besides(launch: Launch, ray: bool) -> list[str]:
    # Releases that join nodes by Ray alone know no such flag: it is asked for where it is used.
    flag, lines = None if ray else words.follower(launch), []
    if flag is not None and launch.nodes > 1:
        lines.append(f"  ((rank == 0)) || engine+=({flag.name})  # {flag.why}")
    if launch.exposed and launch.flags.engine == "sglang":
        lines.append('  engine+=(--api-key "$SGLANG_API_KEY")  # it reads no variable')
    return lines


def _seated(text: str) -> Mapping[str, int]:
    """Return how many replicas each pool of a job has, and on how many nodes each stands."""
    table = text[text.index("\nseats='") + 8 :].partition("'")[0]
    rows = [row.split() for row in table.split("\n")]
    counts = {f"{role}_replicas": sum(row[0] == role for row in rows) for role, *_ in rows}
    return counts | {f"{role}_nodes": int(nodes) for role, _, _, nodes, *_ in rows}


def read(files: Mapping[str, str]) -> Artefact:
    """Return what the script says."""
    (text,) = files.values()
    priced = shell.read_priced(text)
    if len(shell.read_engines(text)) > 1:
        return shell.read_pools(text, _seated(text))
    said = dict(
        line.removeprefix("#SBATCH --").partition("=")[::2] for line in text.split("\n") if line.startswith("#SBATCH ")
    )
    terms = words.read(priced, shell.read_engine(text), shell.read_exports(text))
    return Artefact(
        priced=priced,
        terms=terms,
        replicas=int(said.get("array", "0-0").partition("-")[2]) + 1,
        nodes=int(said["nodes"]),
        gpus_per_node=int(said.get("gpus-per-node", terms.parallelism.gpus // int(said["nodes"]))),
    )
