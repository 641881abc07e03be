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
from math import ceil

from sizewell.deployer import shell, slurm_script, words
from sizewell.deployer.launch import Launch
from sizewell.deployer.terms import Artefact, Priced
from sizewell.specs.errors import BadInputError

JOIN_S = 60
"""Seconds every node has to start its part after the job began."""
NOTICE_S = 120
"""Seconds before the end at which the scheduler says so; the engine drains in less."""
PLAIN = {
    "partition": r"[\w.,+-]+",
    "account": r"[\w.,+-]+",
    "constraint": r"[\w.,+&|()*!:\[\]-]+",
    "time": r"[\d:-]+|UNLIMITED",
    "interface": r"[\w.,=^:-]+",
}
"""What the scheduler's own words may hold; it has no way to quote them."""


def render(launch: Launch) -> Mapping[str, str]:
    """Return the script; raises BadInputError for words a scheduler cannot read."""
    lines = [
        "#!/usr/bin/env bash",
        *(f"#SBATCH {said}" for said in _directives(launch)),
        *shell.head(Priced.of(launch), [launch.flags.note]),
        "set -euo pipefail",
        "# Seconds the nodes have to start their parts, and the engine to answer, from the predicted load time.",
        f"join_s=${{SIZEWELL_JOIN_S:-{JOIN_S}}} ready_s=${{SIZEWELL_READY_S:-{launch.patience_s}}}",
        f"gpus={launch.gpus_per_node} asked={shlex.quote(_asked(launch))}  # of each node; where the server is asked",
        f"token={shlex.quote(json.dumps(_one_token(launch)))} {_shown_key(launch)}",
        slurm_script.PLACES,
        *_start_node(launch),
        slurm_script.WATCH,
    ]
    return {_file(launch): "\n".join(lines)}


def _asked(launch: Launch) -> str:
    everywhere = launch.site.host in ("0.0.0.0", "::")
    return launch.site.host if launch.exposed and not everywhere else "127.0.0.1"


def _one_token(launch: Launch) -> Mapping[str, object]:
    return {"model": launch.site.served_name, "prompt": "1", "max_tokens": 1}


def _shown_key(launch: Launch) -> str:
    if not launch.exposed:
        return "key=''  # what it is asked"
    variable = f"${{{words.key_variable(launch)}:?others reach this server: set the key they must show}}"
    return f'key="Authorization: Bearer {variable}"  # what it is asked, with the key'


def _file(launch: Launch) -> str:
    return f"{launch.name}.sbatch"


def _directives(launch: Launch) -> Iterator[str]:
    site, several = launch.site.slurm, launch.pool.replicas > 1
    exclusive = site.exclusive and launch.replicas_per_node == 1  # replicas that share a node leave it to each other
    for word, allowed in PLAIN.items():
        value = getattr(site, word)
        if value is not None and not re.fullmatch(allowed, value, re.ASCII):
            raise BadInputError(f"--{word} {value!r}: SLURM reads no such {word}")
    yield f"--job-name={launch.name}"
    yield f"--nodes={launch.nodes}"
    yield "--ntasks-per-node=1"
    if launch.deployment.cluster.gpu.kind != "cpu":
        yield f"--gpus-per-node={launch.gpus_per_node}"
    yield f"--cpus-per-task={launch.cores}"
    yield "--mem=0" if exclusive else f"--mem={ceil(launch.host_ram_bytes / 2**20)}M"
    yield f"--time={site.time}"
    yield f"--signal=B:TERM@{NOTICE_S}"
    yield f"--output=%x-{'%A_%a' if several else '%j'}.log"
    if several:
        yield f"--array=0-{launch.pool.replicas - 1}"
    if exclusive:
        yield "--exclusive"
    for word in ("partition", "account", "constraint"):
        if getattr(site, word):
            yield f"--{word}={getattr(site, word)}"


def _start_node(launch: Launch) -> list[str]:
    several = launch.nodes > 1
    ray = several and launch.site.slurm.launcher == "ray"
    return [
        "",
        "# What every node runs; a step of its own starts it.",
        "start_node() {",
        "  set -euo pipefail",
        slurm_script.JOIN,
        *(_network(launch) if several else []),
        *_style(launch),
        *shell.exports(words.environment(launch), "  "),
        *_key(launch),
        *shell.engine_array(words.program(launch), words.flags(launch), "  "),
        *_besides(launch, ray),
        slurm_script.RAY if ray else slurm_script.RUN,
        "}",
        "export -f start_node",
    ]


def _network(launch: Launch) -> list[str]:
    named = launch.site.slurm.interface
    interface = shlex.quote(named) if named else """$(ip -o addr show to "$address" | awk '{print $2; exit}')"""
    host = {"vllm": "VLLM_HOST_IP", "sglang": "SGLANG_HOST_IP"}[launch.flags.engine]
    return [
        "  local all address interface",
        '  read -r -a all <<<"$addresses"',
        "  address=${all[rank]}",
        f"  export {host}=$address  # differs from node to node",
        f"  interface={interface}",
        "  # Left to the libraries, they may choose an interface the other nodes cannot reach.",
        "  [[ -z $interface ]] || export NCCL_SOCKET_IFNAME=$interface GLOO_SOCKET_IFNAME=$interface",
    ]


def _style(launch: Launch) -> list[str]:
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
    return ["apptainer", "exec", "--rocm" if launch.deployment.cluster.gpu.vendor == "amd" else "--nv", *bound, image]


def _key(launch: Launch) -> list[str]:
    if not launch.exposed:
        return []
    name = words.key_variable(launch)
    return [f'  : "${{{name}:?others reach this server: set the key they must show}}"']


def _besides(launch: Launch, ray: bool) -> list[str]:
    flag, lines = words.follower(launch), []
    if flag is not None and launch.nodes > 1 and not ray:
        lines.append(f"  ((rank == 0)) || engine+=({flag.name})  # {flag.why}")
    if launch.exposed and launch.flags.engine == "sglang":
        lines.append('  engine+=(--api-key "$SGLANG_API_KEY")  # it reads no variable')
    return lines


def read(files: Mapping[str, str]) -> Artefact:
    """Return what the script says."""
    (text,) = files.values()
    priced = shell.read_priced(text)
    said = dict(
        line.removeprefix("#SBATCH --").partition("=")[::2] for line in text.split("\n") if line.startswith("#SBATCH ")
    )
    terms = words.read(priced, shell.read_engine(text), shell.read_exports(text))
    return Artefact(
        priced=priced,
        terms=terms,
        replicas=int(said.get("array", "0-0").partition("-")[2]) + 1,
        nodes=int(said["nodes"]),
        gpus_per_node=int(said.get("gpus-per-node", terms.parallelism.gpus)),
    )
