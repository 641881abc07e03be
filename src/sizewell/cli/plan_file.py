"""A plan somebody kept as JSON, read back: its window, and the deployment it is about."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sizewell.specs.errors import BadInputError

if TYPE_CHECKING:
    from sizewell.cli.questions import Setup

MOST_BYTES = 256 * 2**20


def planned_window(path: Path) -> int:
    """Return how many sequences the planned engines take at once, all replicas together."""
    pools = read_deployment(path)["pools"]
    return sum(pool["replicas"] * pool["settings"]["max_num_seqs"] for pool in pools if pool["role"] != "prefill")


def read_deployment(path: Path) -> Mapping[str, Any]:
    """Return the deployment of the best plan of `sizewell plan --json`, or that of `explain` or `simulate --json`.

    Raises BadInputError where the file is none of them.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise BadInputError(f"{path}: larger than {MOST_BYTES // 2**20} MiB, so no plan")
        whole = json.loads(path.read_text(encoding="utf-8"))
        chosen = whole["plans"][0] if "plans" in whole else whole
        deployment: Mapping[str, Any] = chosen["deployment"]
        for pool in deployment["pools"]:
            _ = pool["role"], int(pool["replicas"]), int(pool["settings"]["max_num_seqs"])
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, IndexError, TypeError):
        raise BadInputError(f"{path}: holds no plan: write one with sizewell plan MODEL --json") from None
    return deployment


def planned(path: Path) -> tuple[str, str, int, str, Setup]:
    """Return model, machine (`8xGPU`), nodes, kind of node and setup of a planned deployment of one pool."""
    from sizewell.cli.questions import Setup
    from sizewell.planner.stated import Stated
    from sizewell.specs.deployment import Formats

    found = read_deployment(path)
    if len(found["pools"]) != 1:
        raise BadInputError(f"{path}: {len(found['pools'])} pools: only a plan of one pool is predicted")
    (pool,) = found["pools"]
    cut, said = pool["parallelism"], pool["settings"]
    stated = Stated(
        tp=cut["tp"], pp=cut["pp"], dp=cut["dp"], ep=cut["ep"], replicas=pool["replicas"],
        max_num_seqs=said["max_num_seqs"], max_num_batched_tokens=said["max_num_batched_tokens"],
        max_model_len_tokens=said["max_model_len_tokens"], memory_fraction=said["memory_fraction"],
        enforce_eager=said["enforce_eager"], offload_bytes=said["offload_bytes"],
        speculative_tokens=said["speculative_tokens"], kv_cache_bytes=said.get("kv_cache_bytes", 0.0),
    )  # fmt: skip
    formats = Formats(weight=found["weight_format"], kv=found["kv_format"])
    engine = f"{found['engine']['name']}@{found['engine']['version']}"
    setup = Setup(engine=engine, formats=formats, stated=stated)
    return found["model"], f"{found['gpus_per_node']}x{found['gpu']}", found["nodes"], found["node"], setup
