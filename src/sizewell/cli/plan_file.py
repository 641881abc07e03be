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


def planned_window(plan: str | Path) -> int:
    """Return how many sequences the planned engines take at once, all replicas together."""
    pools = read_deployment(plan)["pools"]
    return sum(pool["replicas"] * pool["settings"]["max_num_seqs"] for pool in pools if pool["role"] != "prefill")


def is_kept(plan: str | Path) -> bool:
    """Return whether a plan is named by its number in the records, and no file is called so."""
    return str(plan).isdecimal() and not Path(plan).exists()


def plan_text(plan: str | Path) -> str:
    """Return the document of a file, or of the kept plan of a number; raises BadInputError, OSError."""
    if is_kept(plan):
        from sizewell.records.store import Records

        return json.dumps(Records.usual().document("plans", int(str(plan))))
    path = Path(plan)
    if path.stat().st_size > MOST_BYTES:
        raise BadInputError(f"{path}: larger than {MOST_BYTES // 2**20} MiB, so no plan")
    return path.read_text(encoding="utf-8")


def read_deployment(path: str | Path) -> Mapping[str, Any]:
    """Return the deployment of the best plan of `sizewell plan --json`, or that of `explain` or `simulate --json`.

    Raises BadInputError where the file, or the kept plan of a number, is none of them.
    """
    try:
        whole = json.loads(plan_text(path))
        chosen = whole["plans"][0] if "plans" in whole else whole
        deployment: Mapping[str, Any] = chosen["deployment"]
        for pool in deployment["pools"]:
            _ = pool["role"], int(pool["replicas"]), int(pool["settings"]["max_num_seqs"])
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, IndexError, TypeError):
        raise BadInputError(f"{path}: holds no plan: write one with sizewell plan MODEL --json") from None
    return deployment


def planned(path: str | Path) -> tuple[str, str, int, str, Setup]:
    """Return model, machine (`8xGPU`), nodes, kind of node and setup of a planned deployment of one pool."""
    return restated(path, read_deployment(path))


def restated(path: str | Path, found: Mapping[str, Any]) -> tuple[str, str, int, str, Setup]:
    """Return the same of a deployment as it was written; `path` names it in errors."""
    from sizewell.cli.questions import Setup
    from sizewell.planner.stated import Stated
    from sizewell.specs.deployment import Formats

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
    return (
        found.get("read_from", found["model"]),
        f"{found['gpus_per_node']}x{found['gpu']}",
        found["nodes"],
        found["node"],
        setup,
    )
