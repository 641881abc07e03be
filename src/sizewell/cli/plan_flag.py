"""The best plan of `sizewell plan --json` as the flags of a command that takes one deployment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from sizewell.cli.options import Decorator
from sizewell.cli.plan_file import plan_text
from sizewell.specs.errors import BadInputError, NoFeasiblePlanError

SCHEMA = "sizewell/plan/1"
STATED = ("sizewell/explain/1", "sizewell/simulate/1")
"""Answers about one deployment, which was stated."""
HELP = "Take the best plan of `sizewell plan --json`, a file or the number of a kept one; MODEL and flags given win."


def plan_flag() -> Decorator:
    """Return the flag that fills in a deployment from a file."""
    return click.option("--plan", metavar="FILE|N", is_eager=True, expose_value=False, callback=_filled, help=HELP)


def _filled(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.default_map = {**(ctx.default_map or {}), **deployment_flags_of(value)}


def deployment_flags_of(path: str | Path) -> Mapping[str, Any]:
    """Return the flags that state the best plan's deployment, by parameter name.

    Raises BadInputError for a file that is no answer of `sizewell plan --json` or a plan of several pools,
    NoFeasiblePlanError where nothing held.
    """
    answer = _answer(path)
    if not answer["plans"]:
        raise NoFeasiblePlanError(f"{path}: no plan held its limits")
    try:
        return _flags(path, answer["plans"][0]["deployment"])
    except (KeyError, TypeError) as error:
        raise BadInputError(f"{path}: the plan says nothing of {error}: write it again") from error


def _answer(path: str | Path) -> dict[str, Any]:
    try:
        answer = json.loads(plan_text(path))
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"{path}: is not JSON: write it with sizewell plan --json") from error
    if isinstance(answer, dict) and answer.get("schema") in STATED:
        return {"plans": [answer]}
    if not isinstance(answer, dict) or answer.get("schema") != SCHEMA or not isinstance(answer.get("plans"), list):
        raise BadInputError(f"{path}: is no {SCHEMA}: write it with sizewell plan --json")
    return answer


def _flags(path: str | Path, said: Mapping[str, Any]) -> Mapping[str, Any]:
    if len(said["pools"]) != 1:
        raise BadInputError(f"{path}: the plan has {len(said['pools'])} pools: a deployment of one is taken")
    pool, engine = said["pools"][0], said["engine"]
    settings, cut = pool["settings"], pool["parallelism"]
    flags = {
        "model": said.get("read_from", said["model"]),
        "machine": f"{said['gpus_per_node']}x{said['gpu']}", "nodes": said["nodes"],
        "node": said["node"], "replicas": pool["replicas"], **{size: cut[size] for size in ("tp", "pp", "dp", "ep")},
        "weight_format": said["weight_format"], "kv_format": said["kv_format"],
        "engine": f"{engine['name']}@{engine['version']}", "max_num_seqs": settings["max_num_seqs"],
        "max_num_batched_tokens": settings["max_num_batched_tokens"], "max_model_len": settings["max_model_len_tokens"],
        "memory_fraction": settings["memory_fraction"], "enforce_eager": settings["enforce_eager"],
        "offload_bytes": f"{settings['offload_bytes'] / 1e9}GB",
    }  # fmt: skip
    if settings.get("kv_cache_bytes"):
        flags["kv_cache_memory"] = f"{settings['kv_cache_bytes'] / 2**30!r}GiB"
    return flags | ({"speculative_tokens": settings["speculative_tokens"]} if settings["speculative_tokens"] else {})
