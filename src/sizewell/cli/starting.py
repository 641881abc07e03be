"""What `up` starts: the artefact of a launch, and the record of it that is kept."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sizewell.specs.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sizewell.deployer.kept import Deployments
    from sizewell.deployer.launch import Launch
    from sizewell.deployer.started import Started

EMULATOR = "emulate.sh"
STOP_S = 30.0
SLACK_S = 10.0


def kept_deployments() -> Deployments:
    """Return the started deployments of this user, beside the user's records."""
    from sizewell.deployer.kept import Deployments
    from sizewell.records.store import usual_folder

    return Deployments(usual_folder() / "deployments")


def artefact(launch: Launch, given: Mapping[str, Any]) -> dict[str, str]:
    """Return the file that starts the launch where the flags say; raises BadInputError for what that cannot be."""
    from sizewell.deployer.render import render
    from sizewell.deployer.runners import RENDERED

    local = given["target"] == "local"
    if given["emulate"] is False and given["emulate_with"]:
        raise BadInputError("--emulate-with says how to emulate: add --emulate")
    if given["emulate"] and not local:
        raise BadInputError(f"--emulate starts on this machine: leave --target {given['target']} out")
    if given["emulate"] and launch.split:
        raise BadInputError("the emulator plays one pool: leave --emulate out, or --prefill and --decode")
    nodes = launch.deployment.cluster.nodes
    if local and launch.split and nodes > 1:
        raise BadInputError(
            f"the pools take {launch.deployment.gpus} accelerators on {nodes} machines, this is one: --target slurm or "
            "kubernetes"
        )
    if given["emulate"]:
        return {EMULATOR: _emulator(launch, given)}
    if local and launch.nodes > 1:
        raise BadInputError(f"a replica over {launch.nodes} nodes does not start on this machine: --target slurm")
    return dict(render(launch, RENDERED[given["target"]]))


def check_installed(launch: Launch, given: Mapping[str, Any]) -> None:
    """Refuse to start an engine that is not here; raises BadInputError."""
    from sizewell.deployer import router
    from sizewell.deployer.words import program

    if given["target"] != "local" or given["emulate"]:
        return
    for name in (program(launch)[0], *((router.program(launch)[0],) if launch.split else ())):
        if shutil.which(name) is None:
            other = "" if launch.split else ", or try --emulate"
            raise BadInputError(f"there is no {name} on the PATH: activate where it is installed{other}")


def _emulator(launch: Launch, given: Mapping[str, Any]) -> str:
    """Return a script that becomes an emulator of the whole deployment, all replicas behind one port."""
    from sizewell.cli.restated import deployment_words

    facts = [word for fact in given["assume"] for word in ("--assume", fact)]
    site = launch.site
    words = [
        sys.executable, "-m", "sizewell", "emulate", _source(given), *facts, *deployment_words(launch.deployment),
        "--host", site.host, "--port", str(site.port), "--served-model-name", site.served_name,
        *_more_words(given["emulate_with"] or ""),
    ]  # fmt: skip
    return f"#!/usr/bin/env bash\nexec {shlex.join(words)}\n"


def _more_words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise BadInputError(f"--emulate-with {text!r} cannot be read as a shell would: {error}") from error


def _source(given: Mapping[str, Any]) -> str:
    """Return the model as it was named, from wherever it will be asked for again."""
    named = str(given["model"])
    return os.path.abspath(named) if os.path.exists(named) else named


def record(launch: Launch, given: Mapping[str, Any], file: str) -> Started:
    """Return the record of a launch before anything runs."""
    from sizewell.cli.documents import deployment_object
    from sizewell.cli.output import json_ready
    from sizewell.deployer.placement import engine_ports
    from sizewell.deployer.started import Started

    emulated = bool(given["emulate"])
    replicas = 1 if emulated else _watched(launch, given["target"])
    local = given["target"] == "local"
    commands = [(f"./{file}",)] if emulated else [(f"./{file}", *words) for words in _words(launch)]
    return Started(
        name=launch.name,
        where=given["target"],
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        model=launch.site.served_name,
        host=launch.site.host,
        port=_port(launch, given["target"]),
        replicas=replicas,
        file=file,
        stop_s=_stop_s(launch),
        patience_s=float(launch.patience_s),
        commands=tuple(commands) if local else (),
        ports=engine_ports(launch) if local and launch.split else (),
        namespace=given["namespace"] or "",
        context=given["context"] or "",
        source=_source(given),
        assumed=tuple(given["assume"]),
        deployment=json_ready(deployment_object(launch.deployment)),
        ledger=json_ready(_ledger(launch)),
    )


def _watched(launch: Launch, target: str) -> int:
    """Return how many things are watched apart: replicas; of two pools one job, or their pods and the router's."""
    if not launch.split:
        return launch.pool.replicas
    return 1 if target == "slurm" else 1 + sum(pool.replicas for pool in launch.deployment.pools)


def _words(launch: Launch) -> Iterator[tuple[str, ...]]:
    """Yield what each program of a script is called by: its number, or of two pools its role too, the router last."""
    for pool in launch.deployment.pools:
        for number in range(pool.replicas):
            yield (pool.role, str(number)) if launch.split else (str(number),)
    if launch.split:
        yield ("router",)


def _port(launch: Launch, target: str) -> int:
    from sizewell.deployer.kubernetes import PORT

    return PORT if target == "kubernetes" else launch.site.port


def _stop_s(launch: Launch) -> float:
    from sizewell.deployer.vllm import DRAIN_S

    return DRAIN_S + SLACK_S if launch.flags.knows("--shutdown-timeout") else STOP_S


def _ledger(launch: Launch) -> Mapping[str, object]:
    """Return what the start-up lines of the engine can be held against."""
    from sizewell.costs.checkpoint import checkpoint_bytes
    from sizewell.costs.ledger import ledger

    deployment = launch.deployment
    memory = ledger(deployment)
    return {
        "weights_bytes": memory.weight_bytes,
        "kv_cache_bytes": memory.kv_bytes,
        "kv_cache_tokens": memory.kv_tokens,
        "max_concurrency": memory.concurrency(memory.settings.max_model_len_tokens),
        "graphs_bytes": sum(line.bytes for line in memory.lines if line.name == "graphs"),
        "checkpoint_bytes": checkpoint_bytes(deployment.model, deployment.weight_format),
    }
