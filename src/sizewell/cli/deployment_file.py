"""A deployment from a file: a plan of `sizewell plan --json`, or the flags of a deployment as YAML or TOML."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sizewell.specs.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sizewell.specs.deployment import Deployment

PLAN_SCHEMA = "sizewell/plan/1"
STATED = "sizewell.deployment_file"
SETTINGS = ("max_num_seqs", "max_num_batched_tokens", "memory_fraction", "speculative_tokens")
"""Settings that are called the same in a plan and as a flag."""


def read_deployment_file(path: str, number: int, ctx: click.Context) -> dict[str, Any]:
    """Return a file's values by parameter name of the command being run; of several plans, the `number`-th.

    Raises BadInputError for a file that is neither a plan nor flags, and for a plan it does not hold.
    """
    if path.lower().endswith(".json"):
        return _plan(path, number, ctx)
    from sizewell.cli.workload_file import read_workload_file

    return read_workload_file(path, ctx)


def _plan(path: str, number: int, ctx: click.Context) -> dict[str, Any]:
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadInputError(f"{path}: cannot be read: {error}") from error
    if not isinstance(document, dict) or document.get("schema") != PLAN_SCHEMA:
        raise BadInputError(f"{path}: is not what `sizewell plan --json` writes ({PLAN_SCHEMA})")
    plans = document["plans"]
    if not 1 <= number <= len(plans):
        raise BadInputError(f"{path}: holds {len(plans)} plans, there is no --plan {number}")
    ctx.meta[STATED] = stated = plans[number - 1]["deployment"]
    return {**_flags(path, stated), **_load(document["question"]["workload"])}


def _flags(path: str, stated: Mapping[str, Any]) -> dict[str, Any]:
    if len(stated["pools"]) != 1:
        raise BadInputError(f"{path}: prefill and decode in separate pools are not rendered: choose another --plan")
    (pool,) = stated["pools"]
    settings, cut = pool["settings"], pool["parallelism"]
    engine = stated["engine"]
    said = {
        "model": stated["model"],
        "machine": f"{stated['gpus_per_node']}x{stated['gpu']}",
        "nodes": stated["nodes"],
        "node": stated["node"],
        "replicas": pool["replicas"],
        **cut,
        "engine": f"{engine['name']}@{engine['version']}",
        "weight_format": stated["weight_format"],
        "kv_format": stated["kv_format"],
        "max_model_len": settings["max_model_len_tokens"],
        "enforce_eager": settings["enforce_eager"],
        **{name: settings[name] for name in SETTINGS},
    }
    if not said["speculative_tokens"]:
        del said["speculative_tokens"]
    if settings["offload_bytes"]:
        said["offload_bytes"] = f"{settings['offload_bytes'] / 2**30!r}GiB"
    if settings.get("kv_cache_bytes"):
        said["kv_cache_memory"] = f"{settings['kv_cache_bytes'] / 2**30!r}GiB"
    return {name: value if isinstance(value, bool) else str(value) for name, value in said.items()}


def _load(workload: Mapping[str, Any]) -> dict[str, Any]:
    said = {
        "input": workload["input_tokens"], "answer": workload["answer_tokens"], "think": workload["think_tokens"],
    }  # fmt: skip
    return {name: f"{value:g}" for name, value in said.items() if value}


def check_as_planned(deployment: Deployment, ctx: click.Context) -> None:
    """Refuse a deployment that is not, field by field, the one the plan holds; raises BadInputError.

    Flags given beside the file change it on purpose: then there is nothing to compare.
    """
    from sizewell.cli.documents import deployment_object
    from sizewell.cli.output import json_ready

    stated = ctx.meta.get(STATED)
    if stated is None or _changed(ctx):
        return
    built = json_ready(deployment_object(deployment))
    different = [name for name in stated if stated[name] != built.get(name)]
    if different:
        raise BadInputError(
            f"the plan's {different[0]} is {stated[different[0]]!r}, here it is {built[different[0]]!r}: "
            "it was made by another catalogue or another version of sizewell; plan again"
        )


def _changed(ctx: click.Context) -> bool:
    spoken = click.core.ParameterSource.COMMANDLINE
    said = {"model", "machine", "nodes", "node", "replicas", "tp", "pp", "dp", "ep", "engine", "weight_format"}
    said |= {"kv_format", "max_model_len", "enforce_eager", "offload_bytes", "kv_cache_memory", *SETTINGS}
    return any(ctx.get_parameter_source(name) == spoken for name in said)
